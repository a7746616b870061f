"""Jams and customers of docs/corrections.md, by exactly the commands that the page prints; then the books add up.

What the page can only give an example of is filled in: which sale, which invoice, whose address. Its other situations:
tests/day/test_changes.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import anyio
import pytest

from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import WalletKeys
from tests.day.follow import Follower, Situation
from tests.day.operator import GROSS_SATS, Operator
from tests.day.test_day import invoice_of, pays
from tests.found.parts import AddressServer, addresses
from tests.integration.conftest import BuildSystem

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SETTINGS = {
    "payouts": "attention_after_s = 10",
    "reconcile": "interval_s = 5",
    "lnurl": "allow_private_hosts = true",
    "machines": "payout_delay_s = 10\nhold_on_error = true",
}
HALF_SATS = GROSS_SATS // 2
ANA = "ana@example.org"


@asynccontextmanager
async def opened(build_system: BuildSystem, **settings: str) -> AsyncIterator[tuple[Follower, AddressServer]]:
    """maria and jose have cash in machine-1; ana is a customer; the daemon runs."""
    system = await build_system(lps=("maria", "jose"), settings={**SETTINGS, **settings})
    people: dict[str, WalletKeys] = {name: await system.lnbits.create_wallet(name) for name in ("ana", "maria-new")}
    operator = Operator(system, system.config_path)
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    with addresses(system.lnbits, {**system.wallets, **people}) as server:
        async with Follower(operator) as follower:
            for number, label in enumerate(("maria", "jose"), start=1):
                await operator.types(
                    *("clients", "add", "--machine", "machine-1", "--label", label),
                    *("--invoice-key-file", str(system.key_file(label))),
                )
                await operator.types("deposits", "add", label, "20000")
                await operator.types("deposits", "confirm", str(number), "--yes")
            yield follower, server


async def evening(follower: Follower, situation: Situation) -> None:
    """All that the page says was played, and every sat is accounted for, in the books and in the wallets."""
    situation.ends()
    assert "every sat is accounted for" in await follower.types("satmachine audit")
    assert await follower.operator.system.stop_daemon() == 0


async def sold(operator: Operator, status: str = "processed", *, paid_sats: int = GROSS_SATS) -> str:
    """A customer comes; the sale's number, once it stands so."""
    await operator.sells(paid_sats=paid_sats)
    await operator.until_sale(operator.sales_made, status)
    return str(operator.sales_made)


async def has_sats(operator: Operator, wallet: WalletKeys) -> int:
    async with Lnbits(operator.system.lnbits.url, instance_id="test") as lnbits:
        return (await lnbits.wallet(wallet.invoice_key)).balance_msat // 1_000


def invoice_in(shown: str) -> str:
    """The invoice that a screen shows."""
    found = re.search(r"^ln[a-z0-9]{100,}$", shown, re.MULTILINE)
    assert found, shown
    return found[0]


async def test_looking_and_stopping(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, _):
        page = Situation(follower, "By situation")
        number = await sold(follower.operator, "pending")
        assert "266" in await page.plays("settlements show", {"ID": number})
        await page.plays("settlements explain", {"ID": number})
        await page.plays("settlements hold", {"ID": number})
        await follower.operator.until_sale(int(number), "held")
        await page.plays("payouts pause", {"M": "machine-1"})
        for condition in ("settlement_held", "payouts_paused"):
            item = await follower.operator.until(condition)
            await follower.types((await follower.operator.needs())[item])
        await follower.operator.until_sale(int(number), "processed")
        await evening(follower, page)


async def test_a_jam_and_nothing_is_paid_yet(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, server):
        operator = follower.operator
        page = Situation(follower, "A jam, and nothing is paid yet")
        for corrected in (True, False):
            number = await sold(operator, "pending")
            await operator.beacon(status="error", last_error="bill validator offline")
            await operator.until_sale(int(number), "held")
            for _ in ("shown", "done") if corrected else ():
                await page.plays("settlements partial-dispense", {"12": number})
            await page.plays("settlements release", {"12": number})
            await operator.until_sale(int(number), "processed")
            if corrected:
                await page.plays("settlements refund", {"12": number, ANA: server.address("ana")})
                await operator.until_sale(int(number), "refunded")
        await evening(follower, page)


