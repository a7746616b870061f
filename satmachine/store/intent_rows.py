"""What people ask the daemon to do: the CLI writes an order, the daemon carries it out and says the result.

An order ends in the transaction of its effect (`carry_out`): it is open and nothing of it is done, or it has ended and
all of it is. So a crash, or a database that another program keeps locked, never carries one out twice.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from satmachine import orders, seals
from satmachine.errors import NotFound, Refused
from satmachine.orders import Order, Unreadable


@dataclass(frozen=True, slots=True)
class Intent:
    """One row; `result` is a sentence for the person who asked, None while it is open."""

    id: int
    created_at: int
    actor: str
    action: str
    subject: str
    params: Mapping[str, object]
    status: str
    result: str | None
    done_at: int | None


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An open order, and who gave it. `touches` names what it may change: two orders with a common name take turns."""

    id: int
    actor: str
    action: str
    subject: str
    order: Order | Unreadable
    touches: frozenset[str] = frozenset()
    created_at: int = 0
    params: str = "{}"
    seal: str | None = None

    def is_sealed(self, order_key: str) -> bool:
        """Whether somebody who has the key has ordered exactly this."""
        seal = seals.order_seal(order_key, self.created_at, self.actor, self.action, self.subject, self.params)
        return self.seal is not None and hmac.compare_digest(self.seal.encode(errors="replace"), seal.encode())


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of an order, in a sentence."""

    status: Literal["done", "refused"]
    result: str


def add(conn: sqlite3.Connection, now: int, actor: str, order: Order, *, order_key: str | None = None) -> int:
    """Ask for something; returns the order's id. `order_key`: `[payouts] order_key`, if there is one."""
    params = json.dumps(orders.to_json(order))
    seal = None if order_key is None else seals.order_seal(order_key, now, actor, order.action, order.subject, params)
    cursor = conn.execute(
        "INSERT INTO intents (created_at, actor, action, subject, params, seal) VALUES (?, ?, ?, ?, ?, ?)",
        (now, actor, order.action, order.subject, params, seal),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def get(conn: sqlite3.Connection, intent_id: int) -> Intent:
    """A row, which must exist."""
    row = conn.execute(
        "SELECT id, created_at, actor, action, subject, params, status, result, done_at FROM intents WHERE id = ?",
        (intent_id,),
    ).fetchone()
    return Intent(**{**dict(row), "params": json.loads(row["params"])})


def was_carried_out(conn: sqlite3.Connection, asked: OpenOrder) -> bool:
    """Whether another row with this order's seal has ended: then somebody has copied it."""
    found = conn.execute(
        "SELECT 1 FROM intents WHERE seal = ? AND id <> ? AND status <> 'open'", (asked.seal, asked.id)
    ).fetchone()
    return found is not None


def open_orders(conn: sqlite3.Connection) -> list[OpenOrder]:
    """What must still be carried out, in the order in which it was asked for."""
    found = conn.execute(
        "SELECT id, created_at, actor, action, subject, params, seal FROM intents WHERE status = 'open' ORDER BY id"
    )
    asked = []
    for row in found.fetchall():
        order = orders.from_json(row["action"], json.loads(row["params"]))
        touches = _touches(conn, order, row["subject"])
        asked.append(
            OpenOrder(
                row["id"],
                row["actor"],
                row["action"],
                row["subject"],
                order,
                touches,
                row["created_at"],
                row["params"],
                row["seal"],
            )
        )
    return asked


def carry_out(conn: sqlite3.Connection, intent_id: int, change: Callable[[sqlite3.Connection], str], now: int) -> Ended:
    """Make a change and end the order that asked for it, in this one transaction.

    `change` returns the result. If it raises Refused or NotFound, nothing of it stays, and the order has ended as
    refused. If it raises anything else, the order stays open. An order that has ended is not carried out again.
    """
    before = conn.execute("SELECT status, result FROM intents WHERE id = ?", (intent_id,)).fetchone()
    if before["status"] != "open":
        return Ended(before["status"], before["result"])
    conn.execute("SAVEPOINT change")
    try:
        ended = Ended("done", change(conn))
    except (Refused, NotFound) as error:
        conn.execute("ROLLBACK TO change")
        ended = Ended("refused", str(error))
    conn.execute("RELEASE change")
    _finish(conn, intent_id, ended, now)
    return ended


def refuse(conn: sqlite3.Connection, intent_id: int, why: str, now: int) -> Ended:
    """End an order of which nothing was done."""

    def nothing(_: sqlite3.Connection) -> str:
        raise Refused(why)

    return carry_out(conn, intent_id, nothing, now)


def _touches(conn: sqlite3.Connection, order: Order | Unreadable, subject: str) -> frozenset[str]:
    """The sales that an order is about, or whatever else it names."""
    if isinstance(order, orders.Repoint):
        payment_ids = order.payment_ids
    elif isinstance(order, orders.CancelPayout | orders.DeclarePaid | orders.DeclareUnpaid):
        payment_ids = (order.payment_id,)
    else:
        return frozenset({subject})
    found = conn.execute(
        """SELECT coalesce('settlement ' || settlement_id, 'payment ' || id) AS name FROM dca_payments
        WHERE id IN (SELECT value FROM json_each(?))""",
        (json.dumps(payment_ids),),
    )
    return frozenset(str(row["name"]) for row in found)


def _finish(conn: sqlite3.Connection, intent_id: int, ended: Ended, now: int) -> None:
    changed = conn.execute(
        "UPDATE intents SET status = ?, result = ?, done_at = ? WHERE id = ? AND status = 'open'",
        (ended.status, ended.result, now, intent_id),
    ).rowcount
    assert changed == 1, f"order {intent_id} has ended in another transaction than its own"
