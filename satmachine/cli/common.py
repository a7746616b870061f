"""The kit under its former name, for nouns that are not made of its decorators yet (see kit/commands.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from satmachine.cli.kit.books import MAX_ID as MAX_ID
from satmachine.cli.kit.books import Books as Books
from satmachine.cli.kit.books import not_found as not_found
from satmachine.cli.kit.books import open_books as open_books
from satmachine.cli.kit.books import parse_when as parse_when
from satmachine.cli.kit.books import where
from satmachine.cli.kit.commands import ON_A_SCREEN as DEFAULT_LIMIT
from satmachine.cli.kit.options import AsCsv as AsCsv
from satmachine.cli.kit.options import AsJson as AsJson
from satmachine.cli.kit.options import DryRun as DryRun
from satmachine.cli.kit.options import Since as Since
from satmachine.cli.kit.options import Until as Until
from satmachine.cli.kit.options import Yes as Yes
from satmachine.cli.kit.requests import answer_of as answer_of
from satmachine.cli.kit.requests import confirm as confirm
from satmachine.cli.kit.requests import reason_of as reason_of
from satmachine.cli.kit.requests import request as request
from satmachine.store.pages import Page

__all__ = ["DEFAULT_LIMIT", "Before", "Limit", "Reason", "Shown", "database_path", "more_hint"]

Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many rows at the most.")]
Shown = Limit
Before = Annotated[
    int | None, typer.Option(min=1, max=MAX_ID, metavar="ID", help="Go on below this id, the last of a page.")
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit log. Asked for if it is missing.")
]


def database_path(config_path: Path | None) -> Path:
    """Where the books lie."""
    return where(config_path).path


def more_hint(page: Page) -> str:
    """What to tell people below a page that does not show everything."""
    return "There are more; go on with --before, or show more at once with --limit." if page.more else ""