async def test_a_jam_and_all_is_paid(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, server):
        operator, ana = follower.operator, server.wallets["ana"]
        page = Situation(follower, "A jam, and all is paid")
        number = await sold(operator)
        to = {"12": number, ANA: server.address("ana")}
        await page.plays("settlements shortfall 12 --dispensed 900 --refund-to", to)
        booking = page.followed("settlements shortfall 12 --dispensed 900 --refund-to", to)
        await follower.types(booking)
        assert await operator.until("shortfall_waits") == f"shortfall_waits:machine-1:{number}"
        shown = await page.plays("settlements shortfall 12", to)
        assert invoice_in(shown) in (await operator.types("settlements", "shortfall", number)).out
        await page.plays("settlements shortfall 12 --undo", to)
        await operator.until_quiet("shortfall_waits")
        top_up = invoice_in(await follower.types(booking))

        await pays(operator, top_up, HALF_SATS)
        await operator.until_sale(int(number), "refunded")
        assert await has_sats(operator, ana) == HALF_SATS - 1_334
        number = await sold(operator)
        await page.plays("settlements shortfall 12 --dispensed 900 --by-hand", {"12": number})
        number = await sold(operator)
        await page.plays("settlements note", {"12": number})

        # An invoice counts as expired ten minutes later: tests/settlements/correct/test_refund_paid_once.py has one.
        for start in ("settlements close", "settlements refund"):
            page.leaves_out(start)
        await evening(follower, page)


async def beside_the_balances(operator: Operator, counted: int) -> Decimal:
    """Count the machine, book what differs, and say how much more is there than the LPs' balances; below 0: missing."""
    count = ("cash", "count", "machine-1", "--amount", str(counted), "--yes", "--json")
    entry = json.loads((await operator.types(*count)).out)["id"]
    await operator.types("cash", "book", str(entry), "--reason", "as the page says", "--yes", code=None)
    return Decimal((await operator.reads("cash", "report", "machine-1"))["now"]["own"])


async def test_the_customer_got_less_or_more(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, _):
        operator = follower.operator
        page = Situation(follower, "The customer got less than the machine says, or more")
        assert await beside_the_balances(operator, 40_000) == 0
        number = await sold(operator, "pending")
        await page.plays("settlements hold", {"12": number})
        await operator.until_sale(int(number), "held")
        await page.plays("settlements release", {"12": number})
        await operator.until_sale(int(number), "processed")

        # One note too many. The owner bears it; then there is another one, which maria bears.
        assert await beside_the_balances(operator, 38_100) == -100
        await page.plays("cash load", {"panajachel-1": "machine-1"})
        assert await beside_the_balances(operator, 38_200) == 0
        assert await beside_the_balances(operator, 38_100) == -100
        await page.plays("deposits withdraw maria", {"12": number})
        assert await beside_the_balances(operator, 38_100) == 0
        await evening(follower, page)


async def test_the_machine_and_its_wallet_do_not_agree(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, server):
        operator = follower.operator
        page = Situation(follower, "The machine and its wallet do not agree")
        assert await beside_the_balances(operator, 40_000) == 0
        number = await sold(operator, "held", paid_sats=GROSS_SATS + 33_200)
        item = await operator.until("settlement_held")
        [cause] = [row["cause"] for row in await operator.reads("alerts", "list", code=1) if row["item"] == item]
        assert "the wallet received 300000 sats, the sale says 266800 sats" in cause
        assert "docs/corrections.md" in cause

        await page.plays("settlements close", {"12": number})
        await operator.until_sale(int(number), "partial")
        ana = server.wallets["ana"]
        back = await invoice_of(operator, ana.invoice_key, 33_200)
        await operator.system.lnbits.pay(operator.system.machines[0].wallet, back)
        await page.plays("settlements note", {"12": number})
        assert "maria" in await page.plays("clients balance", {"panajachel-1": "machine-1"})
        for label in ("maria", "jose"):
            await follower.types(page.followed("clients settle", {"maria": label}))
        for label in ("maria", "jose"):
            wallet = operator.system.wallets[label]
            for _ in range(100):
                if await has_sats(operator, wallet):
                    break
                await anyio.sleep(0.2)
            assert await has_sats(operator, wallet) == 129_417  # 900 GTQ at 143.797
        assert await beside_the_balances(operator, 38_200) == 0
        assert "top-ups and other income" in await page.plays("audit", {})
        await evening(follower, page)
