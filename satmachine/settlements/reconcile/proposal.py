"""Reconciling a machine: decides, in one transaction, what its wallet shows and the books do not (SPEC section 6.8).

The same code makes the proposal and carries it out: `preview` runs it and rolls back; `accept` runs it again, and
commits only if the digest is the one that was shown. `questions` says what to ask the wallet first. Nothing is paid,
and nothing here talks to a wallet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from satmachine import identity
from satmachine.config import Machine
from satmachine.errors import Refused
from satmachine.identity import BalanceLeg, SaleLeg
from satmachine.models import By, Claim, LegStatus, SettlementStatus
from satmachine.settlements.claim.content import claim_from_payment, derived_claim
from satmachine.settlements.land.landing import Rules, land_claim
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.reconcile.balance import BalanceCase
from satmachine.settlements.reconcile.foreign_marks import ForeignMarks
from satmachine.settlements.reconcile.machine_case import (
    MachineCase,
    WalletAnswers,
    sale_key,
)
from satmachine.settlements.reconcile.reconcile_rules import (
    Choice,
    MarkLine,
    PaymentLine,
    Reconciliation,
    Resolution,
    SaleLine,
)
from satmachine.settlements.reconcile.sale import SaleCase
from satmachine.store import audit_log as audit
from satmachine.store import corrections, settlements, wallet_rows
from satmachine.store import reconciling as rows
from satmachine.store.database import rehearsed
from satmachine.store.reconciling import Found


@dataclass(frozen=True, slots=True)
class Questions:
    """Payment hashes to ask the machine's wallet for, before anything is proposed."""

    incoming: tuple[str, ...]
    outgoing: tuple[str, ...]


def questions(conn: sqlite3.Connection, machine_id: str, choices: Mapping[str, Choice]) -> Questions:
    """What only the wallet knows: whether unknown sales were paid, and what became of invoices and payments."""
    found = rows.undecided(conn, machine_id, list(choices))
    keys = {key for payment in found if (key := sale_key(payment.leg_key)) is not None}
    keys |= {key for mark in rows.undecided_marks(conn, machine_id) if (key := sale_key(mark.bundle)) is not None}
    sales = {key: settlements.id_of_key(conn, machine_id, key) for key in sorted(keys)}
    unproven = [key for key, sale in sales.items() if sale is None or settlements.get(conn, sale).proof == "waiting"]
    known = [sale for sale in sales.values() if sale is not None]
    known += [choice.settlement_id for choice in choices.values() if choice.settlement_id is not None]
    outgoing = [payment.payment_hash for payment in found if payment.status == "pending"]
    outgoing += [invoice.payment_hash for invoice in rows.may_be_paid(conn, known)]
    return Questions(tuple(unproven), tuple(outgoing))


def preview(
    conn: sqlite3.Connection, machine: Machine, terms: Terms, look: WalletAnswers, choices: Mapping[str, Choice], by: By
) -> Reconciliation:
    """What reconciling would do. Nothing is written in the end."""
    with rehearsed(conn):
        return _Round(MachineCase(conn, machine, terms, look, choices, by)).run()


def accept(
    conn: sqlite3.Connection,
    machine: Machine,
    terms: Terms,
    look: WalletAnswers,
    choices: Mapping[str, Choice],
    by: By,
    *,
    digest: str,
) -> Reconciliation:
    """Do exactly what was shown, inside the caller's transaction. Raises Refused where that is not what is there now,
    or where something waits; then nothing is to be committed."""
    report = _Round(MachineCase(conn, machine, terms, look, choices, by)).run()
    if report.digest != digest:
        raise Refused(
            f"what is to be reconciled at {machine.id} is not what was shown under {digest}; look again: "
            f"`satmachine machines reconcile {machine.id}`"
        )
    if report.waits:
        raise Refused(f"{machine.id} cannot be reconciled yet: {'; '.join(report.waits)}")
    return report


