"""The ledger: every movement of sats and of cash as a balanced entry (SPEC section 13). Pure.

An entry is dumb and complete, as beancount's are: who reads it needs nothing else, and nothing is parsed back out of a
text. Two commodities never meet: in each entry the sats sum to zero, and the cash sums to zero, each by itself. So no
rate and no rounding can unbalance anything, and sats are never revalued. The price that an entry carries is the sale's
own rate, for those who ask what sats were worth when they moved.

The idea of the accounts (docs/accounting.md has a worked month):

    Assets:Wallet:M               sats in the machine's wallet, as far as these books explain it
    Assets:Cash:M                 cash in the machine: by its cash book, else as far as deposits and sales tell
    Liabilities:To-Share:M        of customers' payments: what is neither paid out nor retained yet
    Liabilities:LPs:M:WHO         cash that an LP has in the machine
    Income:Sales:M                of customers' payments: what was paid out, when it was
    Income:Refunds:M              what went back to customers
    Expenses:Platform:M           ┐
    Expenses:Splits:M:WHO         │ who got it
    Expenses:LPs:M:WHO            ┘  (below it: what was forwarded for them, and what that cost)
    Expenses:Routing-Fees:M       what Lightning took on the way
    Expenses:Cash-Differences:M   cash that was missing (below zero: too much) when it was counted, once it is booked
    Equity:Retained:M:REASON      sats of sales that stay in the wallet, by reason
    Equity:Operator-Cash:M        the part of the machine's cash that is no LP's; below zero: an LP's cash was bought
    Equity:Operator-Sats:M        sats of the operator's own that balance payouts were promised with
    Equity:Top-Ups:M              sats that `machines top-up` brought into the wallet
    Equity:Unassigned:M           payments that are no part of any sale

Signs are beancount's: assets and expenses grow upwards, income, liabilities and equity downwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from satmachine.models import leg_types
from satmachine.models.facts import CashBrought, CashChange, CashMoved, Fact, Kept, Paid, Sale, ToppedUp, Unassigned
from satmachine.money import minor_digits

#: The unit of sats; every other unit is a currency's ISO code, in minor units.
SAT = "SAT"


class Posting(NamedTuple):
    """`amount` (sats, or minor units of the currency that `unit` is) into an account."""

    account: str
    amount: int
    unit: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `id` is the same in every export; `sale` names the sale that it is of, or is empty.

    `posted_at` says where it counts; `happened_at` differs only where that month had been closed already. `rate` is
    the sale's own (sats per major unit of `currency`), "0" where it is not known or there is none. `who` is the label
    of the split or of the LP, `reason` that of sats which are retained.
    """

    id: str
    kind: str
    posted_at: int
    happened_at: int
    machine_id: str
    currency: str
    rate: str
    sale: str
    narration: str
    postings: tuple[Posting, ...]
    who: str = ""
    reason: str = ""


def entry_of(fact: Fact) -> Entry:
    """The entry of one fact."""
    kind, narration = _TOLD[type(fact)](fact)
    return Entry(
        id=fact.key,
        kind=kind,
        posted_at=fact.posted_at,
        happened_at=fact.happened_at,
        machine_id=fact.machine_id,
        currency=fact.currency,
        rate=getattr(fact, "rate", "0"),
        sale=getattr(fact, "sale", ""),
        narration=narration,
        postings=tuple(postings_of(fact)),
        who=getattr(fact, "who", ""),
        reason=getattr(fact, "reason", ""),
    )


def postings_of(fact: Fact) -> Iterator[Posting]:
    """What a fact (or a sum of facts of one kind) moves; nothing of nothing is left out."""
    return (posting for posting in _POSTINGS[type(fact)](fact) if posting.amount)


def is_balanced(postings: tuple[Posting, ...]) -> bool:
    """Whether each unit sums to zero by itself."""
    sums: dict[str, int] = {}
    for posting in postings:
        sums[posting.unit] = sums.get(posting.unit, 0) + posting.amount
    return not any(sums.values())


def value_minor(amount_sats: int, rate: str, currency: str) -> int | None:
    """What sats (also negative ones) were worth at a sale's own rate, in minor units, rounded half away from zero."""
    numerator, denominator = _minor_per_sat(rate, currency)
    if denominator == 0:
        return None
    value = (2 * abs(amount_sats) * numerator + denominator) // (2 * denominator)
    return value if amount_sats >= 0 else -value


@lru_cache(maxsize=65_536)
def _minor_per_sat(rate: str, currency: str) -> tuple[int, int]:
    """As a fraction; (0, 0) where the rate is unknown."""
    exact = Decimal(rate)
    if exact <= 0:
        return 0, 0
    sats, majors = exact.as_integer_ratio()
    return majors * 10 ** minor_digits(currency), sats


# --- the accounts


