"""Seals: they distinguish what the daemon itself has ordered to be paid from what anybody wrote into the database.
Pure.

Everybody who may run the command line may write the file, and so write rows of payments. So the daemon *seals* each
payment when it plans it, and each invoice when it gets one: an HMAC over what decides who gets how much, under a key
that is derived from the machine's admin key, which others who write to the file cannot read. Right before an invoice is
asked for, and again before it is paid, the daemon makes the seal again from the row and compares. A row that was
inserted, or whose amount or payee was changed, has no valid seal, and is not paid.

A seal says what was ordered, not what has happened since: a row can be put back to an earlier state. So the sum is
checked too: a sale's seal contains what the customer paid, and no payment is made above it (`store/seal_rows.py`).

What people order through the command line is a row too, which everybody who may write the file can write. If the
operator names an `order_key`, an order is carried out only with a seal under it: whoever can read that key may order.

The admin key itself is not kept: only what is derived from it, as long as the process lives.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `satmachine status` need not load them
    from satmachine.identity import PayeeKind
    from satmachine.models import LegType

_VERSION = 1
#: What a person with the machine's key has approved although it is more than came in.
_BEYOND = "beyond:"


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is sealed of a payment. `gross_sats`: what the customer of its sale paid; None for a payout and a forward,
    which belong to no sale. If an identity is learnt later, the payment is sealed again then."""

    machine_id: str
    settlement_id: int | None
    leg_key: str
    leg: str
    leg_type: LegType
    label: str | None
    client_id: int | None
    amount_sats: int
    fiat_amount_minor: int | None
    payee: str
    payee_kind: PayeeKind
    payee_ref: str | None
    payee_scope: str | None
    gross_sats: int | None


@dataclass(frozen=True, slots=True)
class Given:
    """What is sealed of an invoice."""

    machine_id: str
    leg_key: str
    generation: int
    payment_hash: str | None
    bolt11: str | None
    amount_sats: int
    internal: bool
    wallet_id: str | None


class Keyring:
    """The keys for sealing, by machine. Learnt when a machine's admin key is read; a later one replaces an earlier one,
    with which this process can still verify (`former`)."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[bytes, ...]] = {}

    def learn(self, machine_id: str, admin_key: str) -> bool:
        """Returns whether this machine had another key before: then what is open must be sealed again."""
        key = hmac.new(admin_key.encode(), b"satmachine seal key", hashlib.sha256).digest()
        known = self._keys.get(machine_id, ())
        if known[:1] == (key,):
            return False
        self._keys[machine_id] = (key, *(other for other in known if other != key))
        return bool(known)

    def knows(self, machine_id: str) -> bool:
        """Whether anything of this machine can be sealed."""
        return machine_id in self._keys

    def seal(self, what: Ordered | Given, *, beyond: bool = False) -> str | None:
        """The seal of a payment or an invoice; None if the machine's key was not read yet."""
        keys = self._keys.get(what.machine_id)
        return None if keys is None else _seal(what, keys[0], beyond=beyond)

    def fits(self, seal: str | None, what: Ordered | Given) -> bool:
        """Whether a seal is that of exactly this, under a key that this process has learnt."""
        if seal is None:
            return False
        beyond = is_beyond(seal)
        return any(
            hmac.compare_digest(seal.encode(errors="replace"), _seal(what, key, beyond=beyond).encode())
            for key in self._keys.get(what.machine_id, ())
        )


def order_seal(order_key: str, created_at: int, actor: str, action: str, subject: str, params: str) -> str:
    """The seal of what a person orders, under `[payouts] order_key`. `params` as they are stored."""
    text = json.dumps(["order", _VERSION, created_at, actor, action, subject, params], separators=(",", ":"))
    return hmac.new(order_key.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_beyond(seal: str | None) -> bool:
    """Whether a person with the key has approved it whatever its sale has paid already."""
    return seal is not None and seal.startswith(_BEYOND)


def _seal(what: Ordered | Given, key: bytes, *, beyond: bool) -> str:
    prefix = _BEYOND if beyond else ""
    values = [getattr(what, name) for name in what.__dataclass_fields__]
    text = json.dumps([type(what).__name__, _VERSION, prefix, *values], separators=(",", ":"))
    return prefix + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
