"""A machine that moves, as docs/corrections.md says; and books that are lost, with top-ups in the wallet."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testkit.lnbits import WalletKeys, running_lnbits
from testkit.system import DemoMachine
from tests.day.follow import Situation
from tests.day.terminal import ANSWERS
from tests.day.test_changes import HERE
from tests.day.test_corrections import evening, has_sats, invoice_in, opened, sold
from tests.day.test_day import pays
from tests.day.test_ways_out import accepts, printed
from tests.integration.conftest import BuildSystem

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NEW = "panajachel-2"
#: maria's and jose's 20,000 GTQ each, less their halves of a sale of 1,800.
LEFT_GTQ = "19100"


@pytest.mark.parametrize("where", ["wallet", "lnbits", "operator"])
async def test_a_machine_moves(build_system: BuildSystem, tmp_path: Path, where: str) -> None:
    async with AsyncExitStack() as stack, opened(build_system) as (follower, server):
        operator, system = follower.operator, follower.operator.system
        page = Situation(follower, "A machine moves")
        other = (
            await stack.enter_async_context(running_lnbits(tmp_path / "other")) if where == "lnbits" else system.lnbits
        )
        await sold(operator)
        await page.plays("machines show", HERE)
        for label in ("maria", "jose"):
            await page.plays("deposits withdraw", {"maria": label, "5000": LEFT_GTQ})
            await page.plays("clients remove", {"maria": label})

        wallet = await other.create_wallet("machine, new")
        text = operator.config.read_text()
        text = text[: text.index("[[machines]]")]
        if where == "lnbits":
            text = text.replace(system.lnbits.url, other.url)
            for name in ("super", "owner", "technician", "maria", "jose"):
                system.wallets[name] = await other.create_wallet(name)
                system.key_file(name).write_text(system.wallets[name].invoice_key)
            system.lnbits = server.lnbits = other
            server.wallets = system.wallets
        if where == "operator":
            text += (
                '[[operators]]\nid = "solola"\nname = "Solola Cash"\n[[operators.splits]]\nlabel = "juan"\npct = 1\n'
            )
            text += f'payee = {{ lightning_address = "{server.address("ana")}" }}\n\n'
        operator.config.write_text(text)
        await page_adds(page, system.machines[0], wallet, "solola" if where == "operator" else "atitlan")
        system.machines[0] = DemoMachine(NEW, system.machines[0].signer, wallet)
        await page.plays("systemctl restart", {})
        for deposit, label in enumerate(("maria", "jose"), start=5):
            at = {"maria": label, "maria@example.org": server.address(label), "maria@panajachel-2": f"{label}@{NEW}"}
            await page.plays("clients add", at)
            await page.plays("deposits add", at | {"5000": LEFT_GTQ})
            await page.plays("deposits confirm", {"13": str(deposit)})
        if where == "lnbits":
            await the_new_wallets_are_right(page)
            number = str(operator.sales_made)
        else:
            page.leaves_out("payments repoint")
            number = await sold(operator)
        shown = await operator.reads("settlements", "show", number)
        assert shown["settlement"]["machine_id"] == NEW
        if where == "operator":
            assert await has_sats(operator, server.wallets["ana"]) > 5_000
            assert (await operator.types("--operator", "solola", "settlements", "show", "1", code=1)).out == ""
        await page.plays("audit", {})
        await evening(follower, page)


async def the_new_wallets_are_right(page: Situation) -> None:
    """The daemon knows the payees of the file by their wallets in the old LNbits."""
    operator = page.operator
    await operator.sells()
    await operator.until("payment_failing", timeout_s=120)
    for payee in ("super", "owner", "technician"):
        await page.plays("payments repoint", {"super": payee})
    await operator.until_sale(operator.sales_made, "processed")
    await operator.until_quiet("payment_failing")


async def page_adds(page: Situation, machine: DemoMachine, wallet: WalletKeys, whose: str) -> None:
    """`machines add`, with its questions."""
    answers = {
        "Short name of the machine: ": NEW,
        "Its operator (atitlan, solola): ": whose,
        "Its public key (npub1..): ": machine.signer.npub,
        "Currency of its cash: ": "GTQ",
        "(not shown): ": wallet.admin_key,
        "]: ": "",
    }
    await page.follower.types(page.followed("machines add", {}), ANSWERS | answers)


async def test_a_top_up_is_known_when_the_books_are_lost(build_system: BuildSystem) -> None:
    """What the owner has paid in is no customer's: neither shared out nor reported, though no row of these books names
    it."""
    async with opened(build_system) as (follower, _):
        operator, system = follower.operator, follower.operator.system
        opened_at = (datetime.now(UTC) - timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        await sold(operator)
        for sats in (50_000, 70_000):
            await pays(operator, invoice_in(await follower.types(f"satmachine machines top-up machine-1 {sats}")), sats)
        await operator.types("machines", "sweep", "machine-1")
        balance = await has_sats(operator, system.machines[0].wallet)
        system.kill_daemon()
        for end in ("", "-wal", "-shm"):
            system.database_path.with_name(system.database_path.name + end).unlink(missing_ok=True)
        await follower.types("systemctl start satmachine")
        for number, label in enumerate(("maria", "jose"), start=1):  # before anything is decided (docs/operations.md)
            whose = ("--machine", "machine-1", "--label", label, "--invoice-key-file", str(system.key_file(label)))
            await operator.types("clients", "add", *whose)
            await operator.types("deposits", "add", label, "20000", "--at", opened_at)
            await operator.types("deposits", "confirm", str(number), "--yes")
        await accepts(follower, await printed(follower, "safe_mode:machine-1"))
        await operator.until_quiet("safe_mode")
        await operator.types("machines", "sweep", "machine-1")
        assert not [item for item in await operator.needs() if item.startswith("unmatched")]
        assert await operator.reads("settlements", "unmatched") == []
        assert len(await operator.reads("settlements", "list")) == 1
        assert await has_sats(operator, system.machines[0].wallet) == balance
        said = await follower.types("satmachine audit")
        assert re.search("top-ups and other income 120.000", said), said
        assert "every sat is accounted for" in said
