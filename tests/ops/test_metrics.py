"""Metrics as Prometheus reads them, and the heartbeat."""

from __future__ import annotations

import os
import re
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
from prometheus_client.parser import text_string_to_metric_families

from satmachine.attention.items import Attention, Item
from satmachine.config import Config
from satmachine.nostr.event import Fault
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.ops.metrics import Exposition
from satmachine.ops.watch import Watch, status_sentence
from satmachine.store import standing
from satmachine.store.database import open_store
from testkit.books import add_provider, fresh_books
from testkit.ports import free_port
from tests.ops.test_backup import land

RELAY = RelayHealth(
    "wss://one.example",
    state=RelayState.SUBSCRIBED,
    latency_ms=12.5,
    events=7,
    duplicates=3,
    faults=Counter({Fault.BAD_SIGNATURE: 2}),
)


def shown(folder: Path, exposition: Exposition) -> None:
    with fresh_books(folder) as conn:
        land(conn, 1)
        conn.execute(
            "UPDATE dca_wallets SET balance_sats = 500, reachable = 1, checked_at = 1 WHERE machine_id = 'machine-1'"
        )
        found = standing.read(conn)
        exposition.show(
            found, [RELAY], 0.25, Attention(), now=found.oldest_pending_at + 60 if found.oldest_pending_at else 0
        )


