"""Queries of the audit: each of `BREAKS` returns exactly the rows that break a rule of the books (SPEC section 5).

Every row has `subject` (its name), `machine_id`, `settlement_id` (or NULL) and `at`, beside the facts.

A condition that says again what another one has said is that of a partial index of schema.sql, which then serves.
"""

# ruff: noqa: S608 - statements are put together from this module's own words only.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from satmachine.models import Leg
from satmachine.store import as_models as rows
from satmachine.store.fragments import LEG_IS_RARE, LEG_OF_THE_SALE, LEG_PAID_BY_MACHINE

Record = dict[str, Any]

_FINAL = "('completed', 'skipped', 'voided')"

#: What a leg counts in its sale's sum: of a completed one what left for it, at most its amount (SPEC section 5).
_COUNTED = (
    "CASE WHEN status IN ('voided', 'skipped') THEN 0 "
    "WHEN status = 'completed' THEN min(amount_sats, sent_sats + coalesce(fee_sats, 0)) ELSE amount_sats END"
)

_SALE = "'settlement ' || s.id AS subject, s.machine_id, s.id AS settlement_id, s.occurred_at AS at"
_SUBJECT = "CASE WHEN p.settlement_id IS NULL THEN 'payment ' || p.id ELSE 'settlement ' || p.settlement_id END"
_LEG = (
    f"{_SUBJECT} AS subject, p.machine_id, p.settlement_id, p.planned_at AS at, "
    "'r' || p.revision || ':' || p.leg AS leg, p.status, p.id AS payment_id"
)

_UNPAID = f"""EXISTS (SELECT 1 FROM dca_payments p WHERE p.settlement_id = s.id AND {LEG_OF_THE_SALE}
    AND p.status NOT IN {_FINAL})"""
_REFUNDED = """EXISTS (SELECT 1 FROM dca_payments p WHERE p.settlement_id = s.id AND p.leg_type = 'refund'
    AND p.status = 'completed')"""

#: An invoice is looked for by its payment, not (hence the `+`) by its hash: both tables lie in the same order.
_INVOICE = "dca_invoices i ON i.payment_id = p.id AND +i.payment_hash = p.payment_hash"

#: A person has vouched for a completed leg (`settlements resolve`): that is its evidence.
_VOUCHED = "p.proof IS 'person'"

#: What was read, or answered, completed the leg, whenever it was sent: perhaps from another copy of these books.
_PROVEN = "(p.proof IS NOT NULL AND p.completed_at IS NOT NULL)"

#: A person has booked a payment of the wallet as this leg (`machines reconcile`): the payment is its evidence.
_BOOKED = (
    "(p.proof IS 'booked' AND EXISTS (SELECT 1 FROM dca_foreign_payments f WHERE f.payment_id = p.id "
    "AND f.amount_sats = p.sent_sats))"
)

