"""The audit rows of what people decide about sales, payments and payouts: how it stood before, and how now."""

from __future__ import annotations

import sqlite3

from satmachine.models import By, Leg, Settlement
from satmachine.store import audit_log as audit
from satmachine.store import legs, settlements


def sale(conn: sqlite3.Connection, by: By, action: str, before: Settlement, *, fresh: bool = False) -> None:
    """`before`: the sale as it stood; `fresh`: it was not in the books."""
    now = settlements.get(conn, before.id)
    was = None if fresh else {"status": before.status, "hold_reason": before.hold_reason}
    after = {"status": now.status, "hold_reason": now.hold_reason, "overrides": now.overrides}
    audit.record_by(conn, by, action, f"settlement {before.id}", before.machine_id, was, after)


def payment(conn: sqlite3.Connection, by: By, action: str, leg: Leg) -> None:
    """`leg`: as it stood before."""
    after, _ = legs.get(conn, leg.id)
    before = {"status": leg.status, "error": leg.error}
    audit.record_by(conn, by, action, f"payment {leg.id}", leg.machine_id, before, {"status": after.status})


def machines(
    conn: sqlite3.Connection,
    by: By,
    action: str,
    machine_id: str | None,
    before: dict[str, object] | None,
    after: dict[str, object],
) -> None:
    """`machine_id` None: all of them."""
    subject = f"machine {machine_id}" if machine_id else "all machines"
    audit.record_by(conn, by, action, subject, machine_id, before, after)
