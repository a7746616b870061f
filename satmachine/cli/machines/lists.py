"""`machines list` and `show`: the registry with live state, from the database only."""

from __future__ import annotations

from typing import Any

from satmachine.attention.words import way_out
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Asked, listing, reading
from satmachine.cli.kit.options import AsJson, Machine
from satmachine.cli.kit.output import emit_record, emit_section, print_json, to_json
from satmachine.cli.kit.values import Column, Row, format_pct
from satmachine.cli.machines import app
from satmachine.cli.machines.stand import balance, mode
from satmachine.store import elsewhere, incoming, list_queries, relay_list_rows


def _open_work(row: Row) -> str:
    waiting = row["open_settlements"] - row["held_settlements"] - row["errored_settlements"]
    counts = {"pending": waiting, "held": row["held_settlements"], "errored": row["errored_settlements"]}
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number) or "none"


def _wallet(row: Row) -> str:
    if row["checked_at"] is None:
        return "not asked yet"
    answer = "reachable" if row["reachable"] else f"not reachable: {row['wallet_error']}"
    version = f", LNbits {row['lnbits_version']}" if row["lnbits_version"] else ""
    return answer + version


_MACHINES = (
    Column("id", "Machine"),
    Column("name", "Name", wide=True, fold=True),
    Column("operator_id", "Operator", wide=True),
    Column("mode", "State", show=mode),
    Column("balance_sats", "Wallet, sats", show=balance),
    Column("last_sale_at", "Last sale"),
    Column("open_settlements", "Open work", fold=True, show=_open_work),
    Column("safe_mode", "Safe mode", wide=True, fold=True),
)

_FIELDS = (
    Column("name", "Name"),
    Column("operator_id", "Operator"),
    Column("mode", "State", show=mode),
    Column("paused", "Paused because"),
    Column("safe_mode", "Safe mode because"),
    Column("way_out", "What helps"),
    Column("currency", "Currency"),
    Column(
        "fallback_commission_pct", "Fallback commission", show=lambda row: format_pct(row["fallback_commission_pct"])
    ),
    Column("payouts_since", "Payouts since"),
    Column("npub", "npub"),
    Column("balance_sats", "Wallet, sats", show=balance),
    Column("reachable", "Wallet", show=_wallet),
    Column("checked_at", "Wallet checked"),
    Column("last_sweep_at", "Wallet searched"),
    Column("open_settlements", "Open work", show=_open_work),
    Column("last_sale_at", "Last sale"),
    Column("last_event_at", "Last heard"),
    Column("relays", "Relays", show=lambda row: _words_of_relays(row)),
    Column("way_in", "Sales come", show=lambda row: words_of_way_in(row)),
    Column("top_ups", "Top-ups", show=lambda row: _top_ups(row["top_ups"])),
    Column("clients", "LPs", show=lambda row: _providers(row["clients"])),
)

_SPLIT_COLUMNS = (
    Column("label", "Label"),
    Column("pct", "Share", show=lambda row: format_pct(row["pct"])),
    Column("payee", "Payee", fold=True),
)

_TELEMETRY_FIELDS = (
    Column("status", "Status"),
    Column("location", "Location"),
    Column("software_version", "Software"),
    Column("cash_left_minor", "Cash left"),
    Column("exchange_rate", "Rate"),
    Column("last_error", "Last error"),
    Column("beacon_at", "Reported"),
)


@listing(
    app,
    "list",
    _MACHINES,
    title="Machines",
    empty="No machines yet: the daemon reads them from the configuration when it starts.",
)
def list_machines(books: Books, asked: Asked) -> list[Row]:  # noqa: ARG001
    """List the machines: what their wallets hold, when they last sold, how much work is open.

    Examples:

        satmachine machines list

        satmachine --operator atitlan machines list --json
    """
    return [*list_queries.machines(books.conn, books.scope)]


@reading(app, "show")
def show(books: Books, machine: Machine, as_json: AsJson = False) -> None:
    """Show one machine: registry, wallet, open work, relays, splits, liquidity providers and telemetry.

    Examples:

        satmachine machines show panajachel-1

        satmachine machines show panajachel-1 --json
    """
    record = _read(books, machine)
    if as_json:
        print_json(_as_json(record))
        return
    emit_record(record, _FIELDS, title=f"Machine {machine}", tz=books.tz)
    emit_section(
        record["splits"],
        _SPLIT_COLUMNS,
        title=f"Splits ({_SOURCES[record['ruleset_source']]})",
        empty="\nNo splits: the operator's part of the commission stays in the wallet.",
    )
    if record["telemetry"] is not None:
        emit_record(record["telemetry"], _TELEMETRY_FIELDS, title="Telemetry", tz=books.tz)


