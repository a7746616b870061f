"""`satmachine alerts`: what needs a person, what a person already knows about, and whether alarms arrive."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from satmachine.attention.items import CONDITIONS, Item
from satmachine.attention.look import silences
from satmachine.cli.kit.books import open_books
from satmachine.cli.kit.commands import Act, Done, acting
from satmachine.cli.kit.options import AsCsv, AsJson
from satmachine.cli.kit.output import emit_table, print_json, print_line, to_json
from satmachine.cli.kit.values import Column, format_age, is_terminal
from satmachine.cli.needs import print_items, row_of, silenced_hint
from satmachine.errors import NotFound, Refused
from satmachine.store import attention

app = typer.Typer(no_args_is_help=True, help="What needs you, what you already know about, and whether alarms arrive.")

_ITEMS = (
    Column("since", "Since"),
    Column("item", "Item"),
    Column("cause", "What is wrong", fold=True),
    Column("command", "What helps", fold=True),
    Column("silenced", "Silenced", fold=True),
)

Name = Annotated[
    str, typer.Argument(metavar="ITEM", help="As `alerts list` names it, like machine_error:panajachel-1.")
]


@app.command("list")
def list_alerts(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also what is silenced.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List what needs you, the most serious first, each with a command that runs as printed: the list of `status`.

    Exits with 1 if there is something, with 0 if there is nothing.

    Examples:

        satmachine alerts list

        satmachine alerts list --all --json
    """
    with open_books(ctx) as books:
        found = books.attention
    if is_terminal() and not (everything or as_json or as_csv):
        print_items(found, books.now, named=True)
        raise typer.Exit(1 if found.items else 0)
    items = [*found.items, *(found.silenced if everything else ())]
    rows = [row_of(item) for item in items]
    emit_table(
        rows,
        _ITEMS,
        json=as_json,
        csv=as_csv,
        title="What needs you",
        empty="Nothing needs you.",
        tz=books.tz,
        keys=[*row_of(Item("safe_mode", "", "", ""))],
        more="" if everything else silenced_hint(found),
    )
    raise typer.Exit(1 if found.items else 0)


@acting(app, "silence", reason=True, asks=False)
def silence(
    act: Act,
    item: Name,
    for_how_long: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long: 8h, 2d, 1w, or ever.")] = "8h",
) -> Done:
    """Silence something that you know about: until then it is in no list and raises no alarm.

    `condition:what` covers everything of it; `alerts list --all` shows what is silenced.

    Examples:

        satmachine alerts silence machine_error:panajachel-1 --for 2d --reason "the technician comes on Monday"

        satmachine alerts silence unmatched:panajachel-1 --for ever --reason "top-ups"
    """
    _require_condition(item)
    until = None if for_how_long == "ever" else _until(act, for_how_long)
    act.ask(f"silence {item}")
    books, machine_id = act.books, _machine_of(act, item)
    act.write(
        attention.silence,
        item,
        until=until,
        reason=act.reason,
        actor=books.actor,
        machine_id=machine_id,
        now=books.now,
    )
    left = "for ever" if until is None else f"for {format_age(until - books.now)}"
    words = f"{item} is silenced {left}. To end this: `satmachine alerts unsilence {item}`"
    return Done({"item": item, "until_at": until, "reason": act.reason}, words)


@acting(app, "unsilence", asks=False)
def unsilence(act: Act, item: Name) -> Done:
    """End the silence about something.

    Example:

        satmachine alerts unsilence machine_error:panajachel-1
    """
    act.ask(f"end the silence about {item}")
    books = act.books
    if not act.write(attention.unsilence, item, actor=books.actor, machine_id=_machine_of(act, item), now=books.now):
        known = ", ".join(one.item for one in silences(books.conn)) or "nothing"
        raise NotFound(f"{item} is not silenced; silenced: {known}")
    return Done({"item": item, "until_at": None, "reason": ""}, f"{item} is no longer silenced.")


@app.command("test")
def try_channels(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Send a test message in each way that [alerts] names, and say whether it arrived.

    Exits with 1 if one did not, or if no way is named. Run it as the daemon's user, or with sudo: it reads the same
    keys.

    Examples:

        satmachine alerts test

        sudo satmachine alerts test --json
    """
    import anyio

    from satmachine.config import find_config, load

    config = load(find_config(ctx.obj.config_path))
    results = anyio.run(_try_channels, config)
    if as_json:
        print_json([to_json(row) for row in results])
    elif not results:
        print_line("[alerts] names no way to send alarms: they are only in the log and in `satmachine status`.")
    for row in () if as_json else results:
        told = "delivered" if row["delivered"] else f"NOT delivered: {row['error']}"
        print_line(f"{row['channel']}: {told}")
    raise typer.Exit(0 if results and all(row["delivered"] for row in results) else 1)


async def _try_channels(config: Any) -> list[dict[str, Any]]:
    from satmachine.errors import SatmachineError
    from satmachine.ops.alerts.channels import configured, deliver
    from satmachine.ops.alerts.message import AlertMessage

    now, found = int(time.time()), []
    for channel in configured(config):
        detail = "this is a test of `satmachine alerts test`; nothing is wrong"
        message = AlertMessage(0, now, channel, "", "relay_quiet", raised=True, detail=detail, attempts=0)
        error = None
        try:
            await deliver(message, config, now)
        except SatmachineError as problem:
            error = str(problem)
        found.append({"channel": channel, "delivered": error is None, "error": error})
    return found


# --- helpers


def _require_condition(item: str) -> None:
    condition = item.partition(":")[0]
    if condition not in CONDITIONS:
        raise typer.BadParameter(f"{item!r} is no item; `satmachine alerts list` names them")
    if condition == "books_broken":
        raise Refused("books that do not add up cannot be silenced: `satmachine audit` shows what is wrong")


def _until(act: Act, span: str) -> int:
    """`act.books.when` reads 2d as two days ago; here it means two days from now."""
    at = act.books.when(span)
    if at is None or at > act.books.now or span in ("today", "yesterday", "now"):
        raise typer.BadParameter(f"--for must be a time like 8h, 2d or 1w, or ever; not {span!r}")
    return 2 * act.books.now - at


def _machine_of(act: Act, item: str) -> str | None:
    """The machine that an item is about, which must be in scope. Raises NotFound."""
    subject = item.split(":")[1] if ":" in item else ""
    if act.books.sees(subject):
        return subject
    if act.books.scope is not None:
        raise NotFound(f"there is no item {item}")
    return None
