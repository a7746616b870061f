"""A small database for the command line: two operators, three machines, one sale in each state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from typer.testing import CliRunner, Result

from satmachine.cli.main import app
from satmachine.config import load
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Claim, LegStatus, LegType, PlannedLeg, Proof, Rejection, Retained, RetainedReason
from satmachine.settlements.pay.payer import complete_leg
from satmachine.store import clients, health_rows, incoming, legs, quarantine_rows, registry, settlements, wallet_rows
from satmachine.store.database import atomic, connect, prepare
from satmachine.store.health_rows import RelayRecord
from satmachine.store.settlements import EventRecord
from testkit.books import give_invoice
from testkit.config_files import SECOND, VALID, npub

#: 2026-11-22T10:00:00Z
NOW = 1_795_341_600

CONFIG = (
    VALID
    + SECOND
    + f"""
[[operators]]
id = "flores"
name = "Flores Cash"

[[machines]]
id = "flores-1"
operator = "flores"
npub = "{npub(3)}"
name = "Flores island"
currency = "GTQ"
fallback_commission_pct = 0.05
payouts_since = 2026-11-22T00:00:00Z
wallet = {{ admin_key = {{ env = "WALLET_3" }} }}
"""
)

PROCESSED, HELD, ERRORED, PENDING, FOREIGN = 1, 2, 3, 4, 5

WALLET = PayeeIdentity(PayeeKind.WALLET, None)
TECH = PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "tech@example.org")


def digest(number: int) -> str:
    """A payment hash or event id."""
    return f"{number:064x}"


@dataclass(frozen=True)
class Cli:
    """The program as a person runs it, on one configuration file."""

    config: Path
    database: Path

    def __call__(self, *arguments: str, columns: int = 200, env: dict[str, str] | None = None) -> Result:
        """As on a terminal that is so wide, without colours."""
        terminal = {"TTY_COMPATIBLE": "1", "TERM": "dumb", "COLUMNS": str(columns), "LINES": "50"}
        return self.run(*arguments, env={**terminal, **(env or {})})

    def piped(self, *arguments: str) -> Result:
        """As behind a pipe."""
        return self.run(*arguments, env={"TTY_COMPATIBLE": "0"})

    def typed(self, *arguments: str, answers: str) -> Result:
        """As at a terminal where somebody answers what is asked."""
        with mock.patch("satmachine.cli.kit.requests.at_a_terminal", return_value=True):
            return self.run(*arguments, env={"TTY_COMPATIBLE": "1", "TERM": "dumb", "COLUMNS": "120"}, answer=answers)

    def run(self, *arguments: str, env: dict[str, str], answer: str | None = None) -> Result:
        """The program, with what is typed where it asks."""
        return CliRunner().invoke(
            app,
            ["--config", str(self.config), *arguments],
            input=answer,
            env={"SATMACHINE_OPERATOR": "", "SATMACHINE_TZ": "", "SUDO_USER": "maria", **env},
        )

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def empty_books(folder: Path) -> Cli:
    """A database that knows the registry, and nothing else."""
    path = folder / "config.toml"
    path.write_text(CONFIG, encoding="utf-8")
    path.chmod(0o600)
    config = load(path)
    prepare(config.database.path)
    conn = connect(config.database.path)
    with atomic(conn):
        registry.mirror(conn, config, NOW)
    conn.close()
    return Cli(path, config.database.path)


def claim(number: int, machine_id: str = "panajachel-1", currency: str = "GTQ", **changes: object) -> Claim:
    """The sale of SPEC section 4; `number` makes it unique."""
    values: dict[str, Any] = {
        "machine_id": machine_id,
        "source": "event",
        "payment_hash": digest(number),
        "txid": f"tx-{number}",
        "gross_sats": 266_800,
        "net_sats": 258_835,
        "commission_sats": 7_965,
        "used_fallback_split": False,
        "fallback_commission_pct": None,
        "fee_pct": Decimal("0.03"),
        "discount_pct": None,
        "exchange_rate": Decimal("128.5"),
        "fiat_amount_minor": 201_427,
        "currency": currency,
        "bills": '[{"denomination": 100, "count": 20}]',
        "cassettes": None,
        "occurred_at": NOW + 60 * number,
    }
    return Claim(**{**values, **changes})


def full_books(folder: Path) -> Cli:
    """One sale in each state, and something of everything else."""
    cli = empty_books(folder)
    conn = connect(cli.database)
    with atomic(conn):
        _add_sales(conn)
        _add_client(conn)
        _add_surroundings(conn)
    conn.close()
    return cli


def _add_sales(conn: Any) -> None:
    for number in (PROCESSED, HELD, ERRORED, PENDING):
        settlements.insert(conn, claim(number), event_id=None, now=NOW, proof="waiting")
    settlements.insert(conn, claim(FOREIGN, "flores-1"), event_id=None, now=NOW, proof="waiting")
    for number, machine in ((PROCESSED, "panajachel-1"), (FOREIGN, "flores-1")):
        event = EventRecord(digest(100 + number), NOW, NOW + 1, "wss://relay.one.example", '{"kind": 21000}')
        settlement = settlements.get(conn, number)
        assert settlement.machine_id == machine
        settlements.attach_event(conn, settlement.id, settlement.machine_id, event)
    settlements.hold(conn, HELD, reason="daily_limit", error="266800 sats is above daily_limit_sats 200000")
    _plan(conn, PROCESSED)
    _plan(conn, ERRORED)
    for leg in legs.of_settlement(conn, PROCESSED):
        if leg.status == "pending":
            _pay(conn, leg.id)
    legs.postpone(
        conn,
        legs.of_settlement(conn, ERRORED)[1],
        status=LegStatus.FAILED,
        until=None,
        error="no route to tech@example.org",
    )
    for number in (PROCESSED, ERRORED):
        settlements.refresh_status(conn, number, NOW + 600)


def _plan(conn: Any, number: int) -> None:
    settlement = settlements.get(conn, number)
    settlements.mark_proven(
        conn,
        settlement,
        payment_hash=None,
        settlement_key=digest(number),
        occurred_at=settlement.occurred_at,
        proof="proven",
        now=NOW,
    )
    settlements.mark_planned(
        conn,
        settlement,
        platform_fee_sats=2390,
        operator_fee_sats=5575,
        super_fee_pct=Decimal("0.30"),
        ruleset_source="operator",
        now=NOW,
    )
    wanted = [
        PlannedLeg(LegType.SUPER_FEE, "super", 2390, "LNbits wallet (key)", WALLET, pct=Decimal("0.30")),
        PlannedLeg(
            LegType.OPERATOR_SPLIT, "split:owner", 5575, str(TECH.reference), TECH, label="owner", pct=Decimal(1)
        ),
    ]
    settlement = settlements.get(conn, number)
    legs.insert_planned(conn, settlement, wanted, revision=1, now=NOW + number)
    settlements.retain(conn, number, 1, [Retained(RetainedReason.NO_LP_BALANCE, 258_835, "dca")], NOW)


def _pay(conn: Any, leg_id: int) -> None:
    leg, _ = legs.get(conn, leg_id)
    leg = give_invoice(conn, leg_id, digest(200 + leg_id))
    proof = Proof.BOTH_SIDES
    complete_leg(conn, leg, sent_sats=leg.amount_sats, fee_sats=0, preimage=None, proof=proof, now=NOW + 600)


def _add_client(conn: Any) -> None:
    for machine_id, label in (("panajachel-1", "maria"), ("flores-1", "jose")):
        clients.add(
            conn,
            machine_id=machine_id,
            label=label,
            person=label,
            payee_kind="lightning_address",
            payee=f"{label}@example.org",
            actor="test",
            now=NOW,
        )


def _add_surroundings(conn: Any) -> None:
    for number, machine_id in ((1, "panajachel-1"), (2, "flores-1")):
        quarantine_rows.add(
            conn,
            event_id=digest(300 + number),
            machine_id=machine_id,
            kind=21000,
            rejection=Rejection("bad_json", "the content is not JSON \x1b[31m[red]"),
            created_at=NOW,
            received_at=NOW + 2,
            relay_url="wss://relay.one.example",
            raw='{"content": "oops"}',
        )
        _unmatched(conn, machine_id, digest(400 + number))
    _unmatched(conn, "panajachel-1", digest(PENDING))  # meanwhile it has a settlement
    wallet_rows.note_answer(conn, "panajachel-1", wallet_id="w1", balance_sats=1_250_000, version="1.6.2", now=NOW)
    wallet_rows.failed(conn, "solola-1", error="connection refused", now=NOW)
    relay = RelayRecord("wss://relay.one.example", "subscribed", NOW, 42, NOW, NOW, 7, 3, {"bad_id": 1}, False, None)
    health_rows.record_relays(conn, [relay], NOW)


def _unmatched(conn: Any, machine_id: str, payment_hash: str) -> None:
    incoming.note(
        conn,
        machine_id,
        payment_hash=payment_hash,
        amount_sats=50_000,
        memo="top-up",
        extra={"tag": "x"},
        settled_at=NOW,
        reason="it does not say that it is a sale",
        kind="unknown",
        now=NOW,
    )


def columns_of(cli: Cli, table: str) -> Sequence[str]:
    """The column names of a table."""
    conn = connect(cli.database, read_only=True)
    names = [str(row["name"]) for row in conn.execute(f"PRAGMA table_info({table})")]
    conn.close()
    return names
