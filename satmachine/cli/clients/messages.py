"""`clients messages`: what an LP is told by Nostr message."""

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
        list[str] | None, typer.Option(metavar="URL", help="A relay where they read, instead of the daemon's own.")
    ] = None,
    receipts: Annotated[bool | None, typer.Option("--receipts/--no-receipts", help="One for each payout.")] = None,
    monthly: Annotated[bool | None, typer.Option("--monthly/--no-monthly", help="One after each month.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Nothing any more.")] = False,
) -> None:
    """Say what a client is told by Nostr message (NIP-17), or show it: only who asked for it is told anything.

    Messages are encrypted for their reader, and say nothing about anybody else. Each is kept until a relay took it.

    Examples:

        satmachine clients messages 3 --npub npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9 --monthly

        satmachine clients messages 3 --off
    """
    found = clients.get(act.conn, client, operator=act.books.scope)
    if act.dry_run:
        act.ask(f"change what {found.label} at {found.machine_id} is told")
    change(act.books, found, npub=npub, relays=relay, receipts=receipts, monthly=monthly, off=off)
    show_wishes(act.books, found, as_json=act.as_json)
