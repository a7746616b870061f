"""Beacons, machines and databases for the tests of telemetry."""

from __future__ import annotations

import json
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

from satmachine.money import minor_digits
from satmachine.nostr.event import BEACON_KIND, Event
from satmachine.store.database import atomic, connect, prepare
from satmachine.telemetry import beacons
from satmachine.telemetry.beacons import BeaconRecord, SnapshotRecord
from satmachine.telemetry.parse import Fields, parse_beacon

MACHINE = "panajachel-1"
NOW = 1_795_341_600
RICH = {
    "name": "Panajachel",
    "location": "Calle Santander",
    "status": "online",
    "software_version": "10.1.2",
    "uptime": 3600,
    "cassettes": [
        {"denomination": 100, "count": 40, "capacity": 500},
        {"denomination": 50, "count": 300, "capacity": 500},
    ],
    "cash_total": 19000.00,
    "currency": "GTQ",
    "exchange_rate": 1234.56,
    "fee_pct": 0.05,
    "last_error": "",
    "battery": 97.50,
}


def fields(told: Any, currency: str = "GTQ") -> Fields:
    """What is read of a beacon that must be readable."""
    read = parse_beacon(told if isinstance(told, str) else json.dumps(told), currency)
    assert isinstance(read, Fields), read
    return read


def event(told: Any, at: int = NOW, *, kind: int = BEACON_KIND, tags: tuple[tuple[str, ...], ...] = ()) -> Event:
    """An event as the relays' intake hands it over; its signature is not looked at any more."""
    content = told if isinstance(told, str) else json.dumps(told)
    event_id = sha256(f"{at}{kind}{tags}{content}".encode()).hexdigest()
    return Event(event_id, "0" * 64, at, kind, tags, content, "")


def record(told: Any, at: int = NOW, *, machine_id: str = MACHINE, d_tag: str = "", event_id: str = "") -> BeaconRecord:
    """A beacon that is ready to be stored."""
    made = event(told, at, tags=(("d", d_tag),))
    read = beacons.read(made, machine_id, at + 1, content=made.content, currency="GTQ")
    assert isinstance(read, BeaconRecord), read
    if not event_id:
        return read
    return BeaconRecord(read.machine_id, event_id, at, read.received_at, d_tag, read.content, read.fields)


def snapshot(at: int = NOW, machine_id: str = MACHINE) -> SnapshotRecord:
    return SnapshotRecord(machine_id, sha256(f"{at}".encode()).hexdigest(), at, at + 1, "fleet", '{"machines": [1]}')


def database(folder: Path, *, machines: tuple[str, ...] = (MACHINE,), currency: str = "GTQ") -> sqlite3.Connection:
    """A database with some machines of one operator, that can give space back."""
    path = folder / "satmachine.db"
    empty = sqlite3.connect(path)
    empty.execute("PRAGMA auto_vacuum = INCREMENTAL")
    empty.execute("VACUUM")
    empty.close()
    prepare(path)
    conn = connect(path)
    with atomic(conn):
        conn.execute("INSERT INTO dca_operators VALUES ('atitlan', 'Atitlan', 1)")
        for number, machine_id in enumerate(machines):
            conn.execute(
                "INSERT INTO dca_machines VALUES (?, 'atitlan', ?, ?, ?, ?, '0.05', 0, 1, 1, 0, ?)",
                (machine_id, f"npub{number}", f"{number:064x}", f"Machine {number}", currency, minor_digits(currency)),
            )
    return conn
