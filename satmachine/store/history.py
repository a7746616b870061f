"""Sales as they were planned, for planning them again under other rules (reports/whatif.py). Reads only."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from satmachine.models import Leg, Settlement
from satmachine.store import as_models as rows
from satmachine.store.fragments import LEG_OF_EVERY_PLAN, LEG_USES_CASH


@dataclass(frozen=True, slots=True)
class PlannedSale:
    """A sale with its plan: every leg that it wrote (also those that were voided since), with their explanations, and
    what it retained, by reason and part. `order` puts plans in the order in which they were made."""

    settlement: Settlement
    legs: tuple[tuple[Leg, str | None], ...]
    retained: tuple[tuple[str, str, int], ...]
    order: tuple[int, int]


@dataclass(frozen=True, slots=True)
class LpHistory:
    """An LP of a machine: its terms now, cash as (decided, effective, minor units), and whatever took from its balance
    as (leg's number, effective, minor units, settlement or None); times in Unix seconds."""

    client_id: int
    label: str
    mode: str
    daily_limit_minor: int | None
    payee_kind: str
    payee: str
    cash: tuple[tuple[int, int, int], ...]
    used: tuple[tuple[int, int, int, int | None], ...]


def planned_sales(conn: sqlite3.Connection, machine_id: str, since: int, until: int) -> list[PlannedSale]:
    """The machine's sales of a time that have a plan, in the order in which they were planned."""
    found = conn.execute(
        """SELECT * FROM dca_settlements WHERE machine_id = ? AND occurred_at >= ? AND occurred_at < ?
        AND planned_at IS NOT NULL AND super_fee_pct IS NOT NULL ORDER BY occurred_at, id""",
        (machine_id, since, until),
    )
    return sorted((_planned(conn, rows.load(Settlement, row)) for row in found), key=lambda sale: sale.order)


def count(conn: sqlite3.Connection, since: int, until: int) -> int:
    """About how many of them there are, of all machines: for a progress bar."""
    row = conn.execute(
        "SELECT count(*) FROM dca_settlements WHERE occurred_at >= ? AND occurred_at < ?", (since, until)
    ).fetchone()
    return int(row[0])


def lps_of(conn: sqlite3.Connection, machine_id: str) -> list[LpHistory]:
    """A machine's LPs, removed ones too, with everything that moved their balances."""
    found = conn.execute(
        """SELECT id, label, mode, daily_limit_minor, payee_kind, payee FROM dca_clients WHERE machine_id = ?
        ORDER BY label""",
        (machine_id,),
    ).fetchall()
    return [_history(conn, row) for row in found]


def _history(conn: sqlite3.Connection, row: sqlite3.Row) -> LpHistory:
    cash = conn.execute(
        """SELECT decided_at, effective_at, amount_minor FROM dca_deposits WHERE client_id = ? AND status = 'confirmed'
        ORDER BY decided_at, id""",
        (row["id"],),
    )
    used = conn.execute(
        f"""SELECT id, effective_at, fiat_amount_minor, settlement_id FROM dca_payments WHERE client_id = ?
        AND {LEG_USES_CASH} AND status NOT IN ('voided', 'skipped') ORDER BY id""",  # noqa: S608
        (row["id"],),
    )
    return LpHistory(
        client_id=row["id"],
        label=row["label"],
        mode=row["mode"],
        daily_limit_minor=row["daily_limit_minor"],
        payee_kind=row["payee_kind"],
        payee=row["payee"],
        cash=tuple((one[0], one[1], one[2]) for one in cash),
        used=tuple((one[0], one[1], one[2], one[3]) for one in used),
    )


def _planned(conn: sqlite3.Connection, settlement: Settlement) -> PlannedSale:
    """The plan as a whole is of one moment and one revision, and shares out exactly what the sale's figures say; what a
    person added later has another revision. Without any such revision, the sale is given without a plan."""
    legs: dict[int, list[tuple[Leg, str | None]]] = {}
    for row in conn.execute(
        f"""SELECT * FROM dca_payments WHERE settlement_id = ? AND planned_at = ? AND proof IS NOT 'booked'
        AND {LEG_OF_EVERY_PLAN} ORDER BY position, id""",  # noqa: S608
        (settlement.id, settlement.planned_at),
    ):
        legs.setdefault(row["revision"], []).append((rows.load(Leg, row), row["explain"]))
    retained: dict[int, list[tuple[str, str, int]]] = {}
    for row in conn.execute(
        """SELECT revision, reason, leg, amount_sats FROM dca_retained WHERE settlement_id = ? AND created_at = ?
        AND amount_sats > 0 AND reason IN ('no_super_payee', 'no_ruleset', 'no_lp_balance', 'unknown_rate')""",
        (settlement.id, settlement.planned_at),
    ):
        retained.setdefault(row["revision"], []).append((row["reason"], row["leg"], row["amount_sats"]))
    wanted_sats = settlement.net_sats + settlement.commission_sats
    for revision in sorted({*legs, *retained}):
        mine, kept = legs.get(revision, []), retained.get(revision, [])
        if sum(leg.amount_sats for leg, _ in mine) + sum(one[2] for one in kept) == wanted_sats:
            first = mine[0][0].id if mine else 0
            return PlannedSale(settlement, tuple(mine), tuple(kept), (settlement.planned_at or 0, first))
    return PlannedSale(settlement, (), (), (settlement.planned_at or 0, 0))
