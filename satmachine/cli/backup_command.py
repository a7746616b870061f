"""`satmachine backup`: a copy of the books that can be trusted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from satmachine.cli.kit.books import where
from satmachine.cli.kit.options import AsJson
from satmachine.cli.kit.output import print_json, print_line
from satmachine.errors import Refused


def backup(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|FILE.db",
            help="A folder (made if it is missing; the file's name is then the time), or a file.",
        ),
    ],
    thin: Annotated[
        bool,
        typer.Option(
            "--thin", help="Then delete old copies: all of 2 days are kept, one a day for 90 days, one a month."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the books while the daemon runs: their state at one moment, verified, complete or not at all.

    A file that exists is never overwritten. To use a copy as the books: `satmachine restore FILE`.

    Examples:

        satmachine backup /var/backups/satmachine

        satmachine backup /var/backups/satmachine --thin

        satmachine backup ./before-upgrade.db --json
    """
    from satmachine.ops.backup import make_backup, place, thin_out

    if ctx.obj.operator is not None:
        raise Refused("a backup contains every operator's books: leave out --operator (and $SATMACHINE_OPERATOR)")
    now = datetime.now(UTC)
    file = place(Path(target), now, as_folder=target.endswith("/"))
    if thin and file == Path(target):
        raise typer.BadParameter("--thin needs a folder: it deletes old copies there")
    made = make_backup(where(ctx.obj.config_path).path, file)
    removed = thin_out(file.parent, now) if thin else []
    if as_json:
        print_json({**asdict(made), "removed": [str(path) for path in removed]})
        return
    print_line(f"{made.path}: {made.settlements} sale(s), {made.legs} payment(s), {made.size_bytes} bytes; verified.")
    if removed:
        print_line(f"{len(removed)} old copies were deleted.")