@lru_cache(maxsize=262_144)
def account(*parts: str) -> str:
    """An account's name. Slugs and reasons become what beancount allows; no two become the same.

    A name that lost books have read out of a wallet may be no slug: what is not allowed in it is written as a number.
    """
    return ":".join(_STRANGE.sub(_numbered, part[:1].upper() + part[1:].replace("_", "-")) or "XU-" for part in parts)


_STRANGE = re.compile(r"[^A-Za-z0-9-]|^-")


def _numbered(strange: re.Match[str]) -> str:
    return f"XU{ord(strange[0]):X}-"  # no slug has two capitals


@dataclass(frozen=True, slots=True)
class _Accounts:
    """The accounts of one machine that every kind of entry uses."""

    wallet: str
    cash: str
    to_share: str
    sales: str
    operator_cash: str
    fees: str


@lru_cache(maxsize=65_536)
def _of(machine_id: str) -> _Accounts:
    return _Accounts(
        wallet=account("Assets", "Wallet", machine_id),
        cash=account("Assets", "Cash", machine_id),
        to_share=account("Liabilities", "To-Share", machine_id),
        sales=account("Income", "Sales", machine_id),
        operator_cash=account("Equity", "Operator-Cash", machine_id),
        fees=account("Expenses", "Routing-Fees", machine_id),
    )


def payee_account(machine_id: str, leg_type: str, who: str) -> str:
    """Where the sats of a leg go. Raises ValueError for a type of leg that has no account."""
    if leg_type == "super_fee":
        return account("Expenses", "Platform", machine_id)
    if leg_type == "operator_split":
        return account("Expenses", "Splits", machine_id, who)
    if leg_type == "refund":
        return account("Income", "Refunds", machine_id)
    if leg_type in leg_types.USES_CASH:
        return account("Expenses", "LPs", machine_id, who)
    raise ValueError(f"a leg of type {leg_type} has no account in the ledger")


# --- what each kind of fact moves


def _sale(fact: Sale) -> Iterator[Posting]:
    accounts = _of(fact.machine_id)
    unassigned_sats = fact.gross_sats if fact.was_unassigned else 0
    yield Posting(accounts.wallet, fact.gross_sats - unassigned_sats, SAT)
    yield Posting(account("Equity", "Unassigned", fact.machine_id), unassigned_sats, SAT)
    yield Posting(accounts.to_share, -fact.gross_sats, SAT)
    yield Posting(accounts.cash, -fact.cash_minor, fact.currency)
    yield Posting(accounts.operator_cash, fact.cash_minor, fact.currency)


def _cash_change(fact: CashChange) -> Iterator[Posting]:
    accounts = _of(fact.machine_id)
    yield Posting(accounts.cash, -fact.change_minor, fact.currency)
    yield Posting(accounts.operator_cash, fact.change_minor, fact.currency)


def _paid(fact: Paid) -> Iterator[Posting]:
    accounts = _of(fact.machine_id)
    if fact.leg_type in leg_types.PAID_BY_LP:
        yield from _forwarded(fact)
        return
    yield Posting(accounts.wallet, -fact.sent_sats - fact.fee_sats, SAT)
    yield Posting(payee_account(fact.machine_id, fact.leg_type, fact.who), fact.sent_sats, SAT)
    yield Posting(accounts.fees, fact.fee_sats, SAT)
    if fact.leg_type in leg_types.OF_THE_SALE:  # a balance is paid out of the operator's own sats
        yield Posting(accounts.to_share, fact.counted_sats, SAT)
        yield Posting(accounts.sales, -fact.counted_sats, SAT)
    if fact.cash_minor:
        yield Posting(account("Liabilities", "LPs", fact.machine_id, fact.who), fact.cash_minor, fact.currency)
        yield Posting(accounts.operator_cash, -fact.cash_minor, fact.currency)


def _forwarded(fact: Paid) -> Iterator[Posting]:
    """From the LP's own wallet: nothing of the machine's moves."""
    path = ("Expenses", "LPs", fact.machine_id, fact.who)
    yield Posting(account(*path), -fact.sent_sats - fact.fee_sats, SAT)
    yield Posting(account(*path, "Forwarded"), fact.sent_sats, SAT)
    yield Posting(account(*path, "Forwarding-Fees"), fact.fee_sats, SAT)


def _kept(fact: Kept) -> Iterator[Posting]:
    other = ("Liabilities", "To-Share") if fact.number else ("Equity", "Operator-Sats")
    yield Posting(account(*other, fact.machine_id), fact.amount_sats, SAT)
    yield Posting(account("Equity", "Retained", fact.machine_id, fact.reason), -fact.amount_sats, SAT)


def _cash_brought(fact: CashBrought) -> Iterator[Posting]:
    accounts = _of(fact.machine_id)
    yield Posting(accounts.operator_cash if fact.in_book else accounts.cash, fact.amount_minor, fact.currency)
    yield Posting(account("Liabilities", "LPs", fact.machine_id, fact.who), -fact.amount_minor, fact.currency)


