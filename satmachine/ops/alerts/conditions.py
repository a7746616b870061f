"""What is wrong right now: the conditions that hold, or that are in between two limits.

What is not named here does not hold; `judge` takes it so. Of ten thousand machines hardly any is in trouble, and only
those are read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from satmachine.audit.books import check_books
from satmachine.cash import outlook
from satmachine.config.model import Alerts
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.ops.alerts.judge import Key, Sighting
from satmachine.store import cash, standing

#: A level ends its alarm only this far above the limit that raised it, in percent of the limit.
_MARGIN_PERCENT = 20
_SHOWN = 5
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in force, and since when this daemon has been listening (Unix seconds)."""

    settings: Alerts
    started_at: int
    now: int


def from_books(conn: sqlite3.Connection, limits: Limits) -> dict[Key, Sighting]:
    """What the books tell, from one snapshot."""
    return from_sales_and_wallets(conn, limits) | from_telemetry(conn, limits)


def from_sales_and_wallets(conn: sqlite3.Connection, limits: Limits) -> dict[Key, Sighting]:
    """Along indexes, or from a table with a short row for each machine: quick."""
    return dict([*_sales(conn, limits), *_wallets(conn, limits)])


def from_telemetry(conn: sqlite3.Connection, limits: Limits) -> dict[Key, Sighting]:
    """Looks into every machine's state: some 60 ms of the processor for ten thousand."""
    return dict([*_silent(conn, limits), *_cassettes(conn, limits), *_cash(conn, limits)])


def from_relays(relays: Sequence[RelayHealth], settings: Alerts) -> dict[Key, Sighting]:
    """A relay that is away, or that misses what others bring."""
    found = {}
    for relay in relays:
        away = relay.state is not RelayState.SUBSCRIBED
        detail = (relay.error or "not connected") if away else "others bring events that it does not"
        if away or relay.quiet:
            found[relay.url, "relay_quiet"] = Sighting(True, detail, settings.relay_quiet_after_s)
    return found


def from_audit(conn: sqlite3.Connection) -> dict[Key, Sighting]:
    """Whether the books add up. Reads all of them."""
    broken = check_books(conn)
    kinds = ", ".join(sorted({str(one.kind) for one in broken})[:_SHOWN])
    return {("", "books_broken"): Sighting(bool(broken), f"{len(broken)} break(s): {kinds}")}


def _sales(conn: sqlite3.Connection, _limits: Limits) -> Iterator[tuple[Key, Sighting]]:
    for (machine_id, status), ids in standing.open_sales(conn).items():
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        detail = f"sale {', '.join(map(str, ids[:_SHOWN]))}{more}"
        yield (machine_id, f"settlement_{status}"), Sighting(holds=True, detail=detail)


def _silent(conn: sqlite3.Connection, limits: Limits) -> Iterator[tuple[Key, Sighting]]:
    """A daemon that was down has heard nobody: it listens for as long itself before it calls a machine silent."""
    patience_s = limits.settings.machine_silent_after_s
    listened = limits.now - limits.started_at >= patience_s
    for machine_id, heard_at in standing.silent_since(conn, limits.now - patience_s).items():
        detail = f"nothing was heard of it for {(limits.now - heard_at) // 60} min"
        yield (machine_id, "machine_silent"), Sighting(True if listened else None, detail)


def _cassettes(conn: sqlite3.Connection, limits: Limits) -> Iterator[tuple[Key, Sighting]]:
    limit = int(limits.settings.cassette_low_pct * 100)
    for machine_id, told in standing.low_cassettes(conn, _recovered(limit)).items():
        low = [(number, notes) for number, notes, percent in told if notes == 0 or _level(percent, limit)]
        detail = ", ".join(f"cassette {number} has {notes} notes" for number, notes in low)
        yield (machine_id, "cassette_low"), Sighting(True if low else None, detail)


def _cash(conn: sqlite3.Connection, limits: Limits) -> Iterator[tuple[Key, Sighting]]:
    """By the forecasts that the daemon has written down: the early end of the range counts."""
    days = limits.settings.cash_out_days
    ends_at = limits.now + _recovered(days * _DAY_S)
    fresh_since = limits.now - outlook.STALE_AFTER_S
    for row in cash.forecasts(conn, fresh_since=fresh_since, early_before=ends_at):
        left_s = row["first_at"] - limits.now
        yield (row["machine_id"], "cash_out_soon"), Sighting(_level(left_s, days * _DAY_S), _cash_detail(row))


def _cash_detail(row: cash.Record) -> str:
    """Dates, so that the words change once a day at the most."""
    early, likely, late = (_date(row[name]) for name in ("early_at", "likely_at", "late_at"))
    if likely is None:
        return f"it may be empty on {early}"
    if early is None:
        return f"empty about {likely}"
    return f"empty about {likely}, between {early} and {late or 'much later'}"


def _date(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%a %Y-%m-%d")


def _wallets(conn: sqlite3.Connection, limits: Limits) -> Iterator[tuple[Key, Sighting]]:
    patience_s, low_sats = limits.settings.wallet_unreachable_after_s, limits.settings.wallet_low_sats
    for wallet in standing.troubled_wallets(conn, 0 if low_sats is None else _recovered(low_sats)):
        name = wallet.machine_id
        if wallet.checked_at is not None and not wallet.reachable:
            yield (
                (name, "wallet_unreachable"),
                Sighting(holds=True, detail=wallet.error or "", raise_after_s=patience_s),
            )
        if low_sats is not None and wallet.balance_sats is not None:
            holds = _level(wallet.balance_sats, low_sats)
            yield (name, "wallet_low"), Sighting(holds, f"{wallet.balance_sats} sats are left")
        if wallet.safe_mode is not None:
            yield (name, "safe_mode"), Sighting(holds=True, detail=wallet.safe_mode)


def _recovered(limit: int) -> int:
    """From here on a level is well above its limit."""
    return -(-limit * (100 + _MARGIN_PERCENT) // 100)


def _level(value: int | None, limit: int) -> bool | None:
    """Below the limit, well above it, or (None) in between."""
    if value is None:
        return False
    if value < limit:
        return True
    return False if value >= _recovered(limit) else None
