"""What the Tab key offers: ids and labels from the books, in the scope of what was typed before. Never an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = list[tuple[str, str]]

#: More than one screen of them helps nobody.
_MOST = 60


def _from_books(read: Callable[[Any, str], Found]) -> Callable[..., Found]:
    def complete(ctx: Any, incomplete: str) -> Found:
        from satmachine.cli.kit.books import open_books
        from satmachine.cli.kit.root import Options
        from satmachine.errors import SatmachineError

        typed = ctx.find_root().params
        path = typed.get("config")
        ctx.obj = Options(config_path=Path(path) if path else None, operator=typed.get("operator") or None)
        try:
            with open_books(ctx) as books:
                return read(books, incomplete)
        except SatmachineError:
            return []

    return complete


def _machines(books: Any, begun: str) -> Found:
    from satmachine.store import list_queries

    return [(name, "") for name in list_queries.machine_ids(books.conn, books.scope) if name.startswith(begun)][:_MOST]


def _clients(books: Any, begun: str) -> Found:
    from satmachine.store import clients

    found = clients.find(books.conn, operator=books.scope)
    labels = [client.label for client in found]
    named = [
        (client.label if labels.count(client.label) == 1 else f"{client.label}@{client.machine_id}", client)
        for client in found
    ]
    return [(name, f"{one.id}, at {one.machine_id}") for name, one in named if name.startswith(begun)][:_MOST]


def _sales(books: Any, begun: str) -> Found:
    from satmachine.store import list_queries

    page = list_queries.settlements(books.conn, books.scope, list_queries.ListFilter(limit=_MOST))
    return [(str(row["id"]), f"{row['machine_id']}, {row['status']}") for row in page.rows if _is(row, begun)]


def _payments(books: Any, begun: str) -> Found:
    from satmachine.store import list_queries

    page = list_queries.payments(books.conn, books.scope, list_queries.ListFilter(limit=_MOST))
    return [(str(row["id"]), f"{row['leg']}, {row['status']}") for row in page.rows if _is(row, begun)]


def _deposits(books: Any, begun: str) -> Found:
    from satmachine.store import deposits

    found = deposits.find(books.conn, operator=books.scope, limit=_MOST)
    return [(str(one.id), f"{one.label}, {one.status}") for one in found if str(one.id).startswith(begun)]


def _messages(books: Any, begun: str) -> Found:
    from satmachine.store import list_queries

    page = list_queries.quarantine(books.conn, books.scope, list_queries.ListFilter(limit=_MOST, status="open"))
    return [(str(row["id"]), f"{row['machine_id']}, {row['reason']}") for row in page.rows if _is(row, begun)]


def _is(row: dict[str, Any], begun: str) -> bool:
    return str(row["id"]).startswith(begun)


machines, clients, sales = _from_books(_machines), _from_books(_clients), _from_books(_sales)
payments, deposits, messages = _from_books(_payments), _from_books(_deposits), _from_books(_messages)