#: By the kind of break: what violates the rule.
BREAKS: Mapping[str, str] = {
    # Before its plan, only what was not dispensed of a sale is in the books.
    "conservation": f"""
        SELECT {_SALE}, s.legs_sats, s.kept_sats, s.expected_sats FROM (
            SELECT s.*, (SELECT coalesce(sum({_COUNTED}), 0) FROM dca_payments
                         WHERE settlement_id = s.id AND {LEG_OF_THE_SALE}) AS legs_sats,
                   (SELECT coalesce(sum(amount_sats), 0) FROM dca_retained WHERE settlement_id = s.id) AS kept_sats,
                   CASE WHEN s.planned_at IS NULL AND s.status <> 'partial' THEN s.undispensed_sats ELSE s.gross_sats
                   END + s.topped_up_sats AS expected_sats
            FROM dca_settlements s
        ) s WHERE s.legs_sats + s.kept_sats <> s.expected_sats""",
    "shortfall": f"""
        SELECT {_SALE}, s.topped_up_sats, s.shortfall_minor, coalesce(sum(x.topup_sats) FILTER (
               WHERE x.funded_at IS NOT NULL), 0) AS sats, coalesce(sum(x.short_minor), 0) AS minor
        FROM dca_settlements s LEFT JOIN dca_shortfalls x ON x.settlement_id = s.id AND x.undone_at IS NULL
        WHERE s.topped_up_sats > 0 OR s.shortfall_minor > 0 OR x.id IS NOT NULL
        GROUP BY s.id HAVING s.topped_up_sats <> sats OR s.shortfall_minor <> minor""",
    "retained_sum": f"""
        WITH kept AS (SELECT settlement_id, sum(amount_sats) AS sats FROM dca_retained GROUP BY settlement_id)
        SELECT {_SALE}, s.retained_sats AS found_sats, coalesce(k.sats, 0) AS expected_sats
        FROM dca_settlements s LEFT JOIN kept k ON k.settlement_id = s.id WHERE s.retained_sats <> expected_sats""",
    "figures": f"""
        SELECT {_SALE}, s.gross_sats, s.net_sats, s.commission_sats, s.undispensed_sats FROM dca_settlements s
        WHERE s.gross_sats <> s.net_sats + s.commission_sats + s.undispensed_sats
           OR s.platform_fee_sats + s.operator_fee_sats <> s.commission_sats""",
    "retained_negative": f"""
        SELECT {_SALE}, r.reason, r.leg, sum(r.amount_sats) AS found_sats
        FROM dca_retained r JOIN dca_settlements s ON s.id = r.settlement_id
        GROUP BY s.id, r.reason, r.leg HAVING sum(r.amount_sats) < 0""",
    "no_evidence": f"""
        SELECT {_LEG}, p.sent_sats FROM dca_payments p
        LEFT JOIN {_INVOICE}
        WHERE p.status = 'completed' AND NOT {_VOUCHED} AND NOT {_BOOKED} AND (
              i.payment_id IS NULL OR i.amount_sats <> p.sent_sats
              OR (i.sent_at IS NULL AND i.adopted = 0 AND NOT {_PROVEN})
              OR (i.internal = 1 AND p.sent_sats <> p.amount_sats))""",
    # Either the payee bears the routing fee (amount less reserve was sent), or the machine does (the exact amount).
    "overpaid": f"""
        SELECT {_LEG}, p.amount_sats, p.sent_sats, coalesce(p.fee_sats, 0) AS fee_sats FROM dca_payments p
        WHERE p.status = 'completed' AND (p.sent_sats > p.amount_sats
              OR (p.sent_sats < p.amount_sats AND p.sent_sats + coalesce(p.fee_sats, 0) > p.amount_sats))""",
    # A balance payout has no sale: what was not sent of it is retained under its own name.
    "payout_sum": f"""
        SELECT {_LEG}, p.amount_sats, p.sent_sats, coalesce(p.fee_sats, 0) AS fee_sats,
               (SELECT coalesce(sum(r.amount_sats), 0) FROM dca_retained r WHERE r.payment_id = p.id) AS kept_sats
        FROM dca_payments p WHERE p.leg_type = 'settlement' AND p.{LEG_IS_RARE}
          AND p.status = 'completed'
          AND p.amount_sats <> min(p.amount_sats, p.sent_sats + coalesce(p.fee_sats, 0)) + kept_sats""",
    # The sats are gone, and nobody knows whether the payee has them.
    "unsettled": f"""
        SELECT {_LEG}, p.amount_sats, p.hold_reason FROM dca_payments p
        WHERE p.status = 'held' AND p.status NOT IN {_FINAL}
          AND p.hold_reason IN ('debit_without_credit', 'credit_unseen', 'bad_preimage', 'amount_mismatch')""",
    "no_invoice": f"""
        SELECT {_LEG} FROM dca_payments p
        LEFT JOIN dca_invoices i ON i.payment_id = p.id AND i.generation = p.generation
        WHERE p.status IN ('invoiced', 'sending') AND p.status NOT IN {_FINAL} AND i.payment_hash IS NULL""",
    "voided_unproven": f"""
        SELECT {_LEG} FROM dca_payments p
        WHERE p.status = 'voided' AND p.status IN ('skipped', 'voided') AND {LEG_OF_THE_SALE}
          AND p.evidence IS NULL AND EXISTS (
              SELECT 1 FROM dca_invoices i
              WHERE i.payment_id = p.id AND i.sent_at IS NOT NULL AND i.dead_at IS NULL)""",
    "unproven": f"""
        SELECT {_LEG} FROM dca_payments p JOIN dca_settlements s ON s.id = p.settlement_id
        WHERE s.proof = 'waiting' AND p.status NOT IN ('voided', 'skipped')""",
    "unordered": f"""
        SELECT {_LEG} FROM dca_payments p
        WHERE p.status = 'held' AND p.status NOT IN {_FINAL} AND p.hold_reason = 'unordered'""",
    "leg_key": f"""
        SELECT {_LEG}, p.leg_key FROM dca_payments p JOIN dca_settlements s ON s.id = p.settlement_id
        WHERE p.leg_key <> 'sm1:' || s.settlement_key || ':r' || p.revision || ':' || p.leg""",
    "status": f"""
        SELECT {_SALE}, s.status, CASE WHEN {_UNPAID} THEN 'some of its payments are not final'
               WHEN s.status = 'refunded' THEN 'no refund was paid' WHEN s.status = 'processed' THEN 'a refund was paid'
               ELSE 'every payment of it is final' END AS why
        FROM dca_settlements s
        WHERE (s.status IN ('processed', 'partial', 'refunded') AND {_UNPAID})
           OR (s.status IN ('pending', 'errored') AND s.planned_at IS NOT NULL AND NOT {_UNPAID})
           OR (s.status = 'refunded' AND NOT {_REFUNDED}) OR (s.status = 'processed' AND {_REFUNDED})""",
    # A payment whose sale is landed but not planned yet may still find its leg.
    "unknown_payment": """
        SELECT 'machine ' || f.machine_id AS subject, f.machine_id, NULL AS settlement_id, f.made_at AS at, f.leg_key,
               f.amount_sats
        FROM dca_foreign_payments f WHERE f.settled_by IS NULL AND f.status <> 'failure' AND NOT EXISTS (
             SELECT 1 FROM dca_settlements s WHERE s.machine_id = f.machine_id AND s.planned_at IS NULL
             AND s.payment_hash IS NOT NULL AND f.leg_key LIKE 'sm1:' || s.payment_hash || ':%')""",
}


