"""Autoforward: what a dca leg brought is forwarded to the LP's Lightning address, as well as possible (SPEC section 8).

The leg is paid from the LP's own wallet, so the sale's conservation never counts it, and its failure never marks
the settlement errored.
"""

from __future__ import annotations

import sqlite3

from satmachine.models import ClientStatus, Leg, LegType
from satmachine.store import client_legs, clients


def plan_autoforward(conn: sqlite3.Connection, leg: Leg, *, sent_sats: int, now: int) -> bool:
    """Plan to forward what a completed dca leg brought; False if the LP does not want that, or if it is already
    planned."""
    if leg.leg_type is not LegType.DCA or leg.client_id is None:
        return False
    client = clients.get(conn, leg.client_id)
    if client.autoforward is None or client.status is ClientStatus.REMOVED:
        return False
    return client_legs.insert_autoforward(conn, leg, client, amount_sats=sent_sats, now=now)
