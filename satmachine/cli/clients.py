"""`satmachine clients ...` (SPEC sections 8 and 10): liquidity providers. Thin: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from satmachine.cli.common import (
    DEFAULT_LIMIT,
    AsCsv,
    AsJson,
    Books,
    DryRun,
    Shown,
    Since,
    Until,
    Yes,
    answer_of,
    confirm,
    open_books,
    request,
)
from satmachine.cli.output import (
    Column,
    as_row,
    emit_record,
    emit_table,
    format_fiat,
    format_sats,
    print_json,
    to_json,
)
from satmachine.clients.payout import Payout, propose_payout
from satmachine.clients.removal import remove as remove_client
from satmachine.clients.statement import Statement, make_statement
from satmachine.clients.terms import changes, check_mode, parse_fiat, parse_rate
from satmachine.errors import NotFound
from satmachine.models import Balance, Client, ClientStatus
from satmachine.money import minor_to_sats
from satmachine.orders import SettleBalance
from satmachine.store import balances, clients
from satmachine.store.clients import describe_payee
from satmachine.store.database import atomic

app = typer.Typer(no_args_is_help=True, help="Liquidity providers: who brings cash to a machine and gets its sats.")

T = TypeVar("T")

_AMOUNTS = (
    Column("confirmed_minor", "deposited"),
    Column("spent_minor", "spent"),
    Column("reserved_minor", "reserved"),
    Column("available_minor", "available"),
)
_COLUMNS = (
    Column("id", "id"),
    Column("machine_id", "machine"),
    Column("label", "client"),
    Column("person", "person", wide=True),
    Column("mode", "mode"),
    Column("status", "status"),
    Column("available_minor", "available"),
    Column("payee", "paid to", wide=True, fold=True),
)
_FIELDS = (
    Column("status", "status"),
    Column("machine_id", "machine"),
    Column("person", "person"),
    Column("mode", "mode"),
    Column("daily_limit_minor", "daily limit"),
    Column("payee", "paid to"),
    Column("autoforward", "forwarded to"),
    Column("autoforward_key_file", "with key from"),
    *_AMOUNTS,
    Column("created_at", "added"),
    Column("created_by", "by"),
    Column("removed_at", "removed"),
)
_BALANCE_COLUMNS = (
    Column("client_id", "id"),
    Column("machine_id", "machine"),
    Column("label", "client"),
    Column("person", "person", wide=True),
    *_AMOUNTS,
)
_LINE_COLUMNS = (
    Column("at", "time"),
    Column("kind", "what"),
    Column("fiat_amount_minor", "amount"),
    Column("amount_sats", "sats"),
    Column("exchange_rate", "rate", wide=True),
    Column("machine_id", "machine", wide=True),
    Column("settlement_id", "sale", wide=True),
    Column("status", "status"),
    Column("balance_minor", "balance"),
)
_LINE_KEYS = (
    *("client_id", "label", "machine_id", "at", "kind", "id", "settlement_id", "fiat_amount_minor", "currency"),
    *("amount_sats", "fee_sats", "exchange_rate", "status", "balance_minor", "notes"),
)

ClientId = Annotated[int, typer.Argument(metavar="ID", help="The client's id, as `clients list` shows it.")]
Machine = Annotated[str | None, typer.Option(metavar="ID", help="Only at this machine.")]
Person = Annotated[str | None, typer.Option(metavar="NAME", help="Only this person, at all machines.")]
InvoiceKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file that holds the invoice key of their wallet in this LNbits."),
]
Address = Annotated[str | None, typer.Option("--lightning-address", metavar="NAME@HOST", help="Pay there instead.")]
Lnurl = Annotated[str | None, typer.Option("--lnurl", metavar="LNURL1..", help="Or to this LNURL-pay code.")]
Mode = Annotated[str | None, typer.Option(help="flow: a share of every sale; fixed: at most --daily-limit a day.")]
DailyLimit = Annotated[str | None, typer.Option(metavar="AMOUNT", help="Fiat per UTC day, for --mode fixed.")]
Forward = Annotated[str | None, typer.Option(metavar="NAME@HOST", help="Forward what arrives to this address.")]
ForwardKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file that holds the admin key of their wallet, to forward from."),
]


@app.command("add")
def add(
    ctx: typer.Context,
    machine: Annotated[str, typer.Option(metavar="ID", help="The machine whose cash they bring.")],
    label: Annotated[str, typer.Option(help="A short name, part of payment keys: never used again for another.")],
    invoice_key_file: InvoiceKeyFile = None,
    lightning_address: Address = None,
    lnurl: Lnurl = None,
    mode: Mode = None,
    daily_limit: DailyLimit = None,
    person: Annotated[str | None, typer.Option(metavar="NAME", help="Whose it is; the label if not given.")] = None,
    autoforward: Forward = None,
    autoforward_key_file: ForwardKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a liquidity provider to a machine. Keys are never stored, only the file in which they are.

    Examples:

        satmachine clients add --machine panajachel-1 --label maria --invoice-key-file /etc/satmachine/keys/maria

        satmachine clients add --machine panajachel-1 --label jose --lightning-address jose@example.org
        --mode fixed --daily-limit 500
    """
    from satmachine.clients.payees import autoforward as choose_forward
    from satmachine.clients.payees import choose
    from satmachine.config.formats import slug

    payee = _usage(lambda: choose(invoice_key_file=invoice_key_file, address=lightning_address, lnurl_code=lnurl))
    if payee is None:
        raise typer.BadParameter("say where to pay: --invoice-key-file, --lightning-address or --lnurl")
    forward = _usage(lambda: choose_forward(autoforward, autoforward_key_file, payee[0])) or (None, None)
    _usage(lambda: slug(label), "--label ")
    with open_books(ctx, write=True) as books:
        currency = clients.machine_currency(books.conn, machine, operator=books.scope)
        limit_minor = _fiat(daily_limit, currency)
        _usage(lambda: check_mode(mode or "flow", limit_minor))
        with atomic(books.conn) as conn:
            client_id = clients.add(
                conn,
                machine_id=machine,
                label=label,
                person=(person or "").strip() or label,
                payee_kind=payee[0],
                payee=payee[1],
                mode=mode or "flow",
                daily_limit_minor=limit_minor,
                autoforward=forward[0],
                autoforward_key_file=forward[1],
                actor=books.actor,
                now=books.now,
            )
        _show(books, client_id, as_json)


