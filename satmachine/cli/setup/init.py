"""`satmachine init`: from nothing to a configuration that works."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from satmachine.cli.kit import numbers
from satmachine.cli.kit.requests import at_a_terminal
from satmachine.cli.setup import machine, tested, writing
from satmachine.cli.setup.asking import ask
from satmachine.config import formats, named_config
from satmachine.config.load import DEFAULT_PATH
from satmachine.errors import Refused


def init(
    ctx: typer.Context,
    lnbits_url: Annotated[str | None, typer.Option(metavar="URL", help="The address of LNbits.")] = None,
    relays: Annotated[
        list[str] | None,
        typer.Option("--relay", metavar="URL", help="A relay on which the machines publish; may be repeated."),
    ] = None,
    operator_id: Annotated[
        str | None, typer.Option(metavar="ID", help="A short name for who runs the machines.")
    ] = None,
    operator_name: Annotated[str | None, typer.Option(metavar="NAME", help="Their name for people.")] = None,
    super_fee_pct: Annotated[
        str | None, typer.Option(metavar="PCT", help="The platform's part of every commission.")
    ] = None,
    database: Annotated[str | None, typer.Option(metavar="FILE", help="The file for the books.")] = None,
    tz: Annotated[str | None, typer.Option("--time-zone", metavar="ZONE", help="The time zone for screens.")] = None,
) -> None:
    """Set up: asks for what it needs, tests each answer at once, and writes the configuration and the books.

    Every question can be answered by a flag instead; without a terminal, what has no flag and no default is an error.
    An existing configuration is never touched. At the end it asks for the first machine, as `machines add` does.

    Examples:

        satmachine init

        satmachine --config ./config.toml init --lnbits-url http://127.0.0.1:5000 --relay wss://relay.example
        --operator-id atitlan --database ./satmachine.db
    """
    path = named_config(ctx.obj.config_path)[0].absolute()
    if path.exists():
        raise Refused(f"{path} already exists; to add a machine to it: `satmachine machines add`")
    url = ask(
        "The address of LNbits",
        flag="--lnbits-url",
        given=lnbits_url,
        default="http://127.0.0.1:5000",
        test=tested.lnbits,
    )
    where = relays or [ask("A Nostr relay where the machines publish", flag="--relay", given=None, test=tested.relay)]
    for relay in relays or []:
        ask("", flag="--relay", given=relay, test=tested.relay)
    operator = ask("A short name for who runs the machines", flag="--operator-id", given=operator_id, test=_slug)
    name = ask("Its name for people", flag="--operator-name", given=operator_name, default=operator)
    fee = ask(
        "Part of every commission for the platform (0: none)",
        flag="--super-fee-pct",
        given=super_fee_pct,
        default="0",
        test=_fraction,
    )
    zone = ask("Time zone for screens", flag="--time-zone", given=tz, default="UTC", test=_zone)
    books = ask("The file for the books", flag="--database", given=database, default=_books(path))
    content = _text(url, where, operator, name, f"{numbers.fraction(fee):f}", zone, books)
    writing.write(path, content)
    config = writing.replace_config(path, content)
    writing.mirror(config)
    typer.echo(f"{path} is written; the books are {config.database.path}.")
    if at_a_terminal() and typer.confirm("Add the first machine now?", default=True, err=True):
        add_machine(path, machine.Flags())
        return
    _tell(path, "It names no machine yet.", "satmachine machines add")


def add_machine(path: Path, flags: machine.Flags) -> str:
    """Ask for a machine, write it, and say what to do next. Returns its id. Raises ConfigError."""
    from satmachine.config import load
    from satmachine.store.database import daemon_is_running

    config = load(path)
    if not config.operators:
        raise Refused(f"{path} names no operator yet: add an [[operators]] table first")
    machine_id, table = machine.table(config, flags)
    config = writing.replace_config(path, path.read_text("utf-8").rstrip("\n") + "\n" + table)
    writing.mirror(config)
    start = ["satmachine run", "or, as a service: systemctl enable --now satmachine"]
    if config.database.path.exists() and daemon_is_running(config.database.path):
        start = ["systemctl restart satmachine"]  # no reload: systemd reads keys when the service starts
    _tell(
        path,
        f"{machine_id} is in {path}.",
        "satmachine doctor",
        *start,
        f"satmachine clients add --machine {machine_id} --label NAME --lightning-address NAME@HOST",
        "satmachine deposits add NAME AMOUNT",
    )
    return machine_id


def _tell(path: Path, done: str, *commands: str) -> None:
    """What was done, and what to do next; also how the next commands find this file, if they would read another."""
    if named_config(None)[0].absolute() != path:
        commands = (f"export SATMACHINE_CONFIG={shlex.quote(str(path))}", *commands)
    typer.echo("\n  ".join([f"{done} What to do next:", *commands]))


def _text(url: str, relays: list[str], operator: str, name: str, fee: str, zone: str, books: str) -> str:
    quoted = ", ".join(writing.text(relay) for relay in relays)
    return f"""# satmachine: written by `satmachine init`. Every other key, explained: config.example.toml
# Is this file right?
#   satmachine config check
# Load a changed file; one with errors is refused, and the old one stays:
#   systemctl reload satmachine

[database]
path = {writing.text(books)}

[nostr]
relays = [{quoted}]    # name at least two: one may be down

[lnbits]
url = {writing.text(url)}

[super]
fee_pct = {fee}

[display]
tz = {writing.text(zone)}

[[operators]]
id = {writing.text(operator)}
name = {writing.text(name)}
# Who shares the commission; without any it stays in the machines' wallets. The pcts sum to exactly 1.
# [[operators.splits]]
# label = "owner"
# pct = 1
# payee = {{ lightning_address = "owner@example.org" }}
"""


def _books(path: Path) -> str:
    """Where a service keeps them; if the configuration is somebody's own, beside it."""
    return "/var/lib/satmachine/satmachine.db" if path == DEFAULT_PATH else str(path.parent / "satmachine.db")


def _slug(text: str) -> str:
    formats.slug(text)
    return ""


def _zone(text: str) -> str:
    formats.time_zone(text)
    return ""


def _fraction(text: str) -> str:
    if not 0 <= numbers.fraction(text) <= 1:
        raise ValueError("write a part of the whole: 0.3, or 30 %")
    return ""
