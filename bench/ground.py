"""LNbits as it is found in the field: on SQLite or PostgreSQL, empty or after years, as it comes or tuned.

Its cost grows with all payments in its database. So old ones are written straight into it, while it is stopped: copies
of a payment that it has made itself, between the wallets that are there, as sales of the past have left them.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from testkit.lnbits import WalletKeys
from testkit.postgres import Postgres

CONTRIB: Final = Path(__file__).parent.parent / "contrib" / "lnbits"
_YEARS_S: Final = 2 * 365 * 86_400
_TABLE: Final = "apipayments"
_TIMES: Final = frozenset({"time", "created_at", "updated_at"})

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class SqliteGround:
    """The database of an LNbits that keeps it in its data folder."""

    data_dir: Path
    name: str = "SQLite"

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    @property
    def path(self) -> Path:
        return self.data_dir / "database.sqlite3"

    def query(self, sql: str) -> list[Row]:
        with closing(sqlite3.connect(self.path)) as conn:
            conn.row_factory = sqlite3.Row
            return [dict(row) for row in conn.execute(sql)]

    def insert(self, rows: Iterator[Row], columns: Sequence[str]) -> None:
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join(f":{name}" for name in columns)
        with closing(sqlite3.connect(self.path)) as conn, conn:
            conn.executemany(f"INSERT INTO {_TABLE} ({names}) VALUES ({marks})", rows)

    def run_file(self, path: Path) -> None:
        with closing(sqlite3.connect(self.path)) as conn:
            conn.executescript(path.read_text("utf-8"))

    def tune(self) -> None:
        self.run_file(CONTRIB / "sqlite.sql")
        if self.query(f"SELECT 1 FROM pragma_table_info('{_TABLE}') WHERE name = 'external_id'"):
            self.run_file(CONTRIB / "sqlite-1.5.sql")

    def moment(self, at_s: float) -> object:
        return at_s

    def drop(self) -> None:
        """It goes with its folder."""


@dataclass(frozen=True, slots=True)
class PostgresGround:
    """A database of its own in a PostgreSQL."""

    postgres: Postgres
    database: str
    name: str = "PostgreSQL"

    @property
    def settings(self) -> Mapping[str, str]:
        return {"LNBITS_DATABASE_URL": f"postgres://postgres@127.0.0.1:{self.postgres.port}/{self.database}"}

    def query(self, sql: str) -> list[Row]:
        answer = csv.DictReader(io.StringIO(self.postgres.run(sql, self.database)))
        return [{name: value or None for name, value in row.items()} for row in answer]

    def insert(self, rows: Iterator[Row], columns: Sequence[str]) -> None:
        with tempfile.NamedTemporaryFile("w", newline="", suffix=".csv") as file:
            writer = csv.writer(file)
            writer.writerows([row[name] for name in columns] for row in rows)
            file.flush()
            self.postgres.load(self.database, _TABLE, columns, Path(file.name))

    def run_file(self, path: Path) -> None:
        self.postgres.run_file(path, self.database)

    def tune(self) -> None:
        self.run_file(CONTRIB / "postgresql.sql")

    def moment(self, at_s: float) -> object:
        return datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None).isoformat(sep=" ")

    def drop(self) -> None:
        self.postgres.drop(self.database)


Ground = SqliteGround | PostgresGround


def fill(ground: Ground, wallets: Sequence[WalletKeys], payments: int, *, now: float) -> None:
    """About so many rows more, evenly among these wallets, over two years. LNbits is stopped, and has made a payment.

    Every payment is a debit and a credit of the same sats, and every wallet pays as often as it is paid: no balance
    changes, it is rows that cost.
    """
    credit = ground.query(f"SELECT * FROM {_TABLE} WHERE amount > 0 AND memo LIKE 'Sale %' LIMIT 1")[0]
    debit = ground.query(f"SELECT * FROM {_TABLE} WHERE amount < 0 AND memo LIKE 'Sale %' LIMIT 1")[0]
    ids = [wallet.id for wallet in wallets]
    pairs = payments // 2 // len(ids) * len(ids)
    ground.insert(_old_payments(ground, credit, debit, ids, pairs, now), list(credit))


def _old_payments(
    ground: Ground, credit: Row, debit: Row, wallet_ids: Sequence[str], pairs: int, now: float
) -> Iterator[Row]:
    for number in range(pairs):
        payment_hash = f"{number:064x}"
        moment = ground.moment(now - _YEARS_S * (pairs - number) / pairs)
        common: Row = {
            **dict.fromkeys(_TIMES, moment),
            "payment_hash": payment_hash,
            "memo": f"Old sale {number // 6}",
        }
        # No key of satmachine's: a daemon would ask whose payments these are, and pay nothing.
        leg = f"past:{number // 6:064x}:r0:leg-{number % 6}"
        if "external_id" in credit:
            common["external_id"] = leg
        payer, payee = number % len(wallet_ids), (number + 1) % len(wallet_ids)
        sides = (
            (credit, {"checking_id": payment_hash, "wallet_id": wallet_ids[payee], "amount": 100_000}),
            (debit, {"checking_id": f"internal_{payment_hash}", "wallet_id": wallet_ids[payer], "amount": -100_000}),
        )
        for template, own in sides:
            yield {**template, **common, **own}
