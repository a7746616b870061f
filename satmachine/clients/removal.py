"""When an LP may leave a machine: nothing of theirs may be left behind by accident."""

from __future__ import annotations

import sqlite3

from satmachine.errors import Refused
from satmachine.models import ClientStatus
from satmachine.money import minor_to_fiat
from satmachine.store import balances, clients, deposits


def remove(
    conn: sqlite3.Connection, client_id: int, *, actor: str, now: int, write_off: str = "", operator: str | None = None
) -> None:
    """Take a client out of all further sales; their history stays.

    A balance is given up only with `write_off`, the reason (the cash was handed back, a remainder below one sat),
    which goes to the audit log. Raises NotFound, and Refused while anything is outstanding.
    """
    client = clients.get(conn, client_id, operator=operator)
    who = f"LP {client.id} ({client.label} at {client.machine_id})"
    if client.status is ClientStatus.REMOVED:
        raise Refused(f"{who} is already removed")
    if waiting := deposits.find(conn, client_id=client_id, status="pending"):
        ids = ", ".join(str(deposit.id) for deposit in reversed(waiting))
        raise Refused(f"{who} has pending deposits: {ids}. Confirm, reject or delete them first")
    if owed := clients.open_legs(conn, client_id):
        raise Refused(
            f"{who} has {len(owed)} payment(s) that are not finished, the first is {owed[0]}. Wait for them, or "
            "close their sales"
        )
    left_minor = balances.of_client(conn, client_id).available_minor
    left = f"{minor_to_fiat(left_minor, client.currency)} {client.currency}"
    if left_minor and not write_off:
        raise Refused(
            f"{who} still has a balance of {left}. Pay it out (`satmachine clients settle {client.id} --rate R`), or "
            "pause the LP; if the cash was handed back, say so with --write-off REASON"
        )
    reason = f"balance of {left} written off: {write_off}" if left_minor else write_off
    clients.mark_removed(conn, client, actor=actor, now=now, reason=reason)
