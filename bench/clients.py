"""One client in a process of its own, from its subscription to the last durable row.

    python -m bench.clients NAME EVENTS [URL ..] --count 30000

Prints a line of JSON: `done_at` (CLOCK_MONOTONIC seconds) and `stored` (rows in the database); for `bare` `took_s`.
With `--copies N` also `copies_s`, how long N more copies of every event took when all were stored.

`satmachine`, `pynostr` and `nostr_sdk` keep the same row of an event in the same table, batch by batch, each batch
synced to the disk, so that only what is before it differs. `daemon` is what satmachine does in earnest: sales are read,
checked, matched and landed as settlements, telemetry is parsed and merged into the machines' states.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from coincurve import PublicKeyXOnly

from satmachine.config import load
from satmachine.nostr.intake import Received
from satmachine.nostr.keys import hex_to_npub
from satmachine.nostr.limits import Limits
from satmachine.nostr.pool import RelayPool
from satmachine.recorder import Recorder
from satmachine.relay_lists import relays_of
from satmachine.store import registry
from satmachine.store.database import open_store
from testkit.config_files import machine_table

BATCH_SIZE = 500
FLUSH_AFTER_S = 0.05
GIVE_UP_S = 120
#: No new row for so long: what is missing was lost.
STALLED_S = 5

Row = tuple[str, str, int, int, str]


class Rows:
    """The table that every client fills; `add` returns when the rows are on the disk."""

    def __init__(self, path: Path) -> None:
        self._conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._conn.execute("PRAGMA journal_mode = WAL")
        self._conn.execute("PRAGMA synchronous = FULL")
        self._conn.execute(
            "CREATE TABLE events (id TEXT PRIMARY KEY, pubkey TEXT, created_at INTEGER, kind INTEGER, raw TEXT)"
        )
        self.stored = 0
        self.done_at = 0.0

    def add(self, rows: Sequence[Row]) -> None:
        values = ",".join(["(?,?,?,?,?)"] * len(rows))
        flat = [value for row in rows for value in row]
        self._conn.execute("BEGIN IMMEDIATE")
        cursor = self._conn.execute(f"INSERT INTO events VALUES {values} ON CONFLICT DO NOTHING", flat)
        self._conn.execute("COMMIT")
        self.stored += cursor.rowcount
        self.done_at = time.monotonic()


class Writer:
    """A thread that stores what a callback hands over, in batches as satmachine makes them."""

    def __init__(self, rows: Rows, count: int) -> None:
        self._rows = rows
        self._count = count
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def put(self, row: Row) -> None:
        self._queue.put(row)

    @property
    def done(self) -> bool:
        return self._rows.stored >= self._count

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            row = self._queue.get()
            if row is None:
                return
            batch, flush_at = [row], time.monotonic() + FLUSH_AFTER_S
            while len(batch) < BATCH_SIZE:
                try:
                    row = self._queue.get(timeout=max(0.0, flush_at - time.monotonic()))
                except queue.Empty:
                    break
                if row is None:
                    self._rows.add(batch)
                    return
                batch.append(row)
            self._rows.add(batch)


def bare(events: Path) -> float:
    """Verify every event with nothing around it: keys parsed before, nothing decoded, nothing stored."""
    keys: dict[str, PublicKeyXOnly] = {}
    ready = []
    for line in events.read_text("utf-8").splitlines():
        event = json.loads(line)
        key = keys.setdefault(event["pubkey"], PublicKeyXOnly(bytes.fromhex(event["pubkey"])))
        ready.append((key, bytes.fromhex(event["sig"]), bytes.fromhex(event["id"])))
    started = time.perf_counter()
    for key, sig, event_id in ready:
        assert key.verify(sig, event_id)
    return time.perf_counter() - started


async def satmachine(urls: Sequence[str], authors: frozenset[str], rows: Rows, count: int, copies: int) -> float:
    """The daemon's own path from the socket to the batch, with the common table behind it; seconds for the copies."""

    async def sink(batch: Sequence[Received]) -> None:
        await anyio.to_thread.run_sync(
            rows.add,
            [(r.event.id, r.event.pubkey, r.event.created_at, r.event.kind, r.raw) for r in batch],
        )

    pool = RelayPool(dict.fromkeys(urls, authors), sink, limits=Limits())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run)
        await _until_done(lambda: rows.stored, count)
        started, before = time.perf_counter(), pool.health()[0].duplicates
        if copies:
            await _until_done(lambda: pool.health()[0].duplicates, copies * count)
        took_s = time.perf_counter() - started
        assert pool.health()[0].duplicates >= copies * count, "not every copy came"
        tasks.cancel_scope.cancel()
    return took_s * copies * count / max(1, copies * count - before)


async def daemon(urls: Sequence[str], authors: frozenset[str], folder: Path, count: int) -> tuple[int, float]:
    """The daemon's relay pool and recorder on a database of satmachine's; (rows, when the last was durable)."""
    config = load(write_config(folder, urls, sorted(authors)))
    done_at = 0.0
    async with open_store(config.database.path) as store:
        await store.write(registry.mirror, config, int(time.time()))
        recorder = Recorder(store, lambda: config, None, lambda: int(time.time()), landed=lambda: None)
        stored = 0

        async def sink(batch: Sequence[Received]) -> None:
            nonlocal stored, done_at
            await recorder.record(batch)
            stored += len(batch)
            done_at = time.monotonic()

        pool = RelayPool(
            relays_of(config).relays, sink, limits=Limits(settlement_queue=2 * count, telemetry_queue=2 * count)
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.run)
            await _until_done(lambda: stored, count)
            tasks.cancel_scope.cancel()
        return await store.read(_count_rows), done_at


