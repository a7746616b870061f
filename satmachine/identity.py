"""What a payment *is*: its keys, and for whom it is. Only this module makes, reads and compares them.

A key is fixed before anything is asked of a wallet, and is the same in every copy of the books, because nothing in it
comes from a row id:

    sm1:<settlement key>:r<revision>:<leg>          a leg of a sale: super, split:<label>, dca:<client>, refund:<n>,
                                                    fwd:<client> (paid from the LP's own wallet); with a number
                                                    behind it where the books took in a payment whose name was taken
    sm1:bal:<machine>:<client>:<n>                  a balance paid out
    <bundle>:mark:<id>                              the mark of a bundle (marks.py)

A *bundle* is what is listed and marked together: all legs of a sale (`sm1:<settlement key>`), or a single payout or
forward (its own key). The settlement key is the customer's payment hash as soon as it is known, else (without proof)
the digest of the txid, else the event id.

Who a payee is does not depend on where its key is kept, or which of a wallet's keys it is: a wallet is known by its id,
a Lightning address or LNURL by its text, a refund by the customer's own invoice.

Pure. Sources: SPEC sections 3 and 6, docs/lnbits.md "The protocol".
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Every key of satmachine begins like this, whatever the machine's npub was or is.
PREFIX: Final = "sm1:"

_BALANCE = "bal"
_MARK: Final = ":mark:"
_TAG: Final = "satmachine:"

_SALE_LEG = re.compile(
    r"sm1:(?P<sale>[0-9a-f]{64}):r(?P<revision>[1-9][0-9]{0,8}):"
    r"(?P<leg>(?:super|(?:split|dca|fwd):[a-z0-9][a-z0-9-]*|refund:[1-9][0-9]{0,8})(?::[1-9][0-9]?)?)"
)
_BALANCE_LEG = re.compile(
    r"sm1:bal:(?P<machine>[a-z0-9][a-z0-9-]*):(?P<client>[a-z0-9][a-z0-9-]*):(?P<number>[1-9][0-9]{0,8})"
)


class PayeeKind(StrEnum):
    """How a payee is reached."""

    WALLET = "wallet"
    LIGHTNING_ADDRESS = "lightning_address"
    LNURL = "lnurl"
    INVOICE = "invoice"


@dataclass(frozen=True, slots=True)
class PayeeIdentity:
    """Who is paid. `reference`: the wallet's id, the address, the LNURL or the invoice; None: a wallet not learnt yet.

    If one of two identities is not learnt yet, they are not known to differ (`differs`).
    """

    kind: PayeeKind
    reference: str | None

    def differs(self, other: PayeeIdentity) -> bool:
        """Whether these are certainly two different payees."""
        if self.kind is not other.kind:
            return True
        return None not in (self.reference, other.reference) and self.reference != other.reference


#: Where the platform's payee is named.
SUPER_SCOPE: Final = "super"


def client_scope(client_id: int) -> str:
    """Where a client's payee is named (`dca_payees.scope`)."""
    return f"client:{client_id}"


def ruleset_scope(source: str, machine_id: str, operator_id: str, label: str) -> str:
    """Where a partner's payee is named; `source` is whose ruleset it is, "machine" or "operator"."""
    owner = machine_id if source == "machine" else operator_id
    return f"{source}:{owner}:{label}"


@dataclass(frozen=True, slots=True)
class SaleLeg:
    """A key of a sale's leg, in its parts. `leg` is what comes after the revision."""

    settlement_key: str
    revision: int
    leg: str


@dataclass(frozen=True, slots=True)
class BalanceLeg:
    """A key of a balance payout, in its parts."""

    machine_id: str
    client_label: str
    number: int


def sale_bundle(settlement_key: str) -> str:
    """The beginning of every key of a sale, without the colon after it."""
    return f"{PREFIX}{settlement_key}"


def sale_leg_key(settlement_key: str, revision: int, leg: str) -> str:
    """The key of one leg of a sale."""
    return f"{sale_bundle(settlement_key)}:r{revision}:{leg}"


def balance_leg_key(machine_id: str, client_label: str, number: int) -> str:
    """The key of a balance payout; it is its own bundle."""
    return f"{balance_bundles(machine_id, client_label)}:{number}"


def balance_bundles(machine_id: str, client_label: str) -> str:
    """The beginning of the key of every balance payout of a client, without the colon after it."""
    return f"{PREFIX}{_BALANCE}:{machine_id}:{client_label}"


def mark_key(bundle: str, mark_id: str) -> str:
    """The key of a mark of a bundle."""
    return f"{bundle}{_MARK}{mark_id}"


def is_mark(key: str | None) -> bool:
    """Whether a row with this key is a mark: never a sale, never a top-up, whoever wrote it."""
    return key is not None and key.startswith(PREFIX) and _MARK in key


def belongs(key: str | None, bundle: str) -> bool:
    """Whether a key belongs to this bundle: the bundle's own, or one below it."""
    return key is not None and (key == bundle or key.startswith(f"{bundle}:"))


def parse_key(key: str | None) -> SaleLeg | BalanceLeg | None:
    """What a key names; None for what satmachine never makes, and for marks."""
    if key is None:
        return None
    if found := _SALE_LEG.fullmatch(key):
        return SaleLeg(found["sale"], int(found["revision"]), found["leg"])
    if found := _BALANCE_LEG.fullmatch(key):
        return BalanceLeg(found["machine"], found["client"], int(found["number"]))
    return None


def waived_settlement_key(payment_hash: str | None, txid: str | None, event_id: str | None) -> str:
    """The settlement key of a sale that is paid without proof (SPEC section 6.4).

    The machine's txid may contain anything, so its digest is used instead: a key has no blanks or wildcards.
    """
    if payment_hash is not None:
        return payment_hash
    if txid is not None:
        return hashlib.sha256(f"txid:{txid}".encode()).hexdigest()
    assert event_id is not None, "a sale without payment hash and txid has its event"
    return event_id


def tag(npub: str) -> str:
    """What LNbits' own payment history filters by (SPEC section 5)."""
    return f"{_TAG}{npub}"


def tag_pattern() -> str:
    """What every tag of satmachine contains, whatever the npub."""
    return _TAG
