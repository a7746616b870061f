"""The values that every part of satmachine uses. Pure.

All amounts are int sats (`.._sats`) or int minor units of fiat (`.._minor`); pcts and rates are Decimal; times are int
Unix seconds, UTC. The words of the enums are stored in SQLite and shown to people, so they are a contract (SPEC
sections 5 and 11). The field names of `Settlement`, `Leg` and `Invoice` are the column names.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from satmachine.identity import PayeeIdentity, PayeeKind, sale_bundle
from satmachine.models.leg_types import LegType as LegType


class SettlementStatus(StrEnum):
    """SPEC section 5."""

    PENDING = "pending"
    HELD = "held"
    PROCESSED = "processed"
    ERRORED = "errored"
    PARTIAL = "partial"
    REFUNDED = "refunded"


class LegStatus(StrEnum):
    """SPEC section 5; the transitions are in ARCHITECTURE.md."""

    PENDING = "pending"
    INVOICED = "invoiced"
    SENDING = "sending"
    COMPLETED = "completed"
    FAILED = "failed"
    HELD = "held"
    VOIDED = "voided"
    SKIPPED = "skipped"


class Answer(StrEnum):
    """The wallet's answer to a question about a payment. UNKNOWN is never FAILURE (SPEC section 6)."""

    SUCCESS = "success"
    FAILURE = "failure"
    PENDING = "pending"
    UNKNOWN = "unknown"


class RetainedReason(StrEnum):
    """Why sats of a sale stay in the machine's wallet (SPEC section 5)."""

    NO_SUPER_PAYEE = "no_super_payee"
    NO_RULESET = "no_ruleset"
    NO_LP_BALANCE = "no_lp_balance"
    UNKNOWN_RATE = "unknown_rate"
    UNDISPENSED = "undispensed"
    UNUSED_FEE_RESERVE = "unused_fee_reserve"
    VOIDED_LEG = "voided_leg"
    CLOSED_UNPAID = "closed_unpaid"
    BEFORE_PAYOUTS_SINCE = "before_payouts_since"
    SHORTFALL = "shortfall"


class HoldReason(StrEnum):
    """Why a settlement or a leg waits for a person. `attention.words` says what to do about each."""

    #: Also of sales that were paid after they were closed, in the books of earlier versions.
    BY_OPERATOR = "by_operator"
    PAID_AFTER_CLOSE = "paid_after_close"
    MACHINE_INACTIVE = "machine_inactive"
    PAYMENT_NOT_FOUND = "payment_not_found"
    PAYMENT_MISMATCH = "payment_mismatch"
    BEFORE_PAYOUTS_SINCE = "before_payouts_since"
    NO_PAYMENT_HASH = "no_payment_hash"
    COMMISSION_OUT_OF_BOUNDS = "commission_out_of_bounds"
    RATE_OUT_OF_BOUNDS = "rate_out_of_bounds"
    DAILY_LIMIT = "daily_limit"
    UNKNOWN_PAYMENTS = "unknown_payments"
    NOT_A_SALE = "not_a_sale"
    TOLD_TWICE = "told_twice"
    MACHINE_ERROR = "machine_error"
    DEBIT_WITHOUT_CREDIT = "debit_without_credit"
    PAID_BY_ANOTHER = "paid_by_another"
    WALLET_ROLLED_BACK = "wallet_rolled_back"
    BAD_PREIMAGE = "bad_preimage"
    AMOUNT_MISMATCH = "amount_mismatch"
    CONTRADICTION = "contradiction"
    CREDIT_UNSEEN = "credit_unseen"
    MARKS_CONFLICT = "marks_conflict"
    #: Only in the books of earlier versions: now such a leg waits, with a cause of the same name.
    PAYEE_CHANGED = "payee_changed"
    UNORDERED = "unordered"


class Cause(StrEnum):
    """Why a leg is not paid yet, in one word (column `cause`); `error` has it in a sentence."""

    NO_FUNDS = "no_funds"
    PAYEE_UNREACHABLE = "payee_unreachable"
    PAYEE_CHANGED = "payee_changed"
    NO_PAYEE = "no_payee"
    KEY_UNREADABLE = "key_unreadable"
    WALLET_UNREACHABLE = "wallet_unreachable"
    FEES_NOT_COVERED = "fees_not_covered"
    NOT_PAID = "not_paid"
    ON_ITS_WAY = "on_its_way"
    INVOICE_DEAD = "invoice_dead"
    MARKS = "marks"
    SURPRISE = "surprise"