def parse(text: str) -> dict[tuple[str, str], float]:
    """{(name without its prefix, values of its labels in the order of their names): value}"""
    return {
        (
            sample.name.removeprefix("satmachine_"),
            ",".join(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_everything_that_was_asked_for_is_there(tmp_path: Path) -> None:
    with Exposition() as exposition:
        shown(tmp_path, exposition)
        before = os.umask(0o007)  # as the unit has it
        try:
            exposition.write(tmp_path / "satmachine.prom")
        finally:
            os.umask(before)
    assert (tmp_path / "satmachine.prom").stat().st_mode & 0o777 == 0o644, "who collects metrics is another user"
    assert not list(tmp_path.glob(".satmachine.prom*"))
    found = parse((tmp_path / "satmachine.prom").read_text())
    assert found["settlements", "pending"] == 1
    assert found["settlements", "errored"] == 0
    assert found["legs", "failed"] == 0
    assert found["oldest_pending_seconds", ""] == 60
    assert found["wallet_balance_sats", "machine-1"] == 500
    assert found["wallet_up", "machine-1"] == 1
    assert found["wallet_up", "machine-2"] == 0
    assert found["lnbits_latency_seconds", ""] == 0.25
    assert found["database_bytes", ""] > 4096
    assert found["relay_up", "wss://one.example"] == 1
    assert found["relay_latency_seconds", "wss://one.example"] == 0.0125
    assert found["relay_events_total", "wss://one.example"] == 7
    assert found["relay_faults_total", "bad_signature,wss://one.example"] == 2


def test_it_is_served_where_it_was_asked_for(tmp_path: Path) -> None:
    port = free_port()
    with Exposition(f"127.0.0.1:{port}") as exposition:
        shown(tmp_path, exposition)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    assert parse(text)["settlements", "pending"] == 1


def test_a_port_that_is_taken_is_logged_and_the_daemon_goes_on(tmp_path: Path, caplog: object) -> None:
    port = free_port()
    with Exposition(f"127.0.0.1:{port}"), Exposition(f"127.0.0.1:{port}") as second:
        second.write(tmp_path / "still.prom")
    assert (tmp_path / "still.prom").exists()


def test_a_folder_that_is_missing_is_no_surprise(tmp_path: Path) -> None:
    with Exposition() as exposition:
        exposition.write(tmp_path / "missing" / "satmachine.prom")


def test_who_connects_and_says_nothing_takes_a_few_threads_and_no_more() -> None:
    """Anybody on this host may connect: threads and files are the daemon's, which needs them for wallets and relays."""
    port = free_port()
    before = threading.active_count()
    with Exposition(f"127.0.0.1:{port}") as exposition:
        assert exposition is not None
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        # Each is either served by a thread, or was hung up on: the last one to be hung up on ends the wait.
        silent[-1].settimeout(20)
        assert silent[-1].recv(1) == b""
        assert threading.active_count() - before <= 10
        for one in silent:
            one.close()


def test_the_dashboard_asks_only_for_metrics_that_exist(tmp_path: Path) -> None:
    with Exposition() as exposition:
        shown(tmp_path, exposition)
        exposition.write(tmp_path / "satmachine.prom")
    names = set()
    for family in text_string_to_metric_families((tmp_path / "satmachine.prom").read_text()):
        names.add(family.name + ("_total" if family.type == "counter" else ""))
    dashboard = (Path(__file__).parents[2] / "docs" / "grafana.json").read_text()
    asked = set(re.findall(r"satmachine_\w+", dashboard))
    assert asked
    assert asked <= names
    business = {"cash", "cash_out_seconds", "beacon_age_seconds", "machine_error", "day_sales", "day_sold_sats"}
    assert {f"satmachine_{name}" for name in business} <= asked


def test_the_business_of_each_machine_is_told(tmp_path: Path) -> None:
    beacon = """INSERT INTO dca_telemetry (machine_id, status, last_error, cash_left_minor, raw, origins, beacon_at,
        beacon_id, received_at) VALUES ('machine-1', ?, 'bill validator offline', 123450, '{}', ?, 1000, 'x', 1000)"""
    with fresh_books(tmp_path) as conn:
        add_provider(conn, "maria", 50_000)
        land(conn, 1)
        conn.execute(
            "UPDATE dca_settlements SET proof = 'proven', settlement_key = payment_hash, proven_at = landed_at"
        )
        sold_at, gross_sats = conn.execute("SELECT occurred_at, gross_sats FROM dca_settlements").fetchone()
        conn.execute(beacon, ("error", '{"status": [1000, "x"], "last_error": [1000, "x"]}'))
        exposition = Exposition()
        for now, sales in ((sold_at + 60, 1), (sold_at + 86_400, 0)):
            exposition.show(standing.read(conn, now), [], None, Attention(), now=now)
            exposition.write(tmp_path / "satmachine.prom")
            found = parse((tmp_path / "satmachine.prom").read_text())
            assert found["day_sales", "machine-1"] == sales
            assert found["day_sold_sats", "machine-1"] == sales * gross_sats
            assert found["cash", "GTQ,machine-1"] == 1234.50
            assert found["cash_of_providers", "GTQ,machine-1"] == 500
            assert found["beacon_age_seconds", "machine-1"] == now - 1000
            assert found["machine_error", "machine-1"] == 1
            assert ("machine_error", "machine-2") not in found, "it has told nothing"
            assert found["day_sales", "machine-2"] == 0


def test_the_status_sentence_begins_with_the_bad_news() -> None:
    away = RelayHealth("wss://two.example", state=RelayState.BACKING_OFF)
    counts = {"pending": 3, "held": 1, "errored": 1}
    needs = Attention((Item("settlement_held", "market", "", ""), Item("unmatched", "market", "", "")))
    assert status_sentence([RELAY, away], 5, counts, needs) == (
        "2 thing(s) need you: market: sales are held and wait for you (and 1 more), 3 under way, "
        "5 machine(s) on 1 of 2 relay(s)."
    )
    assert status_sentence([away], 5, {}, Attention()).startswith("No relay is reachable; 0 under way")


async def test_the_heartbeat_is_asked_for_only_while_all_is_alive(tmp_path: Path) -> None:
    asked: list[str] = []
    with listening(asked) as url:
        config = Config.model_validate(
            {"nostr": {"relays": []}, "lnbits": {"url": "https://x.example"}, "metrics": {"heartbeat_url": url}}
        )
        async with open_store(tmp_path / "books.db") as store, anyio.create_task_group() as tasks:
            watch = Watch(store, lambda: config, lambda: 0, list, lambda: None, Attention)
            tasks.start_soon(watch.keep_heartbeat)
            await anyio.sleep(0.3)
            assert asked == [], "nothing is known to be alive yet"
            tasks.cancel_scope.cancel()
        async with open_store(tmp_path / "books.db") as store, anyio.create_task_group() as tasks:
            watch = Watch(store, lambda: config, lambda: 0, list, lambda: None, Attention)
            watch._on_beat()
            tasks.start_soon(watch.keep_heartbeat)
            while not asked:  # noqa: ASYNC110 - the server is on a thread
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
    assert asked == ["/ping/s3cret"]


@contextmanager
def listening(asked: list[str]) -> Iterator[str]:
    """A real HTTP server that notes what is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ping/s3cret"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
