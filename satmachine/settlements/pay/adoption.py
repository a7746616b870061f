"""Does a payment in a wallet belong to this leg? One rule of evidence, used everywhere (SPEC section 6.7). Pure.

A payment may be missing in the books: they were restored or lost, or another daemon made it. Its key, its amounts, its
fiat value and its payee decide what it is; never a text, and never who asks first. ARCHITECTURE.md has the same rules
as a table; a test compares every cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Leg, LegStatus


class Verdict(StrEnum):
    """ADOPT: the payment belongs to the leg. HOLD: it has the leg's key, but does not fit. LEAVE: not of this leg."""

    ADOPT = "adopt"
    HOLD = "hold"
    LEAVE = "leave"


class Misfit(StrEnum):
    """Why a payment with the leg's key does not simply belong to the leg."""

    FINAL = "final"
    OTHER_INVOICE = "other_invoice"
    AMOUNT = "amount"
    FIAT = "fiat"
    PAYEE = "payee"


@dataclass(frozen=True, slots=True)
class FoundPayment:
    """An outgoing payment as its wallet shows it. `amount_sats` is without the fee.

    `fiat_amount_minor` and `leg_sats` are what its `extra` says of the leg that it was made for; None: nothing.
    `credited` is the wallet that the payment was seen to reach; None: not looked, or not of this LNbits.
    """

    leg_key: str
    payment_hash: str
    amount_sats: int
    fee_sats: int
    fiat_amount_minor: int | None
    leg_sats: int | None = None
    credited: PayeeIdentity | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """A verdict, and for HOLD what does not fit."""

    verdict: Verdict
    misfit: Misfit | None = None


#: A leg in one of these states has an end of its own.
_FINAL = frozenset({LegStatus.COMPLETED, LegStatus.VOIDED, LegStatus.SKIPPED})


def decide(leg: Leg, live_invoice: str | None, found: FoundPayment) -> Adoption:
    """`live_invoice`: the payment hash of the leg's invoice that could still be paid, or was; None where there is none.

    The ladder: whose key, whose invoice, is the leg open, how much, for how much fiat, to whom.
    """
    if found.leg_key != leg.leg_key:
        return Adoption(Verdict.LEAVE)
    if live_invoice == found.payment_hash:
        return Adoption(Verdict.ADOPT)
    misfit = _misfit(leg, live_invoice, found)
    return Adoption(Verdict.ADOPT) if misfit is None else Adoption(Verdict.HOLD, misfit)


def _misfit(leg: Leg, live_invoice: str | None, found: FoundPayment) -> Misfit | None:
    if leg.status in _FINAL:
        return Misfit.FINAL
    if live_invoice is not None:
        return Misfit.OTHER_INVOICE
    if not _amount_fits(leg, found):
        return Misfit.AMOUNT
    if found.fiat_amount_minor != leg.fiat_amount_minor:
        return Misfit.FIAT
    if found.credited is not None and found.credited.differs(leg.identity):
        return Misfit.PAYEE
    return None


def _amount_fits(leg: Leg, found: FoundPayment) -> bool:
    """A wallet of this LNbits gets the leg to the sat; an external payee what routing leaves of it, or all of it."""
    if found.leg_sats is not None and found.leg_sats != leg.amount_sats:
        return False
    if leg.payee_kind is PayeeKind.WALLET:
        return found.amount_sats == leg.amount_sats
    return found.amount_sats == leg.amount_sats or found.amount_sats + found.fee_sats <= leg.amount_sats
