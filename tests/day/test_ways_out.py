"""What needs a person, on real parts: the command that is printed is typed as it is printed, and the item ends by that,
or by what it shows to do. tests/attention/test_ways_out.py says which condition and which reason is walked where."""

from __future__ import annotations

import re

import pytest

from satmachine.attention.items import CONDITIONS
from satmachine.audit.remedies import BreakKind
from satmachine.config import load
from satmachine.identity import tag
from satmachine.models import HoldReason
from satmachine.wallet.lnbits import Lnbits
from tests.day.follow import Follower
from tests.day.test_changes import reloads
from tests.day.test_corrections import invoice_in, opened, sold
from tests.day.test_day import pays
from tests.integration.conftest import BuildSystem

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ALERTS = {"alerts": "wallet_low_sats = 300_000"}
CASSETTE = {"denomination": 100, "capacity": 500}


async def printed(follower: Follower, condition: str) -> str:
    """Wait for an item, and type its command as it is printed; what that has shown."""
    assert condition.split(":")[0] in CONDITIONS
    item = await follower.operator.until(condition, timeout_s=90)
    return await follower.types((await follower.operator.needs())[item])


async def test_the_list_leads_out_of_what_it_tells(build_system: BuildSystem) -> None:
    async with opened(build_system, alerts=ALERTS["alerts"]) as (follower, _):
        await a_machine_is_switched_off(follower)
        await a_wallet_is_low(follower)
        await a_cassette_is_low(follower)
        await cash_is_missing(follower)
        await a_rate_is_unknown(follower)
        await the_daemon_is_down(follower)
        assert "every sat is accounted for" in await follower.types("satmachine audit")


async def a_machine_is_switched_off(follower: Follower) -> None:
    """A sale of a machine that the file calls inactive waits until it does not."""
    table = '[[machines]]\nid = "machine-1"\n'
    await reloads(follower, lambda text: text.replace(table, f"{table}active = false\n"))
    await follower.operator.sells()
    sale = (await follower.operator.until_sale(1, "held"))["settlement"]
    assert sale["hold_reason"] == HoldReason.MACHINE_INACTIVE
    [item] = [item for item in await follower.operator.reads("alerts", "list", code=1) if item["settlement_id"] == 1]
    assert "set active = true" in item["cause"]
    await reloads(follower, lambda text: text.replace("active = false\n", ""), by=item["command"])
    await follower.operator.until_sale(1, "processed")
    await follower.operator.until_quiet("settlement_held")


async def a_wallet_is_low(follower: Follower) -> None:
    assert "machine-1" in await printed(follower, "wallet_low:machine-1")
    await pays(
        follower.operator, invoice_in(await follower.types("satmachine machines top-up machine-1 500000")), 500_000
    )
    await follower.operator.types("machines", "sweep", "machine-1")
    await follower.operator.until_quiet("wallet_low")


async def a_cassette_is_low(follower: Follower) -> None:
    await follower.operator.beacon(status="ok", cassettes=[{**CASSETTE, "count": 3}])
    assert "3" in await printed(follower, "cassette_low:machine-1")
    await follower.types('satmachine alerts silence cassette_low:machine-1 --for 2d --reason "loaded on Monday"')
    await follower.operator.until_quiet("cassette_low")


async def cash_is_missing(follower: Follower) -> None:
    await follower.types("satmachine cash count machine-1 --amount 10000")
    await follower.types("satmachine cash load machine-1 --amount 5000")
    counted = await follower.types("satmachine cash count machine-1 --amount 14900")
    shown = counted + await printed(follower, "cash_differs:machine-1")
    booking = re.search(r"satmachine cash book \d+", shown)
    assert booking, shown
    await follower.types(booking[0])
    await follower.operator.until_quiet("cash_differs")


async def a_rate_is_unknown(follower: Follower) -> None:
    """Money of no sale that is landed as one: nobody told its rate."""
    operator = follower.operator
    payment_hash = await operator.system.lnbits.pay_customer_invoice(
        operator.system.machines[0].wallet, 50_000, {}, "x"
    )
    await printed(follower, "unmatched:machine-1")
    await follower.types(f"satmachine settlements land {payment_hash}")
    await operator.until_quiet("unmatched")
    await printed(follower, "rate_unknown:machine-1")
    item = await operator.until("rate_unknown")
    [cause] = [row["cause"] for row in await operator.reads("alerts", "list", code=None) if row["item"] == item]
    wish = re.search(r"settlements redistribute ID --rate SATS", cause)
    assert wish, cause
    await follower.types("satmachine " + wish[0].replace("ID", "2").replace("SATS", "143.797"))
    await operator.until_quiet("rate_unknown")
    await operator.until_sale(2, "processed")


async def the_daemon_is_down(follower: Follower) -> None:
    assert await follower.operator.system.stop_daemon() == 0
    await printed(follower, "daemon_down")
    await follower.operator.until_quiet("daemon_down")


async def test_another_daemon_has_paid_from_the_wallet(build_system: BuildSystem) -> None:
    """What these books do not know of (HoldReason.UNKNOWN_PAYMENTS, HoldReason.MARKS_CONFLICT) is decided by the
    command that the list, and every break of the audit, prints."""
    async with opened(build_system) as (follower, server):
        operator, system = follower.operator, follower.operator.system
        await follower.types("satmachine payouts pause --machine machine-1")
        number = await sold(operator, "pending")
        sale = (await operator.reads("settlements", "show", number))["settlement"]
        machine = load(operator.config).machines[0]
        key = f"sm1:{sale['settlement_key']}:r1:super"
        async with Lnbits(system.lnbits.url, instance_id="another") as other:
            invoice = await other.create_invoice(
                server.wallets["super"].invoice_key,
                amount_sats=2_390,
                memo="by another daemon",
                expiry_s=3600,
                extra={},
                external_id=key,
            )
            ours = {"tag": tag(machine.npub)}
            await other.pay(system.machines[0].wallet.admin_key, invoice.bolt11, extra=ours, external_id=key)
        await operator.types("machines", "sweep", "machine-1")
        await operator.until("safe_mode:machine-1")
        told = await operator.reads("audit", code=1)
        helps = {row["kind"]: row["remedy"] for row in told["breaks"]}
        assert BreakKind.UNKNOWN_PAYMENT in helps
        assert helps.keys() <= {BreakKind.UNKNOWN_PAYMENT, BreakKind.WALLET_SUM, BreakKind.PAID_BUT_VOIDED}
        assert set(helps.values()) == {(await operator.needs())["safe_mode:machine-1"]}
        await accepts(follower, await printed(follower, "safe_mode:machine-1"))
        await operator.until_quiet("safe_mode")
        await printed(follower, "payouts_paused:machine-1")
        await operator.until_sale(int(number), "processed")
        assert "every sat is accounted for" in await follower.types("satmachine audit")


async def accepts(follower: Follower, shown: str) -> None:
    """What `machines reconcile` has shown is accepted by the command at its end."""
    found = re.search(r"satmachine machines reconcile \S+ --accept [0-9a-f]+", shown)
    assert found, shown
    await follower.types(found[0])
