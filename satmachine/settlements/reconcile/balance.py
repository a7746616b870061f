"""Payouts of LPs' balances that are missing in the books: taken off the balance, by what the payment says."""

from __future__ import annotations

from decimal import Decimal

from satmachine import identity
from satmachine.errors import Refused
from satmachine.identity import BalanceLeg
from satmachine.models import Leg, LegStatus, LegType
from satmachine.money import minor_to_fiat
from satmachine.settlements.pay import adoption
from satmachine.settlements.reconcile.machine_case import (
    MachineCase,
    adopt,
    as_found,
    looked_up,
    rate_of,
    unknown_client,
    who,
)
from satmachine.settlements.reconcile.reconcile_rules import Resolution, booked_sats
from satmachine.store import audit_log as audit
from satmachine.store import balances, client_legs, clients
from satmachine.store import reconciling as rows
from satmachine.store.reconciling import Booking, Found


class BalanceCase:
    """The balances of one machine's LPs."""

    def __init__(self, case: MachineCase) -> None:
        self._case = case
        self._conn = case.conn
        self._machine = case.machine
        self._by = case.by

    def of_label(self, payment: Found, label: str) -> None:
        """A payment to the LP with this label."""
        client_id = rows.client_by_label(self._conn, self._machine.id, label)
        if client_id is None:
            self._case.line(payment, Resolution.WAITS, unknown_client(self._machine.id, label))
        else:
            self.book(payment, client_id)

    def book(self, payment: Found, client_id: int) -> None:
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

    def refuse_overdrafts(self) -> None:
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
