"""Alarms: what is news, one message per change, and how it arrives."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import nostr_sdk
import pytest

from satmachine.attention.items import Item, Thresholds
from satmachine.attention.look import Viewpoint
from satmachine.config import Config
from satmachine.nostr.gift import WRAP_KIND, wrap
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.ops.alerts import conditions
from satmachine.ops.alerts.alarm_desk import FIRST_AUDIT_S, AlertDesk, note
from satmachine.ops.alerts.channels import NotDelivered, deliver
from satmachine.ops.alerts.judge import Alert, ConditionState, Key, steps
from satmachine.ops.alerts.message import WORDS, AlertMessage, text_of
from satmachine.settlements.land.landing import Rules, land_event
from satmachine.store import alert_rows
from satmachine.store.database import atomic, open_store
from satmachine.store.settlements import EventRecord
from testkit.books import MACHINE, NOW, a_claim, fresh_books
from testkit.relays import local_relay

CLEAR_S = 900
KEY = ("machine-1", "wallet_low")


def run(sightings: list[tuple[int, ConditionState]]) -> list[tuple[int, bool]]:
    """The news that a series of looks at one condition makes: (when, raised)."""
    known: dict[Key, Alert] = {}
    news = []
    for now, sighting in sightings:
        for step in steps(known, {KEY: sighting}, clear_after_s=CLEAR_S, now=now):
            known[step.alert.key] = step.alert
            news += [(now, step.alert.raised)] if step.news else []
    return news


YES, NO, BETWEEN = ConditionState(True), ConditionState(False), ConditionState(None)


@pytest.mark.parametrize(
    ("looks", "news"),
    [
        ([(0, NO), (10, NO)], []),
        ([(0, YES), (10, YES)], [(0, True)]),
        ([(0, YES), (10, NO), (909, NO)], [(0, True)]),
        ([(0, YES), (10, NO), (910, NO)], [(0, True), (910, False)]),
        ([(0, YES), (10, NO), (900, YES), (910, NO), (1809, NO)], [(0, True)]),
        ([(0, YES), (10, BETWEEN), (2000, BETWEEN)], [(0, True)]),
        ([(0, BETWEEN), (10, BETWEEN)], []),
        ([(0, ConditionState(True, raise_after_s=60)), (59, ConditionState(True, raise_after_s=60))], []),
        ([(0, ConditionState(True, raise_after_s=60)), (60, ConditionState(True, raise_after_s=60))], [(60, True)]),
        ([(0, ConditionState(True, raise_after_s=60)), (30, NO), (61, ConditionState(True, raise_after_s=60))], []),
    ],
)
def test_an_alarm_begins_after_its_delay_and_ends_when_it_is_quiet(
    looks: list[tuple[int, ConditionState]], news: list[tuple[int, bool]]
) -> None:
    assert run(looks) == news


def test_a_machine_that_was_dropped_takes_its_alarm_with_it() -> None:
    alert = Alert(*KEY, raised=True, since=0, changed_at=0, detail="")
    [step] = steps({KEY: alert}, {}, clear_after_s=CLEAR_S, now=CLEAR_S)
    assert step.news
    assert not step.alert.raised


def test_a_storm_of_50_machines_that_flap_for_an_hour_is_one_message_per_real_change(tmp_path: Path) -> None:
    chance = random.Random(8)
    flapping = [f"machine-{n}" for n in range(50)]
    with fresh_books(tmp_path) as conn:
        state = dict.fromkeys(flapping, False)
        for now in range(NOW, NOW + 3600, 10):
            for machine in flapping:
                state[machine] ^= chance.random() < 0.3
            look_at(conn, {(m, "settlement_held"): ConditionState(held) for m, held in state.items()}, now)
        assert told(conn) == {machine: [1] for machine in flapping}
        for now in range(NOW + 3600, NOW + 3600 + 2 * CLEAR_S, 10):
            look_at(conn, {(machine, "settlement_held"): ConditionState(False) for machine in flapping}, now)
        assert told(conn) == {machine: [1, 0] for machine in flapping}


def look_at(conn: sqlite3.Connection, seen: Mapping[Key, ConditionState], now: int) -> None:
    with atomic(conn):
        note(conn, seen, ("webhook",), CLEAR_S, now)


def told(conn: sqlite3.Connection) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in conn.execute("SELECT subject, raised FROM alert_messages ORDER BY id"):
        found.setdefault(row["subject"], []).append(row["raised"])
    return found


def test_what_was_told_is_remembered_over_a_restart(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        for now in (NOW, NOW + 10, NOW + 20):  # each look starts from what the database says
            look_at(conn, {KEY: YES}, now)
        assert told(conn) == {"machine-1": [1]}


def seen_in(conn: sqlite3.Connection, *, listening_s: int = 86_400, **limits: Any) -> dict[Key, ConditionState]:
    """The alarms that the books show."""
    view = Viewpoint(Thresholds(**limits), NOW, listening_s=listening_s)
    return conditions.sightings([*conditions.quick(conn, view), *conditions.thorough(conn, view)], [], NOW)


def land_and_hold(conn: sqlite3.Connection) -> None:
    with atomic(conn):
        record = EventRecord("ee" * 32, NOW, NOW, "wss://relay.example", "{}")
        land_event(conn, MACHINE, record, a_claim(), Rules(machine_active=False, payouts_since=0), NOW)


def add_beacon(conn: sqlite3.Connection, machine_id: str, at: int, cassettes: str) -> None:
    with atomic(conn):
        conn.execute(
            "INSERT INTO dca_telemetry (machine_id, beacon_at, received_at, cassettes, raw, origins, beacon_id) "
            "VALUES (?, ?, ?, ?, '{}', '{}', 'bb')",
            (machine_id, at, at, cassettes),
        )


def test_the_books_show_held_sales_low_wallets_and_cassettes_and_silence(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        land_and_hold(conn)
        cassettes = json.dumps([{"denomination_minor": 10_000, "count": 3, "capacity": 500}])
        with atomic(conn):
            conn.execute(
                "UPDATE dca_wallets SET balance_sats = 99, reachable = 0, error = 'no answer', checked_at = 1, "
                "safe_mode = 'strange payments' WHERE machine_id = 'machine-1'"
            )
        add_beacon(conn, "machine-2", NOW - 7200, cassettes)
        seen = seen_in(conn, wallet_low_sats=100)
        wrong = {key: sighting.detail for key, sighting in seen.items() if sighting.holds}
        assert wrong == {
            ("machine-1", "settlement_held"): (
                "machine-1: sale 1 is held: the machine is not active: set active = true in its table of the file, and "
                "reload"
            ),
            ("machine-1", "wallet_unreachable"): "The wallet of machine-1 does not answer: no answer",
            ("machine-1", "wallet_low"): "The wallet of machine-1 is low: 99 sats are left",
            ("machine-1", "safe_mode"): "machine-1 pays nothing: strange payments",
            ("machine-2", "machine_silent"): "machine-2 is silent: no beacon and no sale for 120 min",
            ("machine-2", "cassette_low"): "machine-2 is low on cash: cassette 1 has 3 notes",
        }


def test_a_daemon_that_just_started_calls_nobody_silent(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        add_beacon(conn, "machine-1", 1, "[]")
        assert seen_in(conn, listening_s=10)["machine-1", "machine_silent"].holds is None


@pytest.mark.parametrize(("value", "holds"), [(99, True), (100, None), (119, None), (120, False)])
def test_a_level_has_to_recover_well_above_its_limit(tmp_path: Path, value: int, holds: bool | None) -> None:
    with fresh_books(tmp_path) as conn:
        with atomic(conn):
            conn.execute(
                "UPDATE dca_wallets SET balance_sats = ?, checked_at = 1 WHERE machine_id = 'machine-1'", (value,)
            )
        seen = seen_in(conn, wallet_low_sats=100)
        assert seen.get(("machine-1", "wallet_low"), NO).holds is holds


@pytest.mark.parametrize("condition", WORDS)
def test_every_alarm_says_what_to_do(condition: str) -> None:
    raised = AlertMessage(1, NOW, "webhook", "market", condition, raised=True, detail="for a reason", attempts=0)
    assert text_of(raised) == f"ALARM: for a reason. What to do: {WORDS[condition].command}"


# --- delivery


def config_with(alerts: dict[str, object], **nostr: object) -> Config:
    tables = {"nostr": {"relays": [], **nostr}, "lnbits": {"url": "https://x.example"}, "alerts": alerts}
    return Config.model_validate(tables)


def message(channel: str) -> AlertMessage:
    return AlertMessage(7, NOW, channel, "market", "wallet_low", raised=True, detail="5 sats are left", attempts=0)


@contextmanager
def web(status: int, bodies: list[object]) -> Iterator[str]:
    """A real HTTP server that keeps what is posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook/s3cret"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_webhook_gets_json() -> None:
    bodies: list[object] = []
    with web(204, bodies) as url:
        await deliver(message("webhook"), config_with({"webhook_url": url}), NOW)
    [body] = bodies
    assert isinstance(body, dict)
    assert (body["id"], body["subject"], body["condition"], body["state"]) == (7, "market", "wallet_low", "raised")
    assert body["text"] == text_of(message("webhook"))


