"""What happened, as the ledger reads it from the books: one small tuple for each thing that moved sats or cash. Pure.

A fact is something that never changes once it is there: a sale's payment was proven, a leg was completed, sats were
retained, cash was brought. What can still change (a plan, an open leg, a status) is not a fact; so an entry that was
exported, or that is in a closed month, stays as it is, and whatever is corrected later is a fact of its own.

`key` names the thing, wherever and in whatever order it is read; nothing in it is a row's number except a deposit's,
and that of a row of the cash book. `happened_at` is when it happened, `posted_at` in which month it counts: the same,
unless that month had been closed before the books knew of it. Unix seconds; amounts in sats (`.._sats`) or minor units
of `currency` (`.._minor`).
`rate` is the sale's own, as decimal text in sats per major unit; "0": unknown. `number` is the sale's number in these
books and `sale` what its payments' keys begin with, in whichever books; 0 and empty: it is of no sale.

A fact may also be the sum of many of one kind, machine and payee: the ledger's arithmetic is linear, so that the
postings of a sum are the sums of the postings.
"""

from __future__ import annotations

from typing import NamedTuple


class Sale(NamedTuple):
    """A customer's payment is in the machine's wallet, and cash was handed out for it (0: not known)."""

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    rate: str
    number: int
    sale: str
    gross_sats: int
    cash_minor: int
    #: The payment had been listed as one without a sale, and is now known to belong to this one.
    was_unassigned: int


class CashChange(NamedTuple):
    """A sale's cash in the books was changed after its payment was proven."""

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    rate: str
    number: int
    sale: str
    change_minor: int
    why: str


class Paid(NamedTuple):
    """A leg is completed. `counted_sats` is what it takes out of its sale: all that left for it, its amount at most.
    `who` is the label of the split or of the LP.
    """

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    rate: str
    number: int
    sale: str
    leg_type: str
    who: str
    sent_sats: int
    fee_sats: int
    counted_sats: int
    cash_minor: int


class Kept(NamedTuple):
    """Sats that are retained for a reason, or (negative) no longer are."""

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    rate: str
    number: int
    sale: str
    reason: str
    part: str
    amount_sats: int


class CashBrought(NamedTuple):
    """An LP's confirmed cash: brought, or (negative) found not to have come, or taken home again.

    `in_book`: it only says whose the cash is, because the machine has a cash book, which says what is in it; or because
    (`was_there`) it was already in the machine: a customer had not got it.
    """

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    kind: str
    who: str
    amount_minor: int
    in_book: int
    was_there: int


class CashMoved(NamedTuple):
    """What a machine's cash book says about its notes (SPEC section 12): how much there is more, or (negative) less.

    `kind` is `load`, `take`, `collect`; `correction` of one of them; `begun`: what the book begins with; `difference`:
    what was missing or too much, after a person has given a reason.
    """

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    kind: str
    amount_minor: int


class ToppedUp(NamedTuple):
    """A top-up is booked to a sale whose customer is owed sats, or (negative) no longer is."""

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    rate: str
    number: int
    sale: str
    amount_sats: int


class Unassigned(NamedTuple):
    """The wallet got (or, negative, lost) sats that belong to no sale; a payment that a person has declared not to be
    satmachine's. `is_top_up`: an invoice of `machines top-up` was paid."""

    posted_at: int
    happened_at: int
    key: str
    machine_id: str
    currency: str
    amount_sats: int
    is_top_up: int


class PaidLeg(NamedTuple):
    """What a receipt tells an LP; `sold_at` is the sale's time, None for a balance that was paid out."""

    leg_type: str
    sent_sats: int
    fee_sats: int
    fiat_amount_minor: int
    exchange_rate: str
    payment_hash: str
    completed_at: int
    sold_at: int | None


Fact = Sale | CashChange | Paid | Kept | CashBrought | CashMoved | ToppedUp | Unassigned


class Moved(NamedTuple):
    """A sum of facts; of how many; what its sats and its routing fees were worth, each at its own rate and rounded by
    itself (minor units); and how many of its sats have no known rate."""

    fact: Fact
    facts: int = 1
    worth_minor: int = 0
    fee_worth_minor: int = 0
    unpriced_sats: int = 0
