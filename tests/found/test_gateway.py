"""A gateway that gives up has not ended LNbits' work: the payment may still come (SPEC section 6.1)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from testkit.proxy import Fault, FaultProxy, Request, _http_answer
from tests.found.parts import PLENTY_MINOR, came_true, paid, runs, satmachine, until, world_of

pytestmark = pytest.mark.anyio

GAVE_UP = _http_answer(504, b'{"detail": "Gateway Time-out"}')


class SlowGateway(FaultProxy):
    """Answers every payment with 504 and JSON, and hands it to LNbits only later."""

    def __init__(self, upstream_url: str) -> None:
        super().__init__(upstream_url, lambda _: Fault.NONE)
        self.holding = True
        self.held: list[Request] = []

    async def _handle(self, request: Request) -> bytes | None:
        pays = request.method == "POST" and request.path == "/api/v1/payments" and request.json.get("out")
        if not (pays and self.holding):
            return await super()._handle(request)
        self.held.append(request)
        return GAVE_UP

    async def let_through(self, lnbits: LnbitsServer) -> None:
        """What was held goes on its way after all."""
        self.holding = False
        async with httpx.AsyncClient(base_url=lnbits.url, timeout=60, trust_env=False) as http:
            for request in self.held:
                headers = {name: request.headers[name] for name in ("x-api-key", "content-type")}
                await http.post(request.path, headers=headers, content=request.body)


async def test_a_sale_is_not_closed_as_unpaid_while_a_gateway_may_still_hand_on_its_payments(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with (
        SlowGateway(lnbits.url) as gateway,
        world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}, lnbits_url=gateway.url) as world,
    ):
        await runs(world)
        await world.sell()
        await until(lambda: len(gateway.held) >= 4, world)
        await until(lambda: all(leg.why for leg in world.rest().legs), world)
        closed = await satmachine(world, "settlements", "close", "1", "--reason", "nothing goes", "--yes")
        await gateway.let_through(lnbits)
        went = await came_true(lambda: anything_went(world), timeout_s=3)
        assert went, "the point of this test"
        assert closed.returncode != 0, f"closed as unpaid, and then paid: {await paid(world)}"


async def anything_went(world: World) -> bool:
    return bool(await paid(world))