def breaking(conn: sqlite3.Connection, kind: str, since: int = 0) -> Iterator[Record]:
    """The rows that break one rule, of what happened since then (Unix seconds)."""
    return _since(conn, BREAKS[kind], since)


def wrong_first_stages(
    conn: sqlite3.Connection, platform_part: Callable[[int, str], int | None], since: int = 0
) -> Iterator[Record]:
    """Sales whose platform's part does not follow from commission and pct (decimal text), as `platform_part` says."""
    conn.create_function("platform_part", 2, platform_part, deterministic=True)
    return _since(conn, _FIRST_STAGES, since)


def wrong_shares(
    conn: sqlite3.Connection, worth: Callable[[int, str, str], int | None], since: int = 0
) -> Iterator[Record]:
    """Shares of LPs whose fiat value is not that of their sats at their rate, as `worth` says, or their cap."""
    conn.create_function("share_worth", 3, worth, deterministic=True)
    return _since(conn, _SHARES, since)


def external_legs(conn: sqlite3.Connection, since: int = 0) -> Iterator[Record]:
    """Every completed leg of which only the preimage proves that its payee has it."""
    return _since(conn, _EXTERNAL_LEGS.format(join="JOIN" if since else "CROSS JOIN"), since)


def _since(conn: sqlite3.Connection, sql: str, since: int) -> Iterator[Record]:
    """All rows of a statement, or, along the indexes of time, those since then."""
    found = conn.execute(f"SELECT * FROM ({sql}) WHERE at >= ?", (since,)) if since else conn.execute(sql)
    return (dict(row) for row in found)


_FIRST_STAGES = f"""
SELECT {_SALE}, s.commission_sats, s.super_fee_pct, s.platform_fee_sats AS found_sats,
       platform_part(s.commission_sats, s.super_fee_pct) AS expected_sats
FROM dca_settlements s WHERE s.platform_fee_sats IS NOT NULL AND found_sats IS NOT expected_sats
"""
#: Of what another life of the books has paid, it is the fiat value of that life.
_SHARES = f"""
SELECT {_LEG}, p.amount_sats, p.fiat_amount_minor AS found_minor,
       min(share_worth(p.amount_sats, p.exchange_rate, p.currency),
           coalesce(json_extract(p.explain, '$.cap_minor'), {2**62})) AS expected_minor
FROM dca_payments p WHERE p.leg_type = 'dca' AND p.status NOT IN ('voided', 'skipped')
  AND found_minor IS NOT expected_minor
  AND p.id NOT IN (SELECT payment_id FROM dca_foreign_payments WHERE payment_id IS NOT NULL)
"""
_EXTERNAL_LEGS = f"""
SELECT {_LEG}, p.preimage, p.payment_hash FROM dca_invoices i {{join}} dca_payments p
ON p.id = i.payment_id AND p.payment_hash = i.payment_hash
WHERE i.internal = 0 AND p.status = 'completed' AND NOT {_VOUCHED}
  AND coalesce(p.proof, 'preimage') IN ('preimage', 'both_sides')
"""


def counts(conn: sqlite3.Connection, machine_id: str) -> Record:
    """How much of a machine was looked at."""
    row = conn.execute(
        """SELECT (SELECT count(*) FROM dca_settlements WHERE machine_id = ?1) AS settlements,
        (SELECT count(*) FROM dca_payments WHERE machine_id = ?1) AS payments""",
        (machine_id,),
    ).fetchone()
    return dict(row)


