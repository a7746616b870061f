"""Who can write the database makes no payment: what the daemon itself has not ordered is held, whatever the rows say.

The attacker is a member of the group: they write the file with SQL, triggers dropped, and read no key. The wallet and
the daemon are real; what was paid is read from LNbits.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from chaos.world import World
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer, WalletKeys
from tests.found.parts import (
    GROSS_SATS,
    NET_SATS,
    PLENTY_MINOR,
    all_paid,
    asked,
    did,
    paid,
    paid_for,
    pause,
    received,
    resume,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

LPS = {"alice": PLENTY_MINOR}


def attack(world: World, *statements: str, **values: object) -> None:
    """Run SQL as somebody who may write the file; nothing that a trigger forbids stays forbidden."""
    with closing(sqlite3.connect(world.system.database_path, timeout=30, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        triggers = conn.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            conn.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            conn.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})
        for _, sql in triggers:
            conn.execute(sql)
        conn.execute("COMMIT")


def legs_of(world: World) -> dict[str, Mapping[str, object]]:
    """Every payment of the books, by its name."""
    with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn:
        conn.row_factory = sqlite3.Row
        return {str(row["leg"]): dict(row) for row in conn.execute("SELECT * FROM dca_payments ORDER BY id")}


def states(world: World) -> dict[str, object]:
    return {name: row["hold_reason"] or row["status"] for name, row in legs_of(world).items()}


def is_held(world: World, *names: str) -> bool:
    found = states(world)
    return all(found.get(name) == "unordered" for name in names)


async def an_invoice(lnbits: LnbitsServer, wallet: WalletKeys, sats: int) -> tuple[str, str]:
    """An invoice of a wallet, and its payment hash."""
    async with Lnbits(lnbits.url, instance_id="test") as client:
        made = await client.create_invoice(
            wallet.invoice_key, amount_sats=sats, memo="", expiry_s=3_600, extra={}, external_id="mallory"
        )
    return made.bolt11, made.payment_hash


def plant_key(world: World, keys: WalletKeys) -> Path:
    """The attacker's own invoice key, where the daemon may read it."""
    path = world.system.folder / "mallory.key"
    path.write_text(keys.invoice_key)
    path.chmod(0o640)
    return path


MALLORY = (
    "INSERT INTO dca_clients (id, machine_id, label, person, mode, payee_kind, payee, confirmed_minor, created_at, "
    "created_by) VALUES (66, 'machine-1', 'mallory', 'mallory', 'flow', 'invoice_key_file', :key, 1000000, 1, 'ana')"
)
BALANCE = (
    "INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, client_id, amount_sats, fiat_amount_minor, "
    "exchange_rate, currency, payee, effective_at, planned_at, payee_scope, seal) VALUES ('machine-1', 'settlement', "
    "'bal:mallory:1', 'sm1:bal:machine-1:mallory:1', 66, 5000, 100, '50', 'GTQ', 'LNbits wallet', 1, 1, 'client:66', "
    "(SELECT seal FROM dca_payments LIMIT 1))"
)
REFUND = (
    "INSERT INTO dca_payments (settlement_id, machine_id, position, leg_type, leg, leg_key, amount_sats, payee, "
    "effective_at, planned_at, payee_kind, payee_ref) SELECT 1, 'machine-1', 9, 'refund', 'refund:1', "
    "'sm1:' || payment_hash || ':r1:refund:1', 5000, :invoice, 1, 1, 'invoice', :invoice FROM dca_settlements"
)
#: The share of alice goes to mallory; the platform gets ten times as much.
ALTERED = (
    "UPDATE dca_payments SET client_id = 66, payee_scope = 'client:66', payee_ref = :wallet WHERE leg = 'dca:alice'",
    "UPDATE dca_payments SET amount_sats = amount_sats * 10 WHERE leg = 'super'",
)


async def a_planned_sale(world: World) -> str:
    """A sale of which nothing is paid yet; its payment hash."""
    await runs(world)
    await pause(world)
    sale = await world.sell()
    await until(lambda: len(legs_of(world)) == 4, world)
    return sale.payment_hash


