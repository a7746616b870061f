"""`satmachine doctor` on real parts: all well, and each thing that can be wrong, with its fix."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from satmachine.config import load
from satmachine.ops.doctor import examine, exit_code
from satmachine.ops.findings import CheckResult, Finding
from satmachine.store import clients, registry, wallet_rows
from satmachine.store.database import atomic, connect, prepare
from testkit.relays import local_relay
from testkit.system import System
from tests.integration.conftest import BuildSystem


@pytest.fixture
async def well(system: System) -> System:
    """A system in order; its books exist, its daemon does not run."""
    prepare(system.database_path)
    system.database_path.chmod(0o660)
    return system


async def findings(system: System, **options: object) -> list[Finding]:
    return await examine(load(system.config_path), **options)  # type: ignore[arg-type]


def problems(found: list[Finding]) -> list[tuple[str, str]]:
    bad = [finding for finding in found if finding.verdict in (CheckResult.PROBLEM, CheckResult.UNREACHABLE)]
    assert all(finding.fix for finding in bad), "every problem comes with its fix"
    return [(finding.check, finding.subject) for finding in bad]


def only(found: list[Finding], check: str) -> Finding:
    [finding] = [finding for finding in found if finding.check == check]
    return finding


async def test_all_well(well: System) -> None:
    found = await findings(well)
    assert problems(found) == []
    assert exit_code(found) == 0
    assert {finding.check for finding in found} == {
        "keys", "database", "daemon", "permissions", "disk", "relay", "wallet", "lnbits", "speed", "clock"
    }  # fmt: skip
    assert "the key may pay" in next(f for f in found if f.subject == "machine machine-1").detail
    assert "version" in only(found, "lnbits").detail
    assert "to find a wallet's balance" in only(found, "speed").detail
    assert only(found, "clock").detail.startswith("agrees with")


async def test_a_wrong_key(well: System) -> None:
    well.key_file("machine-1").write_text("0123456789abcdef" * 2)
    found = await findings(well)
    assert problems(found) == [("wallet", "machine machine-1")]
    assert exit_code(found) == 1


async def test_an_invoice_key_where_an_admin_key_belongs(well: System) -> None:
    well.key_file("machine-1").write_text(well.machines[0].wallet.invoice_key)
    found = await findings(well)
    assert problems(found) == [("wallet", "machine machine-1")]
    [finding] = [finding for finding in found if finding.subject == "machine machine-1"]
    assert "which cannot pay" in finding.detail
    assert "Admin key" in finding.fix


async def test_an_admin_key_where_an_invoice_key_would_do(well: System) -> None:
    well.key_file("owner").write_text(well.wallets["owner"].admin_key)
    found = await findings(well)
    assert problems(found) == []
    assert [f.subject for f in found if f.verdict is CheckResult.WARNING and f.check == "wallet"] == [
        "payee owner of atitlan"
    ]


async def test_a_key_of_another_wallet(well: System) -> None:
    with closing(connect(well.database_path)) as conn, atomic(conn):
        registry.mirror(conn, load(well.config_path), 1)
        wallet_rows.note_answer(conn, "machine-1", wallet_id="another", balance_sats=1, version="1", now=1)
    found = await findings(well)
    assert problems(found) == [("wallet", "machine machine-1")]
    assert "another wallet" in next(f.detail for f in found if f.subject == "machine machine-1")


async def test_payees_of_liquidity_providers_that_cannot_be_paid(well: System, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 2)
    key.chmod(0o600)
    with closing(connect(well.database_path)) as conn, atomic(conn):
        registry.mirror(conn, load(well.config_path), 1)
        for label, kind, payee in (
            ("maria", "lightning_address", "maria@nowhere.invalid"),
            ("jose", "invoice_key_file", str(key)),
            ("rosa", "invoice_key_file", str(well.key_file("owner"))),
        ):
            clients.add(
                conn,
                machine_id="machine-1",
                label=label,
                person=label,
                payee_kind=kind,
                payee=payee,
                actor="test",
                now=1,
            )
    found = await findings(well)
    assert problems(found) == [("payee", "LP jose of machine-1"), ("payee", "LP maria of machine-1")]
    assert "a wallet of this LNbits" in next(f.detail for f in found if f.subject == "LP rosa of machine-1")


async def test_an_lnbits_that_is_down_is_said_once(well: System) -> None:
    text = well.config_path.read_text()
    well.config_path.write_text(text.replace(well.lnbits.url, "http://127.0.0.1:1"))
    found = await findings(well)
    assert problems(found) == [("lnbits", "http://127.0.0.1:1")]
    assert exit_code(found) == 4


async def test_a_relay_that_is_down(build_system: BuildSystem) -> None:
    system = await build_system(relays=2)
    prepare(system.database_path)
    gone = system.relays[1]
    gone.stop()
    found = await findings(system)
    assert problems(found) == [("relay", gone.url)]
    assert exit_code(found) == 4


async def test_a_relay_that_asks_who_we_are(well: System) -> None:
    async with local_relay(nip42=True) as url:
        well.settings = {"nostr": ""}
        text = well.config_path.read_text()
        well.config_path.write_text(text.replace(well.relays[0].url, url))
        found = await findings(well)
        assert problems(found) == [("relay", url)]
        assert "secret_key" in next(f for f in found if f.check == "relay").fix
        key = '[nostr]\nsecret_key = { env = "NOSTR" }'
        well.config_path.write_text(well.config_path.read_text().replace("[nostr]", key))
        with_key = await examine(load(well.config_path, environ={"NOSTR": "11" * 32}))
        assert problems(with_key) == []
        assert "NIP-42" in next(f for f in with_key if f.check == "relay").detail


async def test_a_clock_that_is_off_by_an_hour(well: System) -> None:
    found = await findings(well, clock=lambda: time.time() + 3600)
    assert ("clock", "this host") in problems(found)
    assert re.match(r"36\d\d s ahead of 127.0.0.1", only(found, "clock").detail)
    assert "set-ntp" in only(found, "clock").fix


async def test_secrets_that_others_can_read(well: System) -> None:
    well.key_file("machine-1").chmod(0o644)
    found = await findings(well)
    assert [check for check, _ in problems(found)] == ["keys"]
    [finding] = [finding for finding in found if finding.verdict is CheckResult.PROBLEM]
    assert finding.fix == f"chmod o= {well.key_file('machine-1')}"


async def test_secrets_in_a_file_that_others_can_read(well: System) -> None:
    text = well.config_path.read_text()
    reference = f'{{ file = "{well.key_file("machine-1")}" }}'
    well.config_path.write_text(text.replace(reference, f'"{well.machines[0].wallet.admin_key}"'))
    well.config_path.chmod(0o644)
    found = await findings(well)
    [finding] = [finding for finding in found if finding.verdict is CheckResult.PROBLEM]
    assert finding.fix == f"chmod 600 {well.config_path}"
    assert well.machines[0].wallet.admin_key not in str(found)


@pytest.mark.parametrize(("free", "verdict"), [(100_000_000, CheckResult.PROBLEM), (800_000_000, CheckResult.WARNING)])
async def test_a_disk_that_is_nearly_full(well: System, free: int, verdict: CheckResult) -> None:
    found = await findings(well, disk_usage=lambda _folder: (10**12, 10**12 - free, free))
    assert only(found, "disk").verdict is verdict
    assert only(found, "disk").fix


async def test_a_damaged_database(well: System) -> None:
    octets = bytearray(well.database_path.read_bytes())
    octets[8_192:20_480] = b"\xa5" * 12_288
    well.database_path.write_bytes(octets)
    found = await findings(well)
    assert ("database", str(well.database_path)) in problems(found)


async def test_a_database_that_everybody_may_change(well: System) -> None:
    well.database_path.chmod(0o666)
    found = await findings(well)
    assert ("permissions", str(well.database_path)) in problems(found)


async def test_credentials_that_only_the_service_sees_are_not_called_wrong(
    well: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    text = well.config_path.read_text()
    reference = f'{{ file = "{well.key_file("machine-1")}" }}'
    well.config_path.write_text(text.replace(reference, '{ credential = "machine-1" }'))
    found = await findings(well)
    assert problems(found) == []
    assert only(found, "keys").fix == "sudo satmachine doctor"


def run_doctor(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "satmachine", "--config", str(config), "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


async def test_the_command_prints_a_table_or_json_and_leaves_with_its_verdict(well: System) -> None:
    import anyio

    well.key_file("machine-1").write_text(well.machines[0].wallet.invoice_key)
    table = await anyio.to_thread.run_sync(run_doctor, well.config_path)
    assert (table.returncode, table.stderr) == (1, "")
    assert "put the wallet's Admin key there instead" in table.stdout
    found = await anyio.to_thread.run_sync(run_doctor, well.config_path, "--json")
    rows = json.loads(found.stdout)
    assert {"check", "subject", "verdict", "detail", "fix"} == set(rows[0])
    assert any(row["verdict"] == "problem" for row in rows)
