"""The list of what needs a person (satmachine/attention), as conditions from which alarms are judged.

What is not named here does not hold; `judge.steps` takes it so. What a person has silenced is neither raised nor ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from satmachine.attention import look
from satmachine.attention.items import Item, Silence, names_of
from satmachine.attention.look import Viewpoint
from satmachine.audit.proof import check_books
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.ops.alerts.judge import ConditionState, Key

_SHOWN = 5


def quick(conn: sqlite3.Connection, view: Viewpoint) -> list[Item]:
    """Along indexes, or from a table with a short row for each machine."""
    return [
        *look.from_daemon(conn, view, daemon_runs=True),
        *look.from_sales(conn, view),
        *look.from_wallets(conn, view),
    ]


def thorough(conn: sqlite3.Connection, view: Viewpoint) -> list[Item]:
    """Looks at every machine's state: some 60 ms of processor time for ten thousand."""
    return [*look.from_telemetry(conn, view), *look.from_strangers(conn, view)]


def from_relays(relays: Sequence[RelayHealth], wait_s: int) -> Iterator[Item]:
    """Relays that are away, or that miss what others deliver, as the pool sees them now. For a relay that only machines
    name, nobody is woken."""
    for relay in relays:
        if relay.named:
            continue
        away = relay.state is not RelayState.SUBSCRIBED
        if away or relay.quiet:
            detail = (relay.error or "not connected") if away else "other relays deliver events that it does not"
            yield look.relay(relay.url, detail, relay.since, wait_s)


def from_audit(conn: sqlite3.Connection) -> list[Item]:
    """Whether the books add up. Reads all of them."""
    broken = check_books(conn)
    kinds = ", ".join(sorted({str(one.kind) for one in broken})[:_SHOWN])
    cause = f"The books do not add up: {len(broken)} break(s): {kinds}"
    return [Item("books_broken", "", cause, "satmachine audit")] if broken else []


def sightings(items: Iterable[Item], silences: Iterable[Silence], now: int) -> dict[Key, ConditionState]:
    """The items that are alarms, by what they concern and what is wrong."""
    quiet = {one.item for one in silences if one.until is None or one.until > now}
    groups: dict[Key, list[Item]] = {}
    for item in items:
        if item.is_alarm:
            groups.setdefault((item.subject, item.condition), []).append(item)
    return {key: _sighting(found, quiet) for key, found in groups.items()}


def _sighting(items: list[Item], quiet: set[str]) -> ConditionState:
    loud = [item for item in items if item.sure and quiet.isdisjoint(names_of(item))]
    if not loud:
        return ConditionState(None)
    more = f"; and {len(loud) - _SHOWN} more" if len(loud) > _SHOWN else ""
    detail = "; ".join(item.cause for item in loud[:_SHOWN]) + more
    return ConditionState(True, detail, min(item.wait_s for item in loud))