class Proof(StrEnum):
    """What completed a leg (column `proof`)."""

    BOTH_SIDES = "both_sides"
    ANSWER = "answer"
    PREIMAGE = "preimage"
    PERSON = "person"
    BOOKED = "booked"


class LandingResult(StrEnum):
    """The result of a claim. The same id with other content has a name of its own."""

    LANDED = "landed"
    DUPLICATE = "duplicate"
    ATTACHED = "attached"
    REVISED = "revised"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class By:
    """The person who does something, why, and when (Unix seconds)."""

    actor: str
    reason: str
    now: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says about a sale: a machine's signed event, or the `extra` of a wallet's payment.

    `gross_sats == net_sats + commission_sats` always holds. `exchange_rate` 0 means unknown; `rate_source` says who
    gave it if the sale itself did not (settlements/claim/sale_rate.py).
    """

    machine_id: str
    source: str
    payment_hash: str | None
    txid: str | None
    gross_sats: int
    net_sats: int
    commission_sats: int
    used_fallback_split: bool
    fallback_commission_pct: Decimal | None
    fee_pct: Decimal | None
    discount_pct: Decimal | None
    exchange_rate: Decimal
    fiat_amount_minor: int | None
    currency: str
    bills: str | None
    cassettes: str | None
    occurred_at: int
    rate_source: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a signed message of a known machine cannot be used: one word, and a sentence for the operator."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """One sale as the books have it; a row of `dca_settlements`."""

    id: int
    bitspire_event_id: str | None
    payment_hash: str | None
    txid: str | None
    machine_id: str
    source: str
    status: SettlementStatus
    hold_reason: str | None
    gross_sats: int
    net_sats: int
    commission_sats: int
    undispensed_sats: int
    platform_fee_sats: int | None
    operator_fee_sats: int | None
    retained_sats: int
    super_fee_pct: Decimal | None
    ruleset_source: str | None
    used_fallback_split: bool
    exchange_rate: Decimal
    fiat_amount_minor: int | None
    currency: str
    revision: int
    settlement_key: str | None
    proof: str
    occurred_at: int
    landed_at: int
    proven_at: int | None
    planned_at: int | None
    attempts: int
    overrides: str
    error: str | None
    person_acted_at: int | None
    rate_source: str | None = None
    shortfall_minor: int = 0
    topped_up_sats: int = 0
    twins: str = ""

    @property
    def bundle(self) -> str | None:
        """What its payments are listed by in the wallet; None before it is proven."""
        return None if self.settlement_key is None else sale_bundle(self.settlement_key)

    @property
    def came_in_sats(self) -> int:
        """All that the machine's wallet got for it: from the customer, and from top-ups that are booked to it."""
        return self.gross_sats + self.topped_up_sats


@dataclass(frozen=True, slots=True)
class PlannedLeg:
    """A leg that the plan needs; `leg` is its part of the leg key (SPEC section 6.2)."""

    leg_type: LegType
    leg: str
    amount_sats: int
    payee: str
    identity: PayeeIdentity
    scope: str | None = None
    label: str | None = None
    client_id: int | None = None
    pct: Decimal | None = None
    fiat_amount_minor: int | None = None
    explain: str | None = None


@dataclass(frozen=True, slots=True)
class Retained:
    """Sats of a sale that stay in the machine's wallet; `leg` is the part of the plan they were meant for."""

    reason: RetainedReason
    amount_sats: int
    leg: str = ""


@dataclass(frozen=True, slots=True)
class Leg:
    """One planned payment as the books have it; a row of `dca_payments`."""

    id: int
    settlement_id: int | None
    machine_id: str
    revision: int
    position: int
    leg_type: LegType
    leg: str
    leg_key: str
    label: str | None
    client_id: int | None
    amount_sats: int
    fiat_amount_minor: int | None
    exchange_rate: Decimal | None
    currency: str | None
    payee: str
    effective_at: int
    status: LegStatus
    generation: int
    payment_hash: str | None
    attempts: int
    next_attempt_at: int | None
    hold_reason: str | None
    error: str | None
    payee_kind: PayeeKind
    payee_ref: str | None
    payee_scope: str | None
    cause: str | None
    seal: str | None = None

    @property
    def identity(self) -> PayeeIdentity:
        """For whom this leg is, whatever the configuration says now."""
        return PayeeIdentity(self.payee_kind, self.payee_ref)


