"""`satmachine restore`: a copy takes the place of the books."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from satmachine.cli.kit.books import where
from satmachine.cli.kit.options import AsJson, Yes
from satmachine.cli.kit.output import print_json, print_line
from satmachine.cli.kit.requests import confirm
from satmachine.errors import Refused


def restore(
    ctx: typer.Context,
    copy: Annotated[
        Path, typer.Argument(metavar="FILE", help="The copy: of `satmachine backup FOLDER`, or Litestream's.")
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put a copy in the place of the books, while the daemon is stopped. What was there is kept beside it.

    The copy is read and proven first, and stays as it is. The daemon that then starts pays nothing before you have
    reconciled each machine: what happened since the copy was made is not in it.

    Example:  satmachine restore /var/backups/satmachine/satmachine-20261122T100000Z.db
    """
    from satmachine.ops import restore as desk

    if ctx.obj.operator is not None:
        raise Refused("a copy holds every operator's books: leave --operator (and $SATMACHINE_OPERATOR) away")
    database = where(ctx.obj.config_path).path
    confirm(f"Put {copy} in the place of {database}?", yes=yes)
    done = desk.restore(copy, database, datetime.now(UTC))
    if as_json:
        print_json(asdict(done))
        return
    made = datetime.fromtimestamp(done.copied_at, UTC)
    print_line(f"{done.path}: {done.settlements} sale(s), {done.legs} payment(s), as of {made:%Y-%m-%d %H:%M} UTC.")
    if done.kept is not None:
        print_line(f"What was there is in {done.kept}; keep it until all is clear.")
    print_line("What to do next:\n  systemctl start satmachine\n  satmachine machines reconcile --all")
