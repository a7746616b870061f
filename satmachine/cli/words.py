"""The one-word reasons of the books, as sentences for people, and what to do about each.

The words are those of `models.HoldReason` and `models.RetainedReason`, which `satmachine status` need not import.
"""

from __future__ import annotations

from dataclasses import dataclass

_RESOLVE = "satmachine payments resolve {payment}"
_REPOINT = "satmachine payments repoint {payment}"
_RECONCILE = "satmachine machines reconcile {machine}"

#: Why something is held, and the command that leads on. `{id}` is the settlement's, `{payment}` the payment's.
HOLDS: dict[str, tuple[str, str]] = {
    "by_operator": ("held by a person", "satmachine settlements release {id}"),
    "machine_inactive": ("the machine is not active", "set active = true, then systemctl reload satmachine"),
    "payment_not_found": (
        "the customer's payment is not in the machine's wallet",
        "satmachine settlements retry {id}",
    ),
    "payment_mismatch": (
        "the wallet says something else than the machine",
        "satmachine settlements show {id}, then satmachine settlements close {id}",
    ),
    "before_payouts_since": ("the sale is older than payouts_since", "satmachine settlements close {id}"),
    "no_payment_hash": ("no payment can be found for this sale", "satmachine settlements retry {id}"),
    "commission_out_of_bounds": (
        "the commission is unusually high",
        "satmachine settlements release {id}",
    ),
    "rate_out_of_bounds": ("the exchange rate is unusual", "satmachine settlements release {id}"),
    "daily_limit": ("the machine's daily limit is reached", "satmachine settlements release {id}"),
    "told_twice": (
        "it may be a sale that was told of before",
        "satmachine settlements close {id}",
    ),
    "unknown_payments": (
        "the wallet has paid something for this sale that the books do not know",
        _RECONCILE,
    ),
    "debit_without_credit": (
        "sats left the machine's wallet, but did not arrive",
        _RESOLVE,
    ),
    "paid_by_another": (
        "somebody else has paid this invoice",
        _RESOLVE,
    ),
    "wallet_rolled_back": (
        "the wallet no longer knows a payment that it had confirmed",
        _RESOLVE,
    ),
    "bad_preimage": (
        "the wallet's proof of payment is false",
        _RESOLVE,
    ),
    "amount_mismatch": (
        "another amount was paid than planned",
        _RESOLVE,
    ),
    "contradiction": (
        "the wallets contradict each other",
        _RESOLVE,
    ),
    "credit_unseen": (
        "sats left the machine's wallet for an address of the same LNbits, which does not show whether they arrived",
        _RESOLVE,
    ),
    "marks_conflict": ("another daemon, or another life of these books, has begun to pay this", _RECONCILE),
    "payee_changed": ("somebody else is named as its payee than when it was planned", _REPOINT),
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
    "before_payouts_since": "the sale is older than payouts_since: booked, never shared out",
}


def hold(reason: str) -> str:
    """Why something is held, in words."""
    return HOLDS[reason][0] if reason in HOLDS else reason.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stands still, and why: a sale, with its worst payment if that is what is wrong, or a payment of no sale."""

    status: str
    hold_reason: str | None
    cause: str | None
    machine_id: str
    settlement_id: int | None
    payment_id: int | None


#: The command that leads on where a payment fails, by the cause; of the others `retry` tries at once.
_CAUSES = {
    "payee_changed": _REPOINT,
    "marks": _RECONCILE,
    "no_payee": "name a payee, then systemctl reload satmachine, or satmachine settlements close {id}",
    "invoice_dead": "satmachine settlements close {id}",
}


def advice(found: Trouble) -> str:
    """The command that helps with what is held or errored, or shows more; empty for what needs nobody."""
    retry = "satmachine settlements retry {id}" if found.settlement_id else "satmachine payments retry {payment}"
    if found.hold_reason is not None:
        command = HOLDS.get(found.hold_reason, ("", "satmachine settlements show {id}"))[1]
    elif found.status == "sending":  # it was sent, and its payee cannot be asked
        command = _RESOLVE
    elif found.status in ("errored", "failed"):
        command = _CAUSES.get(found.cause or "", retry)
        command = retry if "{id}" in command and not found.settlement_id else command
    else:
        return ""
    return command.format(id=found.settlement_id, payment=found.payment_id, machine=found.machine_id)


def retained(reason: str) -> str:
    """Why sats stay in the wallet, in words."""
    return RETAINED.get(reason, reason.replace("_", " "))
