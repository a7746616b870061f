"""Marks that another life of these books has written: what they stopped is not paid before a person has decided."""

from __future__ import annotations

from collections.abc import Sequence

from satmachine import identity
from satmachine.identity import BalanceLeg
from satmachine.models import HoldReason
from satmachine.settlements.reconcile.machine_case import MachineCase, sale_key
from satmachine.settlements.reconcile.reconcile_rules import MarkLine, heads, revisions, withdrawn
from satmachine.settlements.reconcile.sale import STOPPED_S
from satmachine.store import legs, settlements
from satmachine.store import reconciling as rows
from satmachine.store.reconciling import FoundMark


class ForeignMarks:
    """Those in one machine's wallet."""

    def __init__(self, case: MachineCase) -> None:
        self._case = case
        self._conn = case.conn
        self._machine = case.machine
        self._by = case.by

    def decide(self) -> list[MarkLine]:
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
