"""contrib/lnbits on SQLite: no balance changes, a file may be run again, outlasts a start, and can be undone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from testkit.lnbits import LNBITS_VERSION, running_lnbits

CONTRIB = Path(__file__).parents[2] / "contrib" / "lnbits"


def balances(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as conn:
        return dict(conn.execute("SELECT wallet_id, balance FROM balances WHERE balance <> 0"))


def run(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(sql)


def view(path: Path) -> str:
    with closing(sqlite3.connect(path)) as conn:
        (sql,) = conn.execute("SELECT sql FROM sqlite_master WHERE name = 'balances'").fetchone()
    return " ".join(str(sql).split())


def undo(sql: str) -> str:
    lines = sql.partition("-- undo\n")[2].partition("-- end of undo")[0].splitlines()
    return "\n".join(line.removeprefix("-- ") for line in lines)


async def test_the_tuned_view_gives_lnbits_own_balances_and_can_be_undone(tmp_path: Path) -> None:
    database = tmp_path / "database.sqlite3"
    tuning = (CONTRIB / "sqlite.sql").read_text("utf-8")
    async with running_lnbits(tmp_path) as server:
        wallet = await server.create_wallet("machine")
        await server.pay_customer_invoice(wallet, 1_000, {}, "a sale")
        await server.stop()
        before, own_view = balances(database), view(database)
        assert before[wallet.id] == 1_000_000
        for _ in range(2):
            run(database, tuning)
        if tuple(map(int, LNBITS_VERSION.split("."))) >= (1, 5):
            run(database, (CONTRIB / "sqlite-1.5.sql").read_text("utf-8"))
        assert view(database) != own_view
        assert balances(database) == before
        await server.start()
        await server.pay_customer_invoice(wallet, 500, {}, "another")
        await server.stop()
        after = balances(database)
        assert after[wallet.id] == 1_500_000
        run(database, undo(tuning))
        assert view(database) == own_view
        assert balances(database) == after
