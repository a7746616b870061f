"""`satmachine restore`: a copy replaces the books."""

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
        Path, typer.Argument(metavar="FILE", help="The copy: made by `satmachine backup FOLDER`, or by Litestream.")
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Replace the books by a copy, while the daemon is stopped. The old books are kept beside it.

    The copy is read and checked first, and stays as it is. After that the daemon pays nothing until you have reconciled
    each machine, because what happened since the copy was made is not in it.

    Example:  satmachine restore /var/backups/satmachine/satmachine-20261122T100000Z.db
    """
    from satmachine.ops import restore as desk
    from satmachine.ops.service import starts

    if ctx.obj.operator is not None:
        raise Refused("a copy contains every operator's books: leave out --operator (and $SATMACHINE_OPERATOR)")
    database = where(ctx.obj.config_path).path
    confirm(f"Replace {database} by {copy}?", yes=yes)
    done = desk.restore(copy, database, datetime.now(UTC))
    if as_json:
        print_json(asdict(done))
        return
    made = datetime.fromtimestamp(done.copied_at, UTC)
    print_line(f"{done.path}: {done.settlements} sale(s), {done.legs} payment(s), as of {made:%Y-%m-%d %H:%M} UTC.")
    if done.kept is not None:
        print_line(f"The old books are in {done.kept}; keep them until all is clear.")
    print_line(f"What to do next:\n  {starts(database).start}\n  satmachine machines reconcile --all")
