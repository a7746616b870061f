"""What corrections write: voided legs, new figures, refunds, and the ledger of what a sale retains (SPEC section 9).

Call these inside `atomic()`. Each change names the state from which it starts; a row in another state raises Refused,
because somebody else was faster: the person looks and asks again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from decimal import Decimal

from satmachine.errors import NotFound, Refused
from satmachine.identity import PayeeKind
from satmachine.models import Figures, Leg, LegType, Retained, RetainedReason, Settlement
from satmachine.seals import Ordered
from satmachine.store import as_models as rows
from satmachine.store import legs, seal_rows, settlements
from satmachine.store.fragments import LEG_IS_RARE, LEG_OF_THE_SALE


def find(conn: sqlite3.Connection, settlement_id: int) -> Settlement:
    """A settlement by its number. Raises NotFound."""
    row = conn.execute("SELECT * FROM dca_settlements WHERE id = ?", (settlement_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no sale {settlement_id}; `satmachine settlements list` shows what there is")
    return rows.load(Settlement, row)


def unpaid_legs(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    """The sale's legs that are neither final nor forwards, in order."""
    found = conn.execute(
        f"""SELECT * FROM dca_payments WHERE settlement_id = ? AND {LEG_OF_THE_SALE}
        AND status NOT IN ('completed', 'voided', 'skipped') ORDER BY revision, position, id""",  # noqa: S608
        (settlement_id,),
    )
    return [rows.load(Leg, row) for row in found]


def completed_leg(conn: sqlite3.Connection, settlement_id: int) -> int | None:
    """The id of a leg of the sale that is paid; None if none is."""
    row = conn.execute(
        f"""SELECT id FROM dca_payments WHERE settlement_id = ? AND {LEG_OF_THE_SALE} AND status = 'completed'
        ORDER BY revision, position LIMIT 1""",  # noqa: S608
        (settlement_id,),
    ).fetchone()
    return None if row is None else int(row["id"])


def void(conn: sqlite3.Connection, leg: Leg, evidence: Mapping[str, object] | None) -> None:
    """Void a leg that was just proven unpaid; `evidence` is what both wallets showed, None if it had no invoice."""
    changed = conn.execute(
        """UPDATE dca_payments SET status = 'voided', next_attempt_at = NULL, hold_reason = NULL, error = NULL,
        cause = NULL, evidence = ? WHERE id = ? AND status = ? AND generation = ?""",
        (None if evidence is None else json.dumps(evidence, default=str), leg.id, leg.status, leg.generation),
    ).rowcount
    if changed != 1:
        raise Refused(f"payment {leg.id} was changed in the meantime; look at it, then try again")


def original_figures(conn: sqlite3.Connection, settlement: Settlement) -> Figures:
    """How the sale was divided before its first partial dispense; a second one scales from there, not twice."""
    current = figures_of(settlement)
    if current.undispensed_sats == 0:
        return current
    row = conn.execute(
        """SELECT before FROM audit_log WHERE subject = ? AND action = 'settlement.partial_dispense'
        AND json_extract(before, '$.undispensed_sats') = 0 ORDER BY id DESC LIMIT 1""",
        (f"settlement {settlement.id}",),
    ).fetchone()
    assert row is not None, "every partial dispense leaves its audit row"
    before = json.loads(row["before"])
    return Figures(before["net_sats"], before["commission_sats"], 0, before["fiat_amount_minor"])


def figures_of(settlement: Settlement) -> Figures:
    """The figures in force."""
    return Figures(
        settlement.net_sats, settlement.commission_sats, settlement.undispensed_sats, settlement.fiat_amount_minor
    )


def put_figures(conn: sqlite3.Connection, settlement: Settlement, figures: Figures) -> None:
    """New figures as a new revision, which is planned and paid again; a held settlement stays held."""
    changed = conn.execute(
        """UPDATE dca_settlements SET net_sats = ?, commission_sats = ?, undispensed_sats = ?, fiat_amount_minor = ?,
        revision = revision + 1, planned_at = NULL, platform_fee_sats = NULL, operator_fee_sats = NULL,
        super_fee_pct = NULL, ruleset_source = NULL, attempts = 0, next_attempt_at = 0, finished_at = NULL,
        error = CASE status WHEN 'held' THEN error END, status = CASE status WHEN 'held' THEN 'held'
        ELSE 'pending' END WHERE id = ? AND revision = ? AND status = ?""",
        (
            figures.net_sats,
            figures.commission_sats,
            figures.undispensed_sats,
            figures.fiat_amount_minor,
            settlement.id,
            settlement.revision,
            settlement.status,
        ),
    ).rowcount
    assert changed == 1, f"sale {settlement.id} changed while it was corrected"


def retain_only_undispensed(conn: sqlite3.Connection, settlement: Settlement, undispensed_sats: int, now: int) -> None:
    """Take back what the present plan retained; what remains is exactly what was not dispensed."""
    settlements.take_back_retained(conn, settlement, now)
    kept_sats = sum(row.amount_sats for row in ledger(conn, settlement.id))
    if undispensed_sats != kept_sats:
        row = Retained(RetainedReason.UNDISPENSED, undispensed_sats - kept_sats)
        settlements.retain(conn, settlement.id, settlement.revision + 1, [row], now)


