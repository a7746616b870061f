"""The daemon: starts what wiring.py has made, handles signals and reloads, and ends in order.

    relays --> verify --> land --> prove --> plan --> pay --> report
    (nostr)                ^-------- sweep (wallets) --------^

The stages hand work over through committed rows. So a restart is nothing special: every task below asks the database
what there is to do.
"""

from __future__ import annotations

import logging
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress

import anyio

from satmachine import retention
from satmachine.cash import renew
from satmachine.config import Config, key_problems, load
from satmachine.errors import ConfigError, SatmachineError, StoreError
from satmachine.guards import Guards
from satmachine.nostr.keys import parse_secret_key, public_key_of
from satmachine.ops.sdnotify import Notifier
from satmachine.ops.upgrade import upgrade_of
from satmachine.seals import Keyring
from satmachine.settlements.claim.envelope import DaemonKey
from satmachine.store import health_rows, registry, reloads, restored, seal_rows, settlements
from satmachine.store.database import only_daemon, open_store
from satmachine.wiring import Context, Parts, wired

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
            context = Context(store, config, lambda: int(time.time()), daemon_key(config))
            guards = Guards(store, context.now)
            await register(context)
            async with wired(context, guards) as parts:
                await Daemon(context, parts, guards).serve(reload_due)


class Daemon:
    """One running daemon. It remembers only what it is doing right now."""

    def __init__(self, context: Context, parts: Parts, guards: Guards) -> None:
        self._context = context
        self._parts = parts
        self._guards = guards
        self._stopping = anyio.Event()
        self._one_reload = anyio.Lock()
        self._grace = anyio.CancelScope()

    async def serve(self, reload_due: Callable[[], bool]) -> None:
        """Every task of the daemon, until it is asked to stop."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._listen_to_signals)
            if reload_due():
                await self.reload()
            log.info(
                "satmachine runs: %d machine(s), %d relay(s), database %s",
                len(self._context.in_force.machines),
                len(self._parts.pool.health()),
                self._context.store.path,
            )
            for task in (
                self._parts.pool.run,
                self._parts.worker.run,
                self._parts.sweeper.run,
                self._parts.looks.run,
                self._parts.hints.run,
                self._carry_out_intents,
                self._record_health,
                self._expire_telemetry,
                self._renew_forecasts,
                self._parts.watch.keep_pulse,
                self._parts.watch.tell_systemd,
                self._parts.watch.keep_metrics,
                self._parts.watch.keep_heartbeat,
                self._parts.alerts.watch,
                self._parts.alerts.tell,
                self._parts.people.run,
                self._follow_relay_lists,
            ):
                tasks.start_soon(self._guards.forever, task)
            await self._stopping.wait()
            self._parts.watch.stopping()
            log.info("stopping: no new work is begun; calls under way get %d s", int(STOP_GRACE_S))
            with anyio.move_on_after(STOP_GRACE_S) as self._grace:
                await self._parts.worker.finish()
            tasks.cancel_scope.cancel()
        log.info("stopped")

    def stop(self) -> None:
        """As SIGTERM does."""
        self._stopping.set()

    # --- housekeeping

    async def _expire_telemetry(self) -> None:
        await retention.run(
            self._context.store,
            lambda: self._context.in_force.telemetry.keep_days,
            lambda: self._context.in_force.nostr.quarantine_keep_days,
            self._context.now,
        )

    async def _follow_relay_lists(self) -> None:
        await self._parts.discovery.run(self._parts.pool.update)

    async def _renew_forecasts(self) -> None:
        await renew.run(self._context.store, self._context.now)

    # --- what the CLI asked for

    async def _carry_out_intents(self) -> None:
        await self._parts.desk.run(self._parts.worker.wake)

    # --- report

    async def _record_health(self) -> None:
        while True:
            records = [
                health_rows.RelayRecord(
                    url=relay.url,
                    state=relay.state,
                    state_since=relay.since or self._context.now(),
                    latency_ms=None if relay.latency_ms is None else round(relay.latency_ms),
                    last_event_at=relay.last_event_at,
                    last_created_at=self._parts.recorder.newest.get(relay.url),
                    events=relay.events,
                    duplicates=relay.duplicates,
                    faults={str(fault): count for fault, count in relay.faults.items()},
                    quiet=relay.quiet,
                    named=relay.named,
                    error=relay.error or None,
                )
                for relay in self._parts.pool.health()
            ]
            await self._context.store.write(health_rows.record_relays, records, self._context.now())
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
            self._parts.watch.reloading()
            try:
                refused = await self._reload()
                await self._context.store.write(reloads.record, refused, self._context.now())
            except StoreError as error:
                log.warning("the result of the reload could not be stored: %s", error)
            finally:
                self._parts.watch.reloaded()

    async def _reload(self) -> str:
        """Why it was refused; nothing if it was not."""
        try:
            # On a thread: ten thousand machines take seconds, and meanwhile sales are still paid.
            config = await anyio.to_thread.run_sync(load, self._context.in_force.path)
            problems = await anyio.to_thread.run_sync(key_problems, config)
            problems += _unchangeable(self._context.in_force, config)
            if problems:
                raise ConfigError(str(config.path), problems)
            await self._context.store.write(_register, config, self._context.now())
            for machine_id in await anyio.to_thread.run_sync(learn_keys, self._context.store.keyring, config):
                await self._context.store.write(seal_rows.renew, machine_id)
        except SatmachineError as error:
            log.error("reload refused, the old configuration stays in force. %s", error)  # noqa: TRY400
            return str(error)
        self._context.in_force = config
        wanted = await self._parts.discovery.wanted()
        self._parts.pool.update(wanted.relays, wanted.named)
        self._parts.worker.wake()
        log.info("configuration reloaded: %d machine(s), %d relay(s)", len(config.machines), len(wanted.relays))
        kept = [machine.id for machine in config.machines if machine.wallet.admin_key.kind == "credential"]
        if kept:
            log.info(
                "the wallet keys of %s are as they were at the start, when systemd read them (LoadCredential): if a "
                "key's file was changed, restart",
                ", ".join(kept),
            )
        return ""


async def register(context: Context) -> None:
    """Copy the configuration into the database. Raises ConfigError if open work would be left without its machine."""
    await context.store.write(_register, context.in_force, context.now())
    if await context.store.write(restored.take_over, context.now()) is not None:
        log.critical("these books are a copy: nothing is paid before each machine is reconciled")


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


def daemon_key(config: Config) -> DaemonKey | None:
    """The daemon's own Nostr key, if it has one. Raises ConfigError."""
    if config.nostr.secret_key is None:
        return None
    try:
        secret = parse_secret_key(config.nostr.secret_key.resolve(config.environ))
    except ValueError as error:
        raise ConfigError(str(config.path), [f"[nostr] secret_key: {error}"]) from None
    return DaemonKey(secret, public_key_of(secret))
