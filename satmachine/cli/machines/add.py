"""`machines add`: one more machine."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.kit.options import AsJson
from satmachine.cli.machines import app


@app.command("add")
def add(
    ctx: typer.Context,
    machine_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Short name, part of payment keys: never used again.")
    ] = None,
    operator: Annotated[
        str | None, typer.Option("--of", metavar="ID", help="Whose it is; the only one, if so.")
    ] = None,
    npub: Annotated[str | None, typer.Option(metavar="NPUB", help="The machine's public key.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="For people; the id, if not said.")] = None,
    currency: Annotated[str | None, typer.Option(metavar="ISO", help="Of the cash in it, like GTQ.")] = None,
    fallback_commission_pct: Annotated[
        str | None, typer.Option(metavar="PCT", help="Of sales that do not say theirs; 0.05 if not said.")
    ] = None,
    payouts_since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Earlier sales are never paid; now, if not said.")
    ] = None,
    admin_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file with the Admin key of its LNbits wallet.")
    ] = None,
    unannounced: Annotated[
        str | None,
        typer.Option(metavar="report|share", help="Payments that nothing explains: for a person, or sales."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a machine to the configuration: asks for what it needs, and tests each answer at once.

    Every question can be answered by a flag instead. The wallet's Admin key is typed unseen and kept in a file of its
    own beside the configuration, or named with --admin-key-file. The file is changed only if it is right afterwards.

    Examples:

        satmachine machines add

        satmachine machines add --id panajachel-2 --npub npub1... --currency GTQ
        --admin-key-file /etc/satmachine/keys/panajachel-2
    """
    from satmachine.cli.kit.output import print_json
    from satmachine.cli.setup.init import add_machine
    from satmachine.cli.setup.machine import Flags
    from satmachine.config import find_config

    said = Flags(
        machine_id=machine_id,
        operator=operator,
        npub=npub,
        name=name,
        currency=currency,
        fallback_commission_pct=fallback_commission_pct,
        payouts_since=payouts_since,
        admin_key_file=admin_key_file,
        unannounced=unannounced,
    )
    path = find_config(ctx.obj.config_path)
    added = add_machine(path, said)
    if as_json:
        print_json({"id": added, "config": str(path)})