def ledger(conn: sqlite3.Connection, settlement_id: int) -> list[Retained]:
    """What the sale retains, one entry for each reason and part of the plan; nothing if the sum is zero."""
    found = conn.execute(
        """SELECT reason, leg, sum(amount_sats) AS amount_sats FROM dca_retained WHERE settlement_id = ?
        GROUP BY reason, leg HAVING sum(amount_sats) <> 0 ORDER BY min(id)""",
        (settlement_id,),
    )
    return [Retained(RetainedReason(row["reason"]), row["amount_sats"], row["leg"]) for row in found]


def close(conn: sqlite3.Connection, settlement: Settlement, now: int) -> None:
    """The settlement is final as it is. One that is proven but was never planned counts as planned for nothing."""
    changed = conn.execute(
        """UPDATE dca_settlements SET status = 'partial', hold_reason = NULL, error = NULL, finished_at = ?1,
        planned_at = CASE WHEN settlement_key IS NULL THEN planned_at ELSE coalesce(planned_at, ?1) END
        WHERE id = ?2 AND status = ?3 AND revision = ?4""",
        (now, settlement.id, settlement.status, settlement.revision),
    ).rowcount
    assert changed == 1, f"sale {settlement.id} changed while it was closed"


def reopen(
    conn: sqlite3.Connection, settlement: Settlement, *, revision: int, exchange_rate: Decimal | None = None
) -> None:
    """The settlement has new legs to pay; a rate only replaces an unknown one."""
    changed = conn.execute(
        """UPDATE dca_settlements SET revision = ?, finished_at = NULL,
        status = CASE WHEN status IN ('processed', 'partial', 'refunded') THEN 'pending' ELSE status END,
        exchange_rate = CASE WHEN exchange_rate = '0' THEN coalesce(?, '0') ELSE exchange_rate END
        WHERE id = ? AND revision = ? AND status = ? AND planned_at IS NOT NULL""",
        (
            revision,
            None if exchange_rate is None else f"{exchange_rate:f}",
            settlement.id,
            settlement.revision,
            settlement.status,
        ),
    ).rowcount
    assert changed == 1, f"sale {settlement.id} changed while payments were added to it"


def next_refund_number(conn: sqlite3.Connection, settlement_id: int) -> int:
    """1 for a sale's first refund; voided ones count, so that a leg key is never used twice."""
    row = conn.execute(
        "SELECT count(*) AS n FROM dca_payments WHERE settlement_id = ? AND leg_type = 'refund'", (settlement_id,)
    ).fetchone()
    return int(row["n"]) + 1


def insert_refund(
    conn: sqlite3.Connection, settlement: Settlement, *, number: int, amount_sats: int, payee: str, now: int
) -> str:
    """Write a refund leg, after all others; returns its part of the leg key."""
    leg = f"refund:{number}"
    order = Ordered(
        machine_id=settlement.machine_id,
        settlement_id=settlement.id,
        leg_key=legs.leg_key(settlement, settlement.revision, leg),
        leg=leg,
        leg_type=LegType.REFUND,
        label=None,
        client_id=None,
        amount_sats=amount_sats,
        fiat_amount_minor=None,
        payee=payee,
        payee_kind=PayeeKind.LIGHTNING_ADDRESS if "@" in payee else PayeeKind.INVOICE,
        payee_ref=payee,
        payee_scope=None,
        gross_sats=settlement.came_in_sats,
    )
    conn.execute(
        """INSERT INTO dca_payments (settlement_id, machine_id, revision, position, leg_type, leg, leg_key, amount_sats,
        payee, effective_at, planned_at, payee_kind, payee_ref, seal)
        VALUES (?1, ?2, ?3, (SELECT coalesce(max(position), -1) + 1 FROM dca_payments
        WHERE settlement_id = ?1 AND revision = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?8, ?11)""",
        (
            order.settlement_id,
            order.machine_id,
            settlement.revision,
            order.leg_type,
            order.leg,
            order.leg_key,
            order.amount_sats,
            order.payee,
            now,
            order.payee_kind,
            seal_rows.seal_of(conn, order),
        ),
    )
    return leg


def invoice_is_known(conn: sqlite3.Connection, payment_hash: str, bolt11: str) -> bool:
    """Whether a leg was ever planned to pay this invoice: it is never planned a second time."""
    planned = conn.execute(
        f"""SELECT 1 FROM dca_payments WHERE {LEG_IS_RARE} AND leg_type = 'refund'
        AND payee = ?""",  # noqa: S608
        (bolt11,),
    ).fetchone()
    return planned is not None or legs.knows_payment(conn, payment_hash)


def accepted_payments(conn: sqlite3.Connection, machine_id: str) -> frozenset[str]:
    """Payment hashes that no leg made and that a person has decided about (`machines reconcile`)."""
    found = conn.execute(
        """SELECT payment_hash FROM dca_foreign_payments WHERE machine_id = ?
        AND (settled_by IS NOT NULL OR decided_at IS NOT NULL)""",
        (machine_id,),
    )
    return frozenset(str(row["payment_hash"]) for row in found)


def is_completed(conn: sqlite3.Connection, payment_hash: str) -> bool:
    """Whether a completed leg was paid with this payment."""
    row = conn.execute("SELECT status FROM dca_payments WHERE payment_hash = ?", (payment_hash,)).fetchone()
    return row is not None and row["status"] == "completed"
