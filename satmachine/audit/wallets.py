"""The proof against the wallets: what they show is compared with what the books say (SPEC section 9). Only reads.

The wallets are read first, then the books, up to the moment when the reading began. So a daemon that continues to pay
causes no false alarm: what it completed since counts as under way on both sides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from satmachine.audit.remedies import Break, BreakKind, make_break
from satmachine.config import Config, Machine, Payee
from satmachine.errors import ConfigError
from satmachine.identity import tag as payment_tag
from satmachine.models import Answer, Leg, LegStatus, leg_types
from satmachine.models.leg_types import NamedBy
from satmachine.settlements.pay.jobs import client_payee, configured_payee, has_changed
from satmachine.store import breaks as books
from satmachine.store import clients, corrections
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment

Record = dict[str, Any]

#: Clocks differ: payments are asked for from this long before the legs' plan.
_OVERLAP_S = 3_600

#: A payment in a state in which no leg may be when the wallet shows it paid.
_GIVEN_UP = frozenset({LegStatus.VOIDED, LegStatus.SKIPPED})


@dataclass(frozen=True, slots=True)
class WalletProof:
    """One machine's wallet in sats, beside the books; None if `--since` leaves out a part of the history.

    `wallet_sats` are its proven sales less its tagged payments, `books_sats` what the books retain or owe of them. The
    others explain the rest of the balance, and are not breaks: top-ups, withdrawals, payments under way or accepted.
    """

    machine_id: str
    balance_sats: int
    wallet_sats: int | None
    books_sats: int | None
    top_ups_sats: int | None
    withdrawals_sats: int | None
    under_way_sats: int
    accepted_sats: int
    vouched_legs: tuple[str, ...]
    unseen_payees: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    """What the wallets showed of one machine, before the books are opened; `outgoing` are satmachine's payments."""

    balance_sats: int
    incoming: Mapping[str, WalletPayment]
    outgoing: Mapping[str, WalletPayment]
    withdrawals_sats: int = 0
    credits: dict[str, dict[str, int]] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    vouched: list[str] = field(default_factory=list)


