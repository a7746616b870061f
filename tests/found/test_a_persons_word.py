"""Once an operator has acted on a sale, no later event revises it (SPEC section 6.9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from testkit.machine import publish
from tests.found.parts import (
    PLENTY_MINOR,
    addresses,
    asked,
    came_true,
    did,
    pause,
    received,
    resume,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

REFUND_SATS = 200_000


async def landed_by_hand(world: World) -> None:
    """A sale that nobody told of becomes settlement 1, its rate unknown; payouts are paused."""
    await runs(world)
    await pause(world)
    sale = await world.sell(announce=False, with_extra=False)
    land = ("settlements", "land", sale.payment_hash, "--machine", "machine-1", "--yes")
    await until(lambda: worked(world, *land), world)
    await until(lambda: bool(world.rest().legs), world)


async def worked(world: World, *arguments: str) -> bool:
    return (await satmachine(world, *arguments)).returncode == 0


async def the_event_comes(world: World) -> None:
    """The machine's own figures, late; returns when the daemon has heard them."""
    await publish([relay.url for relay in world.system.relays], world.events[-1])
    await until(lambda: heard(world), world)


async def heard(world: World) -> bool:
    """The event has attached to the sale, or is shown as a conflict."""
    shown = await asked(world, "settlements", "show", "1")
    return bool(shown["settlement"]["bitspire_event_id"]) or bool(await asked(world, "quarantine", "list"))


async def test_an_event_after_a_refund_was_ordered_does_not_undo_it(tmp_path: Path, lnbits: LnbitsServer) -> None:
    customer = await lnbits.create_wallet("customer")
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}) as world:
        with addresses(lnbits, {"customer": customer}) as server:
            await landed_by_hand(world)
            to = ("--to", server.address("customer"), "--reason", "no cash came out", "--yes")
            await did(world, "settlements", "refund", "1", str(REFUND_SATS), *to)
            await the_event_comes(world)
            await resume(world)
            await came_true(lambda: world.settled_now, timeout_s=10)
            back_sats = await received(world, customer)
            assert back_sats > REFUND_SATS * 97 // 100, f"the customer got {back_sats} sats back"
            assert await received(world, "alice") == 0, "what was to be refunded went to the LP"


async def test_an_event_after_a_person_gave_the_rate_does_not_change_it(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}) as world:
        await landed_by_hand(world)
        rate = ("--rate", "150", "--reason", "from the machine's paper", "--yes")
        await did(world, "settlements", "redistribute", "1", *rate)
        before = (await asked(world, "settlements", "show", "1"))["settlement"]
        await the_event_comes(world)
        after = (await asked(world, "settlements", "show", "1"))["settlement"]
        figures = ("net_sats", "commission_sats", "exchange_rate", "revision")
        assert [after[name] for name in figures] == [before[name] for name in figures]
