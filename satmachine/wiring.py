"""Makes every part of a daemon and connects them; here nothing is decided.

What a part needs is handed to it: the books, the configuration in force, the clock (together: `Context`), and the parts
that it calls. Work goes on through committed rows; what is handed over as a function only wakes the next part.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from satmachine.asked import AskedPayees
from satmachine.config import Config
from satmachine.discovery import Discovery
from satmachine.guards import Guards
from satmachine.intents import IntentDesk
from satmachine.nostr.limits import Limits
from satmachine.nostr.pool import RelayPool
from satmachine.ops.alerts.alarm_desk import AlertDesk
from satmachine.ops.watch import Watch
from satmachine.recorder import Recorder
from satmachine.reports.report_desk import PeopleDesk
from satmachine.settlements.claim.envelope import DaemonKey
from satmachine.settlements.correct.leg_orders import LegOrders
from satmachine.settlements.correct.sale_orders import SaleOrders
from satmachine.settlements.correct.shortfall_orders import ShortfallOrders
from satmachine.settlements.pay.payer import Payer
from satmachine.settlements.sweep.hints import Hints
from satmachine.settlements.sweep.looks import Looks
from satmachine.settlements.sweep.one_sweep import WalletSweep
from satmachine.settlements.sweep.sweeper import Sweeper
from satmachine.settlements.sweep.wallet_orders import WalletOrders
from satmachine.settlements.worker import Worker
from satmachine.store import health_rows
from satmachine.store.database import Store, instance_id
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlClient


class Context:
    """What every part works with. `in_force` is the only thing that changes: a reload puts another one there."""

    def __init__(self, store: Store, config: Config, now: Callable[[], int], key: DaemonKey | None = None) -> None:
        """`key`: the daemon's own Nostr key. `now` gives Unix seconds."""
        self.store = store
        self.in_force = config
        self.now = now
        self.key = key

    def config(self) -> Config:
        """The configuration in force."""
        return self.in_force

    def order_key(self) -> str | None:
        """The key with which orders are sealed, if the operator wants that. Raises ConfigError."""
        secret = self.in_force.payouts.order_key
        return None if secret is None else secret.resolve(self.in_force.environ)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a daemon that have a task of their own, or are told of a reload."""

    pool: RelayPool
    recorder: Recorder
    worker: Worker
    sweeper: Sweeper
    looks: Looks
    hints: Hints
    discovery: Discovery
    desk: IntentDesk
    people: PeopleDesk
    alerts: AlertDesk
    watch: Watch


@asynccontextmanager
async def wired(context: Context, guards: Guards) -> AsyncIterator[Parts]:
    """Make the parts and connect them. Raises ConfigError."""
    store, now, config = context.store, context.now, context.in_force
    name = await store.read(instance_id)
    resume = await store.read(health_rows.resume_points)
    payees = AskedPayees(store, now)
    await payees.recover()
    lnurl = LnurlClient(allow_private=config.lnurl.allow_private_hosts, asking=payees.asking)
    async with Lnbits(
        config.lnbits.url,
        timeout_s=config.lnbits.timeout_s,
        pay_timeout_s=config.lnbits.pay_timeout_s,
        max_concurrency=config.lnbits.max_concurrency,
        instance_id=name,
    ) as lnbits:

        def is_verified(machine_id: str, key: str) -> bool:
            return sweeper.is_verified(machine_id, key)  # made below: the sweeper wakes those who ask this

        payer = Payer(store, lnbits, lnurl, context.config, now, is_verified=is_verified)
        worker = Worker(store, lnbits, payer, context.config, now, guard=guards.work, is_verified=is_verified)
        looks = Looks(lambda machine_id: sweeper.look_now(machine_id), now)
        sweeper = Sweeper(
            WalletSweep(store, lnbits, context.config, now),
            store,
            context.config,
            now,
            swept=worker.may_pay,
            look_later=looks.at,
        )
        hints = Hints(store, lnbits, context.config, looks.hint)
        discovery = Discovery(store, context.config)
        recorder = Recorder(
            store,
            context.config,
            context.key,
            now,
            landed=worker.wake,
            relays_changed=discovery.changed,
        )
        sale_orders = SaleOrders(store, lnbits, payer, worker, context.config, now)
        leg_orders = LegOrders(store, lnbits, payer, worker, context.config, now)
        wallet_orders = WalletOrders(store, lnbits, sweeper, context.config, now)
        shortfall_orders = ShortfallOrders(
            store,
            lnbits,
            payer,
            worker,
            context.config,
            now,
            make_top_up=wallet_orders.make_top_up,
        )
        secret = None if context.key is None else context.key.secret
        people = PeopleDesk(store, context.config, secret, now)
        desk = IntentDesk(
            store,
            now,
            read_again=recorder.read_again,
            actions={
                **sale_orders.actions,
                **leg_orders.actions,
                **wallet_orders.actions,
                **shortfall_orders.actions,
                **people.actions,
            },
            guard=guards.order,
            order_key=context.order_key,
        )
        wanted = await discovery.wanted()
        pool = RelayPool(
            wanted.relays,
            recorder.record,
            secret_key=secret,
            limits=Limits(max_event_bytes=config.nostr.max_event_bytes, since_overlap_s=config.nostr.since_overlap_s),
            since=resume.get,
            named=wanted.named,
            allow_private=config.nostr.discover_private,
            relay_lists=config.nostr.discover_relays,
        )
        alerts = AlertDesk(store, context.config, now, pool.health)
        watch = Watch(
            store,
            context.config,
            now,
            pool.health,
            lambda: lnbits.latency_s,
            lambda: alerts.attention,
        )
        yield Parts(pool, recorder, worker, sweeper, looks, hints, discovery, desk, people, alerts, watch)
