"""Reconciling a machine: decides, in one transaction, what its wallet shows and the books do not (SPEC section 6.8).

The same code makes the proposal and carries it out: `preview` runs it and rolls back; `accept` runs it again, and
commits only if the digest is the one that was shown. `questions` says what to ask the wallet first. Nothing is paid,
and nothing here talks to a wallet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from satmachine import identity
from satmachine.config import Machine
from satmachine.errors import Refused
from satmachine.identity import BalanceLeg, SaleLeg
from satmachine.models import By, Claim, HoldReason, Leg, LegStatus, LegType
from satmachine.money import minor_to_fiat
from satmachine.settlements.claim.content import claim_from_payment, derived_claim
from satmachine.settlements.land.landing import Rules, land_claim
from satmachine.settlements.pay import adoption
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.reconcile.machine_case import (
    MachineCase,
    WalletAnswers,
    adopt,
    as_found,
    looked_up,
    rate_of,
    sale_key,
    unknown_client,
    who,
)
from satmachine.settlements.reconcile.reconcile_rules import (
    Choice,
    MarkLine,
    PaymentLine,
    Reconciliation,
    Resolution,
    SaleLine,
    booked_sats,
    heads,
    revisions,
    withdrawn,
)
from satmachine.settlements.reconcile.sale import STOPPED_S, SaleCase
from satmachine.store import audit_log as audit
from satmachine.store import balances, client_legs, clients, corrections, legs, settlements, wallet_rows
from satmachine.store import reconciling as rows
from satmachine.store.database import rehearsed
from satmachine.store.reconciling import Booking, Found, FoundMark


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
        marks = self._marks()
        self._refuse_overdrafts()
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
            return lambda: self._payout(payment, client_id)
        if choice is not None:
            return lambda: self._as_said(payment)
        if isinstance(key, SaleLeg) and not key.leg.startswith("fwd:"):
            sale = self._sale(key.settlement_key)
            if sale is not None:
                return sale
            return lambda: self._without_sale(payment, key.leg)
        if isinstance(key, BalanceLeg) and key.machine_id == self._machine.id:
            label = key.client_label
            return lambda: self._balance(payment, label)
        return lambda: self._case.dismiss(payment, "its key names nothing that is paid from this wallet")

    def _without_sale(self, payment: Found, leg: str) -> None:
        """A sale that was paid on the machine's word has no customer's payment that the wallet could show. What an LP
        got of it was for their cash all the same."""
        part, *label = leg.split(":")
        if part == "dca" and payment.whole("fiat_amount_minor"):
            self._balance(payment, label[0])
            return
        words = "no sale of these books has its key, and the wallet shows no customer's payment for it"
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

    # --- payouts of a balance

    def _balance(self, payment: Found, label: str) -> None:
        client_id = rows.client_by_label(self._conn, self._machine.id, label)
        if client_id is None:
            self._case.line(payment, Resolution.WAITS, unknown_client(self._machine.id, label))
        else:
            self._payout(payment, client_id)

    def _payout(self, payment: Found, client_id: int) -> None:
        """A balance that was paid out, now or in another life, goes down by what the payment says."""
        client = clients.get(self._conn, client_id)
        if client.machine_id != self._machine.id:
            raise Refused(f"LP {client_id} does not belong to {self._machine.id}")
        leg = rows.leg_by_key(self._conn, self._machine.id, payment.leg_key)
        if leg is not None and leg.leg_type is LegType.SETTLEMENT and self._case.chosen(payment) is None:
            self._known_payout(payment, leg)
            return
        fiat_minor = payment.whole("fiat_amount_minor")
        if payment.status != "success" or not fiat_minor:
            why = "it is still under way" if payment.status != "success" else "it does not say its fiat value"
            self._case.line(payment, Resolution.WAITS, f"{why}: it cannot be booked to a balance; decide HASH=not-ours")
            return
        key = identity.parse_key(payment.leg_key)
        number = client_legs.next_payout_number(self._conn, client_id)
        if isinstance(key, BalanceLeg) and key.client_label == client.label and leg is None:
            number = key.number
        amount_sats = booked_sats(payment.amount_sats, payment.fee_sats, payment.whole("leg_sats"))
        booking = Booking(
            settlement_id=None,
            revision=1,
            leg_type=LegType.SETTLEMENT,
            leg=f"bal:{client.label}:{number}",
            leg_key=client_legs.payout_key(client, number),
            label=None,
            client_id=client_id,
            amount_sats=amount_sats,
            fiat_amount_minor=fiat_minor,
            exchange_rate=rate_of(payment) or Decimal(amount_sats * 100) / fiat_minor,
            currency=client.currency,
            payee=clients.describe_payee(client.payee_kind, client.payee),
            identity=clients.identity_of(client.payee_kind, client.payee),
            scope=identity.client_scope(client_id),
            effective_at=payment.made_at,
        )
        self._book_payout(payment, booking, client.label, "" if leg is None else self._give_up_planned(leg))

    def _give_up_planned(self, leg: Leg) -> str:
        """What these books plan under the key of another payment can never be sent: a key is paid once."""
        if leg.leg_type is not LegType.SETTLEMENT or leg.status not in (LegStatus.PENDING, LegStatus.FAILED):
            return ""  # a leg of a sale is the sale's: what is given up of it would be missing there
        if rows.live_invoice(self._conn, leg) is not None:
            return ""
        rows.void(self._conn, leg, {"reconciled": "another payment has its key"}, self._by.now)
        was, now = {"status": leg.status}, {"status": LegStatus.VOIDED}
        audit.record_by(self._conn, self._by, "leg.cancel", f"payment {leg.id}", self._machine.id, was, now)
        return (
            f". Payment {leg.id}, which these books planned under the same key, was never sent and is given up: ask "
            "for that payout again"
        )

    def _book_payout(self, payment: Found, booking: Booking, label: str, given_up: str) -> None:
        payment_id = rows.insert_booked(
            self._conn, self._machine.id, booking, payment, by=who(self._by), now=self._by.now
        )
        words = f"a payout of {label}'s balance: {booking.fiat_amount_minor} minor units are taken off it"
        words += looked_up(payment) + given_up
        self._case.line(payment, Resolution.PAYOUT, words, client_id=booking.client_id)
        after = {"leg": booking.leg, "fiat_amount_minor": booking.fiat_amount_minor}
        self._case.decide(payment, payment_id, "payment.book", f"client {booking.client_id}", after)

    def _known_payout(self, payment: Found, leg: Leg) -> None:
        """The books plan this payout too."""
        verdict = adoption.decide(leg, rows.live_invoice(self._conn, leg), as_found(payment))
        if verdict.verdict is adoption.Verdict.ADOPT:
            adopt(self._case, leg, payment)
        elif leg.status is LegStatus.COMPLETED:
            self._case.dismiss(payment, f"paid twice: {leg.leg} is completed by another payment")
        else:
            words = f"it does not fit {leg.leg} ({verdict.misfit}): decide HASH=client:{leg.client_id} or HASH=not-ours"
            self._case.line(payment, Resolution.WAITS, words)

    def _refuse_overdrafts(self) -> None:
        """A booked payment never leaves a balance below zero: then the books lack a deposit."""
        for client_id in sorted(self._case.touched):
            balance = balances.of_client(self._conn, client_id)
            if balance.available_minor < 0:
                lacks = f"{minor_to_fiat(-balance.available_minor, balance.currency)} {balance.currency}"
                self._case.waits.append(
                    f"client {client_id} ({balance.label}) would have {lacks} less than nothing: enter the deposit "
                    f"that these books lack, with its true date (`satmachine deposits add {client_id} AMOUNT --at "
                    "TIME`). If they really got more than they brought, or would by what is planned, enter the "
                    "difference too, with a note: it is yours to bear"
                )

    # --- marks

    def _marks(self) -> list[MarkLine]:
        """Decided with the payments; a sale that another life had stopped waits for a person."""
        found = rows.undecided_marks(self._conn, self._machine.id)
        for bundle in dict.fromkeys(mark.bundle for mark in found):
            key = sale_key(bundle)
            sale = None if key is None else settlements.id_of_key(self._conn, self._machine.id, key)
            of_bundle = [mark for mark in found if mark.bundle == bundle]
            if sale is not None:
                self._heed_marks(sale, bundle, of_bundle)
            elif isinstance(identity.parse_key(bundle), BalanceLeg):
                self._heed_payout(bundle, of_bundle)
        return [self._mark_line(mark) for mark in found]

    def _mark_line(self, mark: FoundMark) -> MarkLine:
        unpaid = [
            name
            for name in mark.invoices.values()
            if not self._case.is_paid(name) and not rows.is_known_paid(self._conn, name)
        ]
        words = "everything that it names is paid"
        if mark.stopped:
            names = sorted(key.removeprefix(f"{mark.bundle}:") for key in mark.stopped)
            words = f"a person's order has stopped or redirected {', '.join(names)}: what is open of it waits for you"
        elif not mark.invoices:
            words = "it stops every payment of its bundle: a person had done that"
        elif unpaid:
            words = "another daemon may be alive and pay what it names: accept only when you know that none is"
            if self._by.now - mark.first_seen_at < STOPPED_S:
                self._case.waits.append(
                    f"mark {mark.id} was seen just now: a payment that its daemon has begun may be under way. See that "
                    f"no other daemon runs, and look again in {STOPPED_S // 60} minutes"
                )
        return MarkLine(mark.id, mark.bundle, len(mark.invoices), len(unpaid), words)

    def _heed_marks(self, settlement_id: int, bundle: str, found: Sequence[FoundMark]) -> None:
        sale = settlements.get(self._conn, settlement_id)
        everything = {mark.id: mark for mark in [*rows.own_marks(self._conn, self._machine.id, bundle), *found]}
        last = [everything[name] for name in heads({mark.id: mark.prev for mark in everything.values()})]
        named = {key: name for mark in last for key, name in mark.invoices.items()}
        paid = {
            invoice.payment_id
            for invoice in rows.may_be_paid(self._conn, [settlement_id])
            if not self._case.is_unpaid(invoice.payment_hash)
        }
        # A mark also drops what is paid: a leg that its own invoice has paid was not stopped.
        open_keys = [
            leg.leg_key
            for leg in rows.open_legs(self._conn, settlement_id)
            if leg.id not in paid and not rows.is_known_paid(self._conn, str(leg.payment_hash))
        ]
        orders = {key for mark in found for key in mark.stopped}
        stopped = withdrawn(open_keys, (mark.invoices for mark in everything.values()), named, orders, bundle)
        newest = max([0, *revisions(key for mark in found for key in mark.invoices)])
        if newest > sale.revision:
            rows.raise_revision(self._conn, settlement_id, newest + 1)
        if not (stopped or (newest > sale.revision and open_keys) or (sale.planned_at is None and not named)):
            return
        error = (
            "another life of these books had stopped or changed payments of this sale: compare, then "
            f"`satmachine settlements release {settlement_id}`, or close it"
        )
        if rows.hold_sale(self._conn, settlement_id, reason=HoldReason.MARKS_CONFLICT, error=error):
            self._case.say(settlement_id, "held: another life of these books had stopped or changed its payments")

    def _heed_payout(self, bundle: str, found: Sequence[FoundMark]) -> None:
        """A balance payout that another life of these books had given up, or sent elsewhere, waits for a person."""
        leg = rows.leg_by_key(self._conn, self._machine.id, bundle)
        orders = {key for mark in found for key in mark.stopped}
        if leg is None or leg.leg_key not in orders or rows.is_known_paid(self._conn, str(leg.payment_hash)):
            return
        error = (
            "another life of these books had stopped or redirected it: "
            f"`satmachine payments resolve {leg.id} --unpaid` pays it, `satmachine payments cancel {leg.id}` does not"
        )
        legs.hold(self._conn, leg, reason=HoldReason.MARKS_CONFLICT, error=error, evidence={})

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
