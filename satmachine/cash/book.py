"""Writing the cash book: entries, corrections, booked differences, and the deposits that come from a load.

Call these inside `atomic()`. What is refused changes nothing; every change has its row in the audit log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

from satmachine.errors import Refused
from satmachine.models.banknotes import in_words, short
from satmachine.models.cash_values import CLOSING, CashEntry, Cycle, EntryKind
from satmachine.money import minor_to_fiat
from satmachine.store import audit_log as audit
from satmachine.store import cash_rows, clients, deposits


def record(
    conn: sqlite3.Connection, draft: cash_rows.Draft, *, for_clients: Mapping[int, int], actor: str, now: int
) -> tuple[CashEntry, list[int]]:
    """Add an entry; returns it and the ids of the pending deposits that come from it.

    `for_clients` is {client: minor units} of a load. With `draft.corrects` it replaces an entry. Raises Refused for a
    time in the future, for a count that leaves out a cassette, and if parts exceed the whole.
    """
    if draft.at > now:
        raise Refused(
            f"{_moment(draft.at)} is in the future: enter only what was done, with --at if it was done earlier"
        )
    old = None if draft.corrects is None else _replaceable(conn, draft.corrects)
    if old is not None and (old.machine_id, old.kind) != (draft.machine_id, draft.kind):
        raise Refused(
            f"cash entry {old.id} is a {old.kind} at {old.machine_id}: correct it with another {old.kind} there. "
            f"`satmachine cash void {old.id}` takes all of it back"
        )
    _require_whole(conn, draft)
    amount_minor = sum(line.amount_minor for line in draft.lines)
    if draft.kind not in CLOSING and amount_minor == 0:
        raise Refused(f"a {draft.kind} of nothing cannot be entered")
    parts_minor = sum(for_clients.values()) + sum(
        int(one["amount_minor"]) for one in (cash_rows.deposits_of(conn, old.root_id) if old else ())
    )
    if draft.kind is EntryKind.LOAD and parts_minor > amount_minor:
        raise Refused(
            f"{_money(amount_minor, draft.currency)} are loaded, but the LPs' deposits are "
            f"{_money(parts_minor, draft.currency)}" + (_deposits_help(conn, old) if old else "")
        )
    entry = cash_rows.insert(conn, draft, actor=actor, now=now)
    _log(conn, f"cash.{draft.kind}", entry, actor, now, old=old)
    added = [
        deposits.add(
            conn,
            client_id=client_id,
            amount_minor=part_minor,
            notes=f"loaded with cash entry {entry.id}",
            cash_id=entry.id,
            actor=actor,
            now=now,
        )
        for client_id, part_minor in for_clients.items()
    ]
    return entry, added


def void(conn: sqlite3.Connection, entry_id: int, *, reason: str, actor: str, now: int) -> CashEntry:
    """Take back a whole entry: it was never done, or at another machine. Returns the row that says so.

    Raises Refused if it was already replaced, if deposits come from it, or if its difference is booked.
    """
    old = _replaceable(conn, entry_id)
    booked_minor = cash_rows.booked(conn, old.machine_id).get(old.root_id, 0)
    if booked_minor:
        raise Refused(
            f"of cash entry {old.id}, {_money(booked_minor, old.currency)} are booked as a difference. Take that back "
            f"first: `satmachine cash book {old.id} --amount {minor_to_fiat(-booked_minor, old.currency):f}`"
        )
    if cash_rows.deposits_of(conn, old.root_id):
        raise Refused(f"LPs' deposits come from cash entry {old.id}" + _deposits_help(conn, old))
    draft = cash_rows.Draft(old.machine_id, EntryKind.VOID, old.at, old.currency, (), reason, old.id)
    entry = cash_rows.insert(conn, draft, actor=actor, now=now)
    _log(conn, "cash.void", entry, actor, now, old=old, reason=reason)
    return entry


def book_difference(
    conn: sqlite3.Connection,
    cycle: Cycle,
    amount_minor: int,
    *,
    window: tuple[int, int],
    reason: str,
    actor: str,
    now: int,
) -> int:
    """Say why cash of a closed cycle was missing (below 0) or too much; returns the row's id.

    To take back what was booked, book the opposite. Raises Refused if the amount is neither a part of what is open nor
    takes back what is booked.
    """
    assert cycle.closing is not None, "an open cycle has no difference yet"
    closing, open_minor = cycle.closing, cycle.open_minor
    is_part = amount_minor * open_minor > 0 and abs(amount_minor) <= abs(open_minor)
    takes_back = amount_minor * cycle.booked_minor < 0 and abs(amount_minor) <= abs(cycle.booked_minor)
    if not (is_part or takes_back):
        raise Refused(
            f"of the cycle that entry {closing.id} closed, {_money(open_minor, closing.currency)} are not booked yet; "
            f"{_money(amount_minor, closing.currency)} is not a part of that"
        )
    booked_id = cash_rows.book(
        conn, closing, amount_minor, since_at=window[0], until_at=window[1], reason=reason, actor=actor, now=now
    )
    audit.record(
        conn,
        now=now,
        actor=actor,
        action="cash.book",
        subject=f"cash {closing.id}",
        machine_id=closing.machine_id,
        reason=reason,
        before={"open_minor": open_minor},
        after={"open_minor": open_minor - amount_minor, "booked_id": booked_id},
    )
    return booked_id


def parse_part(conn: sqlite3.Connection, client_id: int, machine_id: str, *, operator: str | None) -> None:
    """Raises NotFound for an unknown client, Refused for one of another machine."""
    client = clients.get(conn, client_id, operator=operator)
    if client.machine_id != machine_id:
        raise Refused(f"LP {client_id} ({client.label}) belongs to {client.machine_id}, not to {machine_id}")


def _replaceable(conn: sqlite3.Connection, entry_id: int) -> CashEntry:
    """An entry that is still valid. Raises Refused with the one that has replaced it."""
    old = cash_rows.get(conn, entry_id)
    if old.kind is EntryKind.VOID:
        raise Refused(f"cash entry {old.id} takes back {old.corrects}; enter what was really done as a new entry")
    later = cash_rows.replaced_by(conn, entry_id)
    if later is not None:
        what = "taken back" if later.kind is EntryKind.VOID else "corrected"
        raise Refused(f"cash entry {old.id} was already {what}, by {later.id}: correct that one")
    return old


def _require_whole(conn: sqlite3.Connection, draft: cash_rows.Draft) -> None:
    """A count by cassettes must name all of them; otherwise a forgotten one would look like stolen cash."""
    named = {line.cassette for line in draft.lines if line.cassette is not None}
    if draft.kind not in CLOSING or not named:
        return
    known = cash_rows.known_cassettes(conn, draft.machine_id)
    forgotten = [(cassette, denomination) for cassette, denomination in sorted(known.items()) if cassette not in named]
    if forgotten:
        told = " and ".join(
            f"cassette {one} ({short(value, draft.currency)} {draft.currency})" for one, value in forgotten
        )
        more = " ".join(f"--cassette {one} --notes N" for one, _ in forgotten)
        raise Refused(
            f"{told} is missing in this {draft.kind}. Name every cassette, with --notes 0 for an empty one: add {more}"
        )


def _deposits_help(conn: sqlite3.Connection, entry: CashEntry) -> str:
    """The deposits of a load, and how each is changed."""
    told = []
    for one in cash_rows.deposits_of(conn, entry.root_id):
        verb = "delete" if one["status"] == "pending" else "reverse"
        told.append(f"deposit {one['id']} of {one['label']}: `satmachine deposits {verb} {one['id']}`")
    return f" ({'; '.join(told)})" if told else ""


def _log(
    conn: sqlite3.Connection,
    action: str,
    entry: CashEntry,
    actor: str,
    now: int,
    *,
    old: CashEntry | None,
    reason: str = "",
) -> None:
    audit.record(
        conn,
        now=now,
        actor=actor,
        action=action,
        subject=f"cash {entry.id}",
        machine_id=entry.machine_id,
        reason=reason or entry.note,
        before=None if old is None else {"id": old.id, **_said(old)},
        after=_said(entry),
    )


def _said(entry: CashEntry) -> dict[str, object]:
    """What the log keeps about an entry."""
    said: dict[str, object] = {"amount_minor": entry.amount_minor, "currency": entry.currency, "at": entry.at}
    notes = [
        f"cassette {line.cassette}: {in_words({line.denomination_minor: line.notes}, entry.currency) or '0'}"
        for line in entry.lines
        if line.denomination_minor is not None and line.notes is not None
    ]
    return said | ({"notes": notes} if notes else {})


def _money(amount_minor: int, currency: str) -> str:
    return f"{minor_to_fiat(amount_minor, currency):f} {currency}"


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
