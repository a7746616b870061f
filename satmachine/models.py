"""The values that every part of satmachine speaks in. Pure: standard library only.

All amounts are int sats (`.._sats`) or int minor units of fiat (`.._minor`); pcts and rates are Decimal;
times are int Unix seconds, UTC. The words of the enums are stored in SQLite and shown to people: a contract
(SPEC sections 5 and 11).
"""

from __future__ import annotations

from enum import StrEnum


class SettlementStatus(StrEnum):
    """SPEC section 5."""

    PENDING = "pending"
    HELD = "held"
    PROCESSED = "processed"
    ERRORED = "errored"
    PARTIAL = "partial"
    REFUNDED = "refunded"


class LegType(StrEnum):
    """What a payment is for (SPEC section 5)."""

    SUPER_FEE = "super_fee"
    OPERATOR_SPLIT = "operator_split"
    DCA = "dca"
    SETTLEMENT = "settlement"
    AUTOFORWARD = "autoforward"
    REFUND = "refund"


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