async def test_a_webhook_that_fails_is_not_named() -> None:
    with web(500, []) as url, pytest.raises(NotDelivered, match="HTTP 500") as failure:
        await deliver(message("webhook"), config_with({"webhook_url": url}), NOW)
    assert "s3cret" not in str(failure.value)


async def test_a_command_gets_json_and_text(tmp_path: Path) -> None:
    program = (
        f"import sys, os; open({str(tmp_path / 'out')!r}, 'w').write(sys.stdin.read() + os.environ['SATMACHINE_ALERT'])"
    )
    await deliver(message("command"), config_with({"command": [sys.executable, "-c", program]}), NOW)
    assert '"state": "raised"' in (tmp_path / "out").read_text()
    assert (tmp_path / "out").read_text().endswith(text_of(message("command")))


async def test_a_command_that_fails_says_why() -> None:
    command = [sys.executable, "-c", "import sys; print('no route'); sys.exit(3)"]
    with pytest.raises(NotDelivered, match="exited with 3: no route"):
        await deliver(message("command"), config_with({"command": command}), NOW)


def test_a_gift_is_opened_by_another_implementation_and_by_its_receiver_alone() -> None:
    ours, theirs = bytes.fromhex("11" * 32), nostr_sdk.Keys.generate()
    chance = random.Random(1)
    event = wrap("ALARM", secret=ours, receiver=theirs.public_key().to_hex(), now=NOW, entropy=chance.randbytes)
    assert event.kind == WRAP_KIND
    assert event.pubkey != public_key_of(ours)
    assert NOW - 2 * 86_400 < event.created_at <= NOW
    wrapped = nostr_sdk.Event.from_json(event.to_json())
    assert wrapped.verify()
    gift = nostr_sdk.UnwrappedGift.from_gift_wrap(theirs, wrapped)
    assert gift.sender().to_hex() == public_key_of(ours)
    assert gift.rumor().content() == "ALARM"
    assert gift.rumor().kind().as_u16() == 14


