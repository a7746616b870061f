"""The tasks that look, judge, store and deliver. They never touch money."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import anyio
import anyio.to_thread

from satmachine.attention import look
from satmachine.attention.items import Attention, Item, Thresholds, sorted_out
from satmachine.attention.look import Viewpoint
from satmachine.config import Config
from satmachine.errors import SatmachineError, StoreError
from satmachine.nostr.health import RelayHealth
from satmachine.ops.alerts import conditions
from satmachine.ops.alerts.channels import configured, deliver
from satmachine.ops.alerts.judge import Alert, ConditionState, Key, steps
from satmachine.ops.alerts.message import AlertMessage, text_of
from satmachine.store import alert_rows
from satmachine.store.database import Store, connect, snapshot

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
#: Telemetry is not urgent to the second: machines report once a minute.
LOOK_THOROUGHLY_EVERY_S = 60
DELIVER_EVERY_S = 2.0
#: After this time a message that could not be delivered is given up; the alarm itself stays in the books.
GIVE_UP_S = 86_400
#: The first proof of the books waits, so that it does not compete with what a start must look up.
FIRST_AUDIT_S = 300
_FIRST_RETRY_S, _LONGEST_RETRY_S = 10, 1_800


class AlertDesk:
    """`relays` shows the relays' health; `now` gives Unix seconds."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        now: Callable[[], int],
        relays: Callable[[], Sequence[RelayHealth]],
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._relays = relays
        self._started_at = now()
        self._thorough_at = self._started_at - LOOK_THOROUGHLY_EVERY_S
        self._thorough: list[Item] = []
        self._audit_due_at = self._started_at + FIRST_AUDIT_S
        #: None: not proven yet, so an earlier alarm stays.
        self._audit: list[Item] | None = None
        #: The list as it was last seen, for metrics and the status line.
        self.attention = Attention()

    async def watch(self) -> None:
        """Look at everything again and again."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning("alarms cannot be checked: %s", error)
            await anyio.sleep(LOOK_EVERY_S)

    async def tell(self) -> None:
        """Deliver the messages that are due."""
        while True:
            try:
                await self.deliver_due()
            except StoreError as error:
                log.warning("alarms cannot be delivered: %s", error)
            await anyio.sleep(DELIVER_EVERY_S)

    async def look(self) -> None:
        """One look: judge what is seen, and note what is news."""
        config, now = self._config(), self._now()
        view = Viewpoint(limits_of(config), now, listening_s=now - self._started_at)
        items = [*conditions.from_relays(self._relays(), view.limits.relay_quiet_after_s)]
        items += await self._beside(conditions.quick, view)
        items += await self._look_thoroughly(view) + await self._prove(config.alerts.check_books_every_s, now)
        silences = await self._store.read(look.silences)
        seen = conditions.sightings(items, silences, now)
        if self._audit is None:
            seen["", "books_broken"] = ConditionState(holds=None)
        self.attention = sorted_out((item for item in items if item.sure), silences, now)
        await self._store.write(note, seen, configured(config), config.alerts.clear_after_s, now)

    async def deliver_due(self) -> None:
        """Each message that is due, once."""
        for row in await self._store.read(alert_rows.due, self._now()):
            await self._deliver(AlertMessage(**row))

    async def _deliver(self, message: AlertMessage) -> None:
        try:
            await deliver(message, self._config(), self._now())
        except SatmachineError as error:
            wait_s = min(_FIRST_RETRY_S * 2**message.attempts, _LONGEST_RETRY_S)
            given_up = self._now() - message.created_at > GIVE_UP_S
            log.warning("an alarm could not be sent by %s: %s", message.channel, error)
            until = None if given_up else self._now() + wait_s
            await self._store.write(alert_rows.postpone, message.id, error=str(error), until=until, now=self._now())
        else:
            await self._store.write(alert_rows.delivered, message.id, self._now())

    async def _look_thoroughly(self, view: Viewpoint) -> list[Item]:
        """Between two looks, the last result stays."""
        if not 0 <= view.now - self._thorough_at < LOOK_THOROUGHLY_EVERY_S:  # a clock may also be set back
            self._thorough = await self._beside(conditions.thorough, view)
            self._thorough_at = view.now
        return self._thorough

    async def _prove(self, every_s: int, now: int) -> list[Item]:
        """The proof reads all the books, so it is made rarely; in between, the last result stays."""
        if now >= self._audit_due_at:
            self._audit_due_at = now + every_s
            self._audit = await self._beside(conditions.from_audit)
        return self._audit or []

    async def _beside(self, read: Callable[..., list[Item]], *arguments: object) -> list[Item]:
        """On its own thread and connection, so that the payer never waits for it."""
        return await anyio.to_thread.run_sync(self._read, read, *arguments)

    def _read(self, read: Callable[..., list[Item]], *arguments: object) -> list[Item]:
        with closing(connect(self._store.path, read_only=True)) as conn, snapshot(conn):
            return read(conn, *arguments)


def limits_of(config: Config) -> Thresholds:
    """When something begins to need a person, by the configuration."""
    alerts = config.alerts
    return Thresholds(
        attention_after_s=config.payouts.attention_after_s,
        machine_silent_after_s=alerts.machine_silent_after_s,
        relay_quiet_after_s=alerts.relay_quiet_after_s,
        wallet_unreachable_after_s=alerts.wallet_unreachable_after_s,
        wallet_low_sats=alerts.wallet_low_sats,
        cassette_low_pct=alerts.cassette_low_pct,
        cash_out_days=alerts.cash_out_days,
    )


def note(
    conn: sqlite3.Connection, seen: Mapping[Key, ConditionState], channels: Sequence[str], clear_after_s: int, now: int
) -> list[Alert]:
    """Store the state of the alarms and what must be sent; returns the news."""
    rows = [Alert(**{**row, "raised": bool(row["raised"])}) for row in alert_rows.known(conn)]
    taken = list(steps({alert.key: alert for alert in rows}, seen, clear_after_s=clear_after_s, now=now))
    news = [step.alert for step in taken if step.news]
    if taken:
        alert_rows.write(
            conn,
            [(a.subject, a.condition, a.raised, a.since, a.changed_at, a.detail) for a in (s.alert for s in taken)],
            [(alert.subject, alert.condition, alert.raised, alert.detail) for alert in news],
            channels,
            now,
        )
    for alert in news:
        level = logging.ERROR if alert.raised else logging.INFO
        message = AlertMessage(0, now, "", alert.subject, alert.condition, alert.raised, alert.detail, 0)
        log.log(level, "%s", text_of(message))
    return news
