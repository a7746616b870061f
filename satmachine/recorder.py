"""Verified events -> durable rows (SPEC sections 2, 6 and 7): the sink of the relay pool.

A sale is landed or kept in quarantine, telemetry is merged, each batch in one transaction. Nothing here speaks to a
wallet or a relay, and nothing is remembered except how far each relay's stream has come.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

from satmachine import relay_lists
from satmachine.config import Config, Machine
from satmachine.errors import StoreError
from satmachine.failpoints import failpoint
from satmachine.logs import about
from satmachine.models import Claim, LandingResult, Rejection
from satmachine.nostr.event import BEACON_KIND, RELAY_LIST_KIND, SETTLEMENT_KIND, TELEMETRY_KINDS, Event
from satmachine.nostr.intake import Received
from satmachine.settlements.claim.envelope import DaemonKey, Transport, Window, read_content, read_event
from satmachine.settlements.land.landing import Landing, Rules, land_event
from satmachine.store import elsewhere, quarantine_rows, relay_list_rows, telemetry_rows
from satmachine.store.database import Store
from satmachine.store.settlements import EventRecord
from satmachine.telemetry import beacons

log = logging.getLogger(__name__)

#: What happens to an event on which the code itself fails: it is kept, and no other event waits for it.
_SURPRISE = Rejection("internal_error", "satmachine itself failed on this event; see the log, then retry it")

#: Longer events say nothing that a sale or a beacon needs; NIP-44 needs a third more than its text.
MAX_EVENT_CHARS = quarantine_rows.MAX_RAW_CHARS
_TOO_LONG = Rejection("too_long", f"it has more than {MAX_EVENT_CHARS} characters: no sale or beacon needs that many")

_Ready = tuple[Received, Machine, Claim | Rejection | Transport]


class Recorder:
    """`config` gives the configuration in force, `now` Unix seconds; `landed` is called after sales were committed,
    `relays_changed` when a machine's own list of relays is another one."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        key: DaemonKey | None,
        now: Callable[[], int],
        *,
        landed: Callable[[], None],
        relays_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._config = config
        self._key = key
        self._now = now
        self._landed = landed
        self._relays_changed = relays_changed
        #: The newest `created_at` of a sale from each relay, not ahead of our own clock.
        self.newest: dict[str, int] = {}

    async def record(self, batch: Sequence[Received]) -> None:
        """Verified events, each once; when this returns they are durable. Raises StoreError: then they arrive again."""
        sales = [item for item in batch if item.event.kind == SETTLEMENT_KIND]
        if sales:
            failpoint("land.begin")
            await self._land(sales)
            failpoint("land.committed")
            self._landed()
        if telemetry := [item for item in batch if item.event.kind in TELEMETRY_KINDS]:
            await self._note_telemetry(telemetry)
        if lists := [item for item in batch if item.event.kind == RELAY_LIST_KIND]:
            await self._note_relay_lists(lists)

    async def _land(self, sales: Sequence[Received]) -> None:
        ready = [(item, machine, self._read(item, machine)) for item in sales if (machine := self._author(item))]
        try:
            outcomes = await self._store.write(_land_all, ready, self._now())
        except StoreError:
            raise
        except Exception:
            # The code fails on one event. Find it, keep it, and let the others through.
            log.exception("a batch of %d events could not be landed; landing them one by one", len(ready))
            outcomes = [await self._land_alone(*one) for one in ready]
        for (item, machine, _), outcome in zip(ready, outcomes, strict=True):
            _report_landing(item, machine, outcome)
            self.newest[item.relay_url] = max(
                self.newest.get(item.relay_url, 0), min(item.event.created_at, self._now())
            )

    async def _land_alone(
        self, item: Received, machine: Machine, claim: Claim | Rejection | Transport
    ) -> Landing | Rejection | None:
        try:
            return (await self._store.write(_land_all, [(item, machine, claim)], self._now()))[0]
        except StoreError:
            raise
        except Exception:
            log.exception("event %s of %s cannot be landed", item.event.id, machine.id, extra=_once(machine, "land"))
            return (await self._store.write(_land_all, [(item, machine, _SURPRISE)], self._now()))[0]

    def _author(self, item: Received) -> Machine | None:
        machine = self._config().machine_by_pubkey(item.event.pubkey)
        if machine is None:
            log.info("event %s is by a machine that was dropped from the configuration", item.event.id)
        return machine

    def _read(self, item: Received, machine: Machine) -> Claim | Rejection | Transport:
        nostr = self._config().nostr
        window = Window(nostr.max_event_age_s, nostr.max_future_s)
        try:
            claim = read_event(item.event, machine, key=self._key, window=window, now=item.received_at)
            return claim if isinstance(claim, Transport) or not _is_too_long(item) else _TOO_LONG
        except Exception:
            log.exception("event %s of %s cannot be read", item.event.id, machine.id, extra=_once(machine, "read"))
            return _SURPRISE

    def read_again(self, item: Received) -> Callable[[sqlite3.Connection], Landing | Rejection] | Rejection:
        """A quarantined event, read once more, however old it is by now: the transaction that lands it."""
        if item.event.kind != SETTLEMENT_KIND:
            return Rejection("telemetry", "it is telemetry; the machine's next beacon replaces it")
        machine = self._config().machine_by_pubkey(item.event.pubkey)
        if machine is None:
            return Rejection("unknown_machine", "its machine is no longer in the configuration")
        window = Window(max_age_s=item.event.created_at + self._now(), max_future_s=self._config().nostr.max_future_s)
        claim = read_event(item.event, machine, key=self._key, window=window, now=self._now())
        if isinstance(claim, Transport):
            return Rejection("not_for_us", "its p tags do not name this daemon's key")
        now, record, rules = self._now(), _record(item), _rules(machine)
        return lambda conn: land_event(conn, machine.id, record, claim, rules, now, retry=True)

    # --- telemetry

    async def _note_telemetry(self, batch: Sequence[Received]) -> None:
        records: list[telemetry_rows.Record] = []
        unusable: list[tuple[Received, Machine, Rejection]] = []
        for item in batch:
            machine = self._config().machine_by_pubkey(item.event.pubkey)
            if machine is None or not self._counts(item.event):
                continue
            record = self._read_telemetry(item, machine)
            if isinstance(record, Rejection):
                unusable.append((item, machine, record))
            else:
                records.append(record)
        await self._store.write(_store_telemetry, records, unusable)

    def _counts(self, event: Event) -> bool:
        """Kind 30078 is anybody's application data (NIP-78): the file may name the `d` tags that are telemetry."""
        wanted = self._config().telemetry
        named = wanted.beacon_d if event.kind == BEACON_KIND else wanted.fleet_d
        return not named or beacons.d_tag(event) in named

    def _read_telemetry(self, item: Received, machine: Machine) -> telemetry_rows.Record | Rejection:
        if item.event.kind == BEACON_KIND and _is_too_long(item):
            return _TOO_LONG
        try:
            content = read_content(item.event, encrypted=machine.encrypted, key=self._key)
            if isinstance(content, Rejection):
                return content
            return beacons.read(
                item.event,
                machine.id,
                item.received_at,
                content=content,
                currency=machine.currency,
                max_future_s=self._config().nostr.max_future_s,
            )
        except Exception:
            log.exception(
                "telemetry %s of %s cannot be read", item.event.id, machine.id, extra=_once(machine, "telemetry")
            )
            return _SURPRISE

    # --- where machines publish

    async def _note_relay_lists(self, batch: Sequence[Received]) -> None:
        """One from the future is ignored: it would stay for years, and no list after it would count."""
        nostr = self._config().nostr
        read = [
            (item, machine, relay_lists.read(item.event, allow_private=nostr.discover_private))
            for item in batch
            if (machine := self._author(item)) and item.event.created_at <= item.received_at + nostr.max_future_s
        ]
        if nostr.discover_relays and await self._store.write(_store_relay_lists, read):
            self._relays_changed()


