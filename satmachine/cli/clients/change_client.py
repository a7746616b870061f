"""`clients add`, `update` and `remove`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from satmachine.cli.clients import app
from satmachine.cli.clients.lists import FIELDS, client_row, title_of
from satmachine.cli.kit import complete, numbers, options
from satmachine.cli.kit.commands import Act, Done, acting, usage
from satmachine.cli.kit.requests import at_a_terminal, confirm
from satmachine.cli.kit.values import format_fiat
from satmachine.clients.removal import remove as remove_client
from satmachine.clients.terms import changes, check_mode, parse_person
from satmachine.models import Client
from satmachine.store import clients, legs

InvoiceKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file with the invoice key of their wallet in this LNbits."),
]
Address = Annotated[
    str | None, typer.Option("--lightning-address", metavar="NAME@HOST", help="Pay to this address instead.")
]
Lnurl = Annotated[str | None, typer.Option("--lnurl", metavar="LNURL1..", help="Or to this LNURL-pay code.")]
Mode = Annotated[str | None, typer.Option(help="flow: a share of every sale; fixed: at most --daily-limit each day.")]
DailyLimit = Annotated[str | None, typer.Option(metavar="AMOUNT", help="Fiat for each UTC day, with --mode fixed.")]
Forward = Annotated[str | None, typer.Option(metavar="NAME@HOST", help="Forward what arrives to this address.")]
ForwardKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file with the admin key of their wallet, to forward from it."),
]


Unchecked = Annotated[bool, typer.Option("--unchecked", help="Do not check whether the payee can be paid.")]


@acting(app, "add", asks=False)
def add(
    act: Act,
    machine: Annotated[
        str,
        typer.Option(metavar="ID", help="The machine to which they bring cash.", autocompletion=complete.machines),
    ],
    label: Annotated[
        str, typer.Option(help="A short name. It is part of payment keys, so it is never used again for somebody else.")
    ],
    invoice_key_file: InvoiceKeyFile = None,
    lightning_address: Address = None,
    lnurl: Lnurl = None,
    mode: Mode = None,
    daily_limit: DailyLimit = None,
    person: Annotated[str | None, typer.Option(metavar="NAME", help="The person; without it, the label.")] = None,
    autoforward: Forward = None,
    autoforward_key_file: ForwardKeyFile = None,
    unchecked: Unchecked = False,
) -> Done:
    """Add a liquidity provider to a machine. A key is never stored, only the path of its file.

    The payee is checked at once: does it answer, does the key belong to this LNbits, may the daemon read it?

    Examples:

        satmachine clients add --machine panajachel-1 --label maria --invoice-key-file /etc/satmachine/payees/maria

        satmachine clients add --machine panajachel-1 --label jose --lightning-address jose@example.org
        --mode fixed --daily-limit 500
    """
    from satmachine.clients.typed_payee import autoforward as choose_forward
    from satmachine.clients.typed_payee import choose
    from satmachine.config.formats import slug

    payee = usage(lambda: choose(invoice_key_file=invoice_key_file, address=lightning_address, lnurl_code=lnurl))
    if payee is None:
        raise typer.BadParameter("say where to pay: --invoice-key-file, --lightning-address or --lnurl")
    forward = usage(lambda: choose_forward(autoforward, autoforward_key_file, payee[0])) or (None, None)
    usage(lambda: slug(label), "--label")
    currency = clients.machine_currency(act.conn, machine)
    limit_minor = _fiat(daily_limit, currency)
    usage(lambda: check_mode(mode or "flow", limit_minor))
    _check_payee(act, label, payee, forward[1], unchecked=unchecked)
    act.ask(f"add {label} to {machine}, paid to {clients.describe_payee(*payee)}")
    client_id = act.write(
        clients.add,
        machine_id=machine,
        label=label,
        person=label if person is None else usage(lambda: parse_person(person)),
        payee_kind=payee[0],
        payee=payee[1],
        mode=mode or "flow",
        daily_limit_minor=limit_minor,
        autoforward=forward[0],
        autoforward_key_file=forward[1],
        actor=act.books.actor,
        now=act.books.now,
    )
    return _now(act, client_id)


@acting(app, "update", asks=False)
def update(
    act: Act,
    client: options.Client,
    status: Annotated[str | None, typer.Option(help="active, or paused (no share of sales for now).")] = None,
    mode: Mode = None,
    daily_limit: DailyLimit = None,
    person: Annotated[str | None, typer.Option(metavar="NAME", help="The person.")] = None,
    invoice_key_file: InvoiceKeyFile = None,
    lightning_address: Address = None,
    lnurl: Lnurl = None,
    autoforward: Forward = None,
    autoforward_key_file: ForwardKeyFile = None,
    no_autoforward: Annotated[bool, typer.Option("--no-autoforward", help="Stop forwarding.")] = False,
    npub: Annotated[
        str | None, typer.Option(metavar="NPUB", help="Send them Nostr messages; `clients messages` says which.")
    ] = None,
    unchecked: Unchecked = False,
) -> Done:
    """Change a liquidity provider: pause them, or give another payee or mode. Machine and label stay.

    Sales that are already planned keep their amounts. The payee cannot change while a payment is on its way.

    Examples:

        satmachine clients update 3 --status paused

        satmachine clients update maria --mode fixed --daily-limit 500

        satmachine clients update 3 --no-autoforward --dry-run
    """
    from satmachine.clients.typed_payee import autoforward as choose_forward
    from satmachine.clients.typed_payee import choose

    if status not in (None, "active", "paused"):
        raise typer.BadParameter("--status must be active or paused; `clients remove` removes an LP")
    payee = usage(lambda: choose(invoice_key_file=invoice_key_file, address=lightning_address, lnurl_code=lnurl))
    row = clients.get(act.conn, client)
    wanted = usage(
        lambda: changes(
            row,
            person=person,
            status=status,
            mode=mode,
            daily_limit_minor=_fiat(daily_limit, row.currency),
            payee=payee,
            autoforward=choose_forward(autoforward, autoforward_key_file, payee[0] if payee else row.payee_kind),
            no_autoforward=no_autoforward,
        )
    )
    if not wanted and npub is None:
        raise typer.BadParameter("say what to change; --help lists the options")
    if payee is not None:
        _check_payee(act, row.label, payee, unchecked=unchecked)
    if autoforward_key_file is not None:
        forward_key = str(autoforward_key_file.expanduser().absolute())
        _check_payee(act, row.label, None, forward_key, unchecked=unchecked)
    told = [*_changed(row, wanted), *([f"Nostr key {npub}"] if npub else ["no Nostr key"] if npub is not None else [])]
    act.ask(f"change LP {row.id}, {row.label} at {row.machine_id}: {'; '.join(told) or 'nothing'}")
    if wanted:
        act.write(clients.update, row, wanted, actor=act.books.actor, now=act.books.now)
    if npub is not None:
        from satmachine.cli.clients.wishes import tell_by

        tell_by(act.books, row, npub)
    return replace(_now(act, client), words=_still_planned(act, row, wanted))


@acting(app, "remove")
def remove(
    act: Act,
    client: options.Client,
    write_off: Annotated[
        str, typer.Option(metavar="REASON", help="Give up a remaining balance, and why; for the audit log.")
    ] = "",
) -> Done:
    """Remove a liquidity provider; their history stays. Refused while a deposit, a payment or a balance is open.

    Examples:

        satmachine clients remove 3

        satmachine clients remove maria --write-off "handed back 120 GTQ in cash"
    """
    row = clients.get(act.conn, client)
    act.ask(f"remove LP {row.id}, {row.label} at {row.machine_id}")
    act.write(remove_client, client, actor=act.books.actor, now=act.books.now, write_off=write_off)
    return _now(act, client)


def _check_payee(
    act: Act, label: str, payee: tuple[str, str] | None, forward_key: str | None = None, *, unchecked: bool
) -> None:
    """Check whether the payee can be paid, and whether the service can read the keys for it; if not, a person says
    whether to continue anyway."""
    if unchecked or act.dry_run:
        return
    import anyio

    from satmachine.ops import payee_check

    named = [] if payee is None else [(label, *payee)]
    named += [] if forward_key is None else [(label, payee_check.FORWARD_KEY, forward_key)]
    for found in anyio.run(payee_check.check, act.books.config, named):
        if found.verdict == "ok":
            typer.echo(f"Checked: {found.detail}.", err=True)
            continue
        typer.echo(f"Warning: {found.detail}. What to do: {found.fix}", err=True)
        if at_a_terminal():
            confirm("Enter it anyway?", yes=act.yes and found.verdict != "problem")


def _fiat(text: str | None, currency: str) -> int | None:
    return None if text is None else usage(lambda: numbers.fiat(text, currency))


def _changed(row: Client, wanted: Mapping[str, object]) -> list[str]:
    """What changes, from what to what, in words."""
    values: dict[str, Any] = {**wanted}
    after = replace(row, **values)

    def told(client: Client) -> dict[str, str]:
        limit = client.daily_limit_minor
        daily = "" if limit is None else f" ({format_fiat(limit, client.currency)} a day)"
        return {
            "person": client.person,
            "status": client.status,
            "mode": client.mode + daily,
            "paid to": clients.describe_payee(client.payee_kind, client.payee),
            "forwards to": client.autoforward or "nobody",
            "forwards with": client.autoforward_key_file or "no key",
        }

    old, new = told(row), told(after)
    return [f"{name}: {old[name]} -> {new[name]}" for name in old if old[name] != new[name]]


def _still_planned(act: Act, row: Client, wanted: Mapping[str, object]) -> str:
    """Payments do not follow a changed payee by themselves: say so, and how."""
    if (row.payee_kind, row.payee) == (wanted.get("payee_kind", row.payee_kind), wanted.get("payee", row.payee)):
        return ""
    waiting = len(legs.open_of_payee(act.conn, client_id=row.id))
    if not waiting:
        return ""
    former = clients.describe_payee(row.payee_kind, row.payee)
    return (
        f"{waiting} open payment(s) were planned for {former}, and stay with it: "
        f"`satmachine payments repoint --payee client:{row.id}` sends them to the new payee."
    )


def _now(act: Act, client_id: int) -> Done:
    row = client_row(act.books, client_id)
    return Done(row, "", FIELDS, title_of(row))
