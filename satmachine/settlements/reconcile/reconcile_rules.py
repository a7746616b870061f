"""How payments that are missing in the books are entered again: the rules, without I/O (SPEC sections 6.7 and 6.8).
Pure.

A person decides about each payment that the wallet shows and the books do not, and sees a proposal for each. The key of
a payment says what it *is*; `adoption.decide` says whether it belongs to an open leg; `cover` says how a sale accounts
for one without a leg. The payment has happened, so it replaces what was planned under the same name, then what the sale
retains, then what is not paid yet. So gross = legs + retained before and after, and nothing is paid on top.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from satmachine import identity
from satmachine.models import Retained, RetainedReason


class Resolution(StrEnum):
    """What becomes of a payment. WAITS: nothing can be decided before a person has done something else."""

    ADOPT = "adopt"
    BOOK = "book"
    PAYOUT = "payout"
    NOT_OURS = "not_ours"
    FAILED = "failed"
    WAITS = "waits"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person wants instead of the proposal: book to a sale, to a client's balance, or (both None) not ours."""

    settlement_id: int | None = None
    client_id: int | None = None


@dataclass(frozen=True, slots=True)
class OpenLeg:
    """A planned leg that is not final. `unpaid`: nothing of it was sent, or the wallet was just seen not to have it."""

    id: int
    leg: str
    revision: int
    amount_sats: int
    unpaid: bool


@dataclass(frozen=True, slots=True)
class Cover:
    """How a sale bears a payment: these legs are voided, and these rows change what it retains."""

    voided: tuple[int, ...]
    retained: tuple[Retained, ...]


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """A payment, and what is decided about it; `words` for a person. Ids are of rows that were there before."""

    payment_hash: str
    leg_key: str
    amount_sats: int
    fee_sats: int
    made_at: int
    verdict: Resolution
    words: str
    settlement_key: str | None = None
    client_id: int | None = None


@dataclass(frozen=True, slots=True)
class MarkLine:
    """A mark; `unpaid` of the `invoices` that it names are not known to be paid."""

    id: str
    bundle: str
    invoices: int
    unpaid: int
    words: str


@dataclass(frozen=True, slots=True)
class SaleLine:
    """What becomes of a sale beside its payments, in words; empty where nothing does."""

    settlement_key: str
    settlement_id: int
    words: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What reconciling a machine does. `waits` are sentences: nothing is done before they are heeded."""

    machine_id: str
    paused: str | None
    payments: tuple[PaymentLine, ...]
    marks: tuple[MarkLine, ...]
    sales: tuple[SaleLine, ...]
    waits: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.payments or self.marks)

    @property
    def digest(self) -> str:
        """Identifies everything that was shown: another digest, another decision."""
        shown = asdict(self)
        for sale in shown["sales"]:
            del sale["settlement_id"]  # a sale that is landed on the way gets its number when it is
        text = json.dumps(shown, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_choice(text: str) -> tuple[str, Choice]:
    """`HASH=sale:ID`, `HASH=client:ID` or `HASH=not-ours`. Raises ValueError with a sentence."""
    name, sign, target = text.partition("=")
    kind, _, number = target.partition(":")
    if sign and len(name) == 64 and target == "not-ours":
        return name, Choice()
    if sign and len(name) == 64 and kind in ("sale", "client") and number.isascii() and number.isdigit():
        row = int(number)
        return name, Choice(settlement_id=row) if kind == "sale" else Choice(client_id=row)
    raise ValueError(f"{text!r} is no choice: write HASH=sale:ID, HASH=client:ID or HASH=not-ours")


def booked_sats(amount_sats: int, fee_sats: int, leg_sats: int | None) -> int:
    """What a payment takes out of its sale: the fee with it, unless the machine bore that on top of the leg."""
    return amount_sats if leg_sats == amount_sats else amount_sats + fee_sats


def superseded(leg: OpenLeg, paid: Collection[tuple[int, str]], revision: int) -> bool:
    """Whether an open leg must not be paid any more, because of the (revision, leg) that were paid for its sale, or
    because another life of the books made a later `revision` of it."""
    return leg.revision < revision or any(name == leg.leg for _, name in paid)


def cover(cost_sats: int, name: str, retained: Sequence[Retained], open_legs: Sequence[OpenLeg]) -> Cover | None:
    """Who gives way to a payment of `cost_sats` for the leg `name`: what is retained, of its own part first, then open
    legs that are unpaid, of its own part first and the latest first. None where there is not enough."""
    part = name.partition(":")[0]
    left_sats = cost_sats
    rows: list[Retained] = []
    for entry in sorted(retained, key=lambda entry: _distance(entry, name, part)):
        taken_sats = min(left_sats, max(entry.amount_sats, 0))
        if taken_sats:
            rows.append(Retained(entry.reason, -taken_sats, entry.leg))
            left_sats -= taken_sats
    voided: list[int] = []
    for leg in sorted(open_legs, key=lambda leg: (leg.leg != name, leg.leg.partition(":")[0] != part, -leg.id)):
        if not left_sats:
            break
        if not leg.unpaid:
            continue
        taken_sats = min(left_sats, leg.amount_sats)
        left_sats -= taken_sats
        voided.append(leg.id)
        if leg.amount_sats > taken_sats:
            rows.append(Retained(RetainedReason.VOIDED_LEG, leg.amount_sats - taken_sats, leg.leg))
    return None if left_sats else Cover(tuple(voided), tuple(rows))


def heads(marks: Mapping[str, frozenset[str]]) -> list[str]:
    """The marks (id -> the ids before it) that no other one replaces, in order."""
    replaced = {before for prev in marks.values() for before in prev}
    return sorted(marks.keys() - replaced)


def withdrawn(
    open_keys: Iterable[str],
    named: Iterable[Mapping[str, str]],
    head: Mapping[str, str],
    stopped: Collection[str] = (),
    bundle: str | None = None,
) -> list[str]:
    """Open legs that some mark named and its last one does not, or that are among what a mark says is `stopped` (the
    bundle: all of it): another life of the books had stopped or redirected them."""
    before = {key for invoices in named for key in invoices}
    return [key for key in open_keys if (key in before and key not in head) or key in stopped or bundle in stopped]


def revisions(keys: Iterable[str]) -> list[int]:
    """The revisions that these keys of sales' legs name."""
    parsed = [identity.parse_key(key) for key in keys]
    return [key.revision for key in parsed if isinstance(key, identity.SaleLeg)]


def _distance(entry: Retained, name: str, part: str) -> tuple[bool, bool, bool]:
    """A refund takes what was not dispensed first; everybody else takes that last: it is the customer's."""
    undispensed = entry.reason in (RetainedReason.UNDISPENSED, RetainedReason.SHORTFALL)
    return (undispensed != (part == "refund"), entry.leg != name, entry.leg.partition(":")[0] != part)
