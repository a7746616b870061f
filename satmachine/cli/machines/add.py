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
        str | None,
        typer.Option("--id", metavar="ID", help="A short name. It is part of payment keys, so it is never used again."),
    ] = None,
    operator: Annotated[
        str | None, typer.Option("--of", metavar="ID", help="Its operator; not needed if there is only one.")
    ] = None,
    npub: Annotated[str | None, typer.Option(metavar="NPUB", help="The machine's public key.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="A name for people; without it, the id.")] = None,
    currency: Annotated[str | None, typer.Option(metavar="ISO", help="The currency of its cash, like GTQ.")] = None,
    fallback_commission_pct: Annotated[
        str | None, typer.Option(metavar="PCT", help="The commission of sales that do not say theirs; without it 0.05.")
    ] = None,
    payouts_since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Earlier sales are never paid; without it, now.")
    ] = None,
    admin_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file with the Admin key of its LNbits wallet.")
    ] = None,
    unannounced: Annotated[
        str | None,
        typer.Option(
            metavar="report|share",
            help="Payments that nothing explains: report them to a person, or share them out as sales.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a machine to the configuration: asks for what it needs, and tests each answer at once.

    Every question can be answered by a flag instead. The wallet's Admin key is not shown while you type it, and is kept
    in a file of its own beside the configuration; or name a file with --admin-key-file. The configuration is changed
    only if it is valid afterwards.

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
