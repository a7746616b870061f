"""Did the customer's payment really arrive? Decided by what the wallet shows (SPEC section 6.4). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from satmachine.models import Answer, Claim, HoldReason, Rejection, Settlement
from satmachine.settlements.claim.content import MachineTerms, claim_from_payment
from satmachine.wallet.rows import WalletPayment


@dataclass(frozen=True, slots=True)
class Proven:
    """The payment is there; from here on it names the sale and its time."""

    payment_hash: str
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """The payment is not there (yet): ask again, and after a while call a person."""

    detail: str


@dataclass(frozen=True, slots=True)
class Refuted:
    """The wallet contradicts the claim."""

    reason: HoldReason
    detail: str


Verdict = Proven | NotYet | Refuted


def judge(
    settlement: Settlement, payments: Sequence[WalletPayment], machine: MachineTerms, payouts_since: int
) -> Verdict:
    """Hold a settlement against the incoming payments that bear its hash in *this machine's* wallet."""
    incoming = [payment for payment in payments if payment.incoming]
    settled = [payment for payment in incoming if payment.status is Answer.SUCCESS]
    if not settled:
        seen = "the invoice is there, but not paid" if incoming else "the machine's wallet has no such payment"
        return NotYet(seen)
    payment = settled[0]
    if payment.amount_msat != settlement.gross_sats * 1000:
        return Refuted(
            HoldReason.PAYMENT_MISMATCH,
            f"the wallet received {_sats(payment.amount_msat)} sats, the sale says {settlement.gross_sats} sats",
        )
    if min(payment.created_at, payment.updated_at) < payouts_since:
        return Refuted(HoldReason.BEFORE_PAYOUTS_SINCE, "the customer paid before the machine's payouts_since")
    disagreement = _disagreement(settlement, payment, machine)
    if disagreement is not None:
        return Refuted(HoldReason.PAYMENT_MISMATCH, disagreement)
    return Proven(payment.payment_hash, payment.updated_at)


def _disagreement(settlement: Settlement, payment: WalletPayment, machine: MachineTerms) -> str | None:
    """Where the payment carries the split itself, the sale must agree with it."""
    said = claim_from_payment(
        payment.extra,
        machine,
        payment_hash=payment.payment_hash,
        amount_sats=payment.amount_sats,
        settled_at=payment.updated_at,
    )
    if said is None:
        return None
    if isinstance(said, Rejection):
        return f"what the payment carries about the sale cannot be used: {said.detail}"
    return _first_difference(settlement, said)


def _sats(msat: int) -> str:
    sats, rest = divmod(msat, 1000)
    return f"{sats}.{rest:03d}" if rest else str(sats)


def _first_difference(settlement: Settlement, said: Claim) -> str | None:
    # A correction has scaled the figures since: only the untouched ones can be compared.
    compared: list[tuple[str, object, object]] = []
    if not said.used_fallback_split and settlement.undispensed_sats == 0:
        compared.append(("net_sats", settlement.net_sats, said.net_sats))
    if said.exchange_rate != 0:
        compared.append(("exchange_rate", settlement.exchange_rate, said.exchange_rate))
    if said.txid is not None and settlement.txid is not None:
        compared.append(("txid", settlement.txid, said.txid))
    for name, ours, theirs in compared:
        if ours != theirs:
            return f"the sale says {name} {ours}, the customer's payment carries {theirs}"
    return None