_SOURCES = {"machine": "its own", "operator": "its operator's default", "none": "none"}


def _read(books: Books, machine_id: str) -> dict[str, Any]:
    """A machine's row, and what belongs to it."""
    [record] = list_queries.machines(books.conn, None, machine_id)
    rules = list_queries.effective_splits(books.conn, None, machine_id)
    return {
        **record,
        "way_out": way_out(record) if record["safe_mode"] else None,
        "relays": _relays(books, machine_id) if record["in_config"] else [],
        "own_relays": _own_relays(books, machine_id) if record["in_config"] else None,
        "ruleset_source": rules[0]["ruleset_source"] if rules else "none",
        "splits": [rule for rule in rules if rule["label"] is not None],
        "clients": list_queries.clients_by_status(books.conn, machine_id),
        "announces": incoming.announces(books.conn, machine_id),
        "transport": elsewhere.of_machine(books.conn, machine_id),
        "unannounced": _unannounced(books, machine_id),
        "top_ups": incoming.top_ups_of(books.conn, machine_id),
        "telemetry": list_queries.telemetry_of(books.conn, machine_id),
    }


def _relays(books: Books, machine_id: str) -> list[str]:
    """On which relays the daemon listens for the machine: only the configuration knows."""
    machine = books.config.machine(machine_id)
    return [] if machine is None else list(books.config.relays_of(machine))


def _own_relays(books: Books, machine_id: str) -> dict[str, Any] | None:
    """With `discover_relays`, the relays that the machine itself names: which are used, and why others are not."""
    from satmachine.relay_lists import MAX_IN_ALL, relays_of

    told = relay_list_rows.of_machine(books.conn, machine_id)
    machine = books.config.machine(machine_id)
    if told is None or machine is None or not books.config.nostr.discover_relays:
        return None
    wanted = relays_of(books.config, relay_list_rows.of_all(books.conn))
    heard = {url for url, authors in wanted.relays.items() if machine.pubkey in authors}
    beyond = dict.fromkeys((url for url in told["relays"] if url in wanted.left_out), f"{MAX_IN_ALL} others are enough")
    return {
        "told_at": told["created_at"],
        "relays": [url for url in told["relays"] if url in heard],
        "refused": {**told["refused"], **beyond},
    }


def _words_of_relays(row: Row) -> str:
    lines = list(row["relays"])
    own = row["own_relays"]
    if own is not None:
        lines += [f"{url} (its own list)" for url in own["relays"] if url not in row["relays"]]
        lines += [f"not {url}: {why}" for url, why in own["refused"].items()]
    return "\n".join(lines)


def _unannounced(books: Books, machine_id: str) -> str | None:
    """What is done with payments that it does not announce: only the configuration knows."""
    machine = books.config.machine(machine_id)
    return None if machine is None else machine.unannounced.sales


def words_of_way_in(row: Row) -> str:
    """How this machine's sales are known, and what its other messages are."""
    lines = ["announced by its events" if row["announces"] else "from its wallet: it has never announced a sale"]
    told = row["transport"]
    if told is not None:
        old = f", {told['old_nip44']} of them in the format before NIP-44 version 2" if told["old_nip44"] else ""
        lines.append(
            f"{told['events']} message(s) of kind 21000 to {told['addressee'][:8]}.. and not to this daemon{old}: "
            "requests to its LNbits, no announcements"
        )
    if not row["announces"] and row["unannounced"] == "report":
        lines.append('payments wait in `settlements unmatched`, because unannounced.sales is "report"')
    return "\n".join(lines)


def _top_ups(rows: list[dict[str, Any]]) -> str:
    paid = [row for row in rows if row["paid_at"] is not None]
    return f"{len(paid)} paid of the latest {len(rows)}" if rows else "none"


def _as_json(record: dict[str, Any]) -> dict[str, Any]:
    telemetry = record["telemetry"]
    record = {**record, "top_ups": [to_json(row) for row in record["top_ups"]]}
    told = record["transport"]
    return {
        **to_json(record),
        "telemetry": None if telemetry is None else to_json(telemetry),
        "transport": None if told is None else to_json(told),
        "own_relays": None if record["own_relays"] is None else to_json(record["own_relays"]),
    }


def _providers(clients: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in clients.items()) or "none"