async def test_what_others_wrote_is_not_paid_and_what_the_daemon_ordered_is(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        mallory = await lnbits.create_wallet("mallory")
        sale = await a_planned_sale(world)
        invoice, _ = await an_invoice(lnbits, mallory, 5_000)
        key = str(plant_key(world, mallory))
        attack(world, MALLORY, BALANCE, REFUND, *ALTERED, key=key, wallet=mallory.id, invoice=invoice)
        await lnbits.credit(world.system.machines[0].wallet.id, 1_000_000)
        await resume(world)
        strange = ("bal:mallory:1", "refund:1", "dca:alice", "super")
        await until(lambda: is_held(world, *strange), world)
        await until(lambda: all_paid(world, sale, 2), world)
        assert set(await paid_for(world, sale)) == {"r1:split:owner", "r1:split:technician"}
        assert await received(world, mallory) == 0
        needed = json.loads((await satmachine(world, "status", "--json")).stdout)["attention"]
        assert any("the daemon has not planned this payment" in row["cause"] for row in needed)
        audit = await satmachine(world, "audit", "--offline", "--json")
        assert audit.returncode == 1
        assert audit.stdout.count('"unordered"') == len(strange)
        await leads_out(world, sale)
        # The next daemon finds a database that says that it is from before there were seals.
        world.kill()
        attack(world, "UPDATE dca_wallets SET sealed_at = NULL", BALANCE.replace("mallory:1", "mallory:2"))
        await runs(world)
        await until(lambda: is_held(world, "bal:mallory:2"), world)
        assert await received(world, mallory) == 0


async def leads_out(world: World, sale: str) -> None:
    """What nobody ordered is given up. What a person with the key knows to be right is paid."""
    ids = {name: str(row["id"]) for name, row in legs_of(world).items()}
    for name in ("bal:mallory:1", "refund:1", "super"):
        await did(world, "payments", "cancel", ids[name], "--reason", "not ordered", "--yes")
    attack(
        world,
        "UPDATE dca_payments SET client_id = 1, payee_scope = 'client:1', payee_ref = :wallet WHERE leg = 'dca:alice'",
        wallet=world.system.wallets["alice"].id,
    )
    await did(world, "payments", "approve", ids["dca:alice"], "--reason", "as it was planned", "--yes")
    await until(lambda: all_paid(world, sale, 3), world)
    assert await received(world, "alice") == NET_SATS
    # The platform's part was given up with the row that somebody had changed: the sale retains it, to the sat.
    [found] = await asked(world, "settlements", "list")
    assert found["retained_sats"] == GROSS_SATS - NET_SATS - sum(
        int(str(row["amount_sats"])) for name, row in legs_of(world).items() if name.startswith("split:")
    )


async def test_an_invoice_that_somebody_exchanged_is_not_paid(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        mallory = await lnbits.create_wallet("mallory")
        sale = await a_planned_sale(world)
        sats = int(str(legs_of(world)["split:owner"]["amount_sats"]))
        invoice, payment_hash = await an_invoice(lnbits, mallory, sats)
        attack(
            world,
            "UPDATE dca_payments SET generation = 1, status = 'invoiced', payment_hash = :hash "
            "WHERE leg = 'split:owner'",
            "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, bolt11, payment_hash, internal, "
            "wallet_id) SELECT id, 1, amount_sats, 1, :invoice, :hash, 1, payee_ref FROM dca_payments "
            "WHERE leg = 'split:owner'",
            invoice=invoice,
            hash=payment_hash,
        )
        await resume(world)
        await until(lambda: all_paid(world, sale, 3), world)
        await until(lambda: is_held(world, "split:owner"), world)
        assert await received(world, mallory) == 0
        payment = str(legs_of(world)["split:owner"]["id"])
        assert f"payments resolve {payment} --unpaid" in str(legs_of(world)["split:owner"]["error"])


async def test_a_sale_that_was_paid_is_not_paid_again_however_its_history_is_rewritten(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    """First what was paid is called unpaid with its own seals, then it is moved away and the sale is planned anew."""
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        sale = await world.sell()
        await until(lambda: all_paid(world, sale.payment_hash, 4), world)
        await until(lambda: world.settled_now, world)
        before = await paid(world)
        await lnbits.credit(world.system.machines[0].wallet.id, 1_000_000)
        attack(
            world,
            "DELETE FROM dca_invoices",
            "UPDATE dca_payments SET status = 'pending', completed_at = NULL, sent_sats = NULL, proof = NULL, "
            "generation = 0, payment_hash = NULL, next_attempt_at = 0",
            "DELETE FROM dca_marks",
        )
        await until(lambda: any(row["safe_mode"] for row in wallets_of(world)), world)
        forget = (
            "UPDATE dca_payments SET settlement_id = NULL, leg_key = 'sm1:bal:machine-1:old:' || id, "
            "leg = 'old' || id, status = 'voided', hold_reason = NULL, next_attempt_at = NULL",
            "UPDATE dca_foreign_payments SET settled_by = 'ana', decided_at = 1",
            "UPDATE dca_foreign_marks SET decided_at = 1, decided_by = 'ana'",
            "UPDATE dca_wallets SET safe_mode = NULL, reconcile_since = NULL",
            "UPDATE dca_settlements SET status = 'pending', hold_reason = NULL, planned_at = NULL, revision = 7, "
            "platform_fee_sats = NULL, operator_fee_sats = NULL, next_attempt_at = 0, "
            "overrides = 'unknown_payments daily_limit'",
        )
        attack(world, *forget)
        await until(lambda: is_held(world, "super", "dca:alice"), world)
        assert await paid(world) == before


def wallets_of(world: World) -> list[Mapping[str, object]]:
    with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn:
        conn.row_factory = sqlite3.Row
        return [dict(row) for row in conn.execute("SELECT * FROM dca_wallets")]


async def test_a_sale_that_only_the_database_calls_proven_is_not_planned(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        await lnbits.credit(world.system.machines[0].wallet.id, 1_000_000)
        attack(
            world,
            "INSERT INTO dca_settlements (payment_hash, settlement_key, machine_id, source, gross_sats, net_sats, "
            "commission_sats, exchange_rate, currency, proof, proven_at, occurred_at, landed_at) VALUES (:hash, :hash, "
            "'machine-1', 'event', 266800, 258796, 8004, '143', 'GTQ', 'proven', 1, 1800000000, 1800000000)",
            hash="ab" * 32,
        )
        await until(lambda: _holds(world) == ["payment_not_found"], world)
        assert legs_of(world) == {}


def _holds(world: World) -> list[object]:
    with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn:
        return [reason for (reason,) in conn.execute("SELECT hold_reason FROM dca_settlements")]
