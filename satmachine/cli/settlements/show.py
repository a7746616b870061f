"""`settlements show`, `explain` and `note`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from satmachine.attention import words
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Done, acting, reading, usage
from satmachine.cli.kit.options import AsJson, Sale
from satmachine.cli.kit.output import emit_record, emit_section, print_json, print_line
from satmachine.cli.kit.values import Column, grouped
from satmachine.cli.settlements import app
from satmachine.cli.settlements.sheet import print_sale, print_sale_json, read_sale
from satmachine.store import list_queries, notes

if TYPE_CHECKING:
    from satmachine.settlements.explain import Explanation

#: What people call the keys of an explanation's summary, if it is another word.
_NAMES = {"settlement": "Sale", "super_fee": "Platform's part"}

_LINES = (
    Column("what", "What"),
    Column("amount_sats", "Sats"),
    Column("how", "How", fold=True),
)


@reading(app, "show")
def show(books: Books, sale: Sale, as_json: AsJson = False) -> None:
    """Show one sale: its figures, its payments, what stays in the wallet and why, events and notes.

    Examples:

        satmachine settlements show 12

        satmachine settlements show 5d2a...e1 --json
    """
    found = read_sale(books.conn, sale)
    if as_json:
        print_sale_json(found)
    else:
        print_sale(found, books.tz)


@reading(app, "explain")
def explain(books: Books, sale: Sale, as_json: AsJson = False) -> None:
    """Show the arithmetic of every sat of a sale: rules, each rounding, each share, each retained sat.

    Examples:

        satmachine settlements explain 12

        satmachine settlements explain 12 --json
    """
    from satmachine.settlements.explain import explain_settlement, to_plain

    legs, retained = list_queries.legs_of(books.conn, sale["id"]), list_queries.retained_of(books.conn, sale["id"])
    explanation = explain_settlement(sale, legs, retained, words.retained)
    if as_json:
        print_json(to_plain(explanation))
    else:
        _print(explanation)


@acting(app, "note", asks=False)
def note(
    act: Act,
    sale: Sale,
    text: Annotated[str, typer.Argument(help=f"The note, at most {notes.MAX_CHARS} characters.")],
) -> Done:
    """Add a note to a sale. Notes are kept for ever, newest first, with time and author.

    Examples:

        satmachine settlements note 12 "Customer called, jam in cassette 2"

        satmachine --actor maria settlements note 12 "Paid back in cash" --json
    """
    text = usage(lambda: notes.cleaned(text))
    act.ask(f"add this note to sale {sale['id']}")
    books = act.books
    act.write(notes.add, sale["id"], sale["machine_id"], text=text, author=books.actor, now=books.now)
    return Done(books.sale(str(sale["id"])), f"The note is added to sale {sale['id']}.")


def _print(explanation: Explanation) -> None:
    summary = explanation.summary
    fields = [Column(key, _NAMES.get(key) or key.replace("_", " ").capitalize()) for key in summary]
    emit_record(summary, fields, title="The rules that were applied")
    for section in explanation.sections:
        lines = [{"what": line.what, "amount_sats": line.amount_sats, "how": line.how} for line in section.lines]
        emit_section(lines, _LINES, title=section.title)
    print_line(grouped(explanation.total), style="bold")
