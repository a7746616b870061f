"""Proves that legs are unpaid and stay so, before a person's decision replaces the daemon's (docs/lnbits.md).

First their invoices are withdrawn (by a mark without them, so that no other copy of these books, and no other daemon,
pays one). Then both sides are read, and then the machine's wallet for anything else that was paid. Apart from the mark,
this only reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol

from satmachine.config import Config, Machine
from satmachine.errors import ConfigError, Refused, WalletRefused
from satmachine.models import Answer, HoldReason, Leg, LegInvoice, LegStatus
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.correct.correction_rules import why_not_unpaid
from satmachine.settlements.pay.marker import outgoing
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.store import corrections, legs
from satmachine.store.database import Store
from satmachine.store.wallet_rows import Outgoing
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment

#: A payment that the wallet has called pending for so long: the payee may be asked about it.
ASK_AFTER_S = 3_600
#: So long after its invoice has expired no node of the network holds a payment any more: the longest lock that nodes
#: take is 2016 blocks, two weeks; and a day for slow ones.
GIVEN_UP_S = 15 * 86_400


class Pays(Protocol):
    """The payer, as far as a person's orders need it."""

    async def look_up(self, leg_id: int) -> View | None:
        """What both wallets show. Raises WalletError, ConfigError, Refused where one cannot be asked any more."""
        ...

    async def withdraw(self, leg_ids: Sequence[int], sale: tuple[str, str] | None = None) -> None:
        """No daemon pays these legs' invoices any more, nor a sale (machine, bundle) that is stopped as a whole.
        Raises WalletError, ConfigError, Refused."""
        ...


class Unpaid:
    """What the wallets say about legs that a person wants to stop or redirect."""

    def __init__(
        self, store: Store, lnbits: Lnbits, payer: Pays, config: Callable[[], Config], now: Callable[[], int]
    ) -> None:
        self._store = store
        self._lnbits = lnbits
        self._payer = payer
        self._config = config
        self._now = now

    async def withdrawn(
        self, machine_id: str, bundle: str | None, unpaid: Sequence[Leg], *, sale: bool = False
    ) -> ProvenUnpaid:
        """Withdraw what is not paid, and prove it. Raises Refused, naming the leg whose fate is not proven.

        `bundle` None: of a sale that is not proven, of which nothing can have been paid. `sale`: the bundle is one,
        which is stopped as it is, planned or not. It is proven twice: what is plainly under way keeps its invoice, and
        its mark.
        """
        await self.prove(machine_id, bundle, unpaid)
        await self.withdraw(unpaid, (machine_id, bundle) if sale and bundle is not None else None)
        return await self.prove(machine_id, bundle, unpaid)

    async def withdraw(self, stopped: Sequence[Leg], sale: tuple[str, str] | None = None) -> None:
        """No daemon, and no other life of these books, pays the invoices of these legs any more."""
        await self._payer.withdraw([leg.id for leg in stopped], sale)

    async def prove(self, machine_id: str, bundle: str | None, unpaid: Sequence[Leg]) -> ProvenUnpaid:
        """Read both sides of every leg, and then whatever else its bundle shows. Raises Refused."""
        views = {leg.id: await self._look_up(leg) for leg in unpaid}
        for leg in unpaid:
            view = views[leg.id]
            why = None if view is None else why_not_unpaid(view, sent=await self._may_be_under_way(leg))
            if why is not None:
                raise Refused(
                    f"{named(leg)} is not proven unpaid: {why}. Nothing was changed; {_what_helps(leg, view)}"
                )
        # Last, whatever else was paid: without an invoice in these books, or in another life of them.
        for row in [] if bundle is None else await self.paid_for(machine_id, bundle):
            if not await self._store.read(_is_accounted_for, machine_id, row.payment_hash):
                raise Refused(
                    f"the machine's wallet shows a payment that these books do not have as completed ({row.leg_key}). "
                    f"Nothing was changed; {_what_decides(machine_id, unpaid, row)}"
                )
        return ProvenUnpaid(
            {leg.id: leg for leg in unpaid}, {leg_id: _evidence(view) for leg_id, view in views.items()}
        )

    async def require_person(self, leg: Leg, *, paid: bool) -> None:
        """A held leg waits for a person's word; another one only where a wallet cannot be asked any more, has forgotten
        its payment, or says pending for too long. Raises Refused where the daemon settles it by itself,
        WalletUnavailable where a wallet does not answer just now."""
        if leg.status is LegStatus.HELD:
            return
        _, invoice = await self._store.read(legs.get, leg.id)
        marked = invoice is not None and invoice.dead_at is None and invoice.marked_at is not None
        if leg.status not in legs.OPEN or not (marked or _may_be_paid(invoice)):
            raise Refused(f"{named(leg)} is {leg.status}, and nothing of it was sent: there is nothing to resolve")
        try:
            view = await self._payer.look_up(leg.id)
        except (Refused, WalletRefused, ConfigError):
            return
        assert invoice is not None
        if view is not None and view.forgotten:
            return
        if view is not None and view.destination is None and view.source is Sighting.PENDING:
            self._require_long_pending(leg, invoice, paid=paid)
            return
        raise Refused(
            f"{named(leg)} is {leg.status}, and both wallets can be asked: the daemon settles it by what they show. "
            f"`satmachine payments retry {leg.id}` looks now"
        )

    def _require_long_pending(self, leg: Leg, invoice: LegInvoice, *, paid: bool) -> None:
        """A payment to elsewhere can hang for weeks: as long as the network may hold it, nothing but the payee's word
        ends it, and only as paid."""
        since = self._now() - (invoice.sent_at or invoice.asked_at)  # not sent by these books: not before it was made
        if paid and since >= ASK_AFTER_S:
            return
        if not paid and self._is_given_up(invoice):
            return
        raise Refused(
            f"{named(leg)} is on its way: the wallet says pending, for {since // 60} minutes by now. Where that lasts, "
            f"ask the payee: once they have it, `satmachine payments resolve {leg.id} --paid`. Have whoever runs "
            "LNbits ask its node: when LNbits shows it as failed, the daemon goes on by itself. `--unpaid` is taken "
            f"{GIVEN_UP_S // 86_400} days after its invoice has expired, when no node can hold it any more"
        )

    def _is_given_up(self, invoice: LegInvoice) -> bool:
        return invoice.expires_at is not None and self._now() > invoice.expires_at + GIVEN_UP_S

    async def require_no_debit(self, leg: Leg) -> Outgoing | None:
        """Raises Refused where the machine's wallet shows that the leg's invoice was paid, or is being paid. Returns
        the payment that it says is pending, where no node can hold that any more."""
        _, invoice = await self._store.read(legs.get, leg.id)
        if invoice is None or invoice.payment_hash is None:
            return None
        rows = await self._lnbits.payments(self.key(leg.machine_id), payment_hash=invoice.payment_hash)
        moved = outgoing(rows)
        if not moved:
            return None
        if moved[0].status == "pending" and not moved[0].inside and self._is_given_up(invoice):
            return moved[0]
        raise Refused(f"{named(leg)}: the machine's wallet shows a payment of its invoice; it is not unpaid")

    async def paid_for(self, machine_id: str, bundle: str) -> list[WalletPayment]:
        """The wallet's payments of this bundle that have moved sats, or still may."""
        found = await self._lnbits.bundle(self.key(machine_id), bundle)
        return [row for row in found if row.outgoing and row.status is not Answer.FAILURE]

    def machine(self, machine_id: str) -> Machine:
        """Raises Refused for one that the file no longer has."""
        return self._config().required_machine(machine_id)

    def key(self, machine_id: str) -> str:
        """The key of a machine's wallet. Raises Refused, ConfigError."""
        return self.machine(machine_id).wallet.admin_key.resolve(self._config().environ)

    async def _look_up(self, leg: Leg) -> View | None:
        """None where no invoice of it was ever sent that could still be paid: then the wallet's own list is enough."""
        _, invoice = await self._store.read(legs.get, leg.id)
        if not _may_be_paid(invoice):
            return None
        try:
            return await self._payer.look_up(leg.id)
        except (Refused, WalletRefused, ConfigError) as error:
            why = "; ".join(error.problems) if isinstance(error, ConfigError) else str(error)
            raise Refused(
                f"{named(leg)} was sent, and its payee's wallet cannot be asked any more ({why}). Ask the payee, then "
                f"decide: `satmachine payments resolve {leg.id} --unpaid`, or --paid. Nothing was changed"
            ) from None

    async def _may_be_under_way(self, leg: Leg) -> bool:
        """Whether a request to pay the leg went out of which LNbits has not certainly said the end."""
        _, invoice = await self._store.read(legs.get, leg.id)
        sent = invoice is not None and invoice.sent_at is not None
        return sent and leg.status in (LegStatus.SENDING, LegStatus.HELD)