@app.command("list")
def list_(
    ctx: typer.Context,
    machine: Machine = None,
    person: Person = None,
    status: Annotated[str | None, typer.Option(help="active, paused or removed.")] = None,
    removed: Annotated[bool, typer.Option("--removed", help="Those that were removed too.")] = False,
    limit: Shown = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List liquidity providers with what they have available.

    Examples:

        satmachine clients list --machine panajachel-1

        satmachine clients list --person maria
    """
    if status not in (None, *ClientStatus):
        raise typer.BadParameter("--status must be active, paused or removed")
    with open_books(ctx) as books:
        books.require_machine(machine)
        found = clients.find(
            books.conn,
            machine=machine,
            person=person,
            status=status,
            removed=removed,
            operator=books.scope,
            limit=None if as_json or as_csv else limit + 1,
        )
        amounts = balances.find(books.conn, machine=machine, person=person, removed=True, operator=books.scope)
        by_id = {balance.client_id: balance for balance in amounts}
        rows = [_row(client, by_id[client.id]) for client in found]
        keys = [name for name in Client.__dataclass_fields__ if name != "operator_id"]
        keys += [column.key for column in _AMOUNTS]
        emit_table(rows, _COLUMNS, json=as_json, csv=as_csv, tz=books.tz, keys=keys, empty="No clients.", first=limit)


@app.command("show")
def show(ctx: typer.Context, client_id: ClientId, as_json: AsJson = False) -> None:
    """Show one liquidity provider.

    Examples:

        satmachine clients show 3
    """
    with open_books(ctx) as books:
        _show(books, client_id, as_json)


@app.command("update")
def update(
    ctx: typer.Context,
    client_id: ClientId,
    status: Annotated[str | None, typer.Option(help="active, or paused: no share of sales for now.")] = None,
    mode: Mode = None,
    daily_limit: DailyLimit = None,
    person: Annotated[str | None, typer.Option(metavar="NAME", help="Whose it is.")] = None,
    invoice_key_file: InvoiceKeyFile = None,
    lightning_address: Address = None,
    lnurl: Lnurl = None,
    autoforward: Forward = None,
    autoforward_key_file: ForwardKeyFile = None,
    no_autoforward: Annotated[bool, typer.Option("--no-autoforward", help="Forward nothing any more.")] = False,
    npub: Annotated[
        str | None, typer.Option(metavar="NPUB", help="Tell them by Nostr message; `clients messages` says what.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a liquidity provider: pause them, another payee, another mode. Machine and label stay.

    Sales that are planned already keep their amounts. The payee cannot change while a payment is on its way.

    Examples:

        satmachine clients update 3 --status paused

        satmachine clients update 3 --mode fixed --daily-limit 500
    """
    from satmachine.clients.payees import autoforward as choose_forward
    from satmachine.clients.payees import choose

    if status not in (None, "active", "paused"):
        raise typer.BadParameter("--status must be active or paused; `clients remove` removes")
    payee = _usage(lambda: choose(invoice_key_file=invoice_key_file, address=lightning_address, lnurl_code=lnurl))
    with open_books(ctx, write=True) as books, atomic(books.conn) as conn:
        client = clients.get(conn, client_id, operator=books.scope)
        kind = payee[0] if payee else client.payee_kind
        wanted = _usage(
            lambda: changes(
                client,
                person=person,
                status=status,
                mode=mode,
                daily_limit_minor=_fiat(daily_limit, client.currency),
                payee=payee,
                autoforward=choose_forward(autoforward, autoforward_key_file, kind),
                no_autoforward=no_autoforward,
            )
        )
        if not wanted and npub is None:
            raise typer.BadParameter("say what to change; --help lists the options")
        if wanted:
            clients.update(conn, client, wanted, actor=books.actor, now=books.now)
        if npub is not None:
            from satmachine.cli.lp_messages import tell_by

            tell_by(books, client, npub)
    with open_books(ctx) as books:
        _show(books, client_id, as_json)


@app.command("remove")
def remove(
    ctx: typer.Context,
    client_id: ClientId,
    write_off: Annotated[
        str, typer.Option(metavar="REASON", help="Leave a remaining balance behind, and why; for the audit log.")
    ] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a liquidity provider; their history stays. Refused while anything is outstanding.

    Examples:

        satmachine clients remove 3

        satmachine clients remove 3 --write-off "handed back 120 GTQ in cash"
    """
    with open_books(ctx, write=True) as books:
        client = clients.get(books.conn, client_id, operator=books.scope)
        confirm(f"Remove client {client.id}, {client.label} at {client.machine_id}?", yes=yes)
        with atomic(books.conn) as conn:
            remove_client(conn, client_id, actor=books.actor, now=books.now, write_off=write_off, operator=books.scope)
        _show(books, client_id, as_json)


@app.command("balance")
def balance(
    ctx: typer.Context,
    client_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="One client; else all of them.")] = None,
    machine: Machine = None,
    person: Person = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="WHEN", help="As it was then: 2026-11-22T10:00, or a date for its end.")
    ] = None,
    limit: Shown = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what clients have in the machines: deposited, spent, reserved by payments under way, available.

    Examples:

        satmachine clients balance 3

        satmachine clients balance --machine panajachel-1 --as-of 2026-11-30
    """
    with open_books(ctx) as books:
        books.require_machine(machine)
        if client_id is not None:
            clients.get(books.conn, client_id, operator=books.scope)
        found = balances.find(
            books.conn,
            client_id=client_id,
            machine=machine,
            person=person,
            removed=client_id is not None,
            as_of=_as_of(books, as_of),
            operator=books.scope,
        )
        rows = [as_row(entry) | {"available_minor": entry.available_minor} for entry in found]
        keys = [*Balance.__dataclass_fields__, "available_minor"]
        if as_json and client_id is not None:
            print_json(to_json(rows[0]))
            return
        emit_table(
            rows, _BALANCE_COLUMNS, json=as_json, csv=as_csv, tz=books.tz, keys=keys, empty="No clients.", first=limit
        )


@app.command("settle")
def settle(
    ctx: typer.Context,
    client_id: ClientId,
    rate: Annotated[str, typer.Option(metavar="SATS", help="Sats for one unit of the machine's currency.")],
    amount: Annotated[
        str | None, typer.Option(help="How much of the balance, in fiat; all of it if not given.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Pay out what is left of a client's balance at a stated rate, from the machine's wallet.

    The daemon pays it, exactly once; until then the amount is reserved. Refused above what is available.

    Examples:

        satmachine clients settle 3 --rate 760.5 --dry-run

        satmachine clients settle 3 --rate 760.5 --amount 100
    """
    exchange_rate = _usage(lambda: parse_rate(rate), "--rate: ")
    with open_books(ctx, write=not dry_run) as books:
        client = clients.get(books.conn, client_id, operator=books.scope)
        payout = propose_payout(
            books.conn, client_id, exchange_rate=exchange_rate, amount_minor=_fiat(amount, client.currency)
        )
        if dry_run:
            _show_payout(books, payout, as_json, "Nothing was done.")
            return
        if not as_json:
            _show_payout(books, payout, as_json=False)
        confirm(f"Pay {format_sats(payout.amount_sats)} sats to {client.label}?", yes=yes)
        order = SettleBalance(client_id, exchange_rate, payout.fiat_amount_minor, payout.number)
        intent = request(books, order)
        if as_json:
            print_json(to_json(_payout_row(payout) | {"intent_id": intent.id, "status": intent.status}))
        else:
            typer.echo(answer_of(books, intent))


@app.command("statement")
def statement(
    ctx: typer.Context,
    client_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="As `clients list` shows it.")] = None,
    person: Person = None,
    since: Since = None,
    until: Until = None,
    limit: Shown = DEFAULT_LIMIT,
    html: Annotated[bool, typer.Option("--html", help="A page for screen and paper, signed by the daemon.")] = False,
    signed: Annotated[bool, typer.Option("--signed", help="The same for programs: a signed document.")] = False,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="With --html: without a signature.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show a client's deposits and purchases with the running balance, average cost and totals.

    Of more lines than --limit, people see the latest; the totals are those of the whole time.
    What --html and --signed write can be handed out: `satmachine verify` proves that it was not altered.

    Examples:

        satmachine clients statement 3 --since 2026-11-01 --until 2026-11-30

        satmachine clients statement 3 --html > maria.html

        satmachine clients statement --person maria --csv
    """
    if (client_id is None) == (person is None):
        raise typer.BadParameter("name one client by id, or a --person")
    if html or signed:
        from satmachine.cli.statements import print_statement

        if client_id is None or html + signed + as_json + as_csv > 1:
            raise typer.BadParameter("choose one of --html, --signed, --json and --csv, and one client by its id")
        print_statement(ctx, client_id, since, until, html=html, unsigned=unsigned)
        return
    with open_books(ctx) as books:
        if client_id is not None:
            found = [clients.get(books.conn, client_id, operator=books.scope)]
        else:
            found = clients.find(books.conn, person=person, removed=True, operator=books.scope)
        if not found:
            raise NotFound(f"there is no client of the person {person}")
        since_at, until_at = books.when(since), books.when(until, end=True)
        made = [
            (c, make_statement(balances.movements(books.conn, c.id), since=since_at, until=until_at)) for c in found
        ]
        if as_json:
            documents = [_statement_json(client, entry, since_at, until_at) for client, entry in made]
            print_json(documents if client_id is None else documents[0])
        elif as_csv:
            rows = [row for client, entry in made for row in _line_rows(client, entry)]
            emit_table(rows, _LINE_COLUMNS, csv=True, keys=_LINE_KEYS)
        else:
            for client, entry in made:
                _show_statement(books, client, entry, limit)


@app.command("messages")
def messages(
    ctx: typer.Context,
    client_id: ClientId,
    npub: Annotated[str | None, typer.Option(metavar="NPUB", help="Their public key: npub1...")] = None,
    relay: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A relay where they read, instead of the daemon's own.")
    ] = None,
    receipts: Annotated[bool | None, typer.Option("--receipts/--no-receipts", help="One for each payout.")] = None,
    monthly: Annotated[bool | None, typer.Option("--monthly/--no-monthly", help="One after each month.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Nothing any more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a client is told by Nostr message (NIP-17), or show it: only who asked for it is told anything.

    Messages are encrypted for their reader, and say nothing about anybody else. Each is kept until a relay took it.

    Examples:

        satmachine clients messages 3 --npub npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9 --monthly

        satmachine clients messages 3 --off
    """
    from satmachine.cli.lp_messages import change, show_wishes

    with open_books(ctx, write=True) as books:
        client = clients.get(books.conn, client_id, operator=books.scope)
        change(books, client, npub=npub, relays=relay, receipts=receipts, monthly=monthly, off=off)
        show_wishes(books, client, as_json=as_json)


# --- what was typed


def _usage(parse: Callable[[], T], prefix: str = "") -> T:
    """What the operator typed is wrong: exit code 2."""
    try:
        return parse()
    except ValueError as error:
        raise typer.BadParameter(f"{prefix}{error}") from None


def _fiat(text: str | None, currency: str) -> int | None:
    return None if text is None else _usage(lambda: parse_fiat(text, currency))


def _as_of(books: Books, text: str | None) -> int | None:
    """The last second that counts: of a day its last one."""
    start, end = books.when(text), books.when(text, end=True)
    return end if end is None or start == end else end - 1


# --- what is shown


def _row(client: Client, amounts: Balance) -> dict[str, Any]:
    row = as_row(client)
    del row["operator_id"]
    if client.payee_kind == "lnurl":  # the code itself may be a key to somebody's account
        row["payee"] = describe_payee(client.payee_kind, client.payee)
    names = ("confirmed_minor", "spent_minor", "reserved_minor", "available_minor")
    return row | {name: getattr(amounts, name) for name in names}


def _show(books: Books, client_id: int, as_json: bool) -> None:
    client = clients.get(books.conn, client_id, operator=books.scope)
    row = _row(client, balances.of_client(books.conn, client_id))
    title = f"Client {client.id}: {client.label} at {client.machine_id}"
    emit_record(row, _FIELDS, json=as_json, title=title, tz=books.tz)


def _payout_row(payout: Payout) -> dict[str, Any]:
    return {
        "client_id": payout.client.id,
        "label": payout.client.label,
        "machine_id": payout.client.machine_id,
        "currency": payout.client.currency,
        "available_minor": payout.available_minor,
        "fiat_amount_minor": payout.fiat_amount_minor,
        "exchange_rate": f"{payout.exchange_rate:f}",
        "amount_sats": payout.amount_sats,
        "payee": describe_payee(payout.client.payee_kind, payout.client.payee),
        "leg_key": payout.leg_key,
    }


def _show_payout(books: Books, payout: Payout, as_json: bool, closing: str = "") -> None:
    row = _payout_row(payout)
    latest = balances.latest_rate(books.conn, payout.client.machine_id)
    if as_json:
        print_json(to_json(row | {"latest_exchange_rate": latest, "dry_run": True}))
        return
    unit = payout.client.currency
    fields = (
        Column("available_minor", "available"),
        Column("fiat_amount_minor", "paid out"),
        Column("exchange_rate", "rate", show=lambda entry: f"{entry['exchange_rate']} sats per {unit}"),
        Column("amount_sats", "sats"),
        Column("payee", "paid to"),
    )
    emit_record(row, fields, title=f"Balance of {payout.client.label} at {payout.client.machine_id}", tz=books.tz)
    if latest is not None:
        at_latest = minor_to_sats(payout.fiat_amount_minor, Decimal(latest), unit)
        typer.echo(f"The machine's latest sale was at {latest} sats per {unit}: {format_sats(at_latest)} sats.")
    if closing:
        typer.echo(closing)


def _line_rows(client: Client, made: Statement) -> list[dict[str, Any]]:
    rows = []
    for line in made.lines:
        movement = line.movement
        values = {
            "client_id": client.id,
            "label": client.label,
            "machine_id": client.machine_id,
            "at": movement.at,
            "kind": movement.kind,
            "id": movement.id,
            "settlement_id": movement.settlement_id,
            "fiat_amount_minor": movement.amount_minor,
            "currency": client.currency,
            "amount_sats": movement.sats,
            "fee_sats": movement.fee_sats,
            "exchange_rate": None if movement.exchange_rate is None else f"{movement.exchange_rate:f}",
            "status": movement.status,
            "balance_minor": line.balance_minor,
            "notes": movement.notes,
        }
        rows.append({key: values[key] for key in _LINE_KEYS})
    return rows


def _totals_row(client: Client, made: Statement) -> dict[str, Any]:
    return {
        "currency": client.currency,
        "opening_minor": made.opening_minor,
        **asdict(made.totals),
        "closing_minor": made.closing_minor,
    }


def _statement_json(client: Client, made: Statement, since: int | None, until: int | None) -> dict[str, Any]:
    head = {"client_id": client.id, "label": client.label, "person": client.person, "machine_id": client.machine_id}
    return {
        **to_json(head | {"since_at": since, "until_at": until}),
        **to_json(_totals_row(client, made)),
        "lines": [to_json(row) for row in _line_rows(client, made)],
    }


def _show_statement(books: Books, client: Client, made: Statement, limit: int) -> None:
    title = f"Statement of {client.person}: client {client.id}, {client.label} at {client.machine_id}"
    empty = f"{title}\nNothing happened in this time."
    latest = replace(made, lines=made.lines[-limit:])
    if hidden := len(made.lines) - len(latest.lines):
        title += f" (the latest lines; {hidden} came before, show them with --limit)"
    emit_table(_line_rows(client, latest), _LINE_COLUMNS, tz=books.tz, title=title, empty=empty)
    fields = (
        Column("opening_minor", "balance before"),
        Column("deposited_minor", "deposited"),
        Column("bought_minor", "spent"),
        Column("bought_sats", "sats bought"),
        Column("fee_sats", "routing fees"),
        Column(
            "average_cost_minor",
            "average cost",
            show=lambda row: (
                ""
                if row["average_cost_minor"] is None
                else f"{format_fiat(row['average_cost_minor'], row['currency'])} per bitcoin"
            ),
        ),
        Column("reserved_minor", "on its way"),
        Column("closing_minor", "balance after"),
    )
    emit_record(_totals_row(client, made), fields, tz=books.tz)