@dataclass(frozen=True, slots=True)
class LegInvoice:
    """The invoice of one generation of a leg; a row of `dca_invoices`. `bolt11` is None only in rows
    of earlier versions, and of a payment that was taken over without its text."""

    payment_id: int
    generation: int
    amount_sats: int
    asked_at: int
    bolt11: str | None
    payment_hash: str | None
    expires_at: int | None
    internal: bool
    adopted: bool
    sent_at: int | None
    dead_at: int | None
    wallet_id: str | None
    mark_id: str | None
    marked_at: int | None
    shown_at: int | None
    seal: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """An LP's place in a plan: weight and cap, in minor units of the machine's currency."""

    client_id: int
    label: str
    mode: str
    payee: str
    identity: PayeeIdentity
    weight_minor: int
    cap_minor: int


class ClientStatus(StrEnum):
    """A removed client no longer takes part in anything; its history stays."""

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"


class DepositKind(StrEnum):
    """Cash that an LP brought, a deposit that is taken back, and cash that an LP took home; the last two are negative
    (SPEC section 8)."""

    DEPOSIT = "deposit"
    REVERSAL = "reversal"
    WITHDRAWAL = "withdrawal"


class DepositStatus(StrEnum):
    """SPEC section 8: only a pending deposit can be changed."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Client:
    """One LP at one machine; a row of `dca_clients` with its machine's currency and operator."""

    id: int
    machine_id: str
    operator_id: str
    currency: str
    label: str
    person: str
    mode: str
    daily_limit_minor: int | None
    status: ClientStatus
    payee_kind: str
    payee: str
    autoforward: str | None
    autoforward_key_file: str | None
    created_at: int
    created_by: str
    removed_at: int | None


@dataclass(frozen=True, slots=True)
class Deposit:
    """Cash that an LP brought, or (negative) took; a row of `dca_deposits` with its client's label and its machine's
    operator. `effective_at`: the time from which it counts; `reverses`: the deposit that a reversal takes back;
    `cash_id`: the load of the cash book with which it came."""

    id: int
    client_id: int
    machine_id: str
    operator_id: str
    label: str
    amount_minor: int
    currency: str
    status: DepositStatus
    notes: str
    recorded_by: str
    recorded_at: int
    decided_by: str | None
    decided_at: int | None
    kind: DepositKind
    effective_at: int | None
    reverses: int | None
    cash_id: int | None


@dataclass(frozen=True, slots=True)
class Balance:
    """What an LP has in a machine, in minor units; legs count at their `effective_at` (SPEC section 8)."""

    client_id: int
    machine_id: str
    label: str
    person: str
    currency: str
    confirmed_minor: int
    spent_minor: int
    reserved_minor: int

    @property
    def available_minor(self) -> int:
        """What is left for sales and payouts."""
        return self.confirmed_minor - self.spent_minor - self.reserved_minor


@dataclass(frozen=True, slots=True)
class Movement:
    """What moved an LP's balance: confirmed cash (`DepositKind`), or a leg that was not voided.

    `amount_minor` is signed: deposits add, purchases and payouts take. `sats` is what the LP got, or will get while
    `status` is not completed; `fee_sats` is what routing took. For a leg, `planned_sats` is what its `amount_minor` was
    computed from, and `payment_hash` that of the Lightning payment.
    """

    at: int
    kind: str
    id: int
    settlement_id: int | None
    amount_minor: int
    sats: int
    fee_sats: int
    exchange_rate: Decimal | None
    status: str
    notes: str
    planned_sats: int | None = None
    payment_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """How a sale's gross amount is divided: gross = net + commission + undispensed, in sats; fiat in minor units."""

    net_sats: int
    commission_sats: int
    undispensed_sats: int
    fiat_amount_minor: int | None