# --- what the wallets are compared with


def proven_sales(conn: sqlite3.Connection, machine_id: str, *, before: int) -> list[Record]:
    """Sales whose payment the wallet must show (or, if no proof was asked for, may show)."""
    found = conn.execute(
        f"""SELECT {_SALE}, s.payment_hash, s.gross_sats, s.proof FROM dca_settlements s
        WHERE s.machine_id = ? AND s.proof <> 'waiting' AND s.proven_at < ? AND s.payment_hash IS NOT NULL""",
        (machine_id, before),
    )
    return [dict(row) for row in found]


def completed_legs(conn: sqlite3.Connection, machine_id: str, *, since: int, before: int) -> list[tuple[Leg, Record]]:
    """Completed legs that this machine's wallet has paid, planned since a moment; each with the facts of a break."""
    found = conn.execute(
        f"""SELECT p.*, {_SUBJECT} AS subject, {_VOUCHED} AS vouched, i.internal FROM dca_payments p
        LEFT JOIN dca_invoices i ON i.payment_id = p.id AND i.payment_hash = p.payment_hash
        WHERE p.machine_id = ? AND p.status = 'completed' AND p.{LEG_PAID_BY_MACHINE} AND p.planned_at >= ?
        AND p.completed_at < ?""",
        (machine_id, since, before),
    )
    return [(rows.load(Leg, row), {**dict(row), "leg": f"r{row['revision']}:{row['leg']}"}) for row in found]


def invoices_of(conn: sqlite3.Connection, machine_id: str) -> dict[str, Record]:
    """Every invoice that a leg of this machine ever had, and every payment that completed one, by payment hash."""
    found = conn.execute(
        f"""SELECT {_LEG}, i.payment_hash, p.completed_at FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id
        WHERE p.machine_id = ?1 AND i.payment_hash IS NOT NULL
        UNION ALL SELECT {_LEG}, p.payment_hash, p.completed_at FROM dca_payments p
        WHERE p.machine_id = ?1 AND p.status = 'completed'""",
        (machine_id,),
    )
    return {str(row["payment_hash"]): dict(row) for row in found}


def retained_and_owed(conn: sqlite3.Connection, machine_id: str, *, before: int) -> Record:
    """What should still be in the wallet from the proven sales, in sats, by purpose.

    `payouts_sats` and `fees_on_top_sats` went out beside these sales' legs: balances paid out, sales whose payment is
    not known, routing fees that the machine bears. What was completed since `before` still counts as owed. What top-ups
    brought for a sale is told with the top-ups.
    """
    row = conn.execute(_RETAINED_AND_OWED, (machine_id, before)).fetchone()
    return dict(row)


_RETAINED_AND_OWED = f"""
WITH sale AS (
    SELECT * FROM dca_settlements WHERE machine_id = ?1 AND proof <> 'waiting' AND proven_at < ?2
      AND payment_hash IS NOT NULL
), leg AS (SELECT * FROM dca_payments WHERE machine_id = ?1 AND {LEG_PAID_BY_MACHINE}),
paid AS (SELECT * FROM leg WHERE status = 'completed' AND completed_at < ?2),
of_payouts AS (SELECT r.amount_sats AS sats FROM dca_retained r JOIN paid p ON p.id = r.payment_id
               WHERE r.settlement_id IS NULL)
SELECT (SELECT coalesce(sum(retained_sats - topped_up_sats), 0) FROM sale)
       + (SELECT coalesce(sum(sats), 0) FROM of_payouts) AS retained_sats,
       (SELECT coalesce(sum({_COUNTED}), 0) FROM leg WHERE {LEG_OF_THE_SALE} AND settlement_id IN (SELECT id FROM sale)
        AND (completed_at IS NULL OR completed_at >= ?2)) AS owed_sats,
       (SELECT coalesce(sum(net_sats + commission_sats), 0) FROM sale WHERE planned_at IS NULL AND status <> 'partial')
       AS unplanned_sats,
       (SELECT coalesce(sum(max(0, sent_sats + coalesce(fee_sats, 0) - amount_sats)), 0) FROM paid
        WHERE settlement_id IN (SELECT id FROM sale))
       AS fees_on_top_sats,
       (SELECT coalesce(sum(sent_sats + coalesce(fee_sats, 0)), 0) FROM paid
        WHERE settlement_id IS NULL OR settlement_id NOT IN (SELECT id FROM sale))
       + (SELECT coalesce(sum(sats), 0) FROM of_payouts) AS payouts_sats
"""
