"""How LNbits 1.6.2 reads the query of a list of payments: what it knows it applies, what it does not it ignores.

Pure. The quirks are the point: an unknown field, operator or value is left out without a word, `like` means
"contains", knows `%` and `_` and no upper case, several values of one field are alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from simulator.database import Row

_TEXTS: Final[dict[str, Callable[[Row], str | None]]] = {
    "status": lambda row: row.status,
    "tag": lambda row: row.tag,
    "checking_id": lambda row: row.checking_id,
    "external_id": lambda row: row.external_id,
    "memo": lambda row: row.memo,
    "preimage": lambda row: row.preimage,
    "payment_hash": lambda row: row.payment_hash,
    "wallet_id": lambda row: row.wallet_id,
    "labels": lambda row: str(list(row.labels)).replace("'", '"'),
}
_NUMBERS: Final[dict[str, Callable[[Row], float]]] = {
    "amount": lambda row: row.amount_msat,
    "fee": lambda row: row.fee_msat,
    "time": lambda row: row.time,
}

_SORTS: Final[dict[str, Callable[[Row], object]]] = {
    "created_at": lambda row: row.time,
    "updated_at": lambda row: row.updated_at,
    "amount": lambda row: row.amount_msat,
    "fee": lambda row: row.fee_msat,
    "memo": lambda row: row.memo,
    "time": lambda row: row.time,
    "tag": lambda row: (row.tag is not None, row.tag or ""),  # SQLite: NULL is the smallest
    "external_id": lambda row: (row.external_id is not None, row.external_id or ""),
}

_OPERATORS: Final = frozenset({"gt", "lt", "eq", "ne", "ge", "le", "in", "ex", "like", "every", "any"})
_LARGEST_PAGE: Final = 1_000
_WILDCARD: Final = re.compile("[%_]")
_HTML: Final = re.compile("<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")

#: Unix seconds above this are milliseconds to pydantic.
_MILLISECONDS_ABOVE: Final = 2e10

Condition = Callable[[Row], bool]


class BadQuery(ValueError):
    """LNbits answers 400 to it, with this detail."""

    def __init__(self, detail: object) -> None:
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Query:
    """A list that was asked for. `exact` and `contains` are what an index can serve: external id, hash."""

    conditions: tuple[Condition, ...]
    exact: dict[str, str]
    contains: str | None  # of the external id, in lower case, without wildcards
    sort: str | None
    descending: bool
    limit: int
    offset: int

    def matches(self, row: Row) -> bool:
        return all(condition(row) for condition in self.conditions)

    def page(self, rows: Iterable[Row]) -> tuple[Sequence[Row], int]:
        """The page of the rows that match, and how many match in all."""
        found = [row for row in rows if self.matches(row)]
        if self.sort is not None:
            found.sort(key=_SORTS[self.sort], reverse=self.descending)  # type: ignore[arg-type]
        page = found[self.offset : self.offset + self.limit]
        return page, len(found) if page else 0


def parse(params: Sequence[tuple[str, str]], *, without: frozenset[str] = frozenset()) -> Query:
    """Raises BadQuery. `without`: columns that an older LNbits does not have."""
    values: dict[str, list[str]] = {}
    for name, value in params:
        values.setdefault(name, []).append(value)
    sort = _last(values, "sortby")
    if sort is not None and (sort not in _SORTS or sort in without):
        raise BadQuery("1 validation error for Filters\n__root__\n  Invalid sort field (type=value_error)")
    direction = _last(values, "direction")
    if direction not in (None, "asc", "desc"):
        raise BadQuery([{"loc": ["query", "direction"], "msg": "unexpected value; permitted: 'asc', 'desc'"}])
    limit, offset = _integer(values, "limit"), _integer(values, "offset")
    conditions: list[Condition] = []
    exact: dict[str, str] = {}
    contains: str | None = None
    for name, given in values.items():
        field, operator = _split(name)
        if field is None or field in without:
            continue
        condition = _condition(field, operator, [_HTML.sub("", value) for value in given])
        if condition is None:
            continue
        conditions.append(condition)
        if len(given) == 1 and operator == "eq":
            exact[field] = _HTML.sub("", given[0])
        if len(given) == 1 and operator == "like" and field == "external_id" and not _WILDCARD.search(given[0]):
            contains = _HTML.sub("", given[0]).lower()
    size = min(_LARGEST_PAGE, {None: 10, 0: _LARGEST_PAGE}.get(limit, limit or 0))
    return Query(tuple(conditions), exact, contains, sort, direction == "desc", size, offset or 0)


def _last(values: dict[str, list[str]], name: str) -> str | None:
    return values[name][-1] if name in values else None


def _integer(values: dict[str, list[str]], name: str) -> int | None:
    text = _last(values, name)
    try:
        return None if text is None else int(text)
    except ValueError:
        wrong = {"loc": ["query", name], "msg": "value is not a valid integer", "type": "type_error.integer"}
        raise BadQuery([wrong]) from None


def _split(name: str) -> tuple[str | None, str]:
    """The field and the operator, or no field where LNbits ignores the parameter."""
    field, operator = name, "eq"
    if name.endswith("]"):
        parts = name[:-1].split("[")
        if len(parts) != 2 or parts[1] not in _OPERATORS:
            return None, ""
        field, operator = parts
    return (field if field in _TEXTS or field in _NUMBERS else None), operator


def _condition(field: str, operator: str, given: list[str]) -> Condition | None:
    """None where a value is not of the field's type: LNbits then ignores all of it."""
    if operator in ("in", "ex", "every", "any"):
        given = [part for value in given for part in value.split(",")]
    if field in _TEXTS:
        return _text_condition(_TEXTS[field], operator, given)
    try:
        numbers = [_seconds(value) if field == "time" else int(value) for value in given]
    except (ValueError, OverflowError):
        return None
    return _number_condition(_NUMBERS[field], operator, numbers)


