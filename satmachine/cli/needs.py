"""The list of what needs a person, on a screen and for programs; imports little, for `status`."""

from __future__ import annotations

from typing import Any

from satmachine.attention.items import Attention, Item
from satmachine.cli.kit.output import print_item, print_line, to_json
from satmachine.cli.kit.values import format_age, grouped


def print_items(found: Attention, now: int, *, named: bool = False) -> None:
    """The list on a screen: what is wrong, since when, and the command that helps; `named`: also what `alerts silence`
    calls it."""
    if found.items:
        print_line(f"What needs you ({len(found.items)}):", style="bold")
    for item in found.items:
        if named:
            print_line(item.id, style="bold")
        since = "" if item.shown_since is None else f" (for {format_age(now - item.shown_since)})"
        print_item("!", grouped(item.cause) + since, item.command)
    if not found.items:
        print_line("Nothing needs you.", style="green")
    if found.silenced:
        print_line(silenced_hint(found))


def as_json(item: Item) -> dict[str, Any]:
    """An item as programs get it."""
    return to_json(row_of(item))


def row_of(item: Item) -> dict[str, Any]:
    """An item as a row."""
    return {
        "item": item.id,
        "condition": item.condition,
        "subject": item.subject,
        "cause": item.cause,
        "since": item.since,
        "command": item.command,
        "settlement_id": item.settlement_id,
        "payment_id": item.payment_id,
        "alarm": item.is_alarm,
        "silenced": item.silenced or None,
    }


def silenced_hint(found: Attention) -> str:
    """How much a person has silenced."""
    if not found.silenced:
        return ""
    return f"{len(found.silenced)} more silenced: `satmachine alerts list --all` shows them."
