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
        Path, typer.Argument(metavar="FILE|FOLDER", help="The file to make, or a folder: then the name is the time.")
    ],
    as_json: AsJson = False,
) -> None:
    """Copy the books while the daemon runs: one moment of them, verified, whole or not at all.

    A file that exists is never overwritten. How to restore one: docs/operations.md.

    Examples:

        satmachine backup /var/backups/satmachine

        satmachine backup ./before-upgrade.db --json
    """
    from satmachine.ops.backup import make_backup

    if ctx.obj.operator is not None:
        raise Refused("a backup holds every operator's books: leave --operator (and $SATMACHINE_OPERATOR) away")
    if target.is_dir():
        target = target / f"satmachine-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db"
    made = make_backup(where(ctx.obj.config_path).path, target)
    if as_json:
        print_json(asdict(made))
    else:
        print_line(
            f"{made.path}: {made.settlements} sale(s), {made.legs} payment(s), {made.size_bytes} bytes; verified."
        )
