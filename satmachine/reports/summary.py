"""The report of a time: what came in, who got it, what it was worth, and what is there now (SPEC section 13). Pure.

It is made from the ledger's facts, so it cannot say anything else than an export does. Sats are counted exactly; the
fiat beside them is each movement's value at its own sale's rate, rounded one by one, and where a sale has no known rate
its sats have no value and are counted as `unpriced_sats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from satmachine.ledger.postings import SAT, account, value_minor
from satmachine.models import RetainedReason, leg_types
from satmachine.models.facts import CashBrought, CashChange, CashMoved, Kept, Moved, Paid, Sale, Unassigned

Row = dict[str, Any]
Balances = Mapping[tuple[str, str], int]
#: (operator, currency) of each machine, by its id.
Machines = Mapping[str, tuple[str, str]]

#: By the type of a leg: the measure of a machine that it adds to.
_MEASURES = {
    "super_fee": "platform",
    "operator_split": "splits",
    "dca": "purchases",
    "settlement": "payouts",
    "refund": "refunds",
}
_OUT = ("platform", "splits", "purchases", "payouts", "refunds")
_STAGES = {"super_fee": "platform", "operator_split": "operator", "refund": "refund"}
_DIMENSIONS = ("machine", "operator", "payee", "client")


@dataclass(frozen=True, slots=True)
class Report:
    """`since` <= time < `until` (Unix seconds). Rows are keyed like columns; `.._minor` in the row's `currency`.

    `machines` and `operators`: opening + gross - what was paid out - fees + other = closing, in the wallet's sats; and
    of the closing: `to_share` waits to be paid, `retained` has a reason, `own` is the operator's own. Of the cash in
    the machine: `cash_opening` + `cash_in` (loaded and brought, less taken) - `cash_out` (sold) = `cash_closing`.
    """

    since: int
    until: int
    machines: list[Row]
    operators: list[Row]
    payees: list[Row]
    clients: list[Row]
    retained: list[Row]

    def by(self, dimension: str) -> list[Row]:
        """The rows of one of `machine`, `operator`, `payee`, `client`."""
        assert dimension in _DIMENSIONS, dimension
        rows: list[Row] = getattr(self, dimension + "s")
        return rows

    def at(self, rate: Decimal) -> list[Row]:
        """What is in each wallet at the end, at a rate that a person has stated (sats per major unit of fiat)."""
        return [
            {
                "machine_id": row["machine_id"],
                "currency": row["currency"],
                "closing_sats": row["closing_sats"],
                "closing_minor": value_minor(row["closing_sats"], f"{rate:f}", row["currency"]) or 0,
            }
            for row in self.machines
        ]


@dataclass(slots=True)
class _Sum:
    """Sats, and what they were worth."""

    count: int = 0
    sats: int = 0
    minor: int = 0
    fee_sats: int = 0
    unpriced_sats: int = 0

    def add(self, moved: Moved, sats: int, fee_sats: int = 0) -> None:
        self.count += moved.facts
        self.sats += sats
        self.fee_sats += fee_sats
        self.minor += moved.worth_minor
        self.unpriced_sats += moved.unpriced_sats


@dataclass(slots=True)
class _Flows:
    """What one reading of the ledger gathers."""

    machines: dict[tuple[str, str], _Sum] = field(default_factory=dict)
    payees: dict[tuple[str, str, str], _Sum] = field(default_factory=dict)
    clients: dict[tuple[str, str, str], _Sum] = field(default_factory=dict)
    cash: dict[tuple[str, str, str], int] = field(default_factory=dict)
    retained: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    cash_out: dict[str, int] = field(default_factory=dict)
    cash_in: dict[str, int] = field(default_factory=dict)


def make_report(
    moved: Iterable[Moved],
    machines: Machines,
    lps: Iterable[tuple[str, str]],
    opening: Balances,
    ends: Balances,
    *,
    since: int,
    until: int,
) -> Report:
    """From what moved in a time, and what the accounts came to before and after. `lps` are (machine, label)."""
    flows = _Flows()
    for one in moved:
        _gather(flows, one)
    of_machines = [_machine_row(name, machines[name], flows, opening, ends) for name in machines]
    of_machines = [row for row in of_machines if _says_something(row)]
    clients = [_client_row(machine, who, machines, flows, opening, ends) for machine, who in lps]
    return Report(
        since=since,
        until=until,
        machines=of_machines,
        operators=_operator_rows(of_machines),
        payees=_payee_rows(flows, machines),
        clients=[row for row in clients if _says_something(row)],
        retained=_retained_rows(flows, machines, opening, ends),
    )


# --- gathering


def _gather(flows: _Flows, moved: Moved) -> None:
    fact = moved.fact
    machine = fact.machine_id
    match fact:
        case Sale():
            flows.machines.setdefault((machine, "gross"), _Sum()).add(moved, fact.gross_sats)
            _plus(flows.cash_out, machine, fact.cash_minor)
        case CashChange():
            _plus(flows.cash_out, machine, fact.change_minor)
        case Paid():
            _gather_payment(flows, moved, fact)
        case Kept():
            _plus(flows.retained, (machine, fact.reason, fact.amount_sats > 0), fact.amount_sats)
        case CashBrought():
            what = "brought" if fact.kind == "deposit" else "taken"
            _plus(flows.cash, (machine, fact.who, what), fact.amount_minor)
            _plus(flows.cash_in, machine, 0 if fact.in_book else fact.amount_minor)
        case CashMoved():
            _plus(flows.cash_in, machine, fact.amount_minor)
        case Unassigned():
            flows.machines.setdefault((machine, "other"), _Sum()).sats += fact.amount_sats


def _gather_payment(flows: _Flows, moved: Moved, fact: Paid) -> None:
    """A leg that went out; what is forwarded for an LP leaves no machine's wallet."""
    machine, who, sats, fee_sats = fact.machine_id, fact.who, fact.sent_sats, fact.fee_sats
    if fact.leg_type in leg_types.PAID_BY_LP:
        flows.clients.setdefault((machine, who, "forwarded"), _Sum()).add(moved, sats)
        return
    measure = _MEASURES[fact.leg_type]
    flows.machines.setdefault((machine, measure), _Sum()).add(moved, sats, fee_sats)
    fees = flows.machines.setdefault((machine, "fees"), _Sum())
    fees.sats += fee_sats
    fees.minor += moved.fee_worth_minor
    if stage := _STAGES.get(fact.leg_type):
        flows.payees.setdefault((stage, who or stage, machine), _Sum()).add(moved, sats, fee_sats)
    if measure in ("purchases", "payouts"):
        _plus(flows.cash, (machine, who, measure), fact.cash_minor)
        flows.clients.setdefault((machine, who, measure), _Sum()).add(moved, sats, fee_sats)


