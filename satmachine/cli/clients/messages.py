"""`clients messages`: which Nostr messages an LP gets."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.clients import app
from satmachine.cli.clients.wishes import change, show_wishes
from satmachine.cli.kit.commands import Act, acting
from satmachine.cli.kit.options import Client
from satmachine.store import clients


@acting(app, "messages", asks=False)
def messages(
    act: Act,
    client: Client,
    npub: Annotated[str | None, typer.Option(metavar="NPUB", help="Their public key: npub1...")] = None,
    relay: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A relay that they read, instead of the daemon's own.")
    ] = None,
    receipts: Annotated[
        bool | None, typer.Option("--receipts/--no-receipts", help="A message for each payout.")
    ] = None,
    monthly: Annotated[
        bool | None, typer.Option("--monthly/--no-monthly", help="A statement after each month.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="No more messages.")] = False,
) -> None:
    """Say which Nostr messages (NIP-17) an LP gets, or show it. Only those who asked for messages get any.

    Messages are encrypted for their reader, and say nothing about anybody else. Each is kept until a relay has accepted
    it.

    Examples:

        satmachine clients messages 3 --npub npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9 --monthly

        satmachine clients messages 3 --off
    """
    found = clients.get(act.conn, client, operator=act.books.scope)
    if act.dry_run:
        act.ask(f"change the messages for {found.label} at {found.machine_id}")
    change(act.books, found, npub=npub, relays=relay, receipts=receipts, monthly=monthly, off=off)
    show_wishes(act.books, found, as_json=act.as_json)
