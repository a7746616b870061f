"""The rules of corrections: what may be corrected when, and to which figures (SPEC section 9). Pure.

`changes.py` has the transactions, `sale_orders.py` carries them out in the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from satmachine.models import Figures, Retained, RetainedReason, Settlement, SettlementStatus
from satmachine.money import minor_to_fiat, scale_linear
from satmachine.settlements.pay.transition import Sighting, View


class CorrectionKind(StrEnum):
    """What a person can ask to be done to a sale; the words of the command line."""

    PARTIAL_DISPENSE = "partial-dispense"
    CLOSE = "close"
    REDISTRIBUTE = "redistribute"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class Dispensed:
    """Which part of a sale's cash was handed out: `part` of `whole`, exactly."""

    part: int
    whole: int

    @classmethod
    def fraction(cls, fraction: Decimal) -> Dispensed:
        """From a fraction 0..1. Raises ValueError for another number."""
        if not fraction.is_finite() or not 0 <= fraction <= 1:
            raise ValueError(f"the fraction that was dispensed lies between 0 and 1, not {fraction}")
        return cls(*fraction.as_integer_ratio())

    @classmethod
    def sats(cls, dispensed_sats: int, gross_sats: int) -> Dispensed:
        """From the part of the customer's payment, in sats, that the cash was worth. Raises ValueError."""
        if not 0 <= dispensed_sats <= gross_sats:
            raise ValueError(f"the customer paid {gross_sats} sats, so between 0 and {gross_sats} were dispensed")
        return cls(dispensed_sats, gross_sats)


def scale(gross_sats: int, original: Figures, dispensed: Dispensed) -> Figures:
    """The figures of a partial dispense, from the *original* ones: all scaled linearly, rounded half up.

    The commission is what the scaled net leaves of the scaled total: sums hold, and it is within 1 sat of its ratio.
    """
    assert gross_sats == original.net_sats + original.commission_sats, "the original figures hold the whole sale"
    part, whole = dispensed.part, dispensed.whole
    total_sats = scale_linear(gross_sats, part, whole)
    net_sats = scale_linear(original.net_sats, part, whole)
    fiat = original.fiat_amount_minor
    return Figures(
        net_sats=net_sats,
        commission_sats=total_sats - net_sats,
        undispensed_sats=gross_sats - total_sats,
        fiat_amount_minor=None if fiat is None else scale_linear(fiat, part, whole),
    )


def refusal(command: CorrectionKind, settlement: Settlement) -> str | None:
    """Why a settlement's state forbids a command, with the way out; None where it does not."""
    message = _REFUSED.get((command, settlement.status))
    if (
        message is None
        and command in (CorrectionKind.REDISTRIBUTE, CorrectionKind.REFUND)
        and settlement.planned_at is None
    ):
        closed = settlement.status is SettlementStatus.PARTIAL
        message = _NEVER_PROVEN if closed else _NOT_PLANNED
    return None if message is None else message.format(id=settlement.id)


def why_not_unpaid(view: View, *, sent: bool) -> str | None:
    """Why it is not proven that an invoice stays unpaid; None where it is (docs/lnbits.md, both sides).

    Only the daemon pays these invoices, and it has set the leg aside. `sent`: a request to pay it went out, and it is
    not known that LNbits has ended it; then "not at the source" is final only once the invoice itself is dead.
    """
    if view.source is Sighting.SUCCESS:
        return "the machine's wallet shows it paid"
    if view.destination is Sighting.SUCCESS:
        return "the payee's wallet shows it paid"
    if view.source is Sighting.PENDING:
        return "the payment is on its way"
    if view.forgotten:
        return "LNbits was restored from an older copy and has forgotten it, so only the payee knows whether it arrived"
    if view.destination is Sighting.ABSENT:
        return "the payee's wallet does not know the invoice any more, so it proves nothing"
    if view.source is Sighting.FAILED and (not view.expired or view.destination is Sighting.PENDING):
        return "the machine's wallet says failed, but its invoice could still be paid"
    dead = view.destination is Sighting.FAILED or (view.destination is None and view.expired)
    if sent and not dead:
        return "it was sent, and LNbits may still be working on it"
    return None


def draw(entries: Sequence[Retained], amount_sats: int) -> list[Retained]:
    """The ledger rows that take `amount_sats` out of what a sale retains: what was not dispensed first.

    Raises ValueError where less than that is retained.
    """
    rows: list[Retained] = []
    left_sats = amount_sats
    for entry in sorted(entries, key=lambda entry: _DRAW_ORDER.index(entry.reason)):
        taken_sats = min(left_sats, max(entry.amount_sats, 0))
        if taken_sats:
            rows.append(Retained(entry.reason, -taken_sats, entry.leg))
            left_sats -= taken_sats
    if left_sats:
        raise ValueError(f"only {amount_sats - left_sats} sats are retained")
    return rows


def memo(settlement: Settlement, old: Figures, new: Figures, reason: str) -> str:
    """What a partial dispense leaves in the notes: original values, reason, new values."""
    before, now = _told(old, settlement.currency), _told(new, settlement.currency)
    return f"Partial dispense of {settlement.gross_sats} sats: {reason}. Before: {before}. Now: {now}."


def _told(figures: Figures, currency: str) -> str:
    minor = figures.fiat_amount_minor
    fiat = "" if minor is None else f", cash {minor_to_fiat(minor, currency):f} {currency}"
    return (
        f"net {figures.net_sats}, commission {figures.commission_sats}, "
        f"not dispensed {figures.undispensed_sats} sats{fiat}"
    )


#: What belongs to the customer goes first, what was meant for somebody else last.
_DRAW_ORDER = (
    RetainedReason.SHORTFALL,
    RetainedReason.UNDISPENSED,
    RetainedReason.CLOSED_UNPAID,
    RetainedReason.VOIDED_LEG,
    RetainedReason.UNUSED_FEE_RESERVE,
    RetainedReason.UNKNOWN_RATE,
    RetainedReason.NO_LP_BALANCE,
    RetainedReason.NO_RULESET,
    RetainedReason.NO_SUPER_PAYEE,
    RetainedReason.BEFORE_PAYOUTS_SINCE,
)

_HELD = "sale {id} is held, so nothing is paid for it: `satmachine settlements release {id}` first"
_NOT_PLANNED = (
    "the payments of sale {id} are not planned yet; try again once they are (`satmachine settlements show {id}` says "
    "what it waits for)"
)
_NEVER_PROVEN = (
    "sale {id} was closed before the customer's payment was proven, so satmachine pays nothing of it out; if sats of "
    "it are in the wallet, docs/corrections.md says how to give everybody their part"
)
_CLOSED = "sale {id} is closed: its figures are final. What it retains can be refunded or redistributed"

_REFUSED = {
    (CorrectionKind.PARTIAL_DISPENSE, SettlementStatus.PARTIAL): _CLOSED,
    (CorrectionKind.PARTIAL_DISPENSE, SettlementStatus.REFUNDED): (
        "sale {id} is refunded: its figures are final. What it still retains can be refunded or redistributed"
    ),
    (CorrectionKind.CLOSE, SettlementStatus.PROCESSED): "sale {id} is processed: there is nothing left to close",
    (CorrectionKind.CLOSE, SettlementStatus.PARTIAL): "sale {id} is closed already",
    (CorrectionKind.CLOSE, SettlementStatus.REFUNDED): "sale {id} is refunded: there is nothing left to close",
    (CorrectionKind.REDISTRIBUTE, SettlementStatus.HELD): _HELD,
    (CorrectionKind.REFUND, SettlementStatus.HELD): _HELD,
}
