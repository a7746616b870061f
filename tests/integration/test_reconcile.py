"""The wallet as second witness, old and lost databases, one payer: SPEC section 6 with a real LNbits and relay.

Every test ends with the same proof from LNbits' own records (chaos/check.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from chaos.check import changed_by_restart, debits, held, violations
from chaos.world import World, open_world
from satmachine.config import load
from satmachine.identity import tag
from satmachine.settlements.sweep.one_sweep import WalletSweep
from satmachine.store.database import connect, open_store
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer
from testkit.machine import publish
from testkit.proxy import Fault, FaultProxy, matching

pytestmark = pytest.mark.anyio

LEGS = 6
MACHINE = "machine-1"


def rows(world: World, sql: str) -> list[tuple[object, ...]]:
    with closing(connect(world.system.database_path, read_only=True)) as conn:
        return [tuple(row) for row in conn.execute(sql)]


async def satmachine(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type a command."""
    command = [sys.executable, "-m", "satmachine", "--config", str(world.system.config_path), *arguments]
    return await anyio.to_thread.run_sync(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))


async def announce_last(world: World, count: int) -> None:
    for event in world.events[-count:]:
        await publish([relay.url for relay in world.system.relays], event)


# --- missed events


async def test_sales_of_an_hour_without_daemon_are_landed_from_the_wallet_and_events_attach_later(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with open_world(tmp_path, lnbits) as world:
        for _ in range(3):
            await world.sell()  # the relay drops the event: nobody listens
        await world.start()
        facts = await world.settled()
        assert violations(facts) == []
        assert rows(world, "SELECT source, bitspire_event_id FROM dca_settlements") == [("wallet", None)] * 3

        await announce_last(world, 3)
        await world.until(lambda: len(rows(world, "SELECT 1 FROM dca_settlement_events")) == 3)
        assert rows(world, "SELECT count(*) FROM dca_settlements WHERE bitspire_event_id IS NULL") == [(0,)]
        assert changed_by_restart(facts, await world.settled()) == []
        assert len(debits(facts)) == 3 * LEGS


async def test_nothing_before_payouts_since_is_landed_for_payment(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits, seed=False) as world:
        for _ in range(5):
            await world.sell(announce=False)
        since = int(time.time()) + 2
        text = world.system.config_path.read_text()
        old = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
        world.system.config_path.write_text(text.replace(old, datetime.fromtimestamp(since, UTC).isoformat()))
        world.seed_books()
        past, world.sales[:] = list(world.sales), []
        await anyio.sleep(max(0, since + 1 - time.time()))
        await world.sell()
        await world.start()
        await world.until(lambda: bool(world.rest().settlements))
        # An old sale that is announced now is not paid either: its payment is older.
        late = dict(world.told[0])
        await publish([world.system.relays[0].url], world.system.machines[0].signer.event(late))
        await world.until(lambda: len(world.rest().settlements) == 2)
        await world.until(lambda: all(row.status in ("processed", "held") for row in world.rest().settlements))

        assert [row.why.split(":")[0] for row in world.rest().settlements if row.status == "held"] == [
            "before_payouts_since"
        ]
        assert {row.payment_hash for row in world.rest().settlements} == {
            world.sales[0].payment_hash,
            past[0].payment_hash,
        }
        assert len(debits(await world.facts())) == LEGS


async def test_without_payment_proof_the_wallet_only_reports(tmp_path: Path, lnbits: LnbitsServer) -> None:
    settings = {"payouts": "require_payment_proof = false"}
    async with open_world(tmp_path, lnbits, settings=settings) as world:
        await world.sell(announce=False)
        await world.start()
        await world.until(lambda: bool(rows(world, "SELECT 1 FROM dca_unmatched_payments")))
        assert rows(world, "SELECT count(*) FROM dca_settlements") == [(0,)]
        await announce_last(world, 1)
        await world.settled()
        assert rows(world, "SELECT proof FROM dca_settlements") == [("waived",)]
        facts = await world.facts()
        assert len(debits(facts)) == LEGS
        assert violations(facts) == []


async def test_a_sale_that_says_more_than_was_paid_is_held(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        await world.start()
        await world.sell(announce=False, with_extra=False)
        lie = {**world.told[-1], "gross_sats": 300_000, "net_sats": 291_996}
        await world.announce_until(lambda: bool(world.rest().settlements), content=lie)
        await world.until(lambda: all(row.status == "held" for row in world.rest().settlements))
        assert "payment_mismatch" in world.rest().settlements[0].why
        assert debits(await world.facts()) == frozenset()


async def test_an_operator_lands_a_payment_that_nobody_told_of(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        sale = await world.sell(announce=False, with_extra=False)
        await world.start()
        await world.until(lambda: bool(rows(world, "SELECT 1 FROM dca_unmatched_payments")))
        land = ("settlements", "land", sale.payment_hash, "--machine", "machine-1", "--rate", "143")
        assert "Would land" in (await satmachine(world, *land, "--dry-run")).stdout
        assert world.rest().settlements == ()
        landed = await satmachine(world, *land, "--yes")
        assert landed.returncode == 0, landed.stderr
        again = await satmachine(world, *land, "--yes")
        assert again.returncode == 1
        assert "already" in again.stderr
        facts = await world.settled()
        assert rows(world, "SELECT source, used_fallback_split FROM dca_settlements") == [("operator", 1)]
        assert len(debits(facts)) == LEGS
        assert violations(facts) == []


# --- databases that are old or lost


async def shown(world: World, *options: str) -> dict[str, Any]:
    """What `machines reconcile` shows, once the daemon has looked."""
    found: list[subprocess.CompletedProcess[str]] = []
    for _ in range(40):
        found.append(await satmachine(world, "machines", "reconcile", MACHINE, "--json", *options))
        if found[-1].returncode == 0:
            break
        assert "was not read since" in found[-1].stderr, found[-1].stderr
        await anyio.sleep(0.5)
    told: dict[str, Any] = json.loads(found[-1].stdout)
    return told


async def reconciled(world: World, *options: str) -> dict[str, Any]:
    """Accept what is shown; returns it."""
    told = await shown(world, *options)
    accept = ("--accept", told["digest"], "--reason", "the other host is off", "--yes")
    done = await satmachine(world, "machines", "reconcile", MACHINE, *options, *accept)
    assert done.returncode == 0, done.stderr
    assert "pays again" in done.stdout
    return told


async def stopped(world: World) -> str:
    """Why the machine pays nothing, once it does not."""
    sql = "SELECT safe_mode FROM dca_wallets WHERE safe_mode IS NOT NULL"
    await world.until(lambda: bool(rows(world, sql)))
    return str(rows(world, sql)[0][0])


async def audited(world: World) -> None:
    found = await satmachine(world, "audit")
    assert found.returncode == 0, found.stdout + found.stderr


def verdicts(told: dict[str, Any]) -> list[str]:
    return sorted({str(line["verdict"]) for line in told["payments"]})


async def test_a_deleted_database_pays_nothing_again(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        for sats in (266_800, 123_457, 98_765):
            await world.sell(sats=sats)
        await world.start()
        before = await world.settled()
        assert len(debits(before)) == 3 * LEGS
        world.kill()
        world.delete_books()
        world.seed_books()
        await world.start()
        assert "do not know" in await stopped(world)
        await world.until(lambda: len(world.rest().settlements) == 3)
        await anyio.sleep(6)  # two sweeps: everything is found
        told = await reconciled(world)
        assert verdicts(told) == ["adopt"]
        assert len(told["payments"]) == 3 * LEGS
        after = await world.settled()
        assert debits(after) == debits(before)
        assert violations(after) == []
        assert held(after) == []
        await audited(world)


async def test_a_deleted_database_without_its_lps_says_who_is_missing(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        await world.sell()
        await world.start()
        before = await world.settled()
        world.kill()
        world.delete_books()
        await world.start()
        await world.alive_for(0.5)
        await stopped(world)
        await world.until(lambda: len(world.rest().settlements) == 1)
        await anyio.sleep(6)
        told = await shown(world)
        assert "waits" in verdicts(told)
        assert any("clients add --machine machine-1 --label alice" in wait for wait in told["waits"])
        refused = await satmachine(
            world, "machines", "reconcile", MACHINE, "--accept", told["digest"], "--reason", "x", "--yes"
        )
        assert refused.returncode == 1
        assert debits(await world.facts()) == debits(before), "nothing at all is paid meanwhile"

        world.add_lps()
        await reconciled(world)
        await world.sell()
        finished = await world.settled()
        assert debits(finished) >= debits(before)
        assert len(debits(finished)) == 2 * LEGS, "the first sale was taken over, the second is paid"
        assert violations(finished) == []
        assert held(finished) == []
        await audited(world)


async def test_a_database_from_yesterday_pays_nothing_again(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        await world.sell()
        await world.start()
        await world.settled()
        backup = world.backup_books()
        for _ in range(2):
            await world.sell()
        before = await world.settled()
        world.kill()
        world.restore_books(backup)
        await world.start()
        await stopped(world)
        await world.until(lambda: len(world.rest().settlements) == 3)
        await anyio.sleep(6)
        told = await reconciled(world)
        assert verdicts(told) == ["adopt"]
        after = await world.settled()
        assert debits(after) == debits(before)
        assert len(debits(after)) == 3 * LEGS
        assert violations(after) == []
        assert held(after) == []
        await audited(world)


async def test_a_sale_that_was_closed_is_not_paid_by_lost_books_that_hear_of_it_after_they_were_reconciled(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    """Only the mark in the wallet says that it was closed: it is decided before the machine tells the sale again."""
    async with open_world(tmp_path, lnbits) as world:
        await world.start()
        assert (await satmachine(world, "payouts", "pause", "--reason", "the cash jams", "--yes")).returncode == 0
        await world.sell(with_extra=False, announce=False)
        planned = "SELECT 1 FROM dca_settlements WHERE planned_at IS NOT NULL"
        await world.announce_until(lambda: bool(rows(world, planned)))
        closed = await satmachine(world, "settlements", "close", "1", "--reason", "repaid in cash", "--yes")
        assert closed.returncode == 0, closed.stderr
        await world.until(lambda: rows(world, "SELECT status FROM dca_settlements") == [("partial",)])
        world.kill()
        world.delete_books()
        world.seed_books()
        await world.start()
        await stopped(world)
        told = await reconciled(world)
        assert (len(told["marks"]), told["sales"]) == (1, [])
        sale = "SELECT status, hold_reason FROM dca_settlements"
        await world.announce_until(lambda: bool(rows(world, sale)))
        await world.until(lambda: rows(world, sale) == [("held", "marks_conflict")])
        assert debits(await world.facts()) == set()
        let_go = await satmachine(world, "settlements", "release", "1", "--reason", "it was another one", "--yes")
        assert let_go.returncode == 0, let_go.stderr
        after = await world.settled()
        assert len(debits(after)) == LEGS
        assert violations(after) == []
        await audited(world)


async def backed_up(world: World) -> Path:
    """A copy that knows it is one."""
    target = world.system.folder / f"backup-{time.time_ns()}.db"
    made = await satmachine(world, "backup", str(target))
    assert made.returncode == 0, made.stderr
    return target


async def test_a_restored_copy_pays_nothing_before_a_person_has_said_so(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        await world.sell()
        await world.start()
        before = await world.settled()
        copy = await backed_up(world)
        world.kill()
        world.restore_books(copy)
        await world.start()
        assert "these books are a copy of" in await stopped(world)
        await world.sell()
        await world.until(lambda: bool(rows(world, "SELECT 1 FROM dca_settlements WHERE id = 2 AND proof = 'proven'")))
        await anyio.sleep(3)
        assert rows(world, "SELECT planned_at FROM dca_settlements WHERE id = 2") == [(None,)]
        assert debits(await world.facts()) == debits(before)

        told = await shown(world)
        assert (told["payments"], told["marks"]) == ([], [])
        done = await satmachine(world, "machines", "reconcile", "--all", "--yes", "--reason", "failover")
        assert done.returncode == 0, done.stderr
        after = await world.settled()
        assert len(debits(after)) == 2 * LEGS
        assert violations(after) == []
        await audited(world)


async def test_a_copy_from_before_a_correction_does_not_pay_the_former_plan_on_top(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    """Partial dispense and a balance paid out since the copy was made: both are booked, nothing is paid again."""
    async with open_world(tmp_path, lnbits) as world:
        await world.start()
        await world.system.wait_for_log("satmachine runs")
        assert (await satmachine(world, "payouts", "pause", "--reason", "jam", "--yes")).returncode == 0
        await world.sell()
        await world.until(lambda: len(world.rest().legs) == LEGS)
        copy = await backed_up(world)
        jam = ("settlements", "partial-dispense", "1", "--fraction", "0.5", "--reason", "jam", "--yes")
        assert (await satmachine(world, *jam)).returncode == 0
        assert (await satmachine(world, "payouts", "resume", "--reason", "mended", "--yes")).returncode == 0
        await world.settled()
        settle = ("clients", "settle", "1", "--rate", "143", "--amount", "100", "--yes")
        assert (await satmachine(world, *settle)).returncode == 0
        await world.until(lambda: bool(rows(world, "SELECT 1 FROM dca_payments WHERE settlement_id IS NULL")))
        before = await world.settled()
        world.kill()
        [(balance,)] = rows(world, "SELECT confirmed_minor - used_minor FROM dca_clients WHERE id = 1")

        world.restore_books(copy)
        await world.start()
        await stopped(world)
        told = await reconciled(world)
        assert verdicts(told) == ["book", "payout"]
        assert (await satmachine(world, "payouts", "resume", "--reason", "after the restore", "--yes")).returncode == 0
        after = await world.settled()
        await anyio.sleep(6)
        assert debits(await world.facts()) == debits(before)
        assert violations(after) == []
        assert rows(world, "SELECT confirmed_minor - used_minor FROM dca_clients WHERE id = 1") == [(balance,)]
        assert rows(world, "SELECT status, retained_sats > 100000 FROM dca_settlements") == [("processed", 1)]
        await audited(world)


# --- trouble with money and payees


async def test_insufficient_balance_waits_and_goes_on_when_the_wallet_is_funded(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with open_world(tmp_path, lnbits) as world:
        machine = world.system.machines[0]
        await world.sell(announce=False)
        await lnbits.pay_customer_invoice(world.system.wallets["owner"], 1_000, {}, "somebody withdraws")
        await world.withdraw(machine, 200_000)
        await world.start()
        await world.until(lambda: any("insufficient" in leg.why.lower() for leg in world.rest().legs))
        assert not world.settled_now
        await lnbits.credit(machine.wallet.id, 200_000)
        facts = await world.settled()
        assert {leg.status for leg in facts.legs} == {"completed"}
        assert len([key for key, _ in debits(facts) if key.startswith("sm1:")]) == LEGS


async def test_a_payee_that_fails_never_delays_other_legs_or_machines(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits, machines=2) as world:
        world.system.key_file("alice").write_text("0" * 32)
        for machine in world.system.machines:
            for _ in range(3):
                await world.sell(machine, announce=False)
        await world.start()
        await world.until(lambda: sum(leg.status == "completed" for leg in world.rest().legs) == 6 * (LEGS - 1))
        failed = [leg for leg in world.rest().legs if leg.status != "completed"]
        assert {leg.leg_key.rsplit(":", 1)[1] for leg in failed} == {"alice"}
        assert violations(await world.facts()) == []


async def test_a_429_storm_is_waited_out(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with (
        FaultProxy(lnbits.url, lambda _: Fault.NONE) as proxy,
        open_world(tmp_path, lnbits, lnbits_url=proxy.url) as world,
    ):
        await world.sell(announce=False)
        await world.start()
        await world.until(lambda: bool(world.rest().legs))
        proxy.log.clear()
        proxy.plan = matching(lambda request: "payments" in request.path, lambda _: Fault.TOO_MANY_REQUESTS)
        await anyio.sleep(10)
        assert len(proxy.log) < 40, "LNbits is left in peace while it refuses"
        proxy.plan = lambda _: Fault.NONE
        facts = await world.settled()
        assert violations(facts) == []
        assert len(debits(facts)) == LEGS


# --- one payer


async def test_a_second_daemon_on_the_same_database_is_refused(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        await world.start()
        await world.system.wait_for_log("satmachine runs")
        second = await satmachine(world, "run")
        assert second.returncode == 1
        assert "another satmachine daemon" in second.stderr
        assert "Two would pay twice" in second.stderr
        assert world.alive


async def test_payments_of_another_living_daemon_stop_this_one(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        config = load(world.system.config_path)
        machine = config.machines[0]
        wallet = world.system.machines[0].wallet
        await lnbits.credit(wallet.id, 1_000)
        key = f"sm1:{'ab' * 32}:r1:super"
        async with Lnbits(lnbits.url, instance_id="another") as other:
            invoice = await other.create_invoice(
                world.system.wallets["super"].invoice_key,
                amount_sats=21,
                memo="x",
                expiry_s=3600,
                extra={},
                external_id=key,
            )
            await other.pay(wallet.admin_key, invoice.bolt11, extra={"tag": tag(machine.npub)}, external_id=key)
        async with open_store(world.system.database_path) as store, Lnbits(lnbits.url, instance_id="this") as client:
            wallet_sweep = WalletSweep(store, client, lambda: config, lambda: int(time.time()))
            sweep = await wallet_sweep.sweep(machine)
        assert sweep.safe_mode is not None
        assert "another daemon" in sweep.safe_mode
        assert sweep.strange == 1
