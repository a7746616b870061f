"""Reconciling one sale: its payments become legs, and replace what was planned (SPEC 6.8).

Inside the transaction of `proposal.py`. gross = legs + retained before and after, whatever the wallet shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from satmachine import identity
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Leg, LegStatus, LegType, Retained, RetainedReason, Settlement
from satmachine.models.leg_types import BY_KEY_PART
from satmachine.money import sats_to_minor, split_two_stage_commission
from satmachine.settlements.pay import adoption
from satmachine.settlements.plan.amounts import Plan, make_plan
from satmachine.settlements.reconcile.machine_case import (
    MachineCase,
    adopt,
    as_found,
    looked_up,
    of_key,
    rate_of,
    unknown_client,
    who,
)
from satmachine.settlements.reconcile.reconcile_rules import OpenLeg, Resolution, booked_sats, cover, superseded
from satmachine.store import clients, corrections, legs, positions, settlements
from satmachine.store import reconciling as rows
from satmachine.store.database import tried
from satmachine.store.reconciling import Booking, Found, OwnInvoice

#: Legs whose invoices were marked or sent are voided only so long after the machine's payouts were stopped: until then
#: a request may be under way. Longer than any client waits for LNbits to pay.
STOPPED_S = 180

_LATER = "look again in a few minutes; if the wallet has it, let payouts go on, or decide HASH=not-ours"


class SaleCase:
    """The payments of one sale."""

    def __init__(self, case: MachineCase, settlement_id: int, payments: Sequence[Found]) -> None:
        self._case = case
        self._conn = case.conn
        self._id = settlement_id
        self._payments = sorted(payments, key=lambda row: (*of_key(row), row.made_at, row.payment_hash))

    def run(self) -> None:
        self._case.speak_for(self._payments, -1)
        self._go_on()
        sale = settlements.get(self._conn, self._id)
        if sale.proof == "waiting":
            words = (
                f"sale {self._id} is not proven: its payment is missing. If it never comes: "
                f"`satmachine settlements close {self._id}`, and look again"
            )
            for payment in self._payments:
                self._case.line(payment, Resolution.WAITS, words)
            return
        newest = max(of_key(row)[0] for row in self._payments)
        expected_sats = sale.gross_sats if sale.planned_at is None else rows.accounted_sats(self._conn, self._id)
        if sale.planned_at is None:
            self._plan(sale, newest)
        rest = [payment for payment in self._payments if not self._adopt(payment)]
        self._give_way(rest, newest)
        for payment in rest:
            self._book(payment)
        if rest or newest > sale.revision:
            latest = max([newest, sale.revision, *(leg.revision for leg in legs.of_settlement(self._conn, self._id))])
            rows.raise_revision(self._conn, self._id, latest + 1)
        settlements.refresh_status(self._conn, self._id, self._case.by.now)
        accounted_sats = rows.accounted_sats(self._conn, self._id)
        assert accounted_sats == expected_sats, f"sale {self._id} would account for {accounted_sats} sats"
        if kept_sats := settlements.get(self._conn, self._id).retained_sats:
            self._case.say(self._id, f"{kept_sats} sats of it are retained")

    def _go_on(self) -> None:
        sale = settlements.get(self._conn, self._id)
        payment = self._case.incoming(sale.payment_hash)
        prove = None
        if payment is not None and payment.amount_sats == sale.gross_sats:
            prove = (str(sale.payment_hash), payment.settled_at)
        rows.begin_plan(self._conn, sale, prove=prove, now=self._case.by.now)

    # --- a sale without a plan

    def _plan(self, sale: Settlement, newest: int) -> None:
        """Plan what another life has planned. A sale that is older than `payouts_since`, or that another life has
        corrected since, is only booked: what is not paid of it is retained. The guards are not asked again: the life
        that paid a part of it has asked them, and a person decides here with all of it before their eyes."""
        is_old = sale.occurred_at < self._case.machine.payouts_since
        platform_sats, operator_sats = split_two_stage_commission(sale.commission_sats, self._case.terms.super_fee_pct)
        if is_old or newest > sale.revision:
            reason = RetainedReason.BEFORE_PAYOUTS_SINCE if is_old else RetainedReason.VOIDED_LEG
            parts = (("super", platform_sats), ("split", operator_sats), ("dca", sale.net_sats))
            plan = Plan(
                platform_sats, operator_sats, (), tuple(Retained(reason, sats, part) for part, sats in parts if sats)
            )
            self._case.say(self._id, "older than payouts_since: only booked" if is_old else "corrected in another life")
        else:
            lps = [
                replace(lp, cap_minor=max(lp.cap_minor - self._case.spoken_for[lp.label], 0))
                for lp in positions.of_sale(self._conn, sale.machine_id, occurred_at=sale.occurred_at)
            ]
            plan = self._without_misfits(sale, make_plan(sale, self._case.terms, lps))
            self._case.say(self._id, "planned as it is now")
        self._write(sale, plan)

    def _without_misfits(self, sale: Settlement, plan: Plan) -> Plan:
        """The plan without the legs that were paid otherwise: what they were to get is retained, and booked from."""
        with tried(self._conn):
            self._write(sale, plan)
            misfits = {leg.leg for leg, payment in self._with_leg() if not self._fits(leg, payment)}
        kept = tuple(leg for leg in plan.legs if leg.leg not in misfits)
        freed = tuple(
            Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg)
            for leg in plan.legs
            if leg.leg in misfits and leg.amount_sats
        )
        return Plan(plan.platform_fee_sats, plan.operator_fee_sats, kept, (*plan.retained, *freed))

    def _write(self, sale: Settlement, plan: Plan) -> None:
        now = self._case.by.now
        settlements.take_back_retained(self._conn, sale, now)  # of a sale that was closed before it was proven
        settlements.mark_planned(
            self._conn,
            sale,
            platform_fee_sats=plan.platform_fee_sats,
            operator_fee_sats=plan.operator_fee_sats,
            super_fee_pct=self._case.terms.super_fee_pct,
            ruleset_source=self._case.terms.ruleset_source,
            now=now,
        )
        legs.insert_planned(self._conn, sale, plan.legs, revision=sale.revision, now=now)
        settlements.retain(self._conn, sale.id, sale.revision, plan.retained, now)

    def _with_leg(self) -> Iterable[tuple[Leg, Found]]:
        for payment in self._payments:
            leg = rows.leg_by_key(self._conn, self._case.machine.id, payment.leg_key)
            if leg is not None:
                yield leg, payment

    def _fits(self, leg: Leg, payment: Found) -> bool:
        found = adoption.decide(leg, rows.live_invoice(self._conn, leg), as_found(payment))
        return found.verdict is adoption.Verdict.ADOPT

    # --- a payment and the plan

    def _adopt(self, payment: Found) -> bool:
        leg = rows.leg_by_key(self._conn, self._case.machine.id, payment.leg_key)
        if leg is None or leg.settlement_id != self._id or not self._fits(leg, payment):
            return False
        adopt(self._case, leg, payment)
        return True

    def _give_way(self, rest: Sequence[Found], newest: int) -> None:
        """Open legs that were paid under another number or by another amount, or that a later revision has replaced,
        are not paid any more."""
        paid = {of_key(payment) for payment in rest if not self._is_paid_twice(payment)}
        if not paid:
            return
        for leg in self._open_legs():
            if superseded(leg, paid, newest) and leg.unpaid:
                self._void(leg.id)
                freed = Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg)
                self._retain([freed] if leg.amount_sats else [])
                self._case.say(self._id, f"{leg.leg} of revision {leg.revision} is voided: it was paid otherwise")

    def _is_paid_twice(self, payment: Found) -> bool:
        leg = rows.leg_by_key(self._conn, self._case.machine.id, payment.leg_key)
        return leg is not None and leg.status is LegStatus.COMPLETED and self._case.chosen(payment) is None

    def _book(self, payment: Found) -> None:
        """Write the payment as a leg of its own; the sale bears it."""
        if self._is_paid_twice(payment):
            self._case.dismiss(payment, "paid twice: the leg with its key is completed by another payment")
            return
        if payment.status != "success":
            self._case.line(payment, Resolution.WAITS, "it is still under way: wait, and look again")
            return
        booking = self._booking(payment)
        if isinstance(booking, str):
            self._case.line(payment, Resolution.WAITS, booking)
            return
        open_legs = self._open_legs()
        borne = cover(booking.amount_sats, of_key(payment)[1], corrections.ledger(self._conn, self._id), open_legs)
        if borne is None:
            stuck = [leg.leg for leg in open_legs if not leg.unpaid]
            if stuck:
                self._case.line(
                    payment, Resolution.WAITS, f"{stuck[0]} may be paid by an invoice of these books: {_LATER}"
                )
            else:
                self._case.dismiss(payment, "paid twice: the sale has not enough left for it")
            return
        for leg_id in borne.voided:
            self._void(leg_id)
        self._retain(borne.retained)
        by = self._case.by
        payment_id = rows.insert_booked(self._conn, self._case.machine.id, booking, payment, by=who(by), now=by.now)
        key = str(settlements.get(self._conn, self._id).settlement_key)
        words = f"{booking.leg} of revision {booking.revision}, which these books did not have{looked_up(payment)}"
        self._case.line(payment, Resolution.BOOK, words, settlement_key=key, client_id=booking.client_id)
        after = {"leg": booking.leg, "revision": booking.revision, "fiat_amount_minor": booking.fiat_amount_minor}
        self._case.decide(payment, payment_id, "payment.book", f"settlement {self._id}", after)

    def _booking(self, payment: Found) -> Booking | str:
        """The leg that a payment becomes; a sentence where a person must do something first."""
        sale = settlements.get(self._conn, self._id)
        revision, leg = of_key(payment)
        leg_type = BY_KEY_PART[leg.partition(":")[0]]
        label = "".join(leg.split(":")[1:2])
        amount_sats = booked_sats(payment.amount_sats, payment.fee_sats, payment.whole("leg_sats"))
        client_id = fiat_minor = rate = None
        payee, who_it_is, scope = "as paid in another life of these books", self._named(leg_type, label), None
        if leg_type is LegType.DCA:
            client_id = rows.client_by_label(self._conn, sale.machine_id, label)
            if client_id is None:
                return unknown_client(sale.machine_id, label)
            client = clients.get(self._conn, client_id)
            payee = clients.describe_payee(client.payee_kind, client.payee)
            who_it_is = clients.identity_of(client.payee_kind, client.payee)
            scope = identity.client_scope(client_id)
            rate = rate_of(payment) or sale.exchange_rate
            said = payment.whole("fiat_amount_minor")
            fiat_minor = said if said is not None else _fiat_minor(payment.amount_sats, rate, sale.currency)
        elif leg_type is LegType.REFUND:
            payee, who_it_is = "the customer", PayeeIdentity(PayeeKind.INVOICE, payment.text("bolt11") or None)
        name = self._free_name(sale, revision, leg)
        return Booking(
            settlement_id=sale.id,
            revision=revision,
            leg_type=leg_type,
            leg=name,
            leg_key=legs.leg_key(sale, revision, name),
            label=label if leg_type is LegType.OPERATOR_SPLIT else None,
            client_id=client_id,
            amount_sats=amount_sats,
            fiat_amount_minor=fiat_minor,
            exchange_rate=rate,
            currency=sale.currency,
            payee=payee,
            identity=who_it_is,
            scope=scope,
            effective_at=sale.occurred_at,
        )

    def _named(self, leg_type: LegType, label: str) -> PayeeIdentity:
        """Who is named for such a leg now, which is where it is looked up; a wallet is not learnt from it."""
        terms = self._case.terms
        rule = terms.super_payee if leg_type is LegType.SUPER_FEE else None
        if leg_type is LegType.OPERATOR_SPLIT:
            rule = next((rule for rule in terms.rules if rule.label == label), None)
        return PayeeIdentity(PayeeKind.WALLET, None) if rule is None else rule.identity

    def _free_name(self, sale: Settlement, revision: int, leg: str) -> str:
        """The leg's own name; where a leg had it that was voided, the name with a number."""
        names = (leg, *(f"{leg}:{number}" for number in range(2, 100)))
        key = legs.leg_key
        return next(name for name in names if rows.name_is_free(self._conn, sale.machine_id, key(sale, revision, name)))

    def _open_legs(self) -> list[OpenLeg]:
        asked: dict[int, list[OwnInvoice]] = {}
        for invoice in rows.may_be_paid(self._conn, [self._id]):
            asked.setdefault(invoice.payment_id, []).append(invoice)
        stopped_at = rows.pause(self._conn, self._case.machine.id).stopped_at
        still = stopped_at is not None and self._case.by.now - stopped_at >= STOPPED_S
        return [
            OpenLeg(
                leg.id,
                leg.leg,
                leg.revision,
                leg.amount_sats,
                unpaid=all(self._is_unpaid(invoice, still=still) for invoice in asked.get(leg.id, [])),
            )
            for leg in rows.open_legs(self._conn, self._id)
            if not rows.is_known_paid(self._conn, str(leg.payment_hash))
        ]

    def _is_unpaid(self, invoice: OwnInvoice, *, still: bool) -> bool:
        """What these books may have sent is only proven unpaid when a request can no more be under way (`still`)."""
        return self._case.is_unpaid(invoice.payment_hash) and (still or not invoice.begun)

    def _void(self, leg_id: int) -> None:
        leg, _ = legs.get(self._conn, leg_id)
        rows.void(self._conn, leg, {"reconciled": "unpaid, and paid otherwise"}, self._case.by.now)

    def _retain(self, entries: Sequence[Retained]) -> None:
        sale = settlements.get(self._conn, self._id)
        settlements.retain(self._conn, self._id, sale.revision, entries, self._case.by.now)


def _fiat_minor(amount_sats: int, rate: Decimal, currency: str) -> int:
    return sats_to_minor(amount_sats, rate, currency) if rate else 0
