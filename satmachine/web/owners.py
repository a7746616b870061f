"""To whom the record of an address belongs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from satmachine.store import page_queries
from satmachine.web.access import Owner

_MAX_ID_DIGITS = 18


def of_machine(conn: sqlite3.Connection, params: Mapping[str, Any]) -> Owner | None:
    """The operator of `params["machine"]`; None if there is no such machine."""
    operator = page_queries.machine_owner(conn, str(params["machine"]))
    return None if operator is None else Owner(operator)


def of_sale(conn: sqlite3.Connection, params: Mapping[str, Any]) -> Owner | None:
    """The operator whose machine made sale `params["id"]`."""
    number = _id(params)
    return None if number is None else of_sale_id(conn, number)


def of_sale_id(conn: sqlite3.Connection, settlement_id: int) -> Owner | None:
    """The operator whose machine made a sale."""
    operator = page_queries.sale_owner(conn, settlement_id)
    return None if operator is None else Owner(operator)


def of_position(conn: sqlite3.Connection, params: Mapping[str, Any]) -> Owner | None:
    """The operator and the LP of position `params["id"]`."""
    number = _id(params)
    found = None if number is None else page_queries.client_owner(conn, number)
    return None if found is None else Owner(*found)


def of_payment(conn: sqlite3.Connection, payment_id: int) -> Owner | None:
    """The operator of a payment, and the LP, if it is for an LP."""
    found = page_queries.payment_owner(conn, payment_id)
    return None if found is None else Owner(*found)


def of_deposit(conn: sqlite3.Connection, deposit_id: int) -> Owner | None:
    """The operator and the LP of a deposit."""
    found = page_queries.deposit_owner(conn, deposit_id)
    return None if found is None else Owner(*found)


def _id(params: Mapping[str, Any]) -> int | None:
    text = str(params["id"])
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_ID_DIGITS else None
