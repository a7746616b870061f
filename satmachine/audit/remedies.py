"""What an audit can find wrong, in words, and the command that resolves it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class BreakKind(StrEnum):
    """One word for each kind of break; `_WORDS` has a sentence and a remedy for each."""

    CONSERVATION = "conservation"
    FIGURES = "figures"
    FIRST_STAGE = "first_stage"
    SHORTFALL = "shortfall"
    RETAINED_SUM = "retained_sum"
    RETAINED_NEGATIVE = "retained_negative"
    NO_EVIDENCE = "no_evidence"
    OVERPAID = "overpaid"
    BAD_PREIMAGE = "bad_preimage"
    NO_INVOICE = "no_invoice"
    PAYOUT_SUM = "payout_sum"
    UNSETTLED = "unsettled"
    VOIDED_UNPROVEN = "voided_unproven"
    UNPROVEN = "unproven"
    LEG_KEY = "leg_key"
    UNORDERED = "unordered"
    STATUS = "status"
    LEG_FIAT = "leg_fiat"
    BALANCE = "balance"
    OVERDRAWN = "overdrawn"
    CHANGED_OUTSIDE = "changed_outside"
    UNKNOWN_PAYMENT = "unknown_payment"
    SALE_MISSING = "sale_missing"
    NOT_DEBITED = "not_debited"
    NOT_CREDITED = "not_credited"
    PAID_BUT_VOIDED = "paid_but_voided"
    WALLET_SUM = "wallet_sum"
    CASH_SUM = "cash_sum"
    CASH_CHAIN = "cash_chain"
    CASH_BOOKED = "cash_booked"
    CASH_DEPOSITS = "cash_deposits"
    CLOSED_MONTH = "closed_month"


@dataclass(frozen=True, slots=True)
class Break:
    """Something that is wrong: what, where, in words, and what helps."""

    kind: BreakKind
    subject: str
    machine_id: str
    detail: str
    remedy: str


def make_break(kind: BreakKind, facts: Mapping[str, object]) -> Break:
    """Put facts (`subject`, `machine_id` and what the kind's sentence names) into words."""
    detail, remedy = _WORDS[kind]
    return Break(
        kind, str(facts["subject"]), str(facts["machine_id"]), detail.format(**facts), remedy.format_map(_Facts(facts))
    )


class _Facts(dict[str, object]):
    """Facts for a remedy; a balance payout has no settlement to name."""

    def __missing__(self, name: str) -> str:
        return "ID"


_STOP = "satmachine settlements explain {settlement_id}"
_SHOW = "satmachine settlements show {settlement_id}"
_RETRY = "satmachine settlements retry {settlement_id}"
_RECONCILE = "satmachine machines reconcile {machine_id}"

#: The sentence, and the command that resolves it or shows the way.
_WORDS: dict[BreakKind, tuple[str, str]] = {
    BreakKind.CONSERVATION: (
        "{expected_sats} sats must be accounted for, but its payments have {legs_sats} and {kept_sats} are retained",
        _STOP,
    ),
    BreakKind.FIGURES: (
        "{gross_sats} sats are not net {net_sats} + commission {commission_sats} + not handed out {undispensed_sats}, "
        "or the two parts of the commission do not add up to it",
        _STOP,
    ),
    BreakKind.FIRST_STAGE: (
        "the platform's part of {commission_sats} sats at {super_fee_pct} is {expected_sats}, but it has {found_sats}",
        _STOP,
    ),
    BreakKind.SHORTFALL: (
        "it says that top-ups brought {topped_up_sats} sats for it and that {shortfall_minor} minor units of its cash "
        "were not handed out; but the sums of its shortfalls are {sats} and {minor}",
        _STOP,
    ),
    BreakKind.RETAINED_SUM: (
        "it says that {found_sats} sats are retained, but the sum of its entries is {expected_sats}",
        _STOP,
    ),
    BreakKind.RETAINED_NEGATIVE: ("more was taken out of {reason} ({leg}) than was retained: {found_sats} sats", _STOP),
    BreakKind.NO_EVIDENCE: (
        "{leg} is completed with {sent_sats} sats, but no invoice for exactly that amount was stored and sent before",
        _STOP,
    ),
    BreakKind.OVERPAID: ("{leg} of {amount_sats} sats has sent {sent_sats} and {fee_sats} for routing", _STOP),
    BreakKind.BAD_PREIMAGE: ("{leg} is completed, but its proof of payment does not fit its payment hash", _STOP),
    BreakKind.PAYOUT_SUM: (
        "{leg} of {amount_sats} sats has sent {sent_sats} and {fee_sats} for routing, and {kept_sats} are retained",
        "satmachine payouts pause --machine {machine_id}",
    ),
    BreakKind.UNSETTLED: (
        "{leg}: {amount_sats} sats have left the machine's wallet, but it is not known whether its payee has them "
        "({hold_reason}): ask the payee",
        "satmachine payments resolve {payment_id}",
    ),
    BreakKind.NO_INVOICE: ("{leg} is {status}, but has no invoice in that state", _RETRY),
    BreakKind.VOIDED_UNPROVEN: ("{leg} was sent and then voided without proof that it is unpaid", _STOP),
    BreakKind.UNPROVEN: ("{leg} was planned although the customer's payment is not proven", _STOP),
    BreakKind.LEG_KEY: ("{leg_key} is not the key of {leg}: the wallets know this payment by another name", _STOP),
    BreakKind.UNORDERED: (
        "the daemon has not ordered {leg}, or not in this form: something other than satmachine has written or "
        "changed it, or the machine's wallet key was changed since",
        'satmachine payments cancel {payment_id} --reason "not ordered"',
    ),
    BreakKind.STATUS: ("it is {status}, but {why}", _STOP),
    BreakKind.LEG_FIAT: (
        "{leg} of {amount_sats} sats counts {found_minor} minor units, but should count {expected_minor}",
        _STOP,
    ),
    BreakKind.BALANCE: (
        "the running totals of {label} are not the sums of its deposits and payments",
        "satmachine clients statement {client_id}",
    ),
    BreakKind.OVERDRAWN: (
        "{label} has {confirmed_minor} minor units confirmed, but {used_minor} spent or reserved",
        "satmachine clients statement {client_id}",
    ),
    BreakKind.CHANGED_OUTSIDE: (
        "something other than satmachine has written the payee of {label} into the database; the audit log shows it "
        "as client.changed_outside. `satmachine clients update {client_id} --lightning-address ADDRESS` (or with "
        "the file of their key) says which payee is right",
        "satmachine clients show {client_id}",
    ),
    BreakKind.UNKNOWN_PAYMENT: (
        "the wallet has paid {amount_sats} sats as {leg_key}, which no payment of these books explains",
        _RECONCILE,
    ),
    BreakKind.SALE_MISSING: (
        "the wallet does not show the customer's payment of {gross_sats} sats ({payment_hash})",
        _SHOW,
    ),
    BreakKind.NOT_DEBITED: (
        "{leg} is completed, but the machine's wallet does not show {sent_sats} sats paid for it",
        _SHOW,
    ),
    BreakKind.NOT_CREDITED: ("{leg} is completed, but the payee's wallet does not show its {sent_sats} sats", _SHOW),
    BreakKind.PAID_BUT_VOIDED: (
        "{leg} is {status}, but the machine's wallet shows {amount_sats} sats paid for it",
        _RECONCILE,
    ),
    BreakKind.WALLET_SUM: (
        "its wallet's sales less its payments leave {wallet_sats} sats, but the books expect {books_sats}",
        _RECONCILE,
    ),
    BreakKind.CASH_SUM: (
        "it says {found_minor} minor units, but its notes are worth {expected_minor}: something other than "
        "satmachine has written it. Take it back, and enter it again",
        "satmachine cash void {entry_id}",
    ),
    BreakKind.CASH_CHAIN: (
        "it says that it corrects {corrects}, but that is of another kind or machine",
        "satmachine cash list --machine {machine_id}",
    ),
    BreakKind.CASH_BOOKED: (
        "{booked_minor} minor units are booked as its difference, but its count was taken back",
        "satmachine cash list --machine {machine_id}",
    ),
    BreakKind.CASH_DEPOSITS: (
        "{loaded_minor} minor units were loaded with it, but the LPs' deposits that come from it are {parts_minor}",
        "satmachine deposits list --machine {machine_id}",
    ),
    BreakKind.CLOSED_MONTH: (
        "this month was closed, but is not what it was then: {why}",
        "`satmachine --tz {tz} export ledger --month {name} --format csv --anyway`, and compare it with the export "
        "that was made when it was closed (docs/accounting.md)",
    ),
}