def _land_all(conn: sqlite3.Connection, ready: Sequence[_Ready], now: int) -> list[Landing | Rejection | None]:
    """One transaction for a batch; None for what was not for this daemon and is only counted."""
    outcomes: list[Landing | Rejection | None] = []
    for item, machine, claim in ready:
        if isinstance(claim, Transport):
            elsewhere.count(conn, machine.id, addressee=claim.addressee, old_nip44=claim.old_nip44, at=item.received_at)
            outcomes.append(None)
        else:
            outcomes.append(land_event(conn, machine.id, _record(item), claim, _rules(machine), now))
    return outcomes


def _store_telemetry(
    conn: sqlite3.Connection,
    records: Sequence[telemetry_rows.Record],
    unusable: Sequence[tuple[Received, Machine, Rejection]],
) -> None:
    telemetry_rows.store_batch(conn, records)
    for item, machine, rejection in unusable:
        quarantine_rows.add(
            conn,
            event_id=item.event.id,
            machine_id=machine.id,
            kind=item.event.kind,
            rejection=rejection,
            created_at=item.event.created_at,
            received_at=item.received_at,
            relay_url=item.relay_url,
            raw=item.raw,
        )


def _store_relay_lists(
    conn: sqlite3.Connection, read: Sequence[tuple[Received, Machine, relay_lists.RelayList]]
) -> bool:
    changed = False
    for item, machine, found in read:
        changed |= relay_list_rows.note(
            conn,
            machine.id,
            event_id=item.event.id,
            created_at=item.event.created_at,
            received_at=item.received_at,
            relays=found.relays,
            refused=found.refused,
        )
    return changed


def _is_too_long(item: Received) -> bool:
    return len(item.event.content) > MAX_EVENT_CHARS or len(item.raw) > MAX_EVENT_CHARS


def _once(machine: Machine, what: str) -> dict[str, object]:
    """Lines about the same trouble of the same machine are folded, whichever events they name."""
    return {"fold": (machine.id, what)}


def _record(item: Received) -> EventRecord:
    return EventRecord(item.event.id, item.event.created_at, item.received_at, item.relay_url, item.raw)


def _rules(machine: Machine) -> Rules:
    return Rules(machine_active=machine.active, payouts_since=machine.payouts_since)


def _report_landing(item: Received, machine: Machine, outcome: Landing | Rejection | None) -> None:
    event_id = item.event.id
    settlement_id = outcome.settlement_id if isinstance(outcome, Landing) else None
    with about(settlement=settlement_id, machine=machine.id, event=event_id):
        if isinstance(outcome, Rejection):
            log.warning(
                "event %s of %s is in quarantine: %s",
                event_id,
                machine.id,
                outcome.detail,
                extra=_once(machine, outcome.reason),
            )
        elif outcome is not None and outcome.result is LandingResult.LANDED:
            log.info("settlement %s of %s: landed from event %s", settlement_id, machine.id, event_id)
        elif outcome is not None and outcome.result is not LandingResult.DUPLICATE:
            log.info("settlement %s of %s: %s event %s", settlement_id, machine.id, outcome.result, event_id)
