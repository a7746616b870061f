"""`satmachine audit`: the proof that every sat is where the books say, and the log of who changed what."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.commands import Asked, listing
from satmachine.cli.kit.options import AsJson, OfMachine, Since
from satmachine.cli.kit.output import emit_table, print_json, print_line
from satmachine.cli.kit.values import Column, format_sats
from satmachine.cli.progress import is_large, progress, stepwise
from satmachine.store import audit_log, list_queries, period_rows
from satmachine.store import breaks as audited
from satmachine.store.pages import Page

if TYPE_CHECKING:
    from satmachine.audit.remedies import Break
    from satmachine.audit.wallets import WalletProof
    from satmachine.config import Machine

app = typer.Typer(invoke_without_command=True)

_BREAK_COLUMNS = (
    Column("subject", "Where"),
    Column("machine_id", "Machine"),
    Column("kind", "Break"),
    Column("detail", "What is wrong", fold=True),
    Column("remedy", "What helps", fold=True),
)

_LOG_COLUMNS = (
    Column("id", "Id"),
    Column("at", "When"),
    Column("actor", "Who"),
    Column("action", "What"),
    Column("subject", "Of what"),
    Column("machine_id", "Machine", wide=True),
    Column("reason", "Why", fold=True),
    Column("before", "Before", wide=True, fold=True),
    Column("after", "After", wide=True, fold=True),
)


@dataclass(slots=True)
class _Report:
    """What an audit found; `unread` are wallets that could not be read, with the reason."""

    settlements: int = 0
    payments: int = 0
    breaks: list[Break] = field(default_factory=list)
    wallets: list[WalletProof] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


@app.callback()
def audit(
    ctx: typer.Context,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check only the books; no wallet is asked, no key is read.")
    ] = False,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Prove where every sat is, from the books and against the wallets; exits with 1 if anything is wrong.

    It only reads, and can be used while the daemon runs. Top-ups and withdrawals are shown, but are not breaks. Closed
    months are read again, entry by entry: if one of their rows was altered, that is a break of its month.

    From cron: `satmachine audit --since 2d --json || mail ...`; once a week without --since.

    Examples:

        satmachine audit

        satmachine audit --offline --since 7d

        satmachine audit log --author maria --since 30d
    """
    if ctx.invoked_subcommand is not None:
        return
    with open_books(ctx) as books:
        report = _prove(books, books.when(since) or 0, offline=offline)
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)
    if report.breaks:
        raise typer.Exit(1)
    if report.unread:
        raise typer.Exit(4)


@listing(app, "log", _LOG_COLUMNS, title="Audit log", empty="No such changes.", span=True, below="entry")
def log(
    books: Books,
    asked: Asked,
    author: Annotated[str | None, typer.Option(metavar="NAME", help="Who did it; the daemon is 'daemon'.")] = None,
    action: Annotated[str | None, typer.Option(help="What was done, like settlement.refund.")] = None,
    subject: Annotated[str | None, typer.Option(help="What it was done to, like 'settlement 12'.")] = None,
    machine: OfMachine = None,
) -> Page:
    """List who changed what, and when, newest first.

    Examples:

        satmachine audit log --since 7d

        satmachine audit log --subject "settlement 12"

        satmachine audit log --author maria --action settlement.refund --csv
    """
    wanted = audit_log.LogFilter(
        actor=author,
        action=action,
        subject=subject,
        machine_id=machine,
        since=asked.since,
        until=asked.until,
        before_id=asked.before,
        limit=asked.limit,
    )
    return audit_log.find(books.conn, books.scope, wanted)


def _prove(books: Books, since: int, *, offline: bool) -> _Report:
    from satmachine.audit.proof import STEPS, check_closed_months, check_rules

    report = _Report()
    if not offline:
        import anyio

        anyio.run(_prove_wallets, books, since, report)
    again = sum(period.entries for period in period_rows.all_of(books.conn) if period.end_at > since)
    with stepwise("Checking the books", STEPS, at_once=is_large(books.path)) as seen:
        broken = check_rules(books.conn, scope=books.scope, since=since, seen=seen)
    with progress("Reading closed months again", again) as seen:
        broken += check_closed_months(books.conn, since=since, read_again=seen)
    report.breaks = broken + report.breaks
    for machine_id in list_queries.machine_ids(books.conn, books.scope):
        counts = audited.counts(books.conn, machine_id)
        report.settlements += counts["settlements"]
        report.payments += counts["payments"]
    return report


async def _prove_wallets(books: Books, since: int, report: _Report) -> None:
    """Every configured machine in scope; if one wallet cannot be read, the others are still read."""
    from satmachine.audit.wallets import WalletAudit
    from satmachine.errors import ConfigError, WalletError
    from satmachine.wallet.lnbits import Lnbits

    lnbits = books.config.lnbits
    async with Lnbits(lnbits.url, timeout_s=lnbits.timeout_s, instance_id="audit") as client:
        wallets = WalletAudit(client, books.config, books.now, since)
        for machine in _machines(books):
            try:
                statement, breaks = await wallets.audit(machine, books.conn)
            except (WalletError, ConfigError) as error:
                report.unread[machine.id] = str(error)
                continue
            report.wallets.append(statement)
            report.breaks += breaks


def _machines(books: Books) -> list[Machine]:
    return [machine for machine in books.config.machines if books.sees(machine.id)]


def _print_report(report: _Report) -> None:
    if report.breaks:
        emit_table([asdict(broken) for broken in report.breaks], _BREAK_COLUMNS, title="Breaks")
    for statement in report.wallets:
        print_line(_told(statement))
    for machine_id, why in report.unread.items():
        print_line(f"{machine_id}: its wallet could not be read: {why}")
    looked_at = f"{report.settlements} sales, {report.payments} payments, {len(report.wallets)} wallets"
    verdict = f"{len(report.breaks)} break(s)" if report.breaks else "every sat is accounted for"
    if report.unread and not report.breaks:
        verdict = f"no break in the books, but {len(report.unread)} wallet(s) could not be read"
    elif not report.wallets and not report.breaks:
        verdict = "every sat is accounted for in the books; no wallet was read"
    print_line(f"{looked_at}: {verdict}.", style="bold")


def _told(statement: WalletProof) -> str:
    """One wallet in a sentence or two, with what explains its balance beside the sales."""
    parts = [f"{statement.machine_id}: balance {format_sats(statement.balance_sats)} sats"]
    if statement.books_sats is not None:
        parts.append(f"the books expect {format_sats(statement.books_sats)}")
    beside: dict[str, Any] = {
        "top-ups and other income": statement.top_ups_sats,
        "withdrawals": statement.withdrawals_sats,
        "under way": statement.under_way_sats,
        "accepted by a person": statement.accepted_sats,
    }
    parts += [f"{name} {format_sats(sats)}" for name, sats in beside.items() if sats]
    parts += [f"{leg} was declared paid by a person" for leg in statement.vouched_legs]
    parts += [f"could not read the wallet of {payee}" for payee in statement.unseen_payees]
    return "; ".join(parts)
