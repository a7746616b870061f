"""The pages for liquidity providers: their own positions, across the machines of their operator."""

from __future__ import annotations

import csv
import io
from typing import Any

from satmachine.cash.forecast import DAY_S
from satmachine.clients.statement import Statement, average_cost_minor, make_statement
from satmachine.models import Balance
from satmachine.money import minor_to_fiat
from satmachine.store import balances, clients, statement_rows
from satmachine.web import charts
from satmachine.web.shape import iso
from satmachine.web.views import statements_page
from satmachine.web.views.base import PAGE_ROWS, Download, Look, PageView

_CHART_POINTS = 400
#: How many dates there are below a curve.
_TICKS = 5


def home(look: Look) -> PageView:
    """All positions of the LP, and their sums."""
    positions = [_position(look, balance) for balance in own(look)]
    totals: dict[str, dict[str, Any]] = {}
    for row in positions:
        total = totals.setdefault(row["currency"], dict.fromkeys(_SUMS, 0) | {"currency": row["currency"]})
        for key in _SUMS:
            total[key] += row[key]
    for total in totals.values():
        total["average_cost_minor"] = average_cost_minor(total["bought_minor"], total["bought_sats"])
    return PageView(
        "positions.html",
        look.words.say("Your positions"),
        {"positions": positions, "totals": list(totals.values())},
    )


_SUMS = ("left_minor", "deposited_minor", "bought_minor", "bought_sats", "reserved_minor", "reserved_sats")


def own(look: Look) -> list[Balance]:
    """The LP's positions, including those that have ended."""
    assert look.viewer.client is not None
    return balances.find(look.conn, person=look.viewer.client, operator=look.viewer.operator, removed=True)


def position(look: Look) -> PageView:
    """One position: the balance over time, every purchase, what a bitcoin cost on average."""
    client = clients.get(look.conn, look.params["id"], operator=look.scope)
    name = statement_rows.names_of(look.conn, client.machine_id)[1]
    made = _statement(look)
    balance = balances.of_client(look.conn, client.id)
    page = look.number("page", least=1, most=1_000_000) or 1
    lines = made.lines[::-1][(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    points = [(line.movement.at, line.balance_minor) for line in made.lines]
    since = points[0][0] if points else look.now
    chart = ""
    if points:
        top = look.words.fiat(max(value for _, value in points), client.currency)
        ticks = [since + (look.now - since) * (2 * part + 1) // (2 * _TICKS) for part in range(_TICKS)]
        said = look.words.date if look.now - since > _TICKS * DAY_S else look.words.clock
        shown = [said(tick) for tick in ticks]
        chart = charts.steps(thinned(points), since, look.now, look.words.say("Balance"), top, shown)
    data = {
        "client": {
            "client_id": client.id, "machine_id": client.machine_id, "machine_name": name,
            "label": client.label, "person": client.person,
            "status": client.status, "mode": client.mode, "currency": client.currency,
        },
        "totals": _totals(made, client.currency) | {"left_minor": balance.available_minor},
        "lines": [_line(line, client.currency) for line in lines],
        "page": page,
        "more": len(made.lines) > page * PAGE_ROWS,
        "signed": statements_page.listed(look, client.id),
    }  # fmt: skip
    return PageView("position.html", f"{client.label}, {name}", data, {"chart": chart})


def position_csv(look: Look) -> Download:
    """Every line of a position's statement, oldest first, for spreadsheets; fiat in minor units' major form."""
    client = clients.get(look.conn, look.params["id"], operator=look.scope)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["at", "kind", "settlement_id", "amount", "currency", "sats", "fee_sats", "rate", "status", "balance"]
    )
    for line in _statement(look).lines:
        moved = line.movement
        writer.writerow(
            [
                iso(moved.at), moved.kind, moved.settlement_id or "",
                f"{minor_to_fiat(moved.amount_minor, client.currency):f}", client.currency, moved.sats, moved.fee_sats,
                moved.exchange_rate or "", moved.status, f"{minor_to_fiat(line.balance_minor, client.currency):f}",
            ]
        )  # fmt: skip
    return Download(out.getvalue(), "text/csv", f"statement-{client.machine_id}-{client.id}.csv")


def thinned(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most a few hundred points of a curve, the first and the last among them."""
    step = max(1, len(points) // _CHART_POINTS)
    return points[::step] if points[-1] == points[::step][-1] else [*points[::step], points[-1]]


def _statement(look: Look) -> Statement:
    return make_statement(balances.movements(look.conn, look.params["id"]))


def _position(look: Look, balance: Balance) -> dict[str, Any]:
    made = make_statement(balances.movements(look.conn, balance.client_id))
    return {
        "client_id": balance.client_id, "machine_id": balance.machine_id, "label": balance.label,
        "machine_name": statement_rows.names_of(look.conn, balance.machine_id)[1],
        "left_minor": balance.available_minor, **_totals(made, balance.currency),
    }  # fmt: skip


def _totals(made: Statement, currency: str) -> dict[str, Any]:
    totals = made.totals
    return {
        "currency": currency, "deposited_minor": totals.deposited_minor, "bought_minor": totals.bought_minor,
        "bought_sats": totals.bought_sats, "fee_sats": totals.fee_sats, "reserved_minor": totals.reserved_minor,
        "reserved_sats": totals.reserved_sats, "average_cost_minor": totals.average_cost_minor,
    }  # fmt: skip


def _line(line: Any, currency: str) -> dict[str, Any]:
    moved = line.movement
    return {
        "at": moved.at, "kind": moved.kind, "amount_minor": moved.amount_minor, "currency": currency,
        "sats": moved.sats, "fee_sats": moved.fee_sats, "exchange_rate": moved.exchange_rate, "status": moved.status,
        "balance_minor": line.balance_minor,
    }  # fmt: skip
