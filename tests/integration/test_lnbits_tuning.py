"""contrib/lnbits: no balance changes; a file may be run again, outlasts starts and upgrades, and can be undone."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ground import CONTRIB, Ground, PostgresGround, SqliteGround, fill
from satmachine.errors import SatmachineError
from satmachine.ops.tuning import MANY_PAYMENTS, NOT_QUICK_MS, needs_tuning
from satmachine.ops.wallet_check import measure
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import (
    DEFAULT_VERSION,
    HAS_EXTERNAL_ID,
    LNBITS_VERSION,
    POSTGRES_PORT,
    LnbitsServer,
    WalletKeys,
    ensure_environment,
)
from testkit.postgres import MISSING, Postgres, programs

#: So that each wallet has enough for `doctor` to look at how long they take.
OLD_PAYMENTS = 4 * MANY_PAYMENTS + 400

#: What `fill` leaves out: payments that failed, that wait, with fees, and those of a wallet that was deleted.
VARIETY = (
    "UPDATE apipayments SET status = 'failed' WHERE memo LIKE 'Old sale %' AND payment_hash LIKE '%3'",
    "UPDATE apipayments SET status = 'pending' WHERE memo LIKE 'Old sale %' AND payment_hash LIKE '%5'",
    "UPDATE apipayments SET fee = -1234 WHERE memo LIKE 'Old sale %' AND payment_hash LIKE '%7'",
)

#: Another way of adding up, which the files do not know.
STRANGE_VIEW = "CREATE VIEW balances AS SELECT wallet_id, SUM(amount) AS balance FROM apipayments GROUP BY wallet_id"


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "SQLite":
        if POSTGRES_PORT:
            pytest.skip("in this run every LNbits keeps its database in PostgreSQL")
        yield SqliteGround(tmp_path)
        return
    if programs() is None:
        pytest.skip(MISSING)
    if not HAS_EXTERNAL_ID:
        pytest.skip("1.4 on PostgreSQL gives times without a zone, which satmachine refuses")
    with Postgres() as postgres:
        postgres.create("lnbits")
        yield PostgresGround(postgres, "lnbits")


def server_on(ground: Ground, folder: Path, version: str = LNBITS_VERSION) -> LnbitsServer:
    return LnbitsServer(ensure_environment(version, say=print), folder, settings=ground.settings)


def balances(ground: Ground) -> dict[str, int]:
    rows = ground.query("SELECT wallet_id, balance FROM balances WHERE balance <> 0")
    return {str(row["wallet_id"]): int(str(row["balance"])) for row in rows}


def view(ground: Ground) -> str:
    """How the database itself writes it."""
    sql = (
        "SELECT sql FROM sqlite_master WHERE name = 'balances'"
        if isinstance(ground, SqliteGround)
        else "SELECT pg_get_viewdef('balances'::regclass) AS sql"
    )
    return " ".join(str(ground.query(sql)[0]["sql"]).split())


def indexes(ground: Ground) -> set[str]:
    sql = (
        "SELECT name FROM sqlite_master WHERE type = 'index'"
        if isinstance(ground, SqliteGround)
        else "SELECT indexname AS name FROM pg_indexes"
    )
    return {str(row["name"]) for row in ground.query(sql) if str(row["name"]).startswith("satmachine_")}


def run_sql(ground: Ground, sql: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(sql)
        file.flush()
        ground.run_file(Path(file.name))


def undo(ground: Ground) -> str:
    """The lines that its file gives for that, and those of the second file for SQLite."""
    name = "sqlite.sql" if isinstance(ground, SqliteGround) else "postgresql.sql"
    text = (CONTRIB / name).read_text("utf-8")
    lines = text.partition("-- undo\n")[2].partition("-- end of undo")[0].splitlines()
    sql = "\n".join(line.removeprefix("-- ") for line in lines)
    if isinstance(ground, SqliteGround):
        sql += (CONTRIB / "sqlite-1.5.sql").read_text("utf-8").partition("-- How to undo")[2].partition("\n")[0].strip()
    return sql


def tune_as_the_files_say(ground: Ground) -> None:
    """By the command that stands in the file, where its program is installed. PostgreSQL is tuned by it anyway."""
    if isinstance(ground, PostgresGround) or shutil.which("sqlite3") is None:
        ground.tune()
        return
    for name in ("sqlite.sql", "sqlite-1.5.sql"):
        command = f"sqlite3 -bail database.sqlite3 < {name}"
        assert command in (CONTRIB / name).read_text("utf-8")
        shutil.copy(CONTRIB / name, ground.data_dir)
        done = subprocess.run(command, shell=True, cwd=ground.data_dir, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (name == "sqlite.sql" or HAS_EXTERNAL_ID), done.stderr


async def fill_with_everything(server: LnbitsServer, ground: Ground) -> WalletKeys:
    """An LNbits that has seen some years, stopped; a wallet of it with sats."""
    await server.start()
    wallets = [await server.create_funded(name, 1_000_000) for name in ("machine", "alice", "bruno", "closed")]
    await server.pay_customer_invoice(wallets[0], 1_000, {}, "Sale 1")
    await server.stop()
    fill(ground, wallets, OLD_PAYMENTS, now=time.time())
    run_sql(ground, ";\n".join((*VARIETY, f"UPDATE wallets SET deleted = true WHERE id = '{wallets[3].id}'", "")))
    return wallets[0]


async def test_the_tuned_view_gives_lnbits_own_balances_and_can_be_undone(ground: Ground, tmp_path: Path) -> None:
    server = server_on(ground, tmp_path)
    try:
        wallet = await fill_with_everything(server, ground)
        before, own_view = balances(ground), view(ground)
        assert len(before) == 4, "three wallets and the customers', not the deleted one"

        run_sql(ground, f"DROP VIEW balances; {STRANGE_VIEW};")
        strange_view = view(ground)
        with pytest.raises((SatmachineError, Exception), match=r"CHECK constraint failed|nothing was changed"):
            ground.tune()
        assert view(ground) == strange_view
        assert not indexes(ground)
        run_sql(ground, f"{undo(ground)}")

        ground.tune()
        tune_as_the_files_say(ground)
        assert view(ground) != own_view
        assert indexes(ground) >= {"satmachine_balances"} | ({"satmachine_external_id"} if HAS_EXTERNAL_ID else set())
        assert balances(ground) == before

        await server.start()
        await server.pay_customer_invoice(wallet, 500, {}, "another sale")
        await check_what_doctor_measures(server, ground, wallet)
        await server.stop()
        assert view(ground) != own_view, "it outlasts a start"
        after = balances(ground)
        assert after[wallet.id] == before[wallet.id] + 500_000

        run_sql(ground, undo(ground))
        assert view(ground) == own_view
        assert not indexes(ground)
        assert balances(ground) == after
    finally:
        await server.stop()


async def check_what_doctor_measures(server: LnbitsServer, ground: Ground, wallet: WalletKeys) -> None:
    """Its shape: how long it takes is this machine's own affair, and what follows from it is `tuning.needs_tuning`."""
    async with Lnbits(server.url, instance_id="test") as lnbits:
        speed = await measure(lnbits, wallet.admin_key, [wallet.admin_key])
    stored = ground.query(f"SELECT count(*) AS payments FROM apipayments WHERE wallet_id = '{wallet.id}'")
    assert speed.payments == int(str(stored[0]["payments"]))
    assert speed.payments > MANY_PAYMENTS
    assert speed.read_ms > 0 < speed.plain_ms
    assert needs_tuning(replace(speed, read_ms=speed.plain_ms + NOT_QUICK_MS))


@pytest.mark.skipif(LNBITS_VERSION == DEFAULT_VERSION, reason="there is no newer LNbits here to upgrade to")
async def test_a_tuned_lnbits_can_be_upgraded(ground: Ground, tmp_path: Path) -> None:
    server = server_on(ground, tmp_path)
    newer = server_on(ground, tmp_path, DEFAULT_VERSION)
    try:
        wallet = await fill_with_everything(server, ground)
        ground.tune()
        before = balances(ground)
        await newer.start()
        await newer.pay_customer_invoice(wallet, 500, {}, "a sale after the upgrade")
        await newer.stop()
        assert balances(ground)[wallet.id] == before[wallet.id] + 500_000
        ground.tune()
        assert {"satmachine_balances", "satmachine_external_id"} <= indexes(ground)
    finally:
        await server.stop()
        await newer.stop()
