"""The daemon: connects the stages, handles the signals, and survives whatever fails in a task.

    relays --> verify --> land --> prove --> plan --> pay --> report
    (nostr)                ^-------- sweep (wallets) --------^

The stages hand work over through committed rows; what is called here only wakes the next one. So a restart is nothing
special: every task below asks the database what there is to do.
"""

from __future__ import annotations

import logging
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio

from satmachine import retention
from satmachine.asked import AskedPayees
from satmachine.cash import renew
from satmachine.config import Config, key_problems, load
from satmachine.discovery import Discovery
from satmachine.errors import ConfigError, DatabaseBusy, Refused, SatmachineError, StoreError
from satmachine.intents import IntentDesk
from satmachine.logs import about
from satmachine.models import LegStatus
from satmachine.nostr.keys import parse_secret_key, public_key_of
from satmachine.nostr.limits import Limits
from satmachine.nostr.pool import RelayPool
from satmachine.ops.alerts.alarm_desk import AlertDesk
from satmachine.ops.sdnotify import Notifier
from satmachine.ops.upgrade import upgrade_of
from satmachine.ops.watch import Watch
from satmachine.recorder import Recorder
from satmachine.reports.report_desk import PeopleDesk
from satmachine.seals import Keyring
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
from satmachine.settlements.worker import Work, Worker
from satmachine.store import health_rows, legs, registry, reloads, restored, seal_rows, settlements
from satmachine.store.database import Store, instance_id, only_daemon, open_store
from satmachine.store.intent_rows import Ended
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlClient

log = logging.getLogger(__name__)

#: Calls under way get this long after SIGTERM; then they are abandoned, and recovery resolves them.
STOP_GRACE_S = 10.0
#: How often the relays' health is stored.
HEALTH_EVERY_S = 5.0


