"""The one-word reasons of the books, as sentences for people, and what to do about each."""

from __future__ import annotations

from satmachine.models import HoldReason, RetainedReason

#: Why something is held, and what a person can do. `{id}` is the settlement's.
HOLDS: dict[str, tuple[str, str]] = {
    HoldReason.BY_OPERATOR: ("held by a person", "satmachine settlements release {id}"),
    HoldReason.MACHINE_INACTIVE: ("the machine is not active", "set active = true, then systemctl reload satmachine"),
    HoldReason.PAYMENT_NOT_FOUND: (
        "the customer's payment is not in the machine's wallet",
        "satmachine settlements retry {id}",
    ),
    HoldReason.PAYMENT_MISMATCH: (
        "the wallet says something else than the machine",
        "satmachine settlements show {id}",
    ),
    HoldReason.BEFORE_PAYOUTS_SINCE: ("the sale is older than payouts_since", "satmachine settlements close {id}"),
    HoldReason.NO_PAYMENT_HASH: ("no payment can be found for this sale", "satmachine settlements show {id}"),
    HoldReason.COMMISSION_OUT_OF_BOUNDS: (
        "the commission is unusually high",
        "satmachine settlements release {id}",
    ),
    HoldReason.RATE_OUT_OF_BOUNDS: ("the exchange rate is unusual", "satmachine settlements release {id}"),
    HoldReason.DAILY_LIMIT: ("the machine's daily limit is reached", "satmachine settlements release {id}"),
    HoldReason.UNKNOWN_PAYMENTS: (
        "the wallet has paid something for this sale that the books do not know",
        "satmachine settlements show {id}",
    ),
    HoldReason.DEBIT_WITHOUT_CREDIT: (
        "sats left the machine's wallet, but did not arrive",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    HoldReason.PAID_BY_ANOTHER: (
        "somebody else has paid this invoice",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    HoldReason.WALLET_ROLLED_BACK: (
        "the wallet no longer knows a payment that it had confirmed",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    HoldReason.BAD_PREIMAGE: (
        "the wallet's proof of payment is false",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    HoldReason.AMOUNT_MISMATCH: (
        "another amount was paid than planned",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    HoldReason.CONTRADICTION: (
        "the wallets contradict each other",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
}

#: Why sats of a sale stay in the machine's wallet.
RETAINED: dict[str, str] = {
    RetainedReason.NO_SUPER_PAYEE: "the platform has no payee in the configuration",
    RetainedReason.NO_RULESET: "neither the machine nor its operator has splits",
    RetainedReason.NO_LP_BALANCE: "no liquidity provider had a balance for it",
    RetainedReason.UNKNOWN_RATE: "the exchange rate of the sale is not known",
    RetainedReason.UNDISPENSED: "this part of the cash was not handed out",
    RetainedReason.UNUSED_FEE_RESERVE: "set aside for routing fees, and not used",
    RetainedReason.VOIDED_LEG: "meant for a payment that was voided",
    RetainedReason.CLOSED_UNPAID: "the sale was closed before anything of it was planned",
}


def hold(reason: str) -> str:
    """Why something is held, in words."""
    return HOLDS[reason][0] if reason in HOLDS else reason.replace("_", " ")


def advice(status: str, hold_reason: str | None, settlement_id: int) -> str:
    """The command that helps with a held or errored sale, or shows more; empty for one that needs nobody."""
    if status == "errored":
        return f"satmachine settlements retry {settlement_id}"
    if status != "held":
        return ""
    return HOLDS.get(hold_reason or "", ("", "satmachine settlements show {id}"))[1].format(id=settlement_id)


def retained(reason: str) -> str:
    """Why sats stay in the wallet, in words."""
    return RETAINED.get(reason, reason.replace("_", " "))
