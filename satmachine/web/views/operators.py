"""The pages for people of an operator: what needs them, the fleet, sales, LPs, months, search."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from satmachine.attention import words as reasons
from satmachine.attention.items import Item
from satmachine.models import Balance
from satmachine.settlements.explain import counted_sats, explain_settlement
from satmachine.store import balances, clients, list_queries, page_queries, telemetry_rows
from satmachine.web import charts, flow, owners
from satmachine.web.views import cash_page
from satmachine.web.views.base import PAGE_ROWS, BadQuery, Look, Missing, PageView
from satmachine.web.views.needs_page import needs, told_of

SALE_STATES = frozenset({"pending", "held", "processed", "errored", "partial", "refunded"})
_MACHINES_SHOWN = 200
_DAYS = 14
_MONTHS = 13
_DAY_ROWS = 500
_NEEDS_SHOWN = 20
_CLIENTS_SHOWN = 200
_PAID_SHOWN = 200
#: How long viewers share an answer that takes time, in seconds; longer for one about a past month.
_SHARED_S, _PAST_S = 5.0, 300.0


def home(look: Look) -> PageView:
    """What needs somebody, today, the last days, and the machines that are not well."""
    today = look.today()
    days = [today - timedelta(days=back) for back in range(_DAYS - 1, -1, -1)]
    bounds = [look.midnight(day) for day in (*days, today + timedelta(days=1))]
    by_day = look.shared("days", _PAST_S, lambda: _by_span(look, bounds[:-1]), bounds[0]) + _by_span(look, bounds[-2:])
    machines = _machines(look)
    todo, troubled = _needs(look), _troubled(look)
    sales = [sum(row["sales"] for row in rows) for rows in by_day]
    return PageView(
        "home.html",
        look.words.say("Overview"),
        {
            "needs": [told_of(item, look.words) for item in todo[:_NEEDS_SHOWN]],
            "more_needs": len(todo[_NEEDS_SHOWN:]),
            "today": by_day[-1],
            "machines": len(machines),
            "well": sum(_is_well(row, troubled) for row in machines),
            "days": [
                {"day": day.isoformat(), "sales": count, "by_currency": rows}
                for day, count, rows in zip(days, sales, by_day, strict=True)
            ],
            "newest": list_queries.settlements(look.conn, look.scope, list_queries.ListFilter(limit=8)).rows,
        },
        {
            "chart": charts.bars(
                sales,
                [look.words.short(day) for day in days],
                look.words.say("Sales a day"),
                look.words.count("{count} sale", "{count} sales", max(sales)),
            )
        },
    )


def fleet(look: Look) -> PageView:
    """Every machine: state, cash, wallet, last sale. Those that are not well come first."""
    reported = look.shared("fleet", _SHARED_S, lambda: telemetry_rows.fleet(look.conn, look.scope))
    by_id = {row["machine_id"]: row for row in reported}
    troubled = _troubled(look)
    rows = []
    for machine in _machines(look):
        told = by_id.get(machine["id"], {})
        rows.append(
            {key: machine[key] for key in MACHINE_KEYS}
            | {key: told.get(key) for key in ("state", "status", "last_error", "beacon_at")}
            | {"cassettes": _cassettes(told.get("cassettes")), "mode": _mode(machine)}
            | {"well": _is_well(machine, troubled), "needs_you": machine["id"] in troubled}
        )
    rows.sort(key=lambda row: row["well"])
    start = look.number("from", least=0, most=100_000) or 0
    shown = rows[start : start + _MACHINES_SHOWN]
    in_machines = cash_page.by_machine(look, [row["id"] for row in shown])
    for row in shown:
        row |= {key: in_machines.get(row["id"], {}).get(key) for key in _CASH_KEYS}
    return PageView(
        "fleet.html",
        look.words.say("Machines"),
        {
            "machines": shown,
            "count": len(rows),
            "from_": start,
            "shown": _MACHINES_SHOWN,
        },
    )


_CASH_KEYS = ("cash_minor", "cash_source", "days_left", "early_at", "likely_at", "late_at", "open_differences")

MACHINE_KEYS = (
    "id", "operator_id", "name", "currency", "active", "in_config", "balance_sats", "reachable", "wallet_error",
    "checked_at", "last_sale_at", "last_event_at", "open_settlements", "held_settlements", "errored_settlements",
    "safe_mode", "paused",
)  # fmt: skip


def machine(look: Look) -> PageView:
    """One machine: what it reports, its wallet, its LPs, its last sales."""
    machine_id = look.params["machine"]
    row = _the_one(list_queries.machines(look.conn, look.scope, machine_id))
    told = list_queries.telemetry_of(look.conn, machine_id)
    points = telemetry_rows.cash_points(look.conn, [machine_id], since=look.now - 7 * 86_400, until=look.now, points=84)
    step_s = 7 * 86_400 // 84
    known = [
        (look.now - 7 * 86_400 + index * step_s, value)
        for index, value in enumerate(points[machine_id])
        if value is not None
    ]
    recent = list_queries.settlements(look.conn, look.scope, list_queries.ListFilter(machine_id=machine_id, limit=10))
    days = [look.today() - timedelta(days=back) for back in range(6, -1, -1)]
    data = {
        "machine": machine_row(row, _troubled(look)),
        "needs": [told_of(item, look.words) for item in _needs(look) if _machine_of(item) == machine_id],
        "cash": cash_page.of_machine(look, machine_id),
        "telemetry": None if told is None else {**told, "cassettes": _cassettes(told["cassettes"])},
        "clients": [balance_row(one) for one in balances.find(look.conn, machine=machine_id, operator=look.scope)],
        "settlements": recent.rows,
        "days": [day.isoformat() for day in days],
    }
    chart = charts.steps(
        known,
        look.now - 7 * 86_400,
        look.now,
        look.words.say("Cash in the machine, 7 days"),
        look.words.fiat(max((value for _, value in known), default=0), row["currency"]),
        [look.words.short(day) for day in days],
    )
    named = [(day.isoformat(), look.words.day(day)) for day in days]
    return PageView("machine.html", row["name"], data, {"chart": chart if known else "", "days_named": named})


def machine_day(look: Look) -> PageView:
    """A machine's day: its sales over time, and how its cash went down."""
    machine_id = look.params["machine"]
    try:
        day = date.fromisoformat(look.params["day"])
        before, after = day - timedelta(days=1), day + timedelta(days=1)
        since, until = look.midnight(day), look.midnight(after)
    except (ValueError, OverflowError):
        raise Missing from None
    row = _the_one(list_queries.machines(look.conn, look.scope, machine_id))
    sales = page_queries.day_of_machine(look.conn, machine_id, since, until, _DAY_ROWS)
    beacons = page_queries.beacons_of_day(look.conn, machine_id, since, until, 2_000)
    hours = [0] * 24
    for sale in sales:
        hours[min(23, (sale["occurred_at"] - since) // 3600)] += 1
    levels = [(told["created_at"], told["cash_left_minor"]) for told in beacons if told["cash_left_minor"] is not None]
    data = {
        "machine": {"id": machine_id, "name": row["name"], "currency": row["currency"]},
        "day": day.isoformat(),
        "before": before.isoformat(),
        "after": after.isoformat() if after <= look.today() else None,
        "totals": page_queries.sales_between(look.conn, look.scope, since, until, machine_id),
        "settlements": sales,
        "cash": [{"at": at, "cash_left_minor": left, "currency": row["currency"]} for at, left in levels],
    }
    busiest = look.words.count("{count} sale", "{count} sales", max(hours))
    shown = {
        "named": (look.words.day(before), look.words.day(after)),
        "hours": charts.bars(hours, [f"{hour}" for hour in range(24)], look.words.say("Sales by the hour"), busiest),
    }
    if levels:
        top = look.words.fiat(max(left for _, left in levels), row["currency"])
        shown["cash_chart"] = charts.steps(
            levels, since, until, look.words.say("Cash in the machine"), top, ["3", "9", "15", "21"], now=look.now
        )
    return PageView("day.html", f"{row['name']}, {look.words.day(day)}", data, shown)


def sales(look: Look) -> PageView:
    """The sales, newest first, with filters."""
    wanted = list_queries.ListFilter(
        machine_id=look.text("machine"),
        status=look.text("status", known=SALE_STATES),
        since=look.day("since"),
        until=look.day("until", end=True),
        before_id=look.before(owners.of_sale_id),
        limit=PAGE_ROWS,
    )
    if wanted.machine_id is not None and not list_queries.sees(look.conn, look.scope, wanted.machine_id):
        raise BadQuery(look.words.say("There is no machine {machine}.", machine=wanted.machine_id))
    page = list_queries.settlements(look.conn, look.scope, wanted)
    asked = {key: look.text(key) or "" for key in ("machine", "status", "since", "until")}
    return PageView(
        "sales.html",
        look.words.say("Sales"),
        {"settlements": [sale_row(row) for row in page.rows], "more": page.more, "asked": asked},
        {"machines": list_queries.machine_ids(look.conn, look.scope), "states": sorted(SALE_STATES)},
    )


def sale(look: Look) -> PageView:
    """One sale: where every sat went, the arithmetic, its payments."""
    row = _the_one(list_queries.find_settlements(look.conn, look.scope, str(look.params["id"])))
    legs, retained = list_queries.legs_of(look.conn, row["id"]), list_queries.retained_of(look.conn, row["id"])
    labels = page_queries.labels(look.conn, {leg["client_id"] for leg in legs if leg["client_id"] is not None})
    names = {client_id: found["label"] for client_id, found in labels.items()}
    say = look.words.say
    picture = flow.draw(
        flow.flow_of(row, legs, retained, names),
        {
            "title": say("Where every sat went"),
            "gross": say("The customer paid"),
            "net": say("To LPs"),
            "commission": say("Commission"),
            "undispensed": say("Not handed out"),
            "topped_up": say("Topped up for the customer"),
            "retained": say("Stays in the wallet"),
            "super_fee": say("Platform"),
            "refund": say("Back to the customer"),
            "": say("Not planned yet"),
        },
        _Amounts(look),
    )
    explained = explain_settlement(row, legs, retained, reasons.retained)
    data = {
        "settlement": sale_row(row),
        "legs": [_leg_row(leg, names) for leg in legs],
        "retained": [{**kept, "reason": say(reasons.retained(kept["reason"]))} for kept in retained],
        "events": [
            {key: event[key] for key in ("event_id", "created_at", "received_at", "relay_url")}
            for event in list_queries.events_of(look.conn, row["id"])
        ],
        "notes": row["notes"],
        "arithmetic": [
            {
                "title": part.title,
                "lines": [{"what": x.what, "amount_sats": x.amount_sats, "how": x.how} for x in part.lines],
            }
            for part in explained.sections
        ],
        "paid_sats": sum(counted_sats(leg) for leg in legs),
        "retained_sats": sum(kept["amount_sats"] for kept in retained),
        "conserves": explained.conserves,
    }
    spoken = {leg["leg"]: _spoken(leg, names, say(leg["leg_type"])) for leg in legs}
    return PageView("sale.html", say("Sale {id}", id=row["id"]), data, {"picture": picture, "spoken": spoken})


def providers(look: Look) -> PageView:
    """The LPs and what each has in the machines."""
    people = look.shared(
        "people", _SHARED_S, lambda: {one.id: one for one in clients.find(look.conn, operator=look.scope)}
    )
    start = look.number("from", least=0, most=10_000_000) or 0
    found = look.shared("balances", _SHARED_S, lambda: balances.find(look.conn, operator=look.scope))
    rows = [
        balance_row(balance) | {"status": people[balance.client_id].status, "mode": people[balance.client_id].mode}
        for balance in found[start : start + _CLIENTS_SHOWN]
        if balance.client_id in people
    ]
    data = {"clients": rows, "count": len(found), "from_": start, "shown": _CLIENTS_SHOWN}
    return PageView("clients.html", look.words.say("Liquidity providers"), data)


def months(look: Look) -> PageView:
    """Money by month, over the last year."""
    first = page_queries.first_sale_at(look.conn, look.scope)
    today = look.today()
    starts = [_month(today, back) for back in range(_MONTHS - 1, -1, -1)]
    starts = [start for start in starts if first is None or look.midnight(_month(start, -1)) > first] or starts[-1:]
    bounds = [look.midnight(start) for start in (*starts, _month(today, -1))]
    by_month = look.shared("months", 30.0, lambda: _by_span(look, bounds), *bounds)
    counts = [sum(row["sales"] for row in rows) for rows in by_month]
    names = [look.words.month(start.year, start.month) for start in starts]
    rows = [
        {"month": f"{start.year}-{start.month:02d}", "name": name, "sales": count, "by_currency": found}
        for start, name, count, found in zip(starts, names, counts, by_month, strict=True)
    ]
    chart = charts.bars(
        counts,
        [f"{start.month}/{start.year % 100:02d}" for start in starts],
        look.words.say("Sales a month"),
        look.words.count("{count} sale", "{count} sales", max(counts)),
    )
    return PageView("months.html", look.words.say("Months"), {"months": rows[::-1]}, {"chart": chart})


def month(look: Look) -> PageView:
    """One month: sales by day, and what was paid to whom for them."""
    try:
        start = date.fromisoformat(look.params["month"] + "-01")
        before, after = _month(start, 1), _month(start, -1)
        since, until = look.midnight(start), look.midnight(after)
    except (ValueError, OverflowError):
        raise Missing from None
    days = (after - start).days
    bounds = [look.midnight(start + timedelta(days=day)) for day in range(days + 1)]
    name = look.words.month(start.year, start.month)
    lives_s = _PAST_S if until < look.now else 30.0
    by_day = look.shared("month", lives_s, lambda: _by_span(look, bounds), *bounds)
    counts = [sum(row["sales"] for row in rows) for rows in by_day]
    paid = look.shared(
        "paid", lives_s, lambda: page_queries.paid_between(look.conn, look.scope, since, until), since, until
    )
    data = {
        "month": look.params["month"],
        "before": f"{before:%Y-%m}",
        "after": f"{after:%Y-%m}" if after <= look.today() else None,
        "totals": _added(by_day),
        "paid": paid[:_PAID_SHOWN],
        "paid_rows": len(paid),
    }
    top = look.words.count("{count} sale", "{count} sales", max(counts))
    chart = charts.bars(counts, [str(day + 1) for day in range(days)], look.words.say("Sales a day"), top)
    named = (look.words.month(before.year, before.month), look.words.month(after.year, after.month))
    return PageView("month.html", name, data, {"chart": chart, "named": named})


def search(look: Look) -> PageView:
    """Sales, machines and LPs, found by whatever somebody has: an id, a payment hash, a txid, an npub, a label."""
    text = look.text("q") or ""
    found: dict[str, list[dict[str, Any]]] = {"settlements": [], "machines": [], "clients": []}
    if text:
        found = {
            "settlements": [sale_row(row) for row in list_queries.find_settlements(look.conn, look.scope, text)],
            "machines": page_queries.search_machines(look.conn, look.scope, text),
            "clients": page_queries.search_clients(look.conn, look.scope, text),
        }
    return PageView("search.html", look.words.say("Search"), {"q": text, **found})


def _by_span(look: Look, bounds: list[int]) -> list[list[dict[str, Any]]]:
    return page_queries.sales_by_span(look.conn, look.scope, bounds)


def _added(spans: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The sums of all periods, by currency."""
    totals: dict[str, dict[str, Any]] = {}
    for row in itertools.chain.from_iterable(spans):
        total = totals.setdefault(row["currency"], {"currency": row["currency"]})
        for key in page_queries.SUMS:
            total[key] = total.get(key, 0) + row[key]
    return [totals[currency] for currency in sorted(totals)]


def _machines(look: Look) -> list[dict[str, Any]]:
    return look.shared("machines", _SHARED_S, lambda: list_queries.machines(look.conn, look.scope))


def _the_one(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        raise Missing
    return found[0]


class _Amounts(dict[int, str]):
    """Sats as the viewer reads them, for the picture's labels."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._words = look.words

    def get(self, key: int, default: Any = None) -> str:  # noqa: ARG002
        return self._words.number(key)


def _month(day: date, back: int) -> date:
    """The first day of the month that is this many months before that of `day` (negative: after)."""
    number = day.year * 12 + day.month - 1 - back
    return date(number // 12, number % 12 + 1, 1)


def _needs(look: Look) -> Sequence[Item]:
    """What needs somebody, of everything in scope."""
    limits = look.settings.limits
    return look.shared("needs", _SHARED_S, lambda: needs(look.conn, look.scope, look.now, look.settings.books, limits))


def _machine_of(item: Item) -> str:
    return item.machine_id or item.subject


def _troubled(look: Look) -> frozenset[str]:
    """The machines that the list of what needs somebody names."""
    return frozenset(map(_machine_of, _needs(look)))


def _is_well(row: dict[str, Any], troubled: frozenset[str]) -> bool:
    """Whether a machine pays, is heard, and nothing of it is on the list of what needs somebody."""
    trouble = row["safe_mode"] or row["paused"] or row["held_settlements"] or row["errored_settlements"]
    works = row["in_config"] and row["active"] and row["reachable"]
    return bool(works and not trouble and row["id"] not in troubled)


def _mode(row: dict[str, Any]) -> str:
    """The state of a machine, in one word."""
    if not row["in_config"]:
        return "removed"
    if row["safe_mode"]:
        return "waits"
    if row["paused"]:
        return "paused"
    return "active" if row["active"] else "inactive"


def machine_rows(look: Look, machine_id: str | None = None) -> list[dict[str, Any]]:
    """Machines as programs get them."""
    troubled = _troubled(look)
    return [machine_row(row, troubled) for row in list_queries.machines(look.conn, look.scope, machine_id)]


def machine_row(row: dict[str, Any], troubled: frozenset[str]) -> dict[str, Any]:
    """A machine as it is shown, without what only the command line needs."""
    return {key: row[key] for key in (*MACHINE_KEYS, "npub")} | {"mode": _mode(row), "well": _is_well(row, troubled)}


def _cassettes(text: str | None) -> list[dict[str, Any]]:
    cassettes = json.loads(text) if text else []
    return [
        {
            **cassette,
            "percent": cassette["count"] * 100 // cassette["capacity"]
            if cassette.get("count") is not None and cassette.get("capacity")
            else None,
        }
        for cassette in cassettes
        if isinstance(cassette, dict)
    ]


SALE_KEYS = (
    "id", "machine_id", "status", "hold_reason", "error", "gross_sats", "net_sats", "commission_sats",
    "undispensed_sats", "platform_fee_sats", "operator_fee_sats", "retained_sats", "exchange_rate",
    "fiat_amount_minor", "currency", "used_fallback_split", "revision", "source", "occurred_at", "landed_at",
    "bitspire_event_id", "payment_hash", "txid",
)  # fmt: skip


def sale_row(row: dict[str, Any]) -> dict[str, Any]:
    shown = {key: row[key] for key in SALE_KEYS}
    shown["reason"] = reasons.hold(row["hold_reason"]) if row["hold_reason"] else ""
    return shown


LEG_KEYS = (
    "id", "revision", "leg_type", "leg", "label", "client_id", "amount_sats", "sent_sats", "fee_sats",
    "fiat_amount_minor", "currency", "status", "hold_reason", "error", "payment_hash", "completed_at",
)  # fmt: skip


def _spoken(leg: dict[str, Any], names: dict[int, str], kind: str) -> str:
    """A payment by its payee's name; where that alone would be somebody else's payment too, with what it is for."""
    name = names.get(leg["client_id"]) or leg["label"]
    return str(name) if name and leg["leg_type"] in ("dca", "operator_split") else f"{kind}: {name}" if name else kind


def _leg_row(leg: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    shown = {key: leg[key] for key in LEG_KEYS}
    shown["to"] = names.get(leg["client_id"]) or leg["label"] or ""
    shown["reason"] = reasons.hold(leg["hold_reason"]) if leg["hold_reason"] else ""
    return shown


def balance_row(balance: Balance) -> dict[str, Any]:
    """What an LP has in a machine, and how much of it is left."""
    return asdict(balance) | {"left_minor": balance.available_minor}
