"""Reads from the books what needs a person. Calls nobody, decides nothing about money.

`from_sales` and `from_wallets` are quick at any size; `from_telemetry` looks at the state of every machine. What only
the daemon can see (its relays at this moment, the proof of the books) it adds itself; others use what it stored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from satmachine.attention import words
from satmachine.attention.items import CONDITIONS, Attention, Item, Silence, Thresholds, sorted_out
from satmachine.attention.sentence import Sentence, joined, sentence
from satmachine.store import attention as rows
from satmachine.store import cash_rows, list_queries, standing
from satmachine.store.attention import Record
from satmachine.telemetry.trouble import error_now

#: So many sales of each machine and state are listed one by one.
_SALES_EACH = 5
#: A level ends its alarm only this far above the limit that raised it, in percent of the limit.
_MARGIN_PERCENT = 20
#: After so long without a sign of life the daemon is frozen: it writes one every 5 s.
FROZEN_AFTER_S = 60
#: A request that waits for so long does not wait because of a busy moment.
_REQUEST_AFTER_S = 300


@dataclass(frozen=True, slots=True)
class Starts:
    """The commands that start the daemon on this host, and that start it again if it hangs."""

    start: str = "systemctl start satmachine"
    restart: str = "systemctl restart satmachine"


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """Whose books are looked at, when, and with which limits. `listening_s`: how long the daemon has been listening."""

    limits: Thresholds
    now: int
    scope: str | None = None
    listening_s: int = 86_400
    starts: Starts = Starts()


def look(conn: sqlite3.Connection, view: Viewpoint, *, daemon_runs: bool) -> Attention:
    """Everything that the books say: for `status`, `alerts list` and whoever else asks."""
    found = [
        *from_daemon(conn, view, daemon_runs=daemon_runs),
        *from_sales(conn, view),
        *from_wallets(conn, view),
        *from_telemetry(conn, view),
        *from_relays(conn, view),
        *from_strangers(conn, view),
    ]
    found += _only_raised(conn, view, found)
    return sorted_out((item for item in found if item.sure), silences(conn), view.now)


def silences(conn: sqlite3.Connection) -> list[Silence]:
    """What people have said that they know about."""
    return [Silence(**row) for row in rows.silences(conn)]


# --- the daemon


def from_daemon(conn: sqlite3.Connection, view: Viewpoint, *, daemon_runs: bool) -> Iterator[Item]:
    """Does it run, is it alive, are payouts on, does it do what it was asked?"""
    alive_at = rows.alive_at(conn)
    if not daemon_runs:
        cause = sentence("The daemon does not run: nothing is received or paid.")
        yield Item("daemon_down", "", cause, view.starts.start, alive_at)
    elif alive_at is not None and view.now - alive_at > FROZEN_AFTER_S:
        cause = sentence("The daemon runs but does not respond: what you see below is from that time.")
        yield Item("daemon_frozen", "", cause, view.starts.restart, alive_at)
    for pause in rows.pauses(conn, view.scope):
        machine_id = "" if pause["scope"] == "*" else pause["scope"]
        why = {"reason": pause["reason"], "actor": pause["actor"]}
        if machine_id:
            cause = sentence("Payouts of {machine} are paused: {reason} (by {actor})", machine=machine_id, **why)
        else:
            cause = sentence("Payouts for all machines are paused: {reason} (by {actor})", **why)
        command = "satmachine payouts resume" + (f" --machine {machine_id}" if machine_id else "")
        yield Item("payouts_paused", machine_id, cause, command, pause["paused_at"])
    if daemon_runs and view.scope is None:
        for asked in rows.open_requests(conn, view.now - _REQUEST_AFTER_S):
            cause = sentence(
                "Request {id} by {actor} ({action}, {subject}) is not done yet",
                **{name: asked[name] for name in ("id", "actor", "action", "subject")},
            )
            yield Item("request_waits", "", cause, "satmachine doctor", asked["created_at"], ref=str(asked["id"]))


# --- sales and payments


def from_sales(conn: sqlite3.Connection, view: Viewpoint) -> Iterator[Item]:
    """What is held, errored or fails; many payments to one dead payee are one item."""
    failing = rows.failing(conn, view.scope, view.now - view.limits.attention_after_s)
    common = {(row["payee"], row["cause"]) for row in failing if row["payments"] > 1}
    for row in failing:
        if row["payments"] > 1 or row["settlement_id"] is None or not _is_errored(conn, row):
            yield _failing(row, view)
    for row in rows.troubled_sales(conn, view.scope, _SALES_EACH):
        leg = list_queries.worst_leg(conn, row["settlement_id"]) if row["status"] == "errored" else None
        if leg is None or leg["status"] != "failed" or (leg["payee"], leg["cause"]) not in common:
            yield _sale(row, leg)
        if row["place"] == _SALES_EACH and row["total"] > _SALES_EACH:
            yield _more_sales(row)
    for leg in list_queries.lone_legs(conn, view.scope, 20):
        yield _lone_leg(leg)


def _is_errored(conn: sqlite3.Connection, row: Record) -> bool:
    """Whether the sale itself reports this payment."""
    leg = list_queries.worst_leg(conn, row["settlement_id"])
    return leg is not None and leg["payment_id"] == row["payment_id"]


def _failing(row: Record, view: Viewpoint) -> Item:
    why = "" if row["cause"] == "payee_changed" else words.CAUSES.get(row["cause"] or "", "")  # its error says all
    error = str(row["error"]).removeprefix(f"{row['payee']}: ").rstrip(".")
    told = {
        "payee": row["payee"],
        "error": sentence("{error} ({why})", error=error, why=why) if why else error,
        "attempts": row["attempts"],
        "minutes": max(0, -((view.now - (row["next_attempt_at"] or view.now)) // 60)),
    }
    if row["payments"] > 1:
        cause = sentence(
            "{payments} payments ({sats} sats) to {payee} fail: {error}; tried {attempts} time(s), next in "
            "{minutes} min",
            payments=row["payments"], sats=row["amount_sats"], **told,
        )  # fmt: skip
    else:
        cause = sentence(
            "{payment} to {payee} fails: {error}; tried {attempts} time(s), next in {minutes} min",
            payment=_named(row), **told,
        )  # fmt: skip
    where = f" --machine {row['machine_id']}" if row["machines"] == 1 else ""
    command = f"satmachine payments list --status failing{where}"
    if row["cause"] == "payee_changed":
        command = f"satmachine payments repoint {row['payment_id']}"
        if row["payments"] > 1:
            command = f"satmachine payments repoint --payee {_whom(row)}"
    return Item(
        "payment_failing",
        row["payee"],
        cause,
        command,
        row["since"],
        ref=row["cause"] or "",
        machine_id=row["machine_id"] if row["machines"] == 1 else "",
        settlement_id=row["settlement_id"],
        payment_id=row["payment_id"],
    )


def _whom(row: Record) -> str:
    if row["client_id"] is not None:
        return f"client:{row['client_id']}"
    label = str(row["leg"]).removeprefix("split:")
    return label if row["machines"] > 1 or label == "super" else f"{label}@{row['machine_id']}"


def _named(row: Record) -> Sentence:
    known = {"payment": row["payment_id"], "sats": row["amount_sats"]}
    if row["settlement_id"] is None:
        return sentence("Payment {payment} ({sats} sats)", **known)
    return sentence("Payment {payment} of sale {sale} ({sats} sats)", sale=row["settlement_id"], **known)


def _sale(row: Record, leg: Record | None) -> Item:
    found = leg or {"hold_reason": row["hold_reason"], "cause": None, "payment_id": None}
    trouble = words.Trouble(
        row["status"],
        found["hold_reason"],
        found["cause"],
        row["machine_id"],
        row["settlement_id"],
        found["payment_id"],
    )
    reason = row["error"] or ""
    if row["status"] == "held":
        reason = words.hold(row["hold_reason"])
        if row["error"]:
            reason = sentence("{why}: {error}", why=reason, error=row["error"])
    elif leg is not None and leg["error"]:
        reason = sentence(
            "payment {payment}, to {payee}: {error}",
            payment=leg["payment_id"], payee=leg["payee"], error=leg["error"],
        )  # fmt: skip
    return Item(
        f"settlement_{row['status']}",
        row["machine_id"],
        sentence(
            "{machine}: sale {sale} is {state}: {reason}",
            machine=row["machine_id"],
            sale=row["settlement_id"],
            state=row["status"],
            reason=reason,
        ),
        words.advice(trouble),
        row["landed_at"],
        ref=str(row["settlement_id"]),
        settlement_id=row["settlement_id"],
        payment_id=found["payment_id"],
    )


def _more_sales(row: Record) -> Item:
    command = f"satmachine settlements list --machine {row['machine_id']} --status {row['status']}"
    more = row["total"] - _SALES_EACH
    cause = sentence(
        "{machine}: {more} more sale(s) are {state}", machine=row["machine_id"], more=more, state=row["status"]
    )
    return Item(f"settlement_{row['status']}", row["machine_id"], cause, command, ref="more")


def _lone_leg(row: Record) -> Item:
    trouble = words.Trouble(row["status"], row["hold_reason"], row["cause"], row["machine_id"], None, row["payment_id"])
    return Item(
        "payment_waits",
        row["machine_id"],
        sentence(
            "{machine}: payment {payment} ({sats} sats) is {state}: {reason}",
            machine=row["machine_id"],
            payment=row["payment_id"],
            sats=row["amount_sats"],
            state=row["status"],
            reason=row["error"] or words.hold(row["hold_reason"] or ""),
        ),
        words.advice(trouble),
        row["planned_at"],
        ref=str(row["payment_id"]),
        payment_id=row["payment_id"],
    )


# --- machines


def from_wallets(conn: sqlite3.Connection, view: Viewpoint) -> Iterator[Item]:
    """Wallets that do not answer, hold too little, or may pay nothing."""
    limits = view.limits
    low_sats = limits.wallet_low_sats
    for row in rows.wallets(conn, view.scope, 0 if low_sats is None else recovered(low_sats)):
        name = row["id"]
        if row["safe_mode"] is not None:
            cause = sentence("{machine} pays nothing: {reason}", machine=name, reason=row["safe_mode"])
            yield Item("safe_mode", name, cause, words.way_out(row), row["reconcile_since"])
        if row["checked_at"] is not None and not row["reachable"]:
            cause = sentence("The wallet of {machine} does not answer: {error}", machine=name, error=row["error"])
            wait_s = limits.wallet_unreachable_after_s
            yield Item("wallet_unreachable", name, cause, "satmachine doctor", row["checked_at"], wait_s=wait_s)
        if low_sats is not None and row["balance_sats"] is not None and row["balance_sats"] < recovered(low_sats):
            left = row["balance_sats"]
            cause = sentence("The wallet of {machine} is low: {sats} sats are left", machine=name, sats=left)
            sure = row["balance_sats"] < low_sats
            yield Item("wallet_low", name, cause, f"satmachine machines show {name}", row["checked_at"], sure=sure)


def from_telemetry(conn: sqlite3.Connection, view: Viewpoint) -> Iterator[Item]:
    """What machines report, and which of them report nothing."""
    for row in rows.told_errors(conn, view.scope):
        told = error_now(
            row["status"],
            row["last_error"],
            status_at=row["status_at"],
            error_at=row["error_at"],
            beacon_at=row["beacon_at"],
        )
        if told:
            cause = sentence("{machine} reports an error: {error}", machine=row["machine_id"], error=told)
            command = f"satmachine telemetry latest {row['machine_id']}"
            yield Item("machine_error", row["machine_id"], cause, command, row["beacon_at"])
    patience_s = view.limits.machine_silent_after_s
    for machine_id, heard_at in standing.silent_since(conn, view.now - patience_s).items():
        if not _sees(conn, view, machine_id):
            continue
        silent_min = (view.now - heard_at) // 60
        cause = sentence(
            "{machine} is silent: no beacon and no sale for {minutes} min", machine=machine_id, minutes=silent_min
        )
        sure = view.listening_s >= patience_s  # a daemon that was down has heard nobody
        command = f"satmachine machines show {machine_id}"
        yield Item("machine_silent", machine_id, cause, command, heard_at, sure=sure)
    limit = int(view.limits.cassette_low_pct * 100)
    for machine_id, told_of in standing.low_cassettes(conn, recovered(limit)).items():
        if not _sees(conn, view, machine_id):
            continue
        low = [(number, notes) for number, notes, percent in told_of if notes == 0 or _below(percent, limit)]
        parts = [sentence("cassette {number} has {notes} notes", number=number, notes=notes) for number, notes in low]
        cause = sentence("{machine} is low on cash: {cassettes}", machine=machine_id, cassettes=joined(parts))
        command = f"satmachine telemetry latest {machine_id}"
        yield Item("cassette_low", machine_id, cause, command, sure=bool(low))
    yield from _cash(conn, view)


def _cash(conn: sqlite3.Connection, view: Viewpoint) -> Iterator[Item]:
    """From the forecasts that the daemon has stored: the early end of the range counts."""
    limit_s = view.limits.cash_out_days * 86_400
    for row in cash_rows.forecasts(conn, fresh_since=view.now - cash_rows.STALE_AFTER_S):
        machine_id = row["machine_id"]
        if not _sees(conn, view, machine_id):
            continue
        if row["first_at"] is not None and row["first_at"] < view.now + recovered(limit_s):
            sure = row["first_at"] < view.now + limit_s
            cause = sentence("{machine} runs out of cash soon: {end}", machine=machine_id, end=_cash_end(row))
            command = f"satmachine forecast {machine_id}"
            yield Item("cash_out_soon", machine_id, cause, command, row["computed_at"], sure=sure)
        if row["open_differences"]:
            cause = sentence(
                "{machine}: at {counts} count(s) the cash was not as expected",
                machine=machine_id, counts=row["open_differences"],
            )  # fmt: skip
            yield Item("cash_differs", machine_id, cause, f"satmachine cash report {machine_id}", row["computed_at"])


def _cash_end(row: Record) -> Sentence:
    """With dates, so that the text changes at most once a day."""
    early, likely, late = (_date(row[name]) for name in ("early_at", "likely_at", "late_at"))
    if likely is None:
        return sentence("it may be empty on {early}", early=early)
    if early is None:
        return sentence("empty about {likely}", likely=likely)
    if late is None:
        return sentence("empty about {likely}, between {early} and much later", likely=likely, early=early)
    return sentence("empty about {likely}, between {early} and {late}", likely=likely, early=early, late=late)


def _date(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%a %Y-%m-%d")


# --- relays, strangers


def from_relays(conn: sqlite3.Connection, view: Viewpoint) -> Iterator[Item]:
    """As the daemon last saw them. A relay that is away for a moment needs nobody."""
    if view.scope is not None:
        return
    for row in list_queries.relays(conn):
        away = row["state"] != "subscribed"
        if row["named"] or (not away and not row["quiet"]):
            continue
        lasted_s = view.now - row["state_since"]
        if away and lasted_s < view.limits.relay_quiet_after_s:
            continue
        detail = (row["error"] or "not connected") if away else "other relays deliver events that it does not"
        yield relay(row["url"], detail, row["state_since"] if away else None)


def relay(url: str, detail: str, since: int | None = None, wait_s: int = 0) -> Item:
    """A relay that is away, or that misses what others bring."""
    cause = sentence("{relay} does not deliver: {detail}", relay=url, detail=detail)
    return Item("relay_quiet", url, cause, "satmachine doctor", since, wait_s=wait_s)


def from_strangers(conn: sqlite3.Connection, view: Viewpoint) -> Iterator[Item]:
    """Messages and payments that nobody could make sense of."""
    for row in rows.quarantined(conn, view.scope):
        cause = sentence(
            "{machine}: {messages} message(s) could not be used", machine=row["machine_id"], messages=row["messages"]
        )
        command = f"satmachine quarantine list --machine {row['machine_id']}"
        if row["messages"] == 1:
            command = f"satmachine quarantine show {row['quarantine_id']}"
        yield Item("quarantined", row["machine_id"], cause, command, row["since"])
    for row in rows.unknown_rates(conn, view.scope):
        cause = sentence(
            "{machine}: the LPs' part of {sales} sale(s) is not paid, because their rate is not known; "
            "settlements redistribute ID --rate SATS pays it",
            machine=row["machine_id"], sales=row["sales"],
        )  # fmt: skip
        command = f"satmachine settlements explain {row['settlement_id']}"
        yield Item("rate_unknown", row["machine_id"], cause, command, row["since"])
    for row in rows.open_shortfalls(conn, view.scope):
        sale = row["settlement_id"]
        cause = sentence(
            "{machine}: the customer of sale {sale} waits for {sats} sats, until you pay the top-up of {topup} sats",
            machine=row["machine_id"], sale=sale, sats=row["refund_sats"], topup=row["topup_sats"],
        )  # fmt: skip
        command = f"satmachine settlements shortfall {sale}"
        yield Item(
            "shortfall_waits", row["machine_id"], cause, command, row["booked_at"], str(sale), settlement_id=sale
        )
    for row in rows.unmatched(conn, view.scope):
        cause = sentence(
            "{machine}: {payments} incoming payment(s) ({sats} sats) belong to no sale",
            machine=row["machine_id"], payments=row["payments"], sats=row["amount_sats"],
        )  # fmt: skip
        command = f"satmachine settlements unmatched --machine {row['machine_id']}"
        yield Item("unmatched", row["machine_id"], cause, command, row["since"])


#: What the books do not show, or what comes and goes: the alarm stands until the daemon takes it back.
_STANDING = ("books_broken", "relay_quiet", "wallet_unreachable")


def _only_raised(conn: sqlite3.Connection, view: Viewpoint, found: Sequence[Item]) -> Iterator[Item]:
    """Alarms that the daemon has raised, and that the books do not show at this moment."""
    seen = {(item.condition, item.subject) for item in found}
    for row in rows.raised(conn, view.scope):
        if row["condition"] not in _STANDING or (row["condition"], row["subject"]) in seen:
            continue
        told = CONDITIONS[row["condition"]]
        who = row["subject"] or "satmachine"
        cause = row["detail"] or f"{who}: {told.started}"
        if row["condition"] != "books_broken":
            cause += "; it looks fine now, and the alarm ends if it stays so"
        yield Item(row["condition"], row["subject"], cause, told.command, row["changed_at"])


# --- levels


def recovered(limit: int) -> int:
    """At this value a level is clearly above its limit."""
    return -(-limit * (100 + _MARGIN_PERCENT) // 100)


def _below(value: int | None, limit: int) -> bool:
    return value is not None and value < limit


def _sees(conn: sqlite3.Connection, view: Viewpoint, machine_id: str) -> bool:
    return view.scope is None or list_queries.sees(conn, view.scope, machine_id)
