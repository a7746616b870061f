"""What to do next with a leg, by what both wallets show: one pure function (docs/lnbits.md "The protocol").

ARCHITECTURE.md has the same rules as a table; a test compares every cell. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from satmachine.models import HoldReason


class Sighting(StrEnum):
    """What a wallet shows of one payment hash."""

    ABSENT = "absent"
    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"


class Step(StrEnum):
    """The payer's next move. RENEW: a new invoice is safe, the old one can never be paid."""

    COMPLETE = "complete"
    PAY = "pay"
    WAIT = "wait"
    RENEW = "renew"
    LOOK_AGAIN = "look_again"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class View:
    """One look at an invoice. The destination must have been read *before* the source.

    `destination` is None for an external payee, whose wallet nobody here can see. `expired` is only true once the
    invoice's expiry is certainly over, on any clock. `amounts_fit`: what the wallets moved is what the leg says.
    `forgotten`: LNbits was restored from an older copy, as far as this invoice shows: the payment that the wallet
    showed is absent (LNbits never takes such a row away), or the mark is. What left it before may have arrived.
    `same_lnbits`: the wallet shows that an external payee is one of its own LNbits: then the preimage proves nothing,
    and no wallet that can be read here shows the credit. `last_look` says that a puzzling view was seen long enough.
    """

    source: Sighting
    destination: Sighting | None
    expired: bool
    preimage_fits: bool = False
    same_lnbits: bool = False
    amounts_fit: bool = True
    last_look: bool = False
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, and for HOLD the reason."""

    step: Step
    reason: HoldReason | None = None


def decide(view: View) -> Decision:
    """The only place where the next step of a leg is decided. Total: every view has exactly one decision."""
    if view.source is Sighting.PENDING:
        return Decision(Step.WAIT)
    if view.destination is None:
        return _external(view)
    return _internal(view, view.destination)


def _external(view: View) -> Decision:
    if view.source is Sighting.SUCCESS:
        if view.same_lnbits:
            return _puzzle(view, HoldReason.CREDIT_UNSEEN)
        return _paid(view) if view.preimage_fits else _puzzle(view, HoldReason.BAD_PREIMAGE)
    if view.forgotten:
        return _puzzle(view, HoldReason.WALLET_ROLLED_BACK)
    if view.expired:
        return Decision(Step.RENEW)
    return Decision(Step.PAY if view.source is Sighting.ABSENT else Step.WAIT)


def _internal(view: View, destination: Sighting) -> Decision:
    if view.source is Sighting.SUCCESS:
        return _paid(view) if destination is Sighting.SUCCESS else _puzzle(view, HoldReason.DEBIT_WITHOUT_CREDIT)
    if destination is Sighting.SUCCESS:
        return _puzzle(view, HoldReason.PAID_BY_ANOTHER)
    if destination is Sighting.ABSENT:
        return _puzzle(view, HoldReason.WALLET_ROLLED_BACK)
    if view.source is Sighting.ABSENT:
        if destination is Sighting.FAILED:
            return Decision(Step.RENEW)
        return Decision(Step.WAIT if view.expired else Step.PAY)
    # The source says failed.
    if destination is Sighting.PENDING:
        return _puzzle(view, HoldReason.CONTRADICTION)
    return Decision(Step.RENEW if view.expired else Step.WAIT)


def _paid(view: View) -> Decision:
    return Decision(Step.COMPLETE) if view.amounts_fit else _puzzle(view, HoldReason.AMOUNT_MISMATCH)


def _puzzle(view: View, reason: HoldReason) -> Decision:
    """A view that may be a moment between two commits: look again, and only then call a person."""
    return Decision(Step.HOLD, reason) if view.last_look else Decision(Step.LOOK_AGAIN)
