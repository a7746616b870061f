"""The one-word reasons of the books as sentences for people, each with the command that helps. Pure.

The words are those of `models.HoldReason` and `models.RetainedReason`, which `satmachine status` need not import. A
command runs exactly as it is printed; it asks for what it still needs (a reason).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_RESOLVE = "satmachine payments resolve {payment}"
_REPOINT = "satmachine payments repoint {payment}"
_RECONCILE = "satmachine machines reconcile {machine}"

#: Why something is held, and the command that helps. `{id}` is the settlement's, `{payment}` the payment's.
HOLDS: dict[str, tuple[str, str]] = {
    "by_operator": ("held by a person", "satmachine settlements release {id}"),
    "paid_after_close": ("the customer paid after the sale was closed", "satmachine settlements release {id}"),
    "machine_inactive": (
        "the machine is not active",
        "satmachine config reload",
    ),
    "payment_not_found": (
        "the customer's payment is not in the machine's wallet; if it never comes, close the sale",
        "satmachine settlements retry {id}",
    ),
    "payment_mismatch": (
        "the machine and its wallet do not agree, so nothing of it is shared out; close it, then give the customer and "
        "the LPs their part yourself (docs/corrections.md)",
        "satmachine settlements close {id}",
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
        "it may be a sale that was reported before",
        "satmachine settlements close {id}",
    ),
    "unknown_payments": (
        "the wallet has paid something for this sale that the books do not know",
        _RECONCILE,
    ),
    "not_a_sale": (
        "its payment is not from a customer: it is a top-up, or a person has dismissed it",
        "satmachine settlements close {id}",
    ),
    "machine_error": (
        "the machine has reported an error since; release the sale if all of the cash was handed out, else correct it "
        "first with settlements partial-dispense",
        "satmachine settlements release {id}",
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
    "marks_conflict": ("another daemon, or another copy of these books, has begun to pay this", _RECONCILE),
    "payee_changed": ("its payee is not the one that it was planned for", _REPOINT),
    "unordered": (
        "the daemon has not ordered this payment, or not in this form",
        'satmachine payments cancel {payment} --reason "not ordered"',
    ),
}

#: Why sats of a sale stay in the machine's wallet.
RETAINED: dict[str, str] = {
    "no_super_payee": "the platform has no payee in the configuration",
    "no_ruleset": "neither the machine nor its operator has splits",
    "no_lp_balance": "no LP had a balance for it",
    "unknown_rate": "the sale's exchange rate is not known",
    "undispensed": "this part of the cash was not handed out",
    "unused_fee_reserve": "set aside for routing fees, but not used",
    "voided_leg": "meant for a payment that was voided",
    "closed_unpaid": "the sale was closed before its payments were planned",
    "before_payouts_since": "the sale is older than payouts_since: it is recorded, but not shared out",
    "shortfall": "a top-up brought it for the customer, who got too little cash",
}


def hold(reason: str) -> str:
    """Why something is held, in words."""
    return HOLDS[reason][0] if reason in HOLDS else reason.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What does not go on, and why: a sale (with its worst payment, if that is the cause), or a payment of no sale."""

    status: str
    hold_reason: str | None
    cause: str | None
    machine_id: str
    settlement_id: int | None
    payment_id: int | None


#: Why a payment is not paid yet, in words, if the error itself does not say what to do.
CAUSES: dict[str, str] = {
    "no_funds": "the machine's wallet has too few sats",
    "payee_unreachable": "the payee's server does not answer; if the address is dead, give this payee another one",
    "payee_changed": "another payee is named for it now",
    "no_payee": "no payee is named for it any more",
    "key_unreadable": "the daemon cannot read the payee's key file",
    "wallet_unreachable": "LNbits does not answer",
    "fees_not_covered": "the routing fees are too high for this payment",
    "not_paid": "the payment did not get through",
    "on_its_way": "it was sent, and the result is not known yet",
    "invoice_dead": "the invoice can no longer be paid",
    "marks": "another daemon has begun to pay it",
}

#: The command that helps when a payment fails, by its cause; for all other causes `retry`, which tries at once.
_CAUSES = {
    "payee_changed": _REPOINT,
    "marks": _RECONCILE,
    "no_payee": "satmachine splits show --machine {machine}",
    "invoice_dead": "satmachine settlements close {id}",
}


def advice(found: Trouble) -> str:
    """The command that helps with what is held or errored, or shows more; empty if nobody is needed."""
    retry = "satmachine settlements retry {id}" if found.settlement_id else "satmachine payments retry {payment}"
    if found.hold_reason is not None:
        command = HOLDS.get(found.hold_reason, ("", "satmachine settlements show {id}"))[1]
    elif found.status == "sending":  # it was sent, and its payee cannot be asked
        command = _RESOLVE
    elif found.status in ("errored", "failed"):
        command = _CAUSES.get(found.cause or "", retry)
        if not found.settlement_id and ("{id}" in command or found.cause == "no_payee"):
            command = retry
    else:
        return ""
    return command.format(id=found.settlement_id, payment=found.payment_id, machine=found.machine_id)


def way_out(row: Mapping[str, object]) -> str:
    """The command that leads out of safe mode, or shows more; `row` is a machine's."""
    if row["undecided"] or row["reconcile_since"] is not None:
        return f"satmachine machines reconcile {row['id']}"
    return f"satmachine settlements list --machine {row['id']} --status errored"


def retained(reason: str) -> str:
    """Why sats stay in the wallet, in words."""
    return RETAINED.get(reason, reason.replace("_", " "))