def _text_condition(read: Callable[[Row], str | None], operator: str, given: list[str]) -> Condition:
    if operator in ("like", "every", "any"):
        if operator == "like" and len(given) == 1 and not _WILDCARD.search(given[0]) and given[0].isascii():
            part = given[0].lower()
            return lambda row: (text := read(row)) is not None and part in text.lower()
        patterns = [_like(f"%{value}%" if operator == "like" else f'%"{value}"%') for value in given]
        whole = all if operator == "every" else any
        return lambda row: (text := read(row)) is not None and whole(p.fullmatch(text) is not None for p in patterns)
    if operator in ("in", "ex"):
        wanted = operator == "in"
        return lambda row: (text := read(row)) is not None and (text in given) is wanted
    compare = _COMPARE[operator]
    if len(given) == 1:
        (only,) = given
        return lambda row: (text := read(row)) is not None and compare(text, only)
    return lambda row: (text := read(row)) is not None and any(compare(text, value) for value in given)


def _number_condition(read: Callable[[Row], float], operator: str, given: Sequence[float]) -> Condition:
    if operator in ("like", "every", "any"):
        return _text_condition(lambda row: str(read(row)), operator, [str(value) for value in given])
    if operator in ("in", "ex"):
        wanted = operator == "in"
        return lambda row: (read(row) in given) is wanted
    compare = _COMPARE[operator]
    return lambda row: any(compare(read(row), value) for value in given)


_COMPARE: Final[dict[str, Callable[..., bool]]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
}


@lru_cache(maxsize=4096)
def _like(pattern: str) -> re.Pattern[str]:
    """SQLite's LIKE: `%` is anything, `_` one character, ASCII letters of either case."""
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(char, re.escape(char)) for char in pattern), re.IGNORECASE | re.DOTALL)


def _seconds(value: str) -> int:
    """A time as LNbits takes it, cut to whole seconds as on SQLite."""
    try:
        number = float(value)
    except ValueError:
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    while abs(number) > _MILLISECONDS_ABOVE:
        number /= 1000
    return int(number)