async def test_a_direct_message_is_taken_by_a_relay_that_is_there() -> None:
    receiver = nostr_sdk.Keys.generate()
    async with local_relay() as url:
        npub = hex_to_npub(receiver.public_key().to_hex())
        config = config_with({"npub": npub, "relays": ["ws://127.0.0.1:1", url]}, secret_key="11" * 32)
        await deliver(message("nostr"), config, NOW)
    nobody = config_with({"npub": npub, "relays": ["ws://127.0.0.1:1"]}, secret_key="11" * 32)
    with pytest.raises(NotDelivered, match="cannot connect"):
        await deliver(message("nostr"), nobody, NOW)


async def test_what_could_not_be_told_is_told_later_and_once(tmp_path: Path) -> None:
    bodies: list[object] = []
    clock = [NOW]
    prepared = tmp_path / "books.db"
    async with open_store(prepared) as opened:
        await opened.write(note, {KEY: YES}, ("webhook",), CLEAR_S, NOW)
        with web(500, []) as url:
            await desk(opened, url, clock).deliver_due()
        with web(204, bodies) as url:
            await desk(opened, url, clock).deliver_due()
            assert bodies == []  # it is not due yet
            clock[0] += 10
            for _ in range(3):
                await desk(opened, url, clock).deliver_due()
        assert len(bodies) == 1
        assert await opened.read(alert_rows.due, NOW + 10**6) == []


async def test_the_books_are_proven_after_a_while_and_then_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs: list[int] = []
    clock = [NOW]

    def broken(_conn: sqlite3.Connection) -> list[Item]:
        proofs.append(clock[0] - NOW)
        return [Item("books_broken", "", "1 break(s)", "satmachine audit")]

    monkeypatch.setattr(conditions, "from_audit", broken)
    async with open_store(tmp_path / "books.db") as opened:
        looking = desk(opened, "http://127.0.0.1:1/", clock)
        for after_s in (0, FIRST_AUDIT_S, 2 * FIRST_AUDIT_S, FIRST_AUDIT_S + 21_600):
            clock[0] = NOW + after_s
            await looking.look()
        found = await opened.read(alert_rows.due, clock[0])
    assert proofs == [FIRST_AUDIT_S, FIRST_AUDIT_S + 21_600]
    assert [(row["condition"], row["raised"]) for row in found] == [("books_broken", True)]


def desk(opened: object, url: str, clock: list[int]) -> AlertDesk:
    config = config_with({"webhook_url": url})
    return AlertDesk(opened, lambda: config, lambda: clock[0], list)  # type: ignore[arg-type]
