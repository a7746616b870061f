"""`satmachine machines reconcile`: what a wallet shows and the books do not have, with a proposal for each; and the
decision.

Reads the machine's wallet for what only the wallet knows; never pays. What is accepted is what was shown, by its
digest.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit import complete
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, acting
from satmachine.cli.kit.output import emit_section, print_item, print_json, print_line, to_json
from satmachine.cli.kit.requests import confirm
from satmachine.cli.kit.values import Column, format_sats
from satmachine.cli.machines import app
from satmachine.errors import ConfigError, NotFound, Refused, SatmachineError, WalletError
from satmachine.models import HoldReason
from satmachine.store import reconciling as rows
from satmachine.store import wallet_rows
from satmachine.store.database import Connection, atomic

if TYPE_CHECKING:
    from satmachine.config import Machine
    from satmachine.settlements.reconcile.machine_case import WalletAnswers
    from satmachine.settlements.reconcile.reconcile_rules import Choice, Reconciliation

_PAYMENT_COLUMNS = (
    Column("payment_hash", "Payment", fold=True),
    Column("leg_key", "Key", fold=True),
    Column("amount_sats", "Sats"),
    Column("verdict", "Proposal", show=lambda row: str(row["verdict"]).replace("_", " ")),
    Column("words", "Which means", fold=True),
)
_MARK_COLUMNS = (
    Column("id", "Mark"),
    Column("bundle", "Of", fold=True),
    Column("invoices", "Names"),
    Column("unpaid", "Unpaid"),
    Column("words", "Which means", fold=True),
)
_SALE_COLUMNS = (
    Column("settlement_id", "Sale"),
    Column("settlement_key", "Key", fold=True),
    Column("words", "What is done with it", fold=True),
)


@acting(app, "reconcile", reason="")
def reconcile(
    act: Act,
    machine: Annotated[
        str | None,
        typer.Argument(metavar="[MACHINE]", help="The machine's id; or use --all.", autocompletion=complete.machines),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every machine that waits to be reconciled.")] = False,
    accept: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Do exactly what was shown with this digest.")
    ] = None,
    book: Annotated[list[str] | None, typer.Option("--book", metavar="HASH=WHERE", help="Decide otherwise.")] = None,
) -> None:
    """Show what a machine's wallet has paid and these books do not have, with a proposal for each; then decide.

    After a restore nothing is paid until this is done. If nothing is found, --yes --reason lets the machine pay again.
    Otherwise --accept, with the digest that was shown, does exactly what was shown, and refuses if anything has changed
    since.

    --book changes a proposal: HASH=sale:ID (a payment of that sale), HASH=client:ID (a payout of that balance), or
    HASH=not-ours.

    Examples:

        satmachine machines reconcile panajachel-1

        satmachine machines reconcile panajachel-1 --accept 0f3c9a51b2d4e687 --reason "restored from last night's copy"

        satmachine machines reconcile --all --yes --reason "failover; the old host is switched off"
    """
    choices = _choices(book or [])
    if (machine is None) is not everything:
        raise typer.BadParameter("name one machine, or --all")
    if everything and (accept or choices):
        raise typer.BadParameter("--accept and --book are for one machine: name it")
    reason = act.reason if accept is not None else act.reason_given
    books = act.books
    wanted = [machine] if machine is not None else rows.stopped_machines(books.conn, books.scope)
    told = []
    for one in wanted:
        try:
            told.append(_one(books, one, accept, choices, reason, yes=act.yes, dry_run=act.dry_run, quiet=act.as_json))
        except (Refused, NotFound, WalletError, ConfigError) as error:
            if not everything:
                raise
            told.append(_refused(books, one, error, quiet=act.as_json))
    if act.as_json:
        print_json(told if everything else told[0])
    elif not wanted:
        print_line("No machine waits to be reconciled.", style="green")
    if everything and any(entry["safe_mode"] is not None for entry in told):
        raise typer.Exit(1)


def _refused(books: Books, machine_id: str, error: SatmachineError, *, quiet: bool) -> dict[str, Any]:
    """With --all, one machine whose wallet cannot be read does not keep the others waiting."""
    if not quiet:
        print_item("!", f"{machine_id}: {error}", f"satmachine machines reconcile {machine_id}")
    stopped = rows.pause(books.conn, machine_id).safe_mode
    return {"machine_id": machine_id, "error": str(error), "accepted": False, "safe_mode": stopped}


def _one(
    books: Books,
    machine_id: str,
    accept: str | None,
    choices: dict[str, Choice],
    reason: str,
    *,
    yes: bool,
    dry_run: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Show one machine, and decide if that is asked for; returns it as programs get it."""
    look = _look(books, machine_id, choices)
    report = _preview(books, machine_id, look, choices, reason)
    stopped = rows.pause(books.conn, machine_id)
    if not quiet:
        _print(report, choices, stopped.safe_mode)
        if stopped.safe_mode is None and not report.found:
            _print_held(books, machine_id)
    empty = not report.found and stopped.safe_mode is not None
    wanted = accept if accept is not None else (report.digest if empty and reason else None)
    done = wanted is not None and not dry_run
    if wanted is not None and not dry_run:
        confirm(f"Do this, and let {machine_id} pay again?", yes=yes)
        _carry_out(books, machine_id, look, choices, reason, wanted)
    after = rows.pause(books.conn, machine_id).safe_mode
    if done and not quiet:
        print_line(
            f"{machine_id} is reconciled and pays again." if after is None else f"{machine_id} still waits: {after}"
        )
        _print_held(books, machine_id)
    return {**_as_json(report), "accepted": done, "safe_mode": after}


