"""Statements that the daemon has signed, as they were given out: the pages have no key, and sign nothing."""

from __future__ import annotations

from typing import Any

import orjson

from satmachine.nostr.event import Event, parse_event
from satmachine.nostr.keys import hex_to_npub
from satmachine.reports.signed import event_file, with_event
from satmachine.store import statement_rows
from satmachine.web.views.base import Download, Look, Missing

_SHOWN = 24


def listed(look: Look, client_id: int) -> list[dict[str, Any]]:
    """The newest signed statements of a position, and who has signed each."""
    return [
        {
            "id": row["id"],
            "since_at": row["since_at"],
            "until_at": row["until_at"],
            "made_at": row["made_at"],
            "signer": hex_to_npub(row["signer"]),
        }
        for row in statement_rows.of_client(look.conn, client_id, _SHOWN)
    ]


def document(look: Look) -> Download:
    """A signed statement for programs: `satmachine verify` accepts it as it is."""
    made, event = _signed(look)
    return Download(event_file(event), "application/json", f"statement-{made.id[:12]}.json")


def page(look: Look) -> Download:
    """A signed statement to read and print, with its signature in it."""
    made, event = _signed(look)
    return Download(with_event(made.html, event), "text/html", f"statement-{made.id[:12]}.html")


def _signed(look: Look) -> tuple[statement_rows.SignedStatement, Event]:
    made = statement_rows.get(look.conn, int(look.params["id"]), str(look.params["statement"]))
    if made is None:
        raise Missing
    event = parse_event(orjson.loads(made.event))
    assert isinstance(event, Event), "what the daemon has signed is an event"
    return made, event
