"""Books that look like a small town's: six machines, two weeks of sales, cash, LPs, a signed statement."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from bench import books
from satmachine.cash import outlook
from satmachine.config.model import Web, WebPerson
from satmachine.models.cash_values import EntryKind, NoteLine
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.orders import SignStatement
from satmachine.reports.make import sign_statement
from satmachine.store import cash_rows
from satmachine.store.cash_rows import Draft
from satmachine.store.database import atomic, connect

SIZE = books.Size(machines=6, sales=900, beacons=1_500, sale_every_s=1_700)
#: The present of these books, in Unix seconds.
NOW = SIZE.end

#: What signs Ana in, and what signs statements.
ANAS_KEY, DAEMONS_KEY = bytes(31) + b"\x07", bytes(31) + b"\x08"
OPERATOR = "operator-0"
_NAMES = ("Panajachel market", "Sololá bus station", "San Pedro pier", "Santiago plaza", "Café Atitlán", "Hotel Azul")


def people() -> tuple[WebPerson, ...]:
    """Ana of the operator, an LP with two positions who reads Spanish, and one of another operator."""
    return (
        WebPerson(id="ana", name="Ana", operator=OPERATOR, npub=hex_to_npub(public_key_of(ANAS_KEY))),
        WebPerson(
            id="maria", name="María", operator=OPERATOR, client="person-2", language="es", tz="America/Guatemala"
        ),
    )


def web(origin: str) -> Web:
    return Web(people=people(), public_url=origin)


def build(path: Path) -> None:
    """Make the books."""
    books.build(path, SIZE, lambda _: None)
    conn = connect(path)
    try:
        with atomic(conn):
            for number, name in enumerate(_NAMES):
                conn.execute("UPDATE dca_machines SET name = ? WHERE id = ?", (name, books.machine_id(number)))
                conn.execute(
                    "UPDATE dca_telemetry SET cassettes = ?, cash_left_minor = ? WHERE machine_id = ?",
                    (_cassettes(number), (55 - 9 * number) * 200_000, books.machine_id(number)),
                )
            conn.execute(
                "UPDATE dca_telemetry SET status = 'error', last_error = 'bill validator offline' WHERE machine_id = ?",
                (books.machine_id(3),),
            )
            _count_cash(conn)
            for number in range(SIZE.machines):
                outlook.refresh(conn, books.machine_id(number), NOW)
            position = conn.execute("SELECT id FROM dca_clients WHERE person = 'person-2' ORDER BY id").fetchone()[0]
            sign_statement(conn, SignStatement(position), secret=DAEMONS_KEY, actor="ana", now=NOW - 3_600)
    finally:
        conn.close()


def _count_cash(conn: sqlite3.Connection) -> None:
    lines = (NoteLine(1, 10_000, 900, 9_000_000), NoteLine(2, 5_000, 400, 2_000_000))
    draft = Draft(books.machine_id(0), EntryKind.COUNT, NOW - 86_400, "GTQ", lines)
    cash_rows.insert(conn, draft, actor="ana", now=NOW - 86_300)


def _cassettes(number: int) -> str:
    return json.dumps(
        [
            {"denomination_minor": 10_000, "count": max(0, 420 - 80 * number), "capacity": 500},
            {"denomination_minor": 5_000, "count": 210, "capacity": 500},
        ]
    )
