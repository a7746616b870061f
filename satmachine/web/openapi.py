"""The addresses for programs, as an OpenAPI 3.1 document; made from the table of places, so that none is forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from satmachine import __version__
from satmachine.web.access import Who
from satmachine.web.places import PROGRAMS, Place
from satmachine.web.records import SCHEMAS
from satmachine.web.views.base import MAX_ID
from satmachine.web.views.operators import SALE_STATES
from satmachine.web.views.programs import LEG_STATES, LEG_TYPES

_PARAMETER = re.compile(r"\{(\w+)\}")
_STRING, _INTEGER = {"type": "string"}, {"type": "integer", "maximum": MAX_ID}


def _one_of(words: Iterable[str]) -> dict[str, Any]:
    """One of them; an empty word counts as none."""
    return {**_STRING, "enum": ["", *sorted(words)]}


#: A form that was left empty sends the name without a value.
_DAY_OR_NOTHING = {"anyOf": [{**_STRING, "format": "date"}, {**_STRING, "maxLength": 0}]}

_QUERY: dict[str, dict[str, Any]] = {
    "machine_id": {**_STRING, "description": "only of this machine"},
    "leg_type": {**_one_of(LEG_TYPES), "description": "only payments for this"},
    "client_id": {**_INTEGER, "minimum": 1, "description": "only of this position of an LP"},
    "settlement_id": {**_INTEGER, "minimum": 1, "description": "only of this sale"},
    "since": {**_DAY_OR_NOTHING, "description": "from this day on, in the person's time zone"},
    "until": {**_DAY_OR_NOTHING, "description": "up to the end of this day"},
    "before": {**_INTEGER, "minimum": 1, "description": "continue below this id, the last one of a page"},
    "limit": {**_INTEGER, "minimum": 1, "maximum": 1000, "description": "how many rows at most; 50 if not given"},
    "effective": {**_one_of({"0", "1", "true", "false"}), "description": "1: what is in force, machine by machine"},
}
_STATES = {"settlements": SALE_STATES, "payments": LEG_STATES}
_ASKS = {
    "settlements": ("machine_id", "status", "since", "until", "before", "limit"),
    "payments": ("machine_id", "status", "leg_type", "client_id", "settlement_id", "before", "limit"),
    "deposits": ("client_id", "before", "limit"),
    "commission-splits": ("machine_id", "effective"),
}


def document(origin: str) -> dict[str, Any]:
    """The document; `origin` is where the addresses are."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "satmachine",
            "version": __version__,
            "description": "Reads the books of Bitcoin ATMs. Amounts in sats are integers, fiat is a decimal text in "
            "major units, times are ISO 8601 in UTC. Nothing can be changed here.",
        },
        "servers": [{"url": origin}],
        "security": [{"token": []}],
        "paths": {place.path: {"get": _operation(place)} for place in PROGRAMS},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(place: Place) -> dict[str, Any]:
    name = place.path.removeprefix("/api/v1/dca/")
    whom = "" if place.who is Who.SIGNED_IN else " For people of an operator."
    return {
        "summary": (place.page.__doc__ or "").strip().splitlines()[0].rstrip(".") + "." + whom,
        "operationId": re.sub(r"\W+", "_", name).strip("_"),
        "parameters": [
            *(
                {"name": found, "in": "path", "required": True, "schema": _path_type(found)}
                for found in _PARAMETER.findall(name)
            ),
            *({"name": asked, "in": "query", "schema": _asked(name, asked)} for asked in _ASKS.get(name, ())),
        ],
        "responses": {
            "200": _answer("What was asked for", SCHEMAS[name]),
            "400": _answer("Something in the query cannot be read", _ERROR),
            "401": _answer("No valid token", _ERROR),
            "404": _answer("No such record, or not yours", _ERROR),
            "429": _answer("Too many at once", _ERROR),
        },
    }


def _asked(name: str, parameter: str) -> dict[str, Any]:
    if parameter == "status":
        return {**_one_of(_STATES[name]), "description": "only in this state"}
    return _QUERY[parameter]


_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _STRING}}


def _path_type(name: str) -> dict[str, Any]:
    return {**_INTEGER, "minimum": 1} if name == "id" else _STRING


def _answer(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