async def run_daemon(config: Config, reload_due: Callable[[], bool] = lambda: False) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigError, StoreError (DaemonRunning) before anything has started.

    `reload_due` says whether a SIGHUP arrived before the daemon handled signals.
    """
    config_problems = key_problems(config)
    if config_problems:
        raise ConfigError(str(config.path), config_problems)
    keyring = Keyring()
    learn_keys(keyring, config)
    with only_daemon(config.database.path):
        async with open_store(
            config.database.path,
            busy_timeout_s=config.database.busy_timeout_s,
            keyring=keyring,
            upgrade=upgrade_of(config.database.path, Notifier()),
        ) as store:
            daemon = Daemon(store, config)
            await daemon.register()
            async with daemon.wired():
                await daemon.serve(reload_due)


class Daemon:
    """One running daemon. It remembers only what it is doing right now."""

    def __init__(self, store: Store, config: Config, *, now: Callable[[], int] = lambda: int(time.time())) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._key = _daemon_key(config)
        self._stopping = anyio.Event()
        self._one_reload = anyio.Lock()
        self._grace = anyio.CancelScope()

    async def register(self) -> None:
        """Copy the configuration into the database. Raises ConfigError if open work would be left without its
        machine."""
        await self._store.write(_register, self._config, self._now())
        if await self._store.write(restored.take_over, self._now()) is not None:
            log.critical("these books are a copy: nothing is paid before each machine is reconciled")

    @asynccontextmanager
    async def wired(self) -> AsyncIterator[None]:
        """Make the parts and connect them."""
        config = self._config
        name = await self._store.read(instance_id)
        resume = await self._store.read(health_rows.resume_points)
        payees = AskedPayees(self._store, self._now)
        await payees.recover()
        lnurl = LnurlClient(allow_private=config.lnurl.allow_private_hosts, asking=payees.asking)
        async with Lnbits(
            config.lnbits.url,
            timeout_s=config.lnbits.timeout_s,
            pay_timeout_s=config.lnbits.pay_timeout_s,
            max_concurrency=config.lnbits.max_concurrency,
            instance_id=name,
        ) as lnbits:
            self.wallet_sweep = WalletSweep(self._store, lnbits, self.config, self._now)
            payer = Payer(self._store, lnbits, lnurl, self.config, self._now, is_verified=self._is_verified)
            self.worker = Worker(
                self._store, lnbits, payer, self.config, self._now, guard=self._guard, is_verified=self._is_verified
            )
            self.looks = Looks(lambda machine_id: self.sweeper.look_now(machine_id), self._now)
            self.sweeper = Sweeper(
                self.wallet_sweep,
                self._store,
                self.config,
                self._now,
                swept=self.worker.may_pay,
                look_later=self.looks.at,
            )
            self.hints = Hints(self._store, lnbits, self.config, self.looks.hint)
            self.discovery = Discovery(self._store, self.config)
            self.recorder = Recorder(
                self._store,
                self.config,
                self._key,
                self._now,
                landed=self.worker.wake,
                relays_changed=self.discovery.changed,
            )
            sale_orders = SaleOrders(self._store, lnbits, payer, self.worker, self.config, self._now)
            leg_orders = LegOrders(self._store, lnbits, payer, self.worker, self.config, self._now)
            wallet_orders = WalletOrders(self._store, lnbits, self.sweeper, self.config, self._now)
            shortfall_orders = ShortfallOrders(
                self._store,
                lnbits,
                payer,
                self.worker,
                self.config,
                self._now,
                make_top_up=wallet_orders.make_top_up,
            )
            secret = None if self._key is None else self._key.secret
            self.people = PeopleDesk(self._store, self.config, secret, self._now)
            self.desk = IntentDesk(
                self._store,
                self._now,
                read_again=self.recorder.read_again,
                actions={
                    **sale_orders.actions,
                    **leg_orders.actions,
                    **wallet_orders.actions,
                    **shortfall_orders.actions,
                    **self.people.actions,
                },
                guard=self._guard_request,
                order_key=self._order_key,
            )
            wanted = await self.discovery.wanted()
            self.pool = RelayPool(
                wanted.relays,
                self.recorder.record,
                secret_key=secret,
                limits=Limits(
                    max_event_bytes=config.nostr.max_event_bytes, since_overlap_s=config.nostr.since_overlap_s
                ),
                since=resume.get,
                named=wanted.named,
                allow_private=config.nostr.discover_private,
                relay_lists=config.nostr.discover_relays,
            )
            self.alerts = AlertDesk(self._store, self.config, self._now, self.pool.health)
            self.watch = Watch(
                self._store,
                self.config,
                self._now,
                self.pool.health,
                lambda: lnbits.latency_s,
                lambda: self.alerts.attention,
            )
            yield

    async def serve(self, reload_due: Callable[[], bool]) -> None:
        """Every task of the daemon, until it is asked to stop."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._listen_to_signals)
            if reload_due():
                await self.reload()
            log.info(
                "satmachine runs: %d machine(s), %d relay(s), database %s",
                len(self._config.machines),
                len(self.pool.health()),
                self._store.path,
            )
            for task in (
                self.pool.run,
                self.worker.run,
                self.sweeper.run,
                self.looks.run,
                self.hints.run,
                self._carry_out_intents,
                self._record_health,
                self._expire_telemetry,
                self._renew_forecasts,
                self.watch.keep_pulse,
                self.watch.tell_systemd,
                self.watch.keep_metrics,
                self.watch.keep_heartbeat,
                self.alerts.watch,
                self.alerts.tell,
                self.people.run,
                self._follow_relay_lists,
            ):
                tasks.start_soon(self._forever, task)
            await self._stopping.wait()
            self.watch.stopping()
            log.info("stopping: no new work is begun; calls under way get %d s", int(STOP_GRACE_S))
            with anyio.move_on_after(STOP_GRACE_S) as self._grace:
                await self.worker.finish()
            tasks.cancel_scope.cancel()
        log.info("stopped")

    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def _order_key(self) -> str | None:
        """The key with which orders are sealed, if the operator wants that. Raises ConfigError."""
        secret = self._config.payouts.order_key
        return None if secret is None else secret.resolve(self._config.environ)

    def _is_verified(self, machine_id: str, key: str) -> bool:
        """Whether a sweep has seen this key; if not, the next sweep of the machine does not wait for its turn."""
        verified = self.wallet_sweep.is_verified(machine_id, key)
        if not verified:
            self.sweeper.hurry(machine_id)
        return verified

    def stop(self) -> None:
        """As SIGTERM does."""
        self._stopping.set()

    # --- housekeeping

    async def _expire_telemetry(self) -> None:
        await retention.run(
            self._store,
            lambda: self._config.telemetry.keep_days,
            lambda: self._config.nostr.quarantine_keep_days,
            self._now,
        )

    async def _follow_relay_lists(self) -> None:
        await self.discovery.run(self.pool.update)

    async def _renew_forecasts(self) -> None:
        await renew.run(self._store, self._now)

    # --- what the CLI asked for

    async def _carry_out_intents(self) -> None:
        await self.desk.run(self.worker.wake)

    # --- report

    async def _record_health(self) -> None:
        while True:
            records = [
                health_rows.RelayRecord(
                    url=relay.url,
                    state=relay.state,
                    state_since=relay.since or self._now(),
                    latency_ms=None if relay.latency_ms is None else round(relay.latency_ms),
                    last_event_at=relay.last_event_at,
                    last_created_at=self.recorder.newest.get(relay.url),
                    events=relay.events,
                    duplicates=relay.duplicates,
                    faults={str(fault): count for fault, count in relay.faults.items()},
                    quiet=relay.quiet,
                    named=relay.named,
                    error=relay.error or None,
                )
                for relay in self.pool.health()
            ]
            await self._store.write(health_rows.record_relays, records, self._now())
            await anyio.sleep(HEALTH_EVERY_S)

    # --- signals

    async def _listen_to_signals(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                if number is signal.SIGHUP:
                    await self.reload()
                    continue
                if self._stopping.is_set():
                    log.warning(
                        "told to stop again: stopping at once; what was under way is resolved at the next start"
                    )
                    raise KeyboardInterrupt
                self._stopping.set()

    async def reload(self) -> None:
        """Read the file again; a bad one changes nothing (SPEC section 3)."""
        async with self._one_reload:
            self.watch.reloading()
            try:
                refused = await self._reload()
                await self._store.write(reloads.record, refused, self._now())
            except StoreError as error:
                log.warning("the result of the reload could not be stored: %s", error)
            finally:
                self.watch.reloaded()

    async def _reload(self) -> str:
        """Why it was refused; nothing if it was not."""
        try:
            # On a thread: ten thousand machines take seconds, and meanwhile sales are still paid.
            config = await anyio.to_thread.run_sync(load, self._config.path)
            problems = await anyio.to_thread.run_sync(key_problems, config)
            problems += _unchangeable(self._config, config)
            if problems:
                raise ConfigError(str(config.path), problems)
            await self._store.write(_register, config, self._now())
            for machine_id in await anyio.to_thread.run_sync(learn_keys, self._store.keyring, config):
                await self._store.write(seal_rows.renew, machine_id)
        except SatmachineError as error:
            log.error("reload refused, the old configuration stays in force. %s", error)  # noqa: TRY400
            return str(error)
        self._config = config
        wanted = await self.discovery.wanted()
        self.pool.update(wanted.relays, wanted.named)
        self.worker.wake()
        log.info("configuration reloaded: %d machine(s), %d relay(s)", len(config.machines), len(wanted.relays))
        kept = [machine.id for machine in config.machines if machine.wallet.admin_key.kind == "credential"]
        if kept:
            log.info(
                "the wallet keys of %s are as they were at the start, when systemd read them (LoadCredential): if a "
                "key's file was changed, restart",
                ", ".join(kept),
            )
        return ""

    # --- catching everything (as recorder.py and sweeper.py do for one event or wallet)

    async def _guard(self, item: Work, run: Callable[[], Awaitable[None]]) -> None:
        """Run one piece of work; an unexpected error in it is logged and postpones only that row."""
        leg = item.ids[0] if item.kind == "leg" else None
        sale = next(iter(item.sales)) if len(item.sales) == 1 else None
        with about(settlement=sale, machine=item.machine_id, leg=leg):
            try:
                await run()
            except DatabaseBusy as error:
                log.warning("%s: %s", item, error)
                await anyio.sleep(1)
            except Exception:
                log.exception("%s of %s: an unexpected error; it is tried again in a minute", item, item.machine_id)
                with anyio.move_on_after(5):
                    await self._postpone_surprise(item)

    async def _guard_request(self, action: Callable[[], Awaitable[Ended]]) -> Ended:
        """Carry out what a person ordered; after an unexpected error it is refused, so that it does not block the next
        one."""
        try:
            return await action()
        except SatmachineError:
            raise
        except Exception:
            log.exception("a request could not be carried out")
            raise Refused("satmachine itself failed here; its log says where. Nothing was changed") from None

    async def _postpone_surprise(self, item: Work) -> None:
        error = "satmachine itself failed here; see the log"
        until = self._now() + 60
        try:
            for kind, row_id in item.rows:
                if kind == "settlement":
                    await self._store.write(settlements.postpone, row_id, until=until, error=error)
                    continue
                leg, _ = await self._store.read(legs.get, row_id)
                await self._store.write(legs.postpone, leg, status=LegStatus(leg.status), until=until, error=error)
        except StoreError as store_error:
            log.error("%s could not be postponed: %s", item, store_error)  # noqa: TRY400
            await anyio.sleep(5)

    async def _forever(self, task: Callable[[], Awaitable[None]]) -> None:
        """Keep a task running: whatever ends it is logged, and it starts again from what the database says."""
        while True:
            try:
                await task()
            except Exception:
                log.exception("%s ended with an unexpected error; it starts again", getattr(task, "__qualname__", task))
            await anyio.sleep(1)


def learn_keys(keyring: Keyring, config: Config) -> list[str]:
    """Read the keys with which every machine's payments are sealed; returns the machines that had another key before. A
    key that cannot be read now is learnt when the wallet is swept."""
    changed = []
    for machine in config.machines:
        with suppress(ConfigError):
            if keyring.learn(machine.id, machine.wallet.admin_key.resolve(config.environ)):
                changed.append(machine.id)
    return changed


def _register(conn: sqlite3.Connection, config: Config, now: int) -> None:
    problems = registry.changed_currency(conn, config) + registry.dropped_with_open_work(conn, config)
    problems += registry.changed_operator(conn, config)
    if problems:
        raise ConfigError(str(config.path), problems)
    registry.mirror(conn, config, now)
    for settlement_id in settlements.release_reactivated(conn):
        log.info("settlement %d continues: its machine is active again", settlement_id)


def _unchangeable(old: Config, new: Config) -> list[str]:
    """What a reload cannot change, in words."""
    pairs = (
        ("[database] path", old.database.path, new.database.path),
        ("[lnbits] url", old.lnbits.url, new.lnbits.url),
        ("[nostr] secret_key", old.nostr.secret_key, new.nostr.secret_key),
        ("[nostr] discover_relays", old.nostr.discover_relays, new.nostr.discover_relays),
        ("[nostr] discover_private", old.nostr.discover_private, new.nostr.discover_private),
        ("[metrics] listen", old.metrics.listen, new.metrics.listen),
    )
    return [f"{name} cannot be changed by a reload: restart the daemon" for name, a, b in pairs if a != b]


def _daemon_key(config: Config) -> DaemonKey | None:
    if config.nostr.secret_key is None:
        return None
    try:
        secret = parse_secret_key(config.nostr.secret_key.resolve(config.environ))
    except ValueError as error:
        raise ConfigError(str(config.path), [f"[nostr] secret_key: {error}"]) from None
    return DaemonKey(secret, public_key_of(secret))
