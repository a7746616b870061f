"""The one-word reasons of the books, as sentences for people, and what to do about each.

The words are those of `models.HoldReason` and `models.RetainedReason`, which `satmachine status` need not import.
"""

from __future__ import annotations

#: Why something is held, and what a person can do. `{id}` is the settlement's.
HOLDS: dict[str, tuple[str, str]] = {
    "by_operator": ("held by a person", "satmachine settlements release {id}"),
    "machine_inactive": ("the machine is not active", "set active = true, then systemctl reload satmachine"),
    "payment_not_found": (
        "the customer's payment is not in the machine's wallet",
        "satmachine settlements retry {id}",
    ),
    "payment_mismatch": (
        "the wallet says something else than the machine",
        "satmachine settlements show {id}",
    ),
    "before_payouts_since": ("the sale is older than payouts_since", "satmachine settlements close {id}"),
    "no_payment_hash": ("no payment can be found for this sale", "satmachine settlements show {id}"),
    "commission_out_of_bounds": (
        "the commission is unusually high",
        "satmachine settlements release {id}",
    ),
    "rate_out_of_bounds": ("the exchange rate is unusual", "satmachine settlements release {id}"),
    "daily_limit": ("the machine's daily limit is reached", "satmachine settlements release {id}"),
    "unknown_payments": (
        "the wallet has paid something for this sale that the books do not know",
        "satmachine settlements show {id}",
    ),
    "debit_without_credit": (
        "sats left the machine's wallet, but did not arrive",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    "paid_by_another": (
        "somebody else has paid this invoice",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    "wallet_rolled_back": (
        "the wallet no longer knows a payment that it had confirmed",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    "bad_preimage": (
        "the wallet's proof of payment is false",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    "amount_mismatch": (
        "another amount was paid than planned",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
    "contradiction": (
        "the wallets contradict each other",
        "satmachine settlements show {id}, then satmachine settlements resolve {id}",
    ),
}

#: Why sats of a sale stay in the machine's wallet.
RETAINED: dict[str, str] = {
    "no_super_payee": "the platform has no payee in the configuration",
    "no_ruleset": "neither the machine nor its operator has splits",
    "no_lp_balance": "no liquidity provider had a balance for it",
    "unknown_rate": "the exchange rate of the sale is not known",
    "undispensed": "this part of the cash was not handed out",
    "unused_fee_reserve": "set aside for routing fees, and not used",
    "voided_leg": "meant for a payment that was voided",
    "closed_unpaid": "the sale was closed before anything of it was planned",
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