def _count_rows(conn: sqlite3.Connection) -> int:
    sales = conn.execute("SELECT count(*) FROM dca_settlements").fetchone()[0]
    beacons = conn.execute("SELECT count(*) FROM dca_telemetry_log").fetchone()[0]
    return int(sales + beacons)


def write_config(folder: Path, urls: Sequence[str], authors: Sequence[str]) -> Path:
    machines = "".join(
        machine_table(number, f"machine-{number}", hex_to_npub(author), f'{{ env = "WALLET_{number}" }}')
        for number, author in enumerate(authors)
    )
    path = folder / "config.toml"
    path.write_text(
        f"""
[database]
path = "{folder}/satmachine.db"
[nostr]
relays = {json.dumps(list(urls))}
[lnbits]
url = "http://127.0.0.1:1"
[super]
fee_pct = 0.3
payee = {{ invoice_key = {{ env = "SUPER" }} }}
[[operators]]
id = "bench"
name = "Bench"
[[operators.splits]]
label = "owner"
pct = 1
payee = {{ invoice_key = {{ env = "OWNER" }} }}
{machines}""",
        "utf-8",
    )
    return path


async def _until_done(stored: Callable[[], int], count: int) -> None:
    last, last_at = 0, time.monotonic() + STALLED_S
    with anyio.move_on_after(GIVE_UP_S):
        while stored() < count:
            if stored() != last:
                last, last_at = stored(), time.monotonic()
            if time.monotonic() - last_at > STALLED_S:
                return
            await anyio.sleep(0.02)


def pynostr(urls: Sequence[str], rows: Rows, count: int) -> None:
    """Its RelayManager with a callback, which verifies (the library leaves that to its user)."""
    from pynostr.event import Event
    from pynostr.filters import Filters, FiltersList
    from pynostr.relay_manager import RelayManager
    from tornado.ioloop import IOLoop

    writer = Writer(rows, count)
    seen: set[str] = set()
    manager = RelayManager(timeout=0)

    def take(message: list[Any], *_: object) -> None:
        if message[0] != "EVENT":
            return
        if message[2]["id"] in seen:
            return
        event = Event.from_dict(message[2])
        if event.verify():
            seen.add(event.id)
            writer.put((event.id, event.pubkey, event.created_at, event.kind, json.dumps(message[2])))

    for url in urls:
        manager.add_relay(url, close_on_eose=False, message_callback=take)
    manager.add_subscription_on_all_relays("bench", FiltersList([Filters(kinds=[21000])]))
    loop = IOLoop.current()

    async def watch() -> None:
        await _until_done(lambda: rows.stored, count)
        loop.stop()

    loop.add_callback(manager.prepare_relays)
    loop.add_callback(watch)
    loop.start()
    writer.close()


async def nostr_sdk(urls: Sequence[str], rows: Rows, count: int) -> None:
    """Its client and notification stream, with a channel that holds every event (its usual one loses most of them)."""
    import nostr_sdk as sdk

    writer = Writer(rows, count)
    client = sdk.ClientBuilder().notification_channel_size(8 * count).build()
    for url in urls:
        await client.add_relay(sdk.RelayUrl.parse(url))
    await client.connect(timedelta(seconds=10))
    stream = client.notifications()
    await client.subscribe(sdk.ReqTarget.auto([sdk.Filter().kind(sdk.Kind(21000))]))

    async def read() -> None:
        seen: set[str] = set()
        while (notification := await stream.next()) is not None:
            if notification.is_new_event():
                event = notification.event
                event_id = event.id().to_hex()
                if event_id in seen:
                    continue
                seen.add(event_id)
                raw = event.as_json()
                writer.put(
                    (event_id, event.author().to_hex(), event.created_at().as_secs(), event.kind().as_u16(), raw)
                )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await _until_done(lambda: rows.stored, count)
        tasks.cancel_scope.cancel()
    writer.close()
    await client.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("bare", "satmachine", "daemon", "pynostr", "nostr_sdk"))
    parser.add_argument("events", type=Path)
    parser.add_argument("urls", nargs="*")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--copies", type=int, default=0)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    if args.name == "bare":
        print(json.dumps({"took_s": bare(args.events)}))
        return
    authors = frozenset(json.loads(line)["pubkey"] for line in args.events.read_text("utf-8").splitlines())
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        rows = Rows(Path(folder) / "rows.db")
        copies_s = 0.0
        profile = cProfile.Profile()
        if args.profile:
            profile.enable()
        if args.name == "satmachine":
            copies_s = anyio.run(satmachine, args.urls, authors, rows, args.count, args.copies)
        elif args.name == "daemon":
            rows.stored, rows.done_at = anyio.run(daemon, args.urls, authors, Path(folder), args.count)
        elif args.name == "pynostr":
            pynostr(args.urls, rows, args.count)
        else:
            anyio.run(nostr_sdk, args.urls, rows, args.count)
        if args.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        print(json.dumps({"done_at": rows.done_at, "stored": rows.stored, "copies_s": copies_s}))


if __name__ == "__main__":
    main()
