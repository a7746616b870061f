"""The demo's own LNbits: it survives being stopped and killed, and plays customers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from satmachine.errors import SatmachineError
from testkit import lnbits as harness
from testkit.lnbits import LNBITS_VERSION, POSTGRES_PORT, LnbitsServer, ensure_environment, running_lnbits


async def balance_sats(server: LnbitsServer, key: str) -> int:
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get("/api/v1/wallet", headers={"X-Api-Key": key})
    return int(answer.json()["balance"]) // 1000


async def test_a_customer_pays_the_machine(lnbits: LnbitsServer) -> None:
    machine = await lnbits.create_wallet("machine")
    payment_hash = await lnbits.pay_customer_invoice(machine, 266_800, {"source": "bitspire"}, "Sale")
    assert len(payment_hash) == 64
    assert await balance_sats(lnbits, machine.invoice_key) == 266_800


async def test_it_keeps_its_database_over_stop_and_kill(tmp_path: Path) -> None:
    async with running_lnbits(tmp_path) as server:
        machine = await server.create_wallet("machine")
        await server.pay_customer_invoice(machine, 500, {}, "Sale")
        await server.stop()
        await server.start()
        await server.pay_customer_invoice(machine, 70, {}, "Sale")
        server.kill()
        await server.start()
        assert await balance_sats(server, machine.admin_key) == 570


def test_a_second_installation_is_instant_and_says_nothing() -> None:
    ensure_environment(LNBITS_VERSION, say=print)
    said: list[str] = []
    ensure_environment(LNBITS_VERSION, say=said.append)
    assert said == []


def test_an_unpinned_version_is_refused_by_name() -> None:
    with pytest.raises(SatmachineError, match=r"LNbits 0\.0\.1 is not pinned here"):
        ensure_environment("0.0.1", say=print)


def test_without_a_suitable_python_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "_python_version", lambda candidate: None)
    with pytest.raises(SatmachineError, match=r"needs Python 3\.10, 3\.11 or 3\.12 .* apt-get install"):
        ensure_environment(LNBITS_VERSION, say=print)


def test_a_broken_interpreter_named_on_purpose_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATMACHINE_LNBITS_PYTHON", "/bin/false")
    with pytest.raises(SatmachineError, match="SATMACHINE_LNBITS_PYTHON is /bin/false"):
        ensure_environment(LNBITS_VERSION, say=print)


@pytest.mark.skipif(bool(POSTGRES_PORT), reason="is about LNbits' SQLite file")
async def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    environment = ensure_environment(LNBITS_VERSION, say=print)
    (tmp_path / "database.sqlite3").write_text("this is no database")
    server = LnbitsServer(environment, tmp_path)
    with pytest.raises(SatmachineError, match="file is not a database"):
        await server.start()
