"""`satmachine doctor`: a list of findings, with what to do about each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from satmachine.cli.kit.options import AsJson
from satmachine.cli.kit.output import emit_table, print_item, print_json, print_line
from satmachine.cli.kit.values import Column, grouped, is_terminal
from satmachine.ops.tuning import Tuning

if TYPE_CHECKING:
    from satmachine.ops.findings import Finding

_COLUMNS = (
    Column("verdict", "Verdict"),
    Column("check", "Check"),
    Column("subject", "Of", fold=True),
    Column("detail", "Finding", fold=True),
)


_Tuning = Annotated[
    Tuning | None,
    typer.Option("--tuning", help="Print the SQL that makes LNbits quicker (it must be stopped), and how to use it."),
]


def doctor(ctx: typer.Context, as_json: AsJson = False, tuning: _Tuning = None) -> None:
    """Check relays, wallets, keys, clock, database, permissions and disk; say what to do about what is wrong.

    Asks every relay and wallet, and changes nothing. As root it sees every key; otherwise it says what it left out.
    Exits with 0 if all is well (there may be warnings), 1 if something is wrong here, 3 for a bad configuration, 4 if
    only a relay or LNbits could not be reached.

    Examples:

        satmachine doctor

        sudo satmachine doctor --json

        satmachine doctor --tuning postgresql
    """
    if tuning is not None:
        from satmachine.ops import tuning as files

        typer.echo(files.text(tuning), nl=False)
        return

    import anyio

    from satmachine.config import find_config, load
    from satmachine.ops.doctor import examine, exit_code

    config = load(find_config(ctx.obj.config_path))
    if ctx.obj.operator is not None:
        config = config.limited_to(ctx.obj.operator)
    findings = anyio.run(examine, config)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    raise typer.Exit(exit_code(findings))


def _print(findings: Iterable[Finding]) -> None:
    """On a terminal one line for each, with what is wrong at the end; behind a pipe a list."""
    findings = list(findings)
    if not is_terminal():
        emit_table([asdict(finding) for finding in findings], _COLUMNS)
    todo = [finding for finding in findings if finding.verdict != "ok"]
    for finding in findings if is_terminal() else ():
        if finding.verdict == "ok":
            print_item("ok", grouped(f"{finding.check}: {finding.subject}: {finding.detail}"), "", style="green")
    for finding in todo:
        print_item("!", grouped(f"{finding.verdict}: {finding.subject}: {finding.detail}"), finding.fix)
    if not todo:
        print_line("All well.", style="green")