def _look(books: Books, machine_id: str, choices: dict[str, Choice]) -> WalletAnswers:
    """Ask the wallet what only it knows. Raises WalletError, ConfigError."""
    import anyio

    from satmachine.settlements.reconcile import wallet_look
    from satmachine.settlements.reconcile.machine_case import WalletAnswers
    from satmachine.settlements.reconcile.proposal import questions
    from satmachine.wallet.lnbits import Lnbits

    asked = questions(books.conn, machine_id, choices)
    if not asked.incoming and not asked.outgoing:
        return WalletAnswers()
    machine = books.config.required_machine(machine_id)
    key = machine.wallet.admin_key.resolve(books.config.environ)
    wallet_id = wallet_rows.wallet_id(books.conn, machine_id)

    async def ask() -> WalletAnswers:
        lnbits = books.config.lnbits
        async with Lnbits(lnbits.url, timeout_s=lnbits.timeout_s, instance_id="reconcile") as client:
            return await wallet_look.ask(client, key, machine_id, wallet_id, asked)

    return anyio.run(ask)


def _preview(
    books: Books, machine_id: str, look: WalletAnswers, choices: dict[str, Choice], reason: str
) -> Reconciliation:
    from satmachine.models import By
    from satmachine.settlements.plan.planning import terms_for
    from satmachine.settlements.reconcile.proposal import preview

    machine = books.config.required_machine(machine_id)
    terms = terms_for(books.config, machine_id)
    return preview(books.conn, machine, terms, look, choices, By(books.actor, reason, books.now))


def _try_to_seal(books: Books, machine: Machine) -> ConfigError | None:
    """The daemon pays what is planned here, so only somebody who may read the machine's key can do it. Returns why this
    user may not."""
    from satmachine.seals import Keyring

    keyring = Keyring()
    try:
        keyring.learn(machine.id, machine.wallet.admin_key.resolve(books.config.environ))
    except ConfigError as error:
        return error
    assert isinstance(books.conn, Connection)
    books.conn.keyring = keyring
    return None


def _carry_out(
    books: Books, machine_id: str, look: WalletAnswers, choices: dict[str, Choice], reason: str, digest: str
) -> None:
    from satmachine.models import By
    from satmachine.settlements.plan.planning import terms_for
    from satmachine.settlements.reconcile.proposal import accept
    from satmachine.store import seal_rows

    machine = books.config.machine(machine_id)
    if machine is None:
        raise NotFound(f"machine {machine_id} is no longer in the configuration")
    by = By(books.actor, reason, books.now)
    unreadable = _try_to_seal(books, machine)
    with atomic(books.conn) as conn:
        newest_id = seal_rows.newest_payment(conn)
        accept(conn, machine, terms_for(books.config, machine_id), look, choices, by, digest=digest)
        if unreadable is not None and seal_rows.is_open_without(conn, machine_id, after_id=newest_id):
            raise unreadable


def _choices(texts: list[str]) -> dict[str, Choice]:
    from satmachine.settlements.reconcile.reconcile_rules import parse_choice

    try:
        return dict(parse_choice(text) for text in texts)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _as_json(report: Reconciliation) -> dict[str, Any]:
    return {
        "machine_id": report.machine_id,
        "paused": report.paused,
        "digest": report.digest,
        "payments": [to_json(asdict(line)) for line in report.payments],
        "marks": [to_json(asdict(line)) for line in report.marks],
        "sales": [to_json(asdict(line)) for line in report.sales],
        "waits": list(report.waits),
    }


def _print(report: Reconciliation, choices: dict[str, Choice], safe_mode: str | None) -> None:
    """Everything that the digest stands for, and the command that accepts it."""
    if safe_mode is None and not report.found:
        print_line(f"There is nothing to reconcile at {report.machine_id}.", style="green")
        return
    print_line(f"{report.machine_id} pays nothing: {safe_mode}", style="bold")
    if report.payments:
        emit_section(
            [asdict(line) for line in report.payments], _PAYMENT_COLUMNS, title="Payments that are not in the books"
        )
    if report.marks:
        emit_section([asdict(line) for line in report.marks], _MARK_COLUMNS, title="Marks that are not in the books")
    if report.sales:
        emit_section([asdict(line) for line in report.sales], _SALE_COLUMNS, title="Sales")
    for wait in report.waits:
        print_item("!", wait, "nothing can be accepted before that")
    paid_sats = sum(line.amount_sats for line in report.payments)
    print_line(f"{len(report.payments)} payment(s) of {format_sats(paid_sats)} sats, {len(report.marks)} mark(s).")
    if not report.waits:
        print_item("?", "To do exactly this:", _command(report, choices))


def _print_held(books: Books, machine_id: str) -> None:
    """What waits for a person all the same, and what lets it go on: the list of `status` sends them here."""
    for sale, payment, reason, error in rows.still_held(books.conn, machine_id):
        held = f"payment {payment} is still held" if sale is None else f"sale {sale} is still held"
        command = f"satmachine payments resolve {payment}"
        if sale is not None:
            released = reason == HoldReason.UNKNOWN_PAYMENTS
            command = f"satmachine settlements release {sale}" if released else f"satmachine settlements show {sale}"
        print_item("!", f"{held}: {error}" if error else held, command)


def _command(report: Reconciliation, choices: dict[str, Choice]) -> str:
    if not report.found:
        return f'satmachine machines reconcile {report.machine_id} --yes --reason "nothing was found"'
    said = "".join(f" --book {name}={_text(choice)}" for name, choice in choices.items())
    return f"satmachine machines reconcile {report.machine_id} --accept {report.digest}{said}"


def _text(choice: Choice) -> str:
    if choice.settlement_id is not None:
        return f"sale:{choice.settlement_id}"
    return "not-ours" if choice.client_id is None else f"client:{choice.client_id}"
