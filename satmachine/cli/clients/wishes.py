"""Which Nostr messages an LP gets: `clients messages`, and `clients update --npub`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.output import emit_record
from satmachine.cli.kit.values import Column
from satmachine.errors import Refused
from satmachine.models import Client, ClientStatus
from satmachine.store import message_rows
from satmachine.store.database import atomic
from satmachine.store.message_rows import Wishes

_FIELDS = (
    Column("npub", "told by", show=lambda row: row["npub"] or "none: they have not asked for any"),
    Column("relays", "on", show=lambda row: ", ".join(row["relays"]) or "the daemon's own relays"),
    Column("receipts", "receipts", show=lambda row: "for each payout" if row["receipts"] else "no"),
    Column("monthly", "statement", show=lambda row: "after each month" if row["monthly"] else "no"),
    Column("since_at", "since"),
    Column("waiting", "not accepted by a relay yet"),
    Column("error", "because"),
)


def change(
    books: Books,
    client: Client,
    *,
    npub: str | None,
    relays: list[str] | None,
    receipts: bool | None,
    monthly: bool | None,
    off: bool,
) -> None:
    """Store what was typed; if nothing was typed, nothing changes. Raises BadParameter, Refused."""
    known = message_rows.wishes_of(books.conn, client.id)
    if off:
        with atomic(books.conn) as conn:
            message_rows.end_wishes(conn, client.id, client.machine_id, actor=books.actor, now=books.now)
        return
    if npub is None and relays is None and receipts is None and monthly is None:
        return
    if known is None and npub is None:
        raise typer.BadParameter("say who gets them: --npub npub1...")
    if client.status is ClientStatus.REMOVED:
        raise Refused(f"LP {client.id} ({client.label}) was removed; nothing is paid to them any more")
    wishes = known or Wishes(client.id, "", (), receipts=True, monthly=True, since_at=books.now)
    wishes = replace(
        wishes,
        npub=wishes.npub if npub is None else _npub(npub),
        relays=wishes.relays if relays is None else tuple(_relay(url) for url in relays),
        receipts=wishes.receipts if receipts is None else receipts,
        monthly=wishes.monthly if monthly is None else monthly,
    )
    with atomic(books.conn) as conn:
        message_rows.set_wishes(conn, wishes, client.machine_id, actor=books.actor, now=books.now)


def tell_by(books: Books, client: Client, npub: str) -> None:
    """`clients update --npub`, within its transaction: receipts and monthly statements, unless they say otherwise."""
    wishes = message_rows.wishes_of(books.conn, client.id)
    wishes = wishes or Wishes(client.id, "", (), receipts=True, monthly=True, since_at=books.now)
    wishes = replace(wishes, npub=_npub(npub))
    message_rows.set_wishes(books.conn, wishes, client.machine_id, actor=books.actor, now=books.now)


def show_wishes(books: Books, client: Client, *, as_json: bool) -> None:
    """Which messages they get, and which wait for a relay."""
    wishes = message_rows.wishes_of(books.conn, client.id)
    row: dict[str, Any] = {"npub": None, "relays": (), "receipts": False, "monthly": False, "since_at": None}
    if wishes is not None:
        row = {name: getattr(wishes, name) for name in row}
    waiting, error = message_rows.waiting(books.conn, client.id)
    row = {"client_id": client.id, "label": client.label, **row, "waiting": waiting, "error": error}
    shown = _FIELDS if wishes is not None else _FIELDS[:1]
    title = f"Messages to LP {client.id}, {client.label} at {client.machine_id}"
    emit_record(row, shown, json=as_json, title=title, tz=books.tz)


def _npub(text: str) -> str:
    from satmachine.nostr.keys import hex_to_npub, npub_to_hex

    try:
        return hex_to_npub(npub_to_hex(text.strip()))
    except ValueError as error:
        raise typer.BadParameter(f"--npub: {error}") from None


def _relay(text: str) -> str:
    from satmachine.config.formats import relay_url

    try:
        return relay_url(text)
    except ValueError as error:
        raise typer.BadParameter(f"--relay {error}") from None
