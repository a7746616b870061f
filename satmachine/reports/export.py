"""The ledger for other programs: beancount, hledger, CSV. Pure; line by line, so that years need no memory.

Every entry carries its id, which is the same in every export of these books, and of books made anew from the wallets:
who has imported an entry knows it again (`Known`). Amounts are exact; the price of sats is the sale's own rate as a
decimal of 12 digits, the same for every posting of an entry, so that it cannot unbalance it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from urllib.parse import quote

from satmachine.ledger.postings import SAT, Entry, Posting, value_minor
from satmachine.money import minor_to_fiat
from satmachine.plain_text import cell, one_line

_PRICE = Context(prec=12, rounding=ROUND_HALF_EVEN)

#: Since when beancount knows accounts: what is exported later may be older than the first entry that was.
_BEGINNING = "1970-01-01"

#: The account that balances what was before the first entry of an export.
OPENING = "Equity:Opening-Balances"


@dataclass(slots=True)
class Known:
    """What a file has already: ids of entries, accounts and units that are opened; and which of FORMATS it is in."""

    ids: frozenset[str] = frozenset()
    opened: set[str] = field(default_factory=set)
    form: str = ""


def known_in(text: Iterable[str]) -> Known:
    """What an earlier export holds, whichever of the three formats it is in."""
    ids: set[str] = set()
    opened: set[str] = set()
    form = ""
    for line in text:
        if found := _ID.match(line):
            form = str(found.lastgroup)
            ids.add(found[form])
        elif found := _OPENED.match(line):
            opened.add(found[1])
    return Known(frozenset(ids), opened, form)


_PLAIN = re.compile(r"[A-Za-z0-9:@._-]*")
_ID = re.compile(r'^\s+id: "(?P<beancount>[^"]+)"|^\s+; id: (?P<hledger>\S+)|^(?P<csv>[a-z-]+:[^",]+),\d{4}-')
_OPENED = re.compile(r"^(?:\d{4}-\d{2}-\d{2} )?(?:open|account|commodity) ([A-Z0-9][^\s]*)")


def opening_entry(balances: Mapping[tuple[str, str], int], at: int) -> Entry | None:
    """What was before `at` (Unix seconds), as one entry; None where that is nothing."""
    postings = [Posting(account, amount, unit) for (account, unit), amount in sorted(balances.items()) if amount]
    rest: dict[str, int] = {}
    for posting in postings:
        rest[posting.unit] = rest.get(posting.unit, 0) - posting.amount
    postings += [Posting(OPENING, amount, unit) for unit, amount in sorted(rest.items()) if amount]
    if not postings:
        return None
    return Entry(f"opening:{at}", "opening", at, at, "", "", "0", "", "Opening balances", tuple(postings))


def beancount(entries: Iterable[Entry], tz: tzinfo, known: Known) -> Iterator[str]:
    """Lines of a beancount ledger."""
    if SAT not in known.opened:
        yield ';; satmachine: "id" is the same in every export. Amounts of SAT are satoshis.'
    for entry in _new(entries, known):
        for posting in entry.postings:
            if posting.unit not in known.opened:
                known.opened.add(posting.unit)
                yield f"{_BEGINNING} commodity {posting.unit}"
            if posting.account not in known.opened:
                known.opened.add(posting.account)
                yield f"{_BEGINNING} open {posting.account}"
        yield ""
        yield f'{_day(entry.posted_at, tz)} * "{_quoted(entry.narration)}" #{entry.kind}'
        yield f'  id: "{entry.id}"'
        for name, value in _facts(entry, tz):
            yield f'  {name}: "{value}"'
        for posting in entry.postings:
            yield f"  {posting.account}  {_amount(posting)} {posting.unit}{_price(posting, entry)}"


def hledger(entries: Iterable[Entry], tz: tzinfo, known: Known) -> Iterator[str]:
    """Lines of an hledger journal."""
    if SAT not in known.opened:
        yield "; satmachine: the tag id is the same in every export. Amounts of SAT are satoshis."
    for entry in _new(entries, known):
        for posting in entry.postings:
            if posting.unit not in known.opened:
                known.opened.add(posting.unit)
                yield f"commodity {posting.unit}\n  format {_example(posting.unit)} {posting.unit}"
            if posting.account not in known.opened:
                known.opened.add(posting.account)
                yield f"account {posting.account}"
        yield ""
        yield f"{_day(entry.posted_at, tz)} * {_plain(entry.narration)}"
        yield f"    ; id: {entry.id}"
        yield f"    ; kind: {entry.kind}"
        for name, value in _facts(entry, tz):
            yield f"    ; {name}: {value}"
        for posting in entry.postings:
            yield f"    {posting.account}  {_amount(posting)} {posting.unit}{_price(posting, entry)}"


CSV_COLUMNS = (
    *("id", "posted_at", "happened_at", "kind", "machine_id", "sale", "account", "amount", "unit"),
    *("exchange_rate", "fiat_value", "currency", "narration"),
)


def csv_rows(entries: Iterable[Entry], tz: tzinfo, known: Known) -> Iterator[str]:
    """Lines of a CSV with a row for each posting; `fiat_value` is what its sats were worth at the sale's own rate."""
    line: Callable[[tuple[str, ...]], str] = csv.writer(_Told(), lineterminator="").writerow
    if not known.ids:
        yield ",".join(CSV_COLUMNS)
    for entry in _new(entries, known):
        priced = _unit_price(entry.rate) is not None
        posted_at = happened_at = datetime.fromtimestamp(entry.posted_at, tz).isoformat()
        if entry.happened_at != entry.posted_at:
            happened_at = datetime.fromtimestamp(entry.happened_at, tz).isoformat()
        begin = (entry.id, posted_at, happened_at, entry.kind, cell(entry.machine_id), cell(entry.sale))
        end = (entry.currency, cell(one_line(entry.narration)))
        rate = entry.rate if priced else ""
        for posting in entry.postings:
            value = value_minor(posting.amount, entry.rate, entry.currency) if posting.unit == SAT and priced else None
            worth = "" if value is None else f"{minor_to_fiat(value, entry.currency):f}"
            yield line((*begin, posting.account, _amount(posting), posting.unit, rate, worth, *end))


