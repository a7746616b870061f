"""One sale on a screen: its figures, legs, what is retained and why, events and notes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from satmachine.attention import words
from satmachine.cli.kit.output import emit_record, emit_section, print_json, print_line, to_json
from satmachine.cli.kit.values import Column, format_fiat, format_sats
from satmachine.store import list_queries

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SaleSheet:
    """Everything the books have about a sale; `help` is the command that helps, or empty."""

    settlement: Record
    help: str
    legs: list[list_queries.Record]
    retained: list[list_queries.Record]
    events: list[list_queries.Record]


def read_sale(conn: sqlite3.Connection, settlement: Record) -> SaleSheet:
    """Collect what belongs to a settlement."""
    settlement_id = settlement["id"]
    return SaleSheet(
        settlement,
        words.advice(sale_trouble(conn, settlement_id, settlement)),
        list_queries.legs_of(conn, settlement_id),
        list_queries.retained_of(conn, settlement_id),
        list_queries.events_of(conn, settlement_id),
    )


def print_sale_json(sale: SaleSheet) -> None:
    """The shape of SPEC section 10; a retained row also says its reason in words."""
    print_json(
        {
            "settlement": to_json(sale.settlement),
            "legs": [to_json(leg) for leg in sale.legs],
            "notes": sale.settlement["notes"],
            "retained": [{**to_json(row), "reason_in_words": words.retained(row["reason"])} for row in sale.retained],
            "events": [to_json(event) for event in sale.events],
        }
    )


def print_sale(sale: SaleSheet, tz: tzinfo) -> None:
    """The screen."""
    emit_record({**sale.settlement, "help": sale.help}, _FIELDS, title=f"Sale {sale.settlement['id']}", tz=tz)
    if sale.legs:
        revisions = sale.legs[-1]["revision"] > 1
        columns = [column for column in _LEG_COLUMNS if column.key != "revision" or revisions]
        emit_section(sale.legs, columns, title="Payments", tz=tz)
    if sale.retained:
        emit_section(sale.retained, _RETAINED_COLUMNS, title="Stays in the machine's wallet", tz=tz)
    if sale.events:
        emit_section(sale.events, _EVENT_COLUMNS, title="Events", tz=tz)
    if sale.settlement["notes"]:
        print_line("Notes", style="bold")
        print_line(sale.settlement["notes"])


def _status(row: Record) -> str:
    return f"{row['status']}: {words.hold(row['hold_reason'])}" if row["hold_reason"] else str(row["status"])


def sale_trouble(conn: sqlite3.Connection, settlement_id: int, row: Record) -> words.Trouble:
    """What keeps a sale from continuing; `row` has its status, hold_reason and machine_id."""
    leg = list_queries.worst_leg(conn, settlement_id) if row["status"] == "errored" else None
    leg = leg or {"hold_reason": row["hold_reason"], "cause": None, "payment_id": None}
    return words.Trouble(
        row["status"], leg["hold_reason"], leg["cause"], row["machine_id"], settlement_id, leg["payment_id"]
    )


def _commission(row: Record) -> str:
    commission = format_sats(row["commission_sats"])
    if row["platform_fee_sats"] is None:
        return f"{commission} (not planned yet)"
    platform, operator = format_sats(row["platform_fee_sats"]), format_sats(row["operator_fee_sats"])
    return f"{commission} = {platform} platform + {operator} operator"


def _rate(row: Record) -> str:
    return "unknown" if row["exchange_rate"] == "0" else f"{row['exchange_rate']} sats per {row['currency']}"


def _split(row: Record) -> str:
    if row["used_fallback_split"]:
        return f"derived from fallback_commission_pct {row['fallback_commission_pct']}"
    return "as the machine says"


def _undispensed(row: Record) -> str:
    return format_sats(row["undispensed_sats"]) if row["undispensed_sats"] else ""


_PROOFS = {
    "proven": "the wallet has the customer's payment",
    "waiting": "the wallet has not shown the customer's payment",
    "waived": "none is asked for (require_payment_proof = false)",
}


def _stays(row: Record) -> str:
    if row["proof"] != "proven" and row["retained_sats"]:
        return f"{format_sats(row['retained_sats'])}, if they ever came: the payment was never proven"
    return format_sats(row["retained_sats"])


def _short(row: Record) -> str:
    if not row["shortfall_minor"]:
        return ""
    back = f"; {format_sats(row['topped_up_sats'])} sats topped up for it" if row["topped_up_sats"] else ""
    return f"{format_fiat(row['shortfall_minor'], row['currency'])} less than the machine said{back}"


_FIELDS = (
    Column("machine_id", "Machine"),
    Column("status", "Status", show=_status),
    Column("help", "What helps"),
    Column("error", "Why"),
    Column("occurred_at", "Sold"),
    Column("landed_at", "Entered"),
    Column("finished_at", "Finished"),
    Column("gross_sats", "Customer paid"),
    Column("net_sats", "For LPs"),
    Column("commission_sats", "Commission", show=_commission),
    Column("undispensed_sats", "Not handed out", show=_undispensed),
    Column("retained_sats", "Stays in wallet", show=_stays),
    Column("fiat_amount_minor", "Cash"),
    Column("shortfall_minor", "Shortfall", show=_short),
    Column("exchange_rate", "Rate", show=_rate),
    Column("used_fallback_split", "Split", show=_split),
    Column("proof", "Proof", show=lambda row: _PROOFS.get(row["proof"], str(row["proof"]))),
    Column("revision", "Revision"),
    Column("payment_hash", "Payment hash"),
    Column("txid", "Txid"),
)

_LEG_COLUMNS = (
    Column("id", "Id"),
    Column("revision", "Revision"),
    Column("leg", "For"),
    Column("amount_sats", "Sats"),
    Column("fiat_amount_minor", "Fiat", wide=True),
    Column("fee_sats", "Fee", wide=True),
    Column("payee", "Payee", fold=True),
    Column("status", "Status"),
    Column("completed_at", "Paid", wide=True),
    Column("error", "Why", fold=True),
)


def _gone(row: Record) -> str:
    return "paid out after all, or taken back: " if row["amount_sats"] < 0 else ""


_RETAINED_COLUMNS = (
    Column("amount_sats", "Sats"),
    Column("leg", "Meant for"),
    Column("reason", "Why", show=lambda row: _gone(row) + words.retained(row["reason"])),
)

_EVENT_COLUMNS = (
    Column("received_at", "Received"),
    Column("relay_url", "Relay", fold=True),
    Column("event_id", "Event", fold=True),
)