class WalletAudit:
    """Audits machines one by one; `began_at` is when the first reading began (Unix seconds)."""

    def __init__(self, lnbits: Lnbits, config: Config, began_at: int, since: int = 0) -> None:
        self._lnbits = lnbits
        self._config = config
        self._began_at = began_at
        self._since = since

    async def audit(self, machine: Machine, conn: sqlite3.Connection) -> tuple[WalletProof, list[Break]]:
        """Read a machine's wallet and its payees', then compare the books with them.

        Raises WalletError, ConfigError.
        """
        reading = await self._read(machine)
        found = books.completed_legs(conn, machine.id, since=self._since, before=self._began_at)
        reading.vouched = [f"{row['subject']} {row['leg']}" for _, row in found if row["vouched"]]
        completed = [(leg, row) for leg, row in found if not row["vouched"]]
        await self._read_payees(completed, conn, reading)
        breaks = [*_sales(conn, machine.id, reading, self._began_at)] if not self._since else []
        breaks += _legs(completed, reading)
        strange, under_way_sats, accepted_sats = _strange(conn, machine.id, reading, self._began_at)
        breaks += strange
        statement = self._statement(conn, machine.id, reading, under_way_sats, accepted_sats)
        if statement.wallet_sats != statement.books_sats:
            facts = {"wallet_sats": statement.wallet_sats, "books_sats": statement.books_sats}
            breaks.append(make_break(BreakKind.WALLET_SUM, _of_machine(machine.id) | facts))
        return statement, breaks

    # --- reading

    async def _read(self, machine: Machine) -> _Reading:
        """Payments with one of our keys; without `--since` all the others too."""
        key = machine.wallet.admin_key.resolve(self._config.environ)
        info = await self._lnbits.wallet(key)
        if self._since:
            return _Reading(info.balance_msat // 1000, {}, _moved(await self._ours(key, incoming=False)))
        rows = await self._lnbits.payments(key)
        settled = {row.payment_hash: row for row in rows if row.incoming and row.status is Answer.SUCCESS}
        tag = payment_tag(machine.npub)
        ours = _moved([row for row in rows if row.outgoing and _is_ours(row, tag)])
        others = _moved([row for row in rows if row.outgoing and not _is_ours(row, tag)])
        withdrawals_sats = sum(_cost_sats(row) for row in others.values())
        return _Reading(info.balance_msat // 1000, settled, ours, withdrawals_sats)

    async def _read_payees(
        self, completed: Sequence[tuple[Leg, Record]], conn: sqlite3.Connection, reading: _Reading
    ) -> None:
        """What the payees on this LNbits got from this machine, each wallet read once."""
        for name, leg in {_wallet(leg): leg for leg, row in completed if row["internal"]}.items():
            key = self._payee_key(leg, conn)
            if key is None or not await self._leads_to(key, leg.payee_ref):
                reading.unseen.add(leg.payee)
                continue
            found = await self._ours(key, incoming=True)
            reading.credits[name] = {row.payment_hash: row.amount_sats for row in found if row.status is Answer.SUCCESS}

    async def _leads_to(self, key: str, wallet_id: str | None) -> bool:
        """Whether a key belongs to this wallet, as far as that is known."""
        return wallet_id is None or await self._lnbits.wallet_of(key) in (None, wallet_id)

    async def _ours(self, key: str, *, incoming: bool) -> list[WalletPayment]:
        """A wallet's payments with one of our keys, whatever the npub was, since the legs in question were planned."""
        since = max(0, self._since - _OVERLAP_S)
        pages = self._lnbits.iter_ours(key, incoming=incoming, created_since=since)
        return [row async for page in pages for row in page]

    def _payee_key(self, leg: Leg, conn: sqlite3.Connection) -> str | None:
        """The invoice key of a leg's payee; None if it is another one by now, or cannot be read here."""
        payee = payee_of(leg, self._config, conn)
        if payee is None or payee.invoice_key is None or has_changed(payee, leg):
            return None
        try:
            return payee.invoice_key.resolve(self._config.environ)
        except ConfigError:
            return None

    # --- the account

    def _statement(
        self, conn: sqlite3.Connection, machine_id: str, reading: _Reading, under_way_sats: int, accepted_sats: int
    ) -> WalletProof:
        wallet_sats = books_sats = top_ups_sats = withdrawals_sats = None
        if not self._since:
            sales = {row["payment_hash"] for row in books.proven_sales(conn, machine_id, before=self._began_at)}
            wallet_sats = sum(row.amount_sats for name, row in reading.incoming.items() if name in sales)
            wallet_sats -= sum(_cost_sats(row) for row in reading.outgoing.values()) - under_way_sats - accepted_sats
            books_sats = _kept_sats(books.retained_and_owed(conn, machine_id, before=self._began_at))
            top_ups_sats = sum(row.amount_sats for name, row in reading.incoming.items() if name not in sales)
            withdrawals_sats = reading.withdrawals_sats
        return WalletProof(
            machine_id=machine_id,
            balance_sats=reading.balance_sats,
            wallet_sats=wallet_sats,
            books_sats=books_sats,
            top_ups_sats=top_ups_sats,
            withdrawals_sats=withdrawals_sats,
            under_way_sats=under_way_sats,
            accepted_sats=accepted_sats,
            vouched_legs=tuple(reading.vouched),
            unseen_payees=tuple(sorted(reading.unseen)),
        )


def payee_of(leg: Leg, config: Config, conn: sqlite3.Connection) -> Payee | None:
    """To whom a leg is paid by the configuration and the books of today."""
    if leg_types.KINDS[leg.leg_type].named_by is NamedBy.LP and leg.client_id is not None:
        return client_payee(clients.payee_of(conn, leg.client_id))
    return configured_payee(config, leg)


def _wallet(leg: Leg) -> str:
    """What distinguishes payees on this LNbits: the wallet, or where it is named; for legs that were booked from lost
    books, for which neither is known, the share that they pay."""
    return leg.payee_ref or leg.payee_scope or leg.leg


def _sales(conn: sqlite3.Connection, machine_id: str, reading: _Reading, before: int) -> list[Break]:
    """Every proven sale's payment is in the machine's wallet, to the sat."""
    return [
        make_break(BreakKind.SALE_MISSING, sale)
        for sale in books.proven_sales(conn, machine_id, before=before)
        if sale["proof"] == "proven" and not _shows(reading.incoming, sale["payment_hash"], sale["gross_sats"])
    ]


def _legs(completed: Sequence[tuple[Leg, Record]], reading: _Reading) -> list[Break]:
    """Every completed leg is there on both sides."""
    found = []
    for leg, row in completed:
        sent_sats = row["sent_sats"]
        if not _shows(reading.outgoing, str(leg.payment_hash), sent_sats, settled=True):
            found.append(make_break(BreakKind.NOT_DEBITED, row))
        got = reading.credits.get(_wallet(leg))
        if row["internal"] and got is not None and got.get(str(leg.payment_hash)) != sent_sats:
            found.append(make_break(BreakKind.NOT_CREDITED, row))
    return found


def _strange(conn: sqlite3.Connection, machine_id: str, reading: _Reading, before: int) -> tuple[list[Break], int, int]:
    """Tagged payments that no completed leg explains: breaks, then sats under way and sats that a person accepted."""
    known = books.invoices_of(conn, machine_id)
    accepted = corrections.accepted_payments(conn, machine_id)
    breaks: list[Break] = []
    under_way_sats = accepted_sats = 0
    for payment_hash, row in reading.outgoing.items():
        leg = known.get(payment_hash)
        if leg is not None and leg["completed_at"] is not None and leg["completed_at"] < before:
            continue
        if leg is None and payment_hash in accepted:
            accepted_sats += _cost_sats(row)
        elif leg is None:
            facts = {"amount_sats": row.amount_sats, "leg_key": row.leg_key}
            breaks.append(make_break(BreakKind.UNKNOWN_PAYMENT, _of_machine(machine_id) | facts))
        elif leg["status"] in _GIVEN_UP and row.status is Answer.SUCCESS:
            breaks.append(make_break(BreakKind.PAID_BUT_VOIDED, leg | {"amount_sats": row.amount_sats}))
        else:
            under_way_sats += _cost_sats(row)
    return breaks, under_way_sats, accepted_sats


def _moved(rows: Sequence[WalletPayment]) -> dict[str, WalletPayment]:
    """Payments that have moved sats, or still may."""
    return {row.payment_hash: row for row in rows if row.status is not Answer.FAILURE}


def _is_ours(row: WalletPayment, tag: str) -> bool:
    return row.tag == tag or (row.leg_key or "").startswith("sm1:")


def _shows(found: Mapping[str, WalletPayment], payment_hash: str, amount_sats: int, *, settled: bool = False) -> bool:
    row = found.get(payment_hash)
    return row is not None and row.amount_sats == amount_sats and (not settled or row.status is Answer.SUCCESS)


def _cost_sats(row: WalletPayment) -> int:
    """What a payment took out of the wallet, its fee rounded up."""
    return row.amount_sats + row.fee_sats


def _kept_sats(account: Record) -> int:
    held_sats: int = account["retained_sats"] + account["owed_sats"] + account["unplanned_sats"]
    return held_sats - int(account["fees_on_top_sats"]) - int(account["payouts_sats"])


def _of_machine(machine_id: str) -> Record:
    return {"subject": f"machine {machine_id}", "machine_id": machine_id, "settlement_id": None}