Format = Callable[[Iterable[Entry], tzinfo, Known], Iterator[str]]
FORMATS: Mapping[str, Format] = {"beancount": beancount, "hledger": hledger, "csv": csv_rows}


def _new(entries: Iterable[Entry], known: Known) -> Iterator[Entry]:
    """What is not known yet. A machine's own transaction id may be part of an id: what is no plain word is escaped."""
    for entry in entries:
        plain = (
            entry
            if _PLAIN.fullmatch(entry.id)
            else replace(entry, id=quote(entry.id, safe=":@"), sale=quote(entry.sale))
        )
        if plain.id not in known.ids:
            yield plain


def _facts(entry: Entry, tz: tzinfo) -> Iterator[tuple[str, str]]:
    """What an entry says of itself beside its postings."""
    if entry.sale:
        yield "sale", entry.sale
    if _unit_price(entry.rate) is not None:
        yield "rate", f"{entry.rate} sats per {entry.currency}"
    yield "time", datetime.fromtimestamp(entry.posted_at, tz).isoformat()
    if entry.happened_at != entry.posted_at:
        yield "happened", datetime.fromtimestamp(entry.happened_at, tz).isoformat()


def _amount(posting: Posting) -> str:
    return str(posting.amount) if posting.unit == SAT else f"{minor_to_fiat(posting.amount, posting.unit):f}"


def _price(posting: Posting, entry: Entry) -> str:
    price = _unit_price(entry.rate) if posting.unit == SAT else None
    return "" if price is None else f" @ {price} {entry.currency}"


@lru_cache(maxsize=65_536)
def _unit_price(rate: str) -> str | None:
    """The fiat that one sat was worth; None where the rate is unknown."""
    exact = Decimal(rate)
    return f"{_PRICE.divide(Decimal(1), exact):f}" if exact > 0 else None


def _example(unit: str) -> str:
    """How hledger is to show amounts of a unit; it wants a decimal mark in each."""
    return "1000." if unit == SAT else f"{minor_to_fiat(100_000, unit):f}" + ("" if "." in _one(unit) else ".")


def _one(unit: str) -> str:
    return f"{minor_to_fiat(1, unit):f}"


@lru_cache(maxsize=1024)
def _day_of(day: int, tz: tzinfo) -> str:
    return f"{datetime.fromtimestamp(day, tz):%Y-%m-%d}"


def _day(at: int, tz: tzinfo) -> str:
    # A zone's midnight lies on a quarter of an hour.
    return _day_of(at - at % 900, tz)


def _quoted(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def _plain(text: str) -> str:
    """What hledger takes for the end of a description: a semicolon; and a bar divides it."""
    return one_line(text).replace(";", ",").replace("|", "/")


class _Told:
    """Gives back what a csv.writer writes."""

    def write(self, line: str) -> str:
        return line