def _plus(sums: dict[Any, int], key: Any, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount


# --- rows


def _machine_row(name: str, of: tuple[str, str], flows: _Flows, opening: Balances, ends: Balances) -> Row:
    operator, currency = of
    wallet = (account("Assets", "Wallet", name), SAT)
    found = {measure: flows.machines.get((name, measure), _Sum()) for measure in ("gross", *_OUT, "fees", "other")}
    row: Row = {
        "machine_id": name,
        "operator_id": operator,
        "currency": currency,
        "opening_sats": opening.get(wallet, 0),
        "sales": found["gross"].count,
    }
    for measure, total in found.items():
        row |= {f"{measure}_sats": total.sats, f"{measure}_minor": total.minor}
    row["closing_sats"] = ends.get(wallet, 0)
    row["to_share_sats"] = -ends.get((account("Liabilities", "To-Share", name), SAT), 0)
    row["retained_sats"] = -sum(ends.get((_retained(name, reason), SAT), 0) for reason in RetainedReason)
    row["own_sats"] = row["closing_sats"] - row["to_share_sats"] - row["retained_sats"]
    cash = (account("Assets", "Cash", name), currency)
    row["cash_opening_minor"] = opening.get(cash, 0)
    row["cash_in_minor"] = flows.cash_in.get(name, 0)
    row["cash_out_minor"] = flows.cash_out.get(name, 0)
    row["cash_closing_minor"] = ends.get(cash, 0)
    row["unpriced_sats"] = sum(found[measure].unpriced_sats for measure in ("gross", *_OUT))
    return row


def _retained(machine_id: str, reason: str) -> str:
    return account("Equity", "Retained", machine_id, reason)


def _operator_rows(machines: Iterable[Row]) -> list[Row]:
    """Machines added up, by operator and currency."""
    found: dict[tuple[str, str], Row] = {}
    for row in machines:
        key = (row["operator_id"], row["currency"])
        total = found.setdefault(key, {"operator_id": key[0], "currency": key[1], "machines": 0})
        total["machines"] += 1
        for name, value in row.items():
            if isinstance(value, int):
                total[name] = total.get(name, 0) + value
    return [found[key] for key in sorted(found)]


def _payee_rows(flows: _Flows, machines: Machines) -> list[Row]:
    """Who got what of the commission, by stage; and what customers got back."""
    order = tuple(_STAGES.values())
    return [
        {
            "stage": stage,
            "payee": payee,
            "machine_id": machine,
            "operator_id": machines[machine][0],
            "currency": machines[machine][1],
            "payments": total.count,
            "sent_sats": total.sats,
            "sent_minor": total.minor,
            "fee_sats": total.fee_sats,
            "unpriced_sats": total.unpriced_sats,
        }
        for (stage, payee, machine), total in sorted(
            flows.payees.items(), key=lambda item: (order.index(item[0][0]), *item[0][1:])
        )
    ]


def _client_row(machine: str, who: str, machines: Machines, flows: _Flows, opening: Balances, ends: Balances) -> Row:
    """An LP's cash from the first moment to the last, and the sats that it has become."""
    operator, currency = machines[machine]
    place = (account("Liabilities", "LPs", machine, who), currency)
    bought = flows.clients.get((machine, who, "purchases"), _Sum())
    paid = flows.clients.get((machine, who, "payouts"), _Sum())
    return {
        "client": who,
        "machine_id": machine,
        "operator_id": operator,
        "currency": currency,
        "opening_minor": -opening.get(place, 0),
        "brought_minor": flows.cash.get((machine, who, "brought"), 0),
        "taken_minor": -flows.cash.get((machine, who, "taken"), 0),
        "purchases": bought.count,
        "bought_minor": flows.cash.get((machine, who, "purchases"), 0),
        "bought_sats": bought.sats,
        "paid_out_minor": flows.cash.get((machine, who, "payouts"), 0),
        "paid_out_sats": paid.sats,
        "fee_sats": bought.fee_sats + paid.fee_sats,
        "forwarded_sats": flows.clients.get((machine, who, "forwarded"), _Sum()).sats,
        "closing_minor": -ends.get(place, 0),
    }


def _retained_rows(flows: _Flows, machines: Machines, opening: Balances, ends: Balances) -> list[Row]:
    """What stays in the wallet, by reason: what came to it, and what was planned or refunded after all."""
    rows = []
    for machine, (operator, _) in machines.items():
        for reason in RetainedReason:
            place = (_retained(machine, reason), SAT)
            row = {
                "reason": str(reason),
                "machine_id": machine,
                "operator_id": operator,
                "opening_sats": -opening.get(place, 0),
                "more_sats": flows.retained.get((machine, reason, True), 0),
                "used_sats": -flows.retained.get((machine, reason, False), 0),
                "closing_sats": -ends.get(place, 0),
            }
            if _says_something(row):
                rows.append(row)
    return rows


def _says_something(row: Row) -> bool:
    return any(value for key, value in row.items() if key.endswith(("_sats", "_minor")))
