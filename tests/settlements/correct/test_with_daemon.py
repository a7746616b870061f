"""Corrections as they happen: a real daemon, a real LNbits, the command line, and the proof afterwards."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from satmachine.audit.proof import check_books
from satmachine.cli.main import app
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import WalletKeys
from testkit.system import System
from testkit.watch import SALE, add_providers, balances, books, legs_of, started, until_status
from tests.integration.conftest import build_system, system

__all__ = ["build_system", "system"]

HALF_LEGS = {
    "super": 1_195,
    "split:owner": 1_951,
    "split:technician": 836,
    "dca:alice": 64_709,
    "dca:bruno": 38_825,
    "dca:carla": 25_884,
}


async def cli(system: System, *arguments: str, code: int = 0) -> str:
    """Run the program beside the daemon; its standard output."""
    result = await anyio.to_thread.run_sync(
        lambda: CliRunner().invoke(app, ["--config", str(system.config_path), "--actor", "maria", *arguments])
    )
    assert result.exit_code == code, result.output + system.log_tail()
    return result.stdout


async def withdraw(system: System, amount_sats: int) -> None:
    """The operator moves sats out of the machine's wallet, past satmachine."""
    keys = system.wallets["owner"]
    async with Lnbits(system.lnbits.url, instance_id="test") as lnbits:
        invoice = await lnbits.create_invoice(
            keys.invoice_key, amount_sats=amount_sats, memo="", expiry_s=3600, extra={}, external_id="withdrawal"
        )
        await lnbits.pay(system.machines[0].wallet.admin_key, invoice.bolt11, extra={}, external_id="withdrawal")


async def customer_invoice(system: System, amount_sats: int) -> tuple[WalletKeys, str]:
    """A customer's wallet, and an invoice of it as any wallet makes one."""
    wallet = await system.lnbits.create_wallet("a customer")
    order = {"out": False, "amount": amount_sats, "memo": "refund"}
    invoice = await system.lnbits._with_key(wallet.invoice_key, order)
    return wallet, str(invoice["bolt11"])


def proof(system: System) -> list[object]:
    with books(system) as conn:
        return [*check_books(conn)]


async def test_a_failed_sale_is_corrected_to_half_paid_anew_and_the_rest_refunded(system: System) -> None:
    await started(system)
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE)
    await withdraw(system, 266_800)
    await system.announce(system.machines[0], sale)
    await until_status(system, "errored")

    shown = json.loads(
        await cli(
            system,
            *("settlements", "partial-dispense", "1", "--fraction", "0.5", "--reason", "jam", "--dry-run", "--json"),
        )
    )
    assert {name: shown["new"][name] for name in HALF_LEGS} == HALF_LEGS

    said = await cli(system, "settlements", "partial-dispense", "1", "--fraction", "0.5", "--reason", "jam", "--yes")
    assert "now shares out 133400 sats" in said
    await system.lnbits.credit(system.machines[0].wallet.id, 266_800)
    [settlement] = await until_status(system, "processed", timeout_s=150)
    assert (settlement.revision, settlement.net_sats, settlement.commission_sats) == (2, 129_418, 3_982)
    assert (settlement.undispensed_sats, settlement.retained_sats) == (133_400, 133_400)
    paid = {leg.leg: leg.amount_sats for leg in legs_of(system) if leg.status == "completed"}
    assert paid == HALF_LEGS
    assert {leg.status for leg in legs_of(system) if leg.revision == 1} == {"voided"}
    said = await cli(
        system, "settlements", "partial-dispense", "1", "--fraction", "1", "--reason", "no", "--yes", code=1
    )
    assert said == ""

    customer, invoice = await customer_invoice(system, 100_000)
    await cli(system, "settlements", "refund", "1", "100000", "--to", invoice, "--reason", "jam", "--yes")
    [settlement] = await until_status(system, "refunded", timeout_s=90)
    async with Lnbits(system.lnbits.url, instance_id="test") as lnbits:
        assert (await lnbits.wallet(customer.invoice_key)).balance_msat == 100_000_000
    assert settlement.retained_sats == 33_400
    await cli(system, "settlements", "refund", "1", "33401", "--to", "a@b.example", "--reason", "x", "--yes", code=1)

    assert proof(system) == []
    await anyio.sleep(1.1)  # what was completed in the second of the audit counts as under way
    report: dict[str, Any] = json.loads(await cli(system, "audit", "--json"))
    assert report["breaks"] == []
    [wallet] = report["wallets"]
    assert wallet["wallet_sats"] == wallet["books_sats"] == 33_400
    assert (wallet["top_ups_sats"], wallet["withdrawals_sats"]) == (266_800, 266_800)
    assert (await balances(system))["machine-1"] == 33_400
    explained = json.loads(await cli(system, "settlements", "explain", "1", "--json"))
    assert explained["conserves"]


@pytest.mark.parametrize("planted", ["unknown payment", "sale"])
async def test_the_audit_finds_what_only_the_wallet_shows(system: System, planted: str) -> None:
    await started(system)
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE)
    await system.announce(system.machines[0], sale)
    await until_status(system, "processed")
    assert json.loads(await cli(system, "audit", "--json"))["breaks"] == []
    await system.stop_daemon()
    if planted == "unknown payment":
        await system.lnbits.credit(system.machines[0].wallet.id, 500)
        await _pay_as_satmachine(system, 500)
        expected = {"unknown_payment", "wallet_sum"}
    else:
        with books(system) as conn:
            conn.execute("UPDATE dca_settlements SET payment_hash = ?", ("ab" * 32,))
        expected = {"sale_missing", "wallet_sum"}
    report = json.loads(await cli(system, "audit", "--json", code=1))
    assert {found["kind"] for found in report["breaks"]} == expected
    assert all(found["remedy"].startswith("satmachine ") for found in report["breaks"])


async def _pay_as_satmachine(system: System, amount_sats: int) -> None:
    """A payment with our tag and a leg key that no plan has, as another daemon would make it."""
    machine = system.machines[0]
    extra = {"tag": f"satmachine:{machine.signer.npub}"}
    key = f"sm1:{'cd' * 32}:r1:dca:alice"
    async with Lnbits(system.lnbits.url, instance_id="another") as lnbits:
        invoice = await lnbits.create_invoice(
            system.wallets["alice"].invoice_key,
            amount_sats=amount_sats,
            memo="",
            expiry_s=3600,
            extra=extra,
            external_id=key,
        )
        await lnbits.pay(machine.wallet.admin_key, invoice.bolt11, extra=extra, external_id=key)
