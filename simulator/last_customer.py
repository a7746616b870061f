"""When everything works again: one more customer, whose sale has to go its way without anybody's help.

Without it a daemon that pays nothing would pass: a person closes, one by one, whatever does not get on.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from random import Random

from simulator.judge import Violation
from simulator.sales import Sale, payment_extra, signed_event
from simulator.world import World, bring_cash, insert_lp

#: An LP of the last hour, with cash for far more than the sale.
_LABEL = "last"
_CASH_MINOR = 10_000_000
_GROSS_SATS, _NET_SATS = 123_457, 119_753
_RATE = Decimal("143.797")
#: The platform's 0.3 of the commission (registry.py), rounded up.
_PLATFORM_SATS = 1_112
#: How often, and how far apart, it is looked whether the LP has got the sats.
_LOOKS, _LOOK_S = 8, 200.0


async def serve(world: World) -> None:
    """Raises Violation where the sale does not reach an LP."""
    hold, machine = world.main, world.main.registry.machines[0]
    spec = hold.registry.new_payee(_LABEL, ("wallet",))
    assert spec.wallet is not None
    path = f"/keys/{spec.wallet.id}"
    hold.registry.files[path] = spec.wallet.invoice_key
    world.lp_terms[(machine.id, _LABEL)] = ("invoice_key_file", path, None, None, None)
    world.know_lp(machine.id, _LABEL)
    bring_cash(world, hold, insert_lp(world, hold, machine.id, _LABEL), _CASH_MINOR)
    await asyncio.sleep(30)
    fiat = (Decimal(_NET_SATS) / _RATE).quantize(Decimal("0.01"))
    sale = Sale(len(world.sales), machine.id, _GROSS_SATS, _NET_SATS, _RATE, fiat, int(world.now()), None, "tx-last")
    sale.on_word = world.words_count
    sale.payment_hash = world.bank.customer_pays(machine.wallet.id, _GROSS_SATS, payment_extra(sale, "full"))
    world.add_sale(sale)
    event = signed_event(sale, machine.pubkey, int(world.now()), kind="full", rng=Random(world.seed))
    sale.event_ids.append(event.event.id)
    world.know(sale)
    world.deliver(hold, event)
    lp = world.judge.lps[(machine.id, _LABEL)]
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK_S)
        world.look()
        if lp.given:
            await asyncio.sleep(_LOOK_S)
            world.look()
            _judge_platform(world, sale)
            return
    row = hold.process.books.conn.execute(
        "SELECT status, hold_reason, error, retained_sats FROM dca_settlements WHERE payment_hash = ?",
        (sale.payment_hash,),
    ).fetchone()
    raise Violation("last_customer", f"no LP is paid of the last sale: {None if row is None else dict(row)}")


def _judge_platform(world: World, sale: Sale) -> None:
    """The platform gets its part of the commission, and not the operator's."""
    for key, sats in world.judge.paid_of(sale).items():
        if key.endswith(":super") and sats > _PLATFORM_SATS:
            raise Violation("platform", f"{key}: the platform got {sats} sats, its part is {_PLATFORM_SATS}")
