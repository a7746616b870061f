"""What `satmachine cash list` shows: its columns, and a row's notes for people and programs."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from satmachine.cli.kit.output import to_json
from satmachine.cli.kit.values import Column, Row


def listed(row: Row) -> dict[str, Any]:
    """A row with its notes read: a list, each with its amount as text."""
    notes = [to_json({**one, "currency": row["currency"]}) for one in json.loads(row["notes"])]
    for one in notes:
        del one["currency"]
    return {**row, "notes": notes}


def _notes_text(row: Row) -> str:
    return ", ".join(f"{one['notes']} x {_short(one['denomination'])}" for one in row["notes"] if one["denomination"])


def _short(denomination: str) -> str:
    """As it is printed on the banknote: 100, or 0.50."""
    major = Decimal(denomination)
    return f"{int(major)}" if major == major.to_integral_value() else denomination


def _replaced(row: Row) -> str:
    return "" if row["replaced_by"] is None else f"replaced by {row['replaced_by']}"


LIST_COLUMNS = (
    Column("id", "Id"),
    Column("at", "Done at"),
    Column("machine_id", "Machine"),
    Column("kind", "What"),
    Column("amount_minor", "Amount"),
    Column("replaced_by", "Stands", show=_replaced),
    Column("notes", "Notes", show=_notes_text, wide=True),
    Column("actor", "By", wide=True),
    Column("corrects", "Corrects", wide=True),
    Column("note", "Note", fold=True, wide=True),
)