class _Round:
    """One run over one machine. Writes as it goes: later payments are placed beside the earlier ones."""

    def __init__(self, case: MachineCase) -> None:
        self._case = case
        self._balances = BalanceCase(case)
        self._conn = case.conn
        self._machine = case.machine
        self._by = case.by

    def run(self) -> Reconciliation:
        pause = rows.pause(self._conn, self._machine.id)
        found = rows.undecided(self._conn, self._machine.id, list(self._case.choices))
        if unknown := self._case.choices.keys() - {payment.payment_hash for payment in found}:
            raise Refused(f"there is no undecided payment {sorted(unknown)[0]} at {self._machine.id}")
        self._require_sweep(pause)
        of_sales: dict[int, list[Found]] = {}
        others: list[Callable[[], None]] = []
        found = [self._as_it_is_now(payment) for payment in found]
        self._case.speak_for(payment for payment in found if payment.status not in ("failure", "absent"))
        for payment in found:
            place = self._place(payment)
            if isinstance(place, int):
                of_sales.setdefault(place, []).append(payment)
            else:
                others.append(place)
        for settlement_id in sorted(of_sales, key=self._occurred_at):
            SaleCase(self._case, settlement_id, of_sales[settlement_id]).run()
        for decide in others:
            decide()
        marks = ForeignMarks(self._case).decide()
        self._balances.refuse_overdrafts()
        lines = sorted(self._case.lines, key=lambda line: (line.made_at, line.leg_key, line.payment_hash))
        self._case.waits += [f"{line.leg_key}: {line.words}" for line in lines if line.verdict is Resolution.WAITS]
        self._finish(lines, marks)
        sales = [
            SaleLine(str(sale.settlement_key), sale.id, "; ".join(words))
            for sale_id, words in self._case.sales.items()
            if words and (sale := settlements.get(self._conn, sale_id))
        ]
        return Reconciliation(
            self._machine.id, pause.why, tuple(lines), tuple(marks), tuple(sales), tuple(self._case.waits)
        )

    # --- where a payment belongs

    def _require_sweep(self, pause: rows.Pause) -> None:
        if pause.since is not None and pause.last_sweep_at is None:
            raise Refused(
                f"the wallet of {self._machine.id} was not read since these books were restored: start the daemon, "
                "and try again in a minute"
            )

    def _as_it_is_now(self, payment: Found) -> Found:
        """A payment that was under way when it was found, as the wallet has just shown it."""
        fate = self._case.look.outgoing.get(payment.payment_hash)
        if payment.status != "pending" or fate is None:
            return payment
        return replace(payment, status=fate.status, fee_sats=fate.fee_sats)

    def _place(self, payment: Found) -> int | Callable[[], None]:
        """The sale that a payment is of, or how it is decided without one."""
        choice, key = self._case.chosen(payment), identity.parse_key(payment.leg_key)
        if payment.status in ("failure", "absent"):
            return lambda: self._forget(payment)
        if choice is not None and choice.settlement_id is not None:
            return self._chosen_sale(choice.settlement_id, key)
        if choice is not None and choice.client_id is not None:
            client_id = choice.client_id
            return lambda: self._balances.book(payment, client_id)
        if choice is not None:
            return lambda: self._as_said(payment)
        if isinstance(key, SaleLeg) and not key.leg.startswith("fwd:"):
            sale = self._sale(key.settlement_key)
            if sale is not None and not self._is_given_up(sale):
                return sale
            return lambda: self._without_sale(payment, key.leg)
        if isinstance(key, BalanceLeg) and key.machine_id == self._machine.id:
            label = key.client_label
            return lambda: self._balances.of_label(payment, label)
        return lambda: self._case.dismiss(payment, "its key names nothing that is paid from this wallet")

    def _is_given_up(self, settlement_id: int) -> bool:
        """Whether a person has closed it without its customer's payment, which the wallet does not show now either."""
        sale = settlements.get(self._conn, settlement_id)
        closed = sale.proof == "waiting" and sale.status is SettlementStatus.PARTIAL
        return closed and self._case.incoming(sale.payment_hash) is None

    def _without_sale(self, payment: Found, leg: str) -> None:
        """A sale that was paid on the machine's word has no customer's payment that the wallet could show. What an LP
        got of it was for their cash all the same."""
        part, *label = leg.split(":")
        if part == "dca" and payment.whole("fiat_amount_minor"):
            self._balances.of_label(payment, label[0])
            return
        words = "no sale of these books that may be paid has its key, and the wallet shows no customer's payment for it"
        self._case.dismiss(payment, words)

    def _as_said(self, payment: Found) -> None:
        leg = rows.leg_by_key(self._conn, self._machine.id, payment.leg_key)
        words = "as you say, not satmachine's"
        if leg is not None and leg.status not in (LegStatus.COMPLETED, LegStatus.VOIDED, LegStatus.SKIPPED):
            words += f": {leg.leg} of {leg.amount_sats} sats is still paid"
        self._case.dismiss(payment, words)

    def _chosen_sale(self, settlement_id: int, key: SaleLeg | BalanceLeg | None) -> int:
        sale = corrections.find(self._conn, settlement_id)
        if sale.machine_id != self._machine.id:
            raise Refused(f"sale {settlement_id} is not of {self._machine.id}")
        if not isinstance(key, SaleLeg) or key.leg.startswith("fwd:"):
            raise Refused("a payment whose key names no leg of a sale cannot be booked to one: client:ID or not-ours")
        return settlement_id

    def _sale(self, settlement_key: str) -> int | None:
        """The sale with this key; landed now where only the wallet knows of it."""
        known = settlements.id_of_key(self._conn, self._machine.id, settlement_key)
        payment = self._case.incoming(settlement_key)
        if known is not None or payment is None:
            return known
        claim = claim_from_payment(
            payment.extra,
            self._machine,
            payment_hash=settlement_key,
            amount_sats=payment.amount_sats,
            settled_at=payment.settled_at,
        )
        if not isinstance(claim, Claim):
            claim = derived_claim(
                self._machine,
                payment_hash=settlement_key,
                amount_sats=payment.amount_sats,
                settled_at=payment.settled_at,
            )
        landing = land_claim(self._conn, claim, Rules(machine_active=True, payouts_since=0), self._by.now)
        if landing.settlement_id is not None:
            derived = ", its split derived by the fallback commission" if claim.used_fallback_split else ""
            self._case.say(landing.settlement_id, f"landed from its payment in the wallet{derived}")
        return landing.settlement_id

    def _occurred_at(self, settlement_id: int) -> tuple[int, str]:
        sale = settlements.get(self._conn, settlement_id)
        payment = self._case.incoming(sale.payment_hash)
        return (sale.occurred_at if payment is None else payment.settled_at, str(sale.payment_hash))

    def _forget(self, payment: Found) -> None:
        self._case.line(payment, Resolution.FAILED, "the wallet says that it was never made")
        rows.forget(self._conn, self._machine.id, payment.payment_hash, self._by.now)

    # --- the end

    def _finish(self, lines: Sequence[PaymentLine], marks: Sequence[MarkLine]) -> None:
        ids = [mark.id for mark in marks]
        rows.decide_marks(self._conn, self._machine.id, ids, actor=self._by.actor, now=self._by.now)
        rows.end_pause(self._conn, self._machine.id)
        safe_mode = wallet_rows.refresh_safe_mode(self._conn, self._machine.id)
        audit.record(
            self._conn,
            now=self._by.now,
            actor=self._by.actor,
            action="machine.reconcile",
            subject=f"machine {self._machine.id}",
            machine_id=self._machine.id,
            reason=self._by.reason,
            before={"payments": len(lines), "marks": ids},
            after={"safe_mode": safe_mode},
        )
