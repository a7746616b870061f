"""Who leaves, changes or moves, as docs/corrections.md says, by exactly the commands that it prints; jams and customers
are in tests/day/test_corrections.py."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import anyio
import pytest

from tests.day.follow import Follower, Situation
from tests.day.operator import Operator
from tests.day.test_corrections import evening, has_sats, invoice_in, opened, sold
from tests.day.test_day import pays
from tests.integration.conftest import BuildSystem

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HERE = {"panajachel-1": "machine-1"}
NOBODY = 'payee = { lightning_address = "tech@nowhere.invalid" }'


async def reloads(follower: Follower, change: Callable[[str], str], *, by: str = "systemctl reload satmachine") -> None:
    """Change the file, and let the daemon take it."""
    path, log = follower.operator.config, follower.operator.system.log_path
    text, before = path.read_text(), log.read_text().count("configuration reloaded")
    path.write_text(change(text))
    assert path.read_text() != text
    await follower.types(by)
    for _ in range(300):
        if log.read_text().count("configuration reloaded") > before:
            return
        await anyio.sleep(0.1)
    raise AssertionError(follower.operator.system.log_tail())


def technician(operator: Operator) -> str:
    """Where he is paid to, as the file says it."""
    return f'payee = {{ invoice_key = {{ file = "{operator.system.key_file("technician")}" }} }}'


async def test_an_address_is_dead(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, server):
        operator = follower.operator
        page = Situation(follower, "An address is dead, or somebody's wallet has changed")
        his = technician(operator)
        await reloads(follower, lambda text: text.replace(his, NOBODY))
        await operator.types("clients", "update", "maria", "--lightning-address", "maria@nowhere.invalid")
        await operator.sells()
        for payee in ("maria@nowhere.invalid", "tech@nowhere.invalid"):
            await operator.until(f"payment_failing:{payee}", timeout_s=120)
        assert "nowhere.invalid" in await page.plays("payments list --status failing", {})
        await page.plays("clients update maria", {"maria@new.example": server.address("maria-new")})
        for _ in ("shown", "done"):
            await page.plays("payments repoint --payee client:maria", {})
        config_check = page.followed("config check", {})
        await reloads(follower, lambda text: text.replace(NOBODY, his), by=config_check)
        await page.plays("payments repoint --payee technician", {})
        await operator.until_sale(1, "processed")
        await operator.until_quiet("payment_failing")
        assert await has_sats(operator, server.wallets["maria-new"]) > 0
        await evening(follower, page)


async def test_a_partner_has_left(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, _):
        operator = follower.operator
        page = Situation(follower, "A partner has left")
        his = technician(operator)
        await reloads(follower, lambda text: text.replace(his, NOBODY))
        number = {"12": await sold(operator, "pending")}
        await operator.until("payment_failing:tech@nowhere.invalid", timeout_s=120)
        table = f'[[operators.splits]]\nlabel = "technician"\npct = 0.3\n{NOBODY}\n'
        await reloads(follower, lambda text: text.replace(table, "").replace("pct = 0.7", "pct = 1"))
        before = await has_sats(operator, operator.system.wallets["owner"])
        await page.plays("settlements close", number)
        for _ in ("shown", "done"):
            await page.plays("settlements redistribute", number)
        await operator.until_sale(1, "processed")
        await operator.until_quiet("payment_failing")
        assert await has_sats(operator, operator.system.wallets["owner"]) - before == 1_673
        await evening(follower, page)


async def test_an_lp_leaves(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, _):
        operator = follower.operator
        page = Situation(follower, "An LP leaves, or takes cash home")
        await sold(operator)
        await page.plays("clients update maria", {})
        await page.plays("deposits withdraw maria", {})
        shown = await page.plays("machines top-up", HERE | {"350000": "2500000"})
        await pays(operator, invoice_in(shown), 2_500_000)
        await operator.types("machines", "sweep", "machine-1")
        for _ in ("shown", "done"):
            await page.plays("clients settle maria", {})
        await until_nothing_is_left(operator, "maria")
        await page.plays("clients remove maria", {})
        await evening(follower, page)


async def until_nothing_is_left(operator: Operator, label: str) -> None:
    for _ in range(120):
        left = await operator.reads("clients", "balance", label)
        if (left["available"], left["reserved"]) == ("0.00", "0.00"):
            return
        await anyio.sleep(0.5)
    raise AssertionError(left)


async def test_a_wrong_deposit_was_confirmed(build_system: BuildSystem) -> None:
    async with opened(build_system) as (follower, _):
        operator = follower.operator
        page = Situation(follower, "A wrong deposit was confirmed")
        await sold(operator)
        since = datetime.fromtimestamp(int(time.time()), UTC).isoformat().replace("+00:00", "Z")
        wrong = await operator.reads("deposits", "add", "maria", "1000")
        await operator.types("deposits", "confirm", str(wrong["id"]), "--yes")
        before = await operator.reads("clients", "balance", "maria")
        await page.plays("deposits reverse", {"12": str(wrong["id"])})
        added = await page.plays("deposits add maria 900", {"2026-11-20T10:00": since})
        right = re.search(r"satmachine deposits confirm (\d+)", added)
        assert right, added
        await page.plays("deposits confirm", {"13": right[1]})
        after = await operator.reads("clients", "balance", "maria")
        assert Decimal(before["available"]) - Decimal(after["available"]) == 100
        await page.plays("deposits withdraw", {"12": right[1]})
        await evening(follower, page)