def _cash_moved(fact: CashMoved) -> Iterator[Posting]:
    accounts = _of(fact.machine_id)
    other = account("Expenses", "Cash-Differences", fact.machine_id)
    yield Posting(accounts.cash, fact.amount_minor, fact.currency)
    yield Posting(other if fact.kind == "difference" else accounts.operator_cash, -fact.amount_minor, fact.currency)


def _topped_up(fact: ToppedUp) -> Iterator[Posting]:
    yield Posting(account("Equity", "Top-Ups", fact.machine_id), fact.amount_sats, SAT)
    yield Posting(_of(fact.machine_id).to_share, -fact.amount_sats, SAT)


def _unassigned(fact: Unassigned) -> Iterator[Posting]:
    yield Posting(_of(fact.machine_id).wallet, fact.amount_sats, SAT)
    of_what = "Top-Ups" if fact.is_top_up else "Unassigned"
    yield Posting(account("Equity", of_what, fact.machine_id), -fact.amount_sats, SAT)


_POSTINGS: Mapping[type, Callable[[Any], Iterator[Posting]]] = {
    Sale: _sale,
    CashChange: _cash_change,
    Paid: _paid,
    Kept: _kept,
    CashBrought: _cash_brought,
    CashMoved: _cash_moved,
    ToppedUp: _topped_up,
    Unassigned: _unassigned,
}


# --- what each kind is called

_PAID = {
    "super_fee": ("platform-fee", "Platform's part of"),
    "operator_split": ("split", "Part of {who} of"),
    "dca": ("purchase", "{who} buys sats of"),
    "settlement": ("balance-payout", "Balance of {who} paid out"),
    "refund": ("refund", "Refund of"),
    "autoforward": ("autoforward", "Forwarded for {who}, from"),
}
_CASH = {
    "deposit": "{who} brings cash to {machine}",
    "reversal": "Cash of {who} at {machine} was recorded wrongly",
    "withdrawal": "{who} takes cash home from {machine}",
}


def _told_sale(fact: Sale) -> tuple[str, str]:
    return "sale", f"Sale {fact.number} at {fact.machine_id}"


def _told_change(fact: CashChange) -> tuple[str, str]:
    return "cash-corrected", f"Cash of sale {fact.number} at {fact.machine_id} corrected ({fact.why})"


def _told_paid(fact: Paid) -> tuple[str, str]:
    kind, words = _PAID[fact.leg_type]
    of_what = f" sale {fact.number}" if fact.number else ""
    return kind, f"{words.format(who=fact.who)}{of_what} at {fact.machine_id}"


def _told_kept(fact: Kept) -> tuple[str, str]:
    verb = "Retained" if fact.amount_sats > 0 else "No longer retained"
    of_what = f"sale {fact.number}" if fact.number else "a balance payout"
    return "retained", f"{verb} of {of_what} at {fact.machine_id}: {fact.reason}"


def _told_topped_up(fact: ToppedUp) -> tuple[str, str]:
    verb = "booked to" if fact.amount_sats > 0 else "no longer booked to"
    return "topped-up", f"Top-up {verb} sale {fact.number} at {fact.machine_id}, for its customer"


def _told_cash(fact: CashBrought) -> tuple[str, str]:
    if fact.was_there:
        verb = "has" if fact.amount_minor > 0 else "no longer has"
        return fact.kind, f"{fact.who} {verb} cash in {fact.machine_id} that a customer did not get"
    return fact.kind, _CASH[fact.kind].format(who=fact.who, machine=fact.machine_id)


_NOTES = {
    "load": "Cash loaded into {machine}",
    "take": "Cash taken out of {machine}",
    "collect": "Cash of {machine} collected",
    "correction": "What was recorded of the cash of {machine} is corrected",
    "begun": "What the cash book of {machine} begins with",
    "difference": "Cash of {machine} that was {how}",
}


def _told_moved(fact: CashMoved) -> tuple[str, str]:
    how = "missing" if fact.amount_minor < 0 else "too much"
    return f"cash-{fact.kind}", _NOTES[fact.kind].format(machine=fact.machine_id, how=how)


def _told_unassigned(fact: Unassigned) -> tuple[str, str]:
    if fact.is_top_up:
        return "top-up", f"Top-up of the wallet of {fact.machine_id}"
    words = "Payment without a sale into the wallet" if fact.amount_sats > 0 else "Payment that is not of a sale out of"
    return "unassigned", f"{words} of {fact.machine_id}"


_TOLD: Mapping[type, Callable[[Any], tuple[str, str]]] = {
    Sale: _told_sale,
    CashChange: _told_change,
    Paid: _told_paid,
    Kept: _told_kept,
    CashBrought: _told_cash,
    CashMoved: _told_moved,
    ToppedUp: _told_topped_up,
    Unassigned: _told_unassigned,
}
