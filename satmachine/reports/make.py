"""Make an LP's statement from the books, and sign it. Call what writes inside `atomic()`."""

from __future__ import annotations

import sqlite3
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from satmachine.clients.statement import make_statement
from satmachine.errors import Refused
from satmachine.models import Client
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.orders import SignStatement
from satmachine.reports.html import statement_page
from satmachine.reports.signed import canonical, sign_document
from satmachine.reports.statement_document import Document, Head, make_document
from satmachine.store import audit_log as audit
from satmachine.store import balances, clients, statement_rows
from satmachine.store.statement_rows import SignedStatement


def zone_of(name: str) -> tzinfo:
    """A time zone by its name. Raises Refused."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(f"the daemon does not know the time zone {name}; leave out --tz") from None


def document_of(
    conn: sqlite3.Connection,
    client: Client,
    since: int | None,
    until: int | None,
    *,
    made_at: int,
    signer: str | None,
) -> Document:
    """A client's statement as a document; `signer` is a public key in hex."""
    operator, machine_name = statement_rows.names_of(conn, client.machine_id)
    made = make_statement(balances.movements(conn, client.id), since=since, until=until)
    npub = None if signer is None else hex_to_npub(signer)
    return make_document(client, made, Head(operator, machine_name, since, until, made_at, npub))


def sign_statement(
    conn: sqlite3.Connection, order: SignStatement, *, secret: bytes, actor: str, now: int
) -> tuple[SignedStatement, Document]:
    """Make a statement, sign it and keep it. Raises NotFound, Refused."""
    client = clients.get(conn, order.client_id)
    document = document_of(conn, client, order.since, order.until, made_at=now, signer=public_key_of(secret))
    page = statement_page(document, zone_of(order.tz))
    event = sign_document(document, page, secret=secret, now=now)
    signed = SignedStatement(
        id=event.id,
        client_id=client.id,
        since_at=order.since,
        until_at=order.until,
        made_at=now,
        asked_by=actor,
        event=canonical(event.to_dict()),
        html=page,
    )
    statement_rows.add(conn, signed)
    audit.record(
        conn,
        now=now,
        actor=actor,
        action="client.sign_statement",
        subject=f"client {client.id}",
        machine_id=client.machine_id,
        after={"id": event.id, "since": order.since, "until": order.until},
    )
    return signed, document
