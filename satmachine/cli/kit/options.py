"""Options and arguments that many commands share. A command takes them as `machine: OfMachine = None`.

A name of something in the books is typed as text and arrives as what it means (`books.NAMED`): a sale as its row; an
LP, a payment, a deposit or a message as its id.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from satmachine.cli.kit import complete

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="A,B,..", help="Only these columns, in this order; their names are those of --json."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, max=1_000_000, help="How many rows; without it 50 on a terminal, and all of them everywhere else."
    ),
]
Before = Annotated[str | None, typer.Option(metavar="ID", help="Continue below this id, the last one of a page.")]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="From this time on: 2026-11-22, 2026-11-22T10:00, 7d, 24h or today.")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Up to this time; a date alone means its end.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
#: Why something is done. On a terminal it is asked for if it is missing: what a message suggests runs as printed.
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit log. Asked for if it is missing.")
]

Why = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; for the audit log.")]

OfMachine = Annotated[
    str | None,
    typer.Option("--machine", metavar="ID", help="Only of this machine.", autocompletion=complete.machines),
]
Machine = Annotated[str, typer.Argument(metavar="MACHINE", help="The machine's id.", autocompletion=complete.machines)]
OfClient = Annotated[
    int | None,
    typer.Option(
        "--client",
        metavar="CLIENT",
        help="Only of this LP: id, label or label@machine.",
        autocompletion=complete.clients,
    ),
]
Client = Annotated[
    int,
    typer.Argument(
        metavar="CLIENT",
        help="The LP's id, label or label@machine; see `clients list`.",
        autocompletion=complete.clients,
    ),
]
OfSale = Annotated[
    dict[str, Any] | None,
    typer.Option("--settlement", metavar="ID", help="Of this sale.", autocompletion=complete.sales),
]
Person = Annotated[str | None, typer.Option(metavar="NAME", help="Only this person, at all machines.")]
Sale = Annotated[
    dict[str, Any],
    typer.Argument(
        metavar="ID",
        help="The sale's number; an event id, a payment hash or the txid work too.",
        autocompletion=complete.sales,
    ),
]
Payment = Annotated[
    int, typer.Argument(metavar="ID", help="The payment; see `payments list`.", autocompletion=complete.payments)
]
Deposit = Annotated[
    int,
    typer.Argument(
        metavar="ID", help="The deposit's id, as `deposits list` shows it.", autocompletion=complete.deposits
    ),
]
Message = Annotated[
    int, typer.Argument(metavar="ID", help="As `quarantine list` shows it.", autocompletion=complete.messages)
]
