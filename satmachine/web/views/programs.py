"""The read routes for programs under /api/v1/dca/. Rows are the tables' own, without what leads to keys or payees.

A liquidity provider's token sees the LP's own positions, deposits and payments, and nothing else.
"""

from __future__ import annotations

from typing import Any

from satmachine.models import LegStatus, LegType
from satmachine.store import balances, clients, deposits, list_queries
from satmachine.web import owners
from satmachine.web.access import owns
from satmachine.web.views import operators
from satmachine.web.views.base import API_ROWS, BadQuery, Look, Missing

LEG_TYPES = frozenset(map(str, LegType))
LEG_STATES = frozenset(map(str, LegStatus))
CLIENT_KEYS = ("id", "machine_id", "operator_id", "currency", "label", "person", "mode", "daily_limit_minor", "status",
                "created_at", "removed_at")  # fmt: skip
DEPOSIT_KEYS = ("id", "client_id", "machine_id", "label", "amount_minor", "currency", "status", "kind", "notes",
                 "recorded_at", "decided_at", "effective_at", "reverses")  # fmt: skip
PAYMENT_KEYS = ("id", "settlement_id", "machine_id", "revision", "leg_type", "leg", "label", "client_id",
                 "amount_sats", "fiat_amount_minor", "exchange_rate", "currency", "status", "sent_sats", "fee_sats",
                 "payment_hash",
                 "hold_reason", "error", "effective_at", "planned_at", "completed_at")  # fmt: skip

Rows = list[dict[str, Any]]


def machines(look: Look) -> Rows:
    """The registry with live state."""
    return operators.machine_rows(look)


def machine(look: Look) -> dict[str, Any]:
    """One machine of it."""
    found = operators.machine_rows(look, look.params["machine"])
    if not found:
        raise Missing
    return found[0]


def settlements(look: Look) -> Rows:
    """Sales, newest first: `status`, `machine_id`, `since`, `until` (days), `before` (an id), `limit`."""
    wanted = list_queries.ListFilter(
        machine_id=_machine_id(look),
        status=look.text("status", known=operators.SALE_STATES),
        since=look.day("since"),
        until=look.day("until", end=True),
        before_id=look.before(owners.of_sale_id),
        limit=_limit(look),
    )
    return [operators.sale_row(row) for row in list_queries.settlements(look.conn, look.scope, wanted).rows]


def settlement(look: Look) -> dict[str, Any]:
    """One sale with its payments and notes."""
    return operators.sale(look).data


def payments(look: Look) -> Rows:
    """Payments, newest first: `leg_type`, `status`, `client_id`, `settlement_id`, `machine_id`, `before`, `limit`."""
    wanted = list_queries.ListFilter(
        machine_id=_machine_id(look),
        status=look.text("status", known=LEG_STATES),
        leg_type=look.text("leg_type", known=LEG_TYPES),
        client_id=look.number("client_id"),
        settlement_id=look.number("settlement_id"),
        before_id=look.before(owners.of_payment),
        limit=_limit(look),
    )
    if wanted.client_id is not None:
        _require_position(look, wanted.client_id)
    elif look.viewer.is_provider:
        raise BadQuery(look.words.say("client_id is needed: the id of one of your positions."))
    found = list_queries.payments(look.conn, look.scope, wanted)
    return [{key: row[key] for key in PAYMENT_KEYS} for row in found.rows]


def clients_(look: Look) -> Rows:
    """LPs and their terms, without how they are paid."""
    found = clients.find(look.conn, person=look.viewer.client, operator=look.scope, removed=look.viewer.is_provider)
    return [{key: getattr(one, key) for key in CLIENT_KEYS} for one in found]


def balances_(look: Look) -> Rows:
    """What the LPs have in the machines."""
    found = balances.find(look.conn, person=look.viewer.client, operator=look.scope, removed=look.viewer.is_provider)
    return [operators.balance_row(one) for one in found]


def deposits_(look: Look) -> Rows:
    """Cash that was brought or taken back, newest first: `client_id`, `before`, `limit`."""
    client_id, limit = look.number("client_id"), _limit(look)
    before = look.before(owners.of_deposit)
    if client_id is not None:
        _require_position(look, client_id)
    elif look.viewer.is_provider:
        raise BadQuery(look.words.say("client_id is needed: the id of one of your positions."))
    found = deposits.find(look.conn, client_id=client_id, operator=look.scope, before_id=before, limit=limit)
    return [{key: getattr(one, key) for key in DEPOSIT_KEYS} for one in found]


def commission_splits(look: Look) -> Rows:
    """How the operator's part of a commission is shared: as configured, or with `effective=1` machine by machine."""
    effective = look.text("effective", known=frozenset({"0", "1", "true", "false"})) in ("1", "true")
    rows = (list_queries.effective_splits if effective else list_queries.splits)(
        look.conn, look.scope, _machine_id(look)
    )
    return [{key: value for key, value in row.items() if key != "payee"} for row in rows]


def super_config(look: Look) -> dict[str, Any]:
    """The platform's part of every commission."""
    found = list_queries.super_fee(look.conn)
    if found is None:
        raise Missing
    return {key: found[key] for key in ("fee_pct", "loaded_at")}


def _limit(look: Look) -> int:
    return look.number("limit", most=API_ROWS) or 50


def _machine_id(look: Look) -> str | None:
    machine_id = look.text("machine_id")
    if machine_id is not None and (look.viewer.is_provider or not list_queries.sees(look.conn, look.scope, machine_id)):
        raise Missing
    return machine_id


def _require_position(look: Look, client_id: int) -> None:
    owner = owners.of_position(look.conn, {"id": client_id})
    if owner is None or not owns(look.viewer, owner):
        raise Missing