def _what_helps(leg: Leg, view: View | None) -> str:
    if view is None or not view.forgotten:
        return "try again in a few minutes"
    return (
        f"ask the payee. Once they have it: `satmachine payments resolve {leg.id} --paid`; "
        f"where it never came: `satmachine payments resolve {leg.id} --unpaid`"
    )


def _what_decides(machine_id: str, stopped: Sequence[Leg], row: WalletPayment) -> str:
    """How the books get to know of a payment that the wallet shows."""
    for leg in stopped:
        if leg.leg_key == row.leg_key and leg.hold_reason == HoldReason.UNORDERED:
            return (
                f"where its amount and payee are right, `satmachine payments approve {leg.id}` books it by what "
                "the wallets show"
            )
        if leg.payment_hash == row.payment_hash:  # and its payee's wallet, where it would be looked up, is another now
            return (
                f"it was made for {named(leg)}, whose payee's wallet cannot be asked any more: ask the payee. Once "
                f"they have it: `satmachine payments resolve {leg.id} --paid`"
            )
    return (
        "within a few minutes they have it, or it waits for you: "
        f"`satmachine machines reconcile {machine_id}` shows what you are to decide"
    )


def named(leg: Leg) -> str:
    """A leg in a sentence."""
    of_sale = "" if leg.settlement_id is None else f" of sale {leg.settlement_id}"
    return f"payment {leg.id}{of_sale}"


def _may_be_paid(invoice: LegInvoice | None) -> bool:
    """Whether an invoice was sent that is not proven dead. An invoice that was only made is withdrawn, and then nobody
    pays it."""
    return (
        invoice is not None
        and invoice.payment_hash is not None
        and invoice.dead_at is None
        and invoice.sent_at is not None
    )


def _is_accounted_for(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> bool:
    return corrections.is_completed(conn, payment_hash) or payment_hash in corrections.accepted_payments(
        conn, machine_id
    )


def _evidence(view: View | None) -> dict[str, object] | None:
    if view is None:
        return None
    return {"source": view.source, "destination": view.destination, "expired": view.expired}
