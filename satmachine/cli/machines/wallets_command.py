"""`machines sweep`, `machines top-up`: search a wallet now, and make an invoice that funds it. The daemon does both."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated, Any

import typer

from satmachine.cli.kit import complete, numbers
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, acting, usage
from satmachine.cli.kit.options import Machine
from satmachine.cli.kit.output import print_json, to_json
from satmachine.cli.kit.requests import answer_of, request
from satmachine.cli.kit.values import format_sats
from satmachine.cli.machines import app
from satmachine.errors import Refused
from satmachine.ops.service import starts
from satmachine.orders import MakeTopUp, SweepNow
from satmachine.plain_text import printable
from satmachine.store import incoming, list_queries

MAX_NOTE_CHARS = 200


@acting(app, "sweep", asks=False)
def sweep(
    act: Act,
    machine: Annotated[
        str | None,
        typer.Argument(
            metavar="[MACHINE]", help="The machine's id; without it, all.", autocompletion=complete.machines
        ),
    ] = None,
) -> None:
    """Search a machine's wallet now, or all of them: payments that arrived are entered as sales, or listed.

    This also happens by itself when LNbits says that something arrived, and every few minutes.

    Examples:

        satmachine machines sweep panajachel-1

        satmachine machines sweep
    """
    books = act.books
    configured = [row["id"] for row in list_queries.machines(books.conn, books.scope) if row["in_config"]]
    machines = [machine] if machine else configured
    act.ask(f"search the wallet of {', '.join(machines)}")
    _require_daemon(books)
    told: list[dict[str, Any]] = []
    failed = False
    for machine_id in machines:
        try:
            answer = answer_of(books, request(books, SweepNow(machine_id)))
        except Refused as refused:
            if len(machines) == 1:
                raise
            answer, failed = str(refused), True
        told.append({"machine_id": machine_id, "result": answer})
        if not act.as_json:
            typer.echo(printable(answer))
    if act.as_json:
        print_json(told)
    if failed:
        raise typer.Exit(1)


@acting(app, "top-up", asks=False)
def top_up(
    act: Act,
    machine: Machine,
    amount: Annotated[str, typer.Argument(metavar="SATS", help="How much.")],
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="What it is for; written in the invoice and in the books.")
    ] = "",
) -> None:
    """Make an invoice that funds a machine's wallet. What it brings is recognised as a top-up and never shared out.

    On a terminal it is also shown as a QR code. It can be paid for a day.

    Examples:

        satmachine machines top-up panajachel-1 250000

        satmachine machines top-up panajachel-1 250000 --note "for refunds of the week" --json
    """
    amount_sats, note = usage(lambda: numbers.sats(amount)), " ".join(note.split())
    if len(note) > MAX_NOTE_CHARS or not note.isprintable():
        raise typer.BadParameter(f"--note can have at most {MAX_NOTE_CHARS} printable characters")
    act.ask(f"make an invoice of {format_sats(amount_sats)} sats for the wallet of {machine}")
    _require_daemon(act.books)
    topup_id = secrets.token_hex(8)
    answer = answer_of(act.books, request(act.books, MakeTopUp(machine, topup_id, amount_sats, note)))
    made = incoming.top_up(act.conn, machine, topup_id)
    if made is None:
        raise Refused(f"{answer} `satmachine machines show {machine}` lists it when it is made")
    if act.as_json:
        print_json(to_json({name: getattr(made, name) for name in made.__slots__}))
        return
    if sys.stdout.isatty():
        typer.echo(qr_code(made.bolt11))
    typer.echo(made.bolt11)
    typer.echo(
        f"Pay this invoice of {format_sats(made.amount_sats)} sats within a day: it funds the wallet of {machine} "
        "and is never shared out.",
        err=True,
    )


def qr_code(bolt11: str) -> str:
    """The invoice as a QR code of half blocks, dark on light whatever the terminal's colours are.

    In capitals, which need less room in a QR code; wallets read both.
    """
    import segno

    matrix = [list(row) for row in segno.make(bolt11.upper(), error="l", micro=False).matrix_iter(border=2)]
    if len(matrix) % 2:
        matrix.append([0] * len(matrix[0]))
    lines = []
    for upper, lower in zip(matrix[::2], matrix[1::2], strict=True):
        cells = "".join(_HALVES[bool(top), bool(bottom)] for top, bottom in zip(upper, lower, strict=True))
        lines.append(f"\x1b[30;107m{cells}\x1b[0m")
    return "\n".join(lines)


_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def _require_daemon(books: Books) -> None:
    if not books.daemon_runs:
        start = starts(books.path).start
        raise Refused(f"the daemon does not run, and only it has the wallets' keys: start it with `{start}`")
