"""The registry as SQL sees it: operators, machines, rules and the super fee, mirrored from the file at load."""

from __future__ import annotations

import sqlite3

from satmachine.config import Config, Machine
from satmachine.money import minor_digits

#: The first half is spelled as in schema.sql, so that SQLite sees that the index of open sales serves; the second makes
#: it read along that index and never along a machine's history.
_OPEN_SALE = "s.status NOT IN ('processed', 'partial', 'refunded') AND s.status IN ('pending', 'held', 'errored')"


def mirror(conn: sqlite3.Connection, config: Config, now: int) -> None:
    """Make the tables say what the file says. What the file no longer names stays, as `in_config = 0`."""
    conn.execute(
        """INSERT INTO super_config (id, fee_pct, payee, loaded_at) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO UPDATE
        SET fee_pct = excluded.fee_pct, payee = excluded.payee, loaded_at = excluded.loaded_at""",
        (str(config.super_.fee_pct), config.super_.payee and config.super_.payee.describe(), now),
    )
    conn.execute("UPDATE dca_operators SET in_config = 0")
    conn.executemany(
        """INSERT INTO dca_operators (id, name, in_config) VALUES (?, ?, 1) ON CONFLICT (id) DO UPDATE
        SET name = excluded.name, in_config = 1""",
        [(operator.id, operator.name) for operator in config.operators],
    )
    _mirror_machines(conn, config, now)
    _mirror_splits(conn, config)


def changed_currency(conn: sqlite3.Connection, config: Config) -> list[str]:
    """Machines whose currency differs from the books: amounts of two currencies cannot be added."""
    known = {str(row["id"]): str(row["currency"]) for row in conn.execute("SELECT id, currency FROM dca_machines")}
    return [
        f"[[machines]] {machine.id}: currency is {machine.currency}, but its books are in {known[machine.id]}; a "
        "machine that changes its currency needs a new id"
        for machine in config.machines
        if known.get(machine.id, machine.currency) != machine.currency
    ]


def dropped_with_open_work(conn: sqlite3.Connection, config: Config) -> list[str]:
    """Open work that a file would leave without its machine (SPEC section 3)."""
    named = {machine.id for machine in config.machines}
    sales = conn.execute(
        f"""SELECT s.machine_id, count(*) AS n, min(s.id) AS first FROM dca_settlements s CROSS JOIN dca_machines m
        ON m.id = s.machine_id WHERE m.in_config = 1 AND {_OPEN_SALE} GROUP BY +s.machine_id"""  # noqa: S608
    )
    problems = [
        f"[[machines]] {row['machine_id']} is missing from the file, but has {row['n']} open sale(s), the first is "
        f"{row['first']}; finish or close them, or set active = false instead"
        for row in sales
        if row["machine_id"] not in named
    ]
    payouts = conn.execute(
        """SELECT p.machine_id, min(p.leg) AS leg FROM dca_payments p CROSS JOIN dca_machines m ON m.id = p.machine_id
        WHERE m.in_config = 1 AND +p.settlement_id IS NULL AND p.status NOT IN ('completed', 'skipped', 'voided')
        GROUP BY +p.machine_id"""
    )
    return problems + [
        f"[[machines]] {row['machine_id']} is missing from the file, but its payout {row['leg']} is still open"
        for row in payouts
        if row["machine_id"] not in named
    ]


def changed_operator(conn: sqlite3.Connection, config: Config) -> list[str]:
    """Machines that change hands while something of theirs is unpaid: it would go to the new operator's partners."""
    rows = conn.execute(
        f"""SELECT m.id, m.operator_id FROM dca_machines m WHERE m.id IN
        (SELECT s.machine_id FROM dca_settlements s WHERE {_OPEN_SALE})"""  # noqa: S608
    )
    former = {str(row["id"]): str(row["operator_id"]) for row in rows}
    return [
        f"[[machines]] {machine.id}: operator is {machine.operator}, but it has open sales of {former[machine.id]}; "
        "finish or close them first"
        for machine in config.machines
        if former.get(machine.id, machine.operator) != machine.operator
    ]


def _mirror_machines(conn: sqlite3.Connection, config: Config, now: int) -> None:
    """Of ten thousand machines hardly any changes between two loads: only those are written, after all were read."""
    known = {row["id"]: tuple(row) for row in conn.execute(_MACHINES)}
    wanted = {machine.id: _machine_row(machine) for machine in config.machines}
    former = [(id_,) for id_, row in known.items() if row != wanted.get(id_)]
    # All of them first: a public key may go from one machine to another.
    conn.executemany("UPDATE dca_machines SET in_config = 0 WHERE id = ?", former)
    conn.executemany(_UPSERT_MACHINE, [(*row, now) for id_, row in wanted.items() if row != known.get(id_)])
    conn.execute("UPDATE dca_machines SET loaded_at = ? WHERE in_config = 1", (now,))
    conn.execute(
        """INSERT INTO dca_wallets (machine_id) SELECT id FROM dca_machines m WHERE in_config = 1
        AND NOT EXISTS (SELECT 1 FROM dca_wallets w WHERE w.machine_id = m.id)"""
    )


def _mirror_splits(conn: sqlite3.Connection, config: Config) -> None:
    known = conn.execute(
        "SELECT operator_id, machine_id, position, label, pct, payee FROM dca_commission_splits ORDER BY id"
    )
    wanted = _split_rows(config)
    if [tuple(row) for row in known] == wanted:
        return
    conn.execute("DELETE FROM dca_commission_splits")
    conn.executemany(
        """INSERT INTO dca_commission_splits (operator_id, machine_id, position, label, pct, payee)
        VALUES (?, ?, ?, ?, ?, ?)""",
        wanted,
    )


#: The columns are those of `_machine_row`.
_MACHINES = """
SELECT id, operator_id, npub, pubkey, name, currency, fallback_commission_pct, payouts_since, active, digits
FROM dca_machines WHERE in_config = 1
"""
_UPSERT_MACHINE = """
INSERT INTO dca_machines (id, operator_id, npub, pubkey, name, currency, fallback_commission_pct, payouts_since,
                          active, digits, in_config, loaded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)
ON CONFLICT (id) DO UPDATE SET operator_id = excluded.operator_id, npub = excluded.npub, pubkey = excluded.pubkey,
    name = excluded.name, fallback_commission_pct = excluded.fallback_commission_pct,
    payouts_since = excluded.payouts_since, active = excluded.active, digits = excluded.digits, in_config = 1,
    loaded_at = excluded.loaded_at
"""


def _machine_row(machine: Machine) -> tuple[object, ...]:
    return (
        machine.id,
        machine.operator,
        machine.npub,
        machine.pubkey,
        machine.name,
        machine.currency,
        str(machine.fallback_commission_pct),
        machine.payouts_since,
        int(machine.active),
        minor_digits(machine.currency),
    )


def _split_rows(config: Config) -> list[tuple[object, ...]]:
    owners = [(o.id, None, o.splits) for o in config.operators]
    owners += [(m.operator, m.id, m.splits) for m in config.machines]  # type: ignore[misc]
    return [
        (operator_id, machine_id, position, split.label, str(split.pct), split.payee.describe())
        for operator_id, machine_id, splits in owners
        for position, split in enumerate(splits)
    ]
