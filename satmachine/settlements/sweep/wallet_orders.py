"""Carries out people's orders about a machine's wallet, in the daemon: read it now, make an invoice that funds it.

The daemon has the keys (systemd may hand them to nobody else), so it does both. Neither moves a sat.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from satmachine import identity
from satmachine.config import Config, Machine
from satmachine.errors import Refused
from satmachine.orders import MakeTopUp, Order, SweepNow
from satmachine.settlements.sweep import topups
from satmachine.settlements.sweep.sweeper import Sweeper
from satmachine.store import audit_log as audit
from satmachine.store import incoming, intent_rows
from satmachine.store.database import Store
from satmachine.store.incoming import TopUp
from satmachine.store.intent_rows import Ended, OpenOrder
from satmachine.wallet.lnbits import Lnbits

#: How long the invoice of a top-up can be paid.
TOP_UP_EXPIRY_S = 86_400


class WalletOrders:
    """Sweep now, make a top-up's invoice."""

    def __init__(
        self, store: Store, lnbits: Lnbits, sweeper: Sweeper, config: Callable[[], Config], now: Callable[[], int]
    ) -> None:
        self._store = store
        self._lnbits = lnbits
        self._sweeper = sweeper
        self._config = config
        self._now = now

    @property
    def actions(self) -> Mapping[type[Order], Callable[[OpenOrder, Any], Awaitable[Ended]]]:
        """What the desk can have done here."""
        return {SweepNow: self.sweep, MakeTopUp: self.top_up}

    async def sweep(self, asked: OpenOrder, order: SweepNow) -> Ended:
        """A whole sweep, and what it found."""
        machine = self._machine(order.machine_id)
        found = await self._sweeper.sweep_now(machine.id)
        if found is None:
            raise Refused(
                f"the wallet of {machine.id} could not be read; `satmachine machines show {machine.id}` says why"
            )
        told = f"{machine.id}: {found.landed} sale(s) landed from its wallet, {found.unmatched} payment(s) newly listed"
        if found.look_again_at is not None:
            told += f"; what it may still announce is looked at again in {self._wait_s(found.look_again_at)} s"
        if found.safe_mode is not None:
            told += f"; it is in safe mode: {found.safe_mode}"
        return await self._store.write(intent_rows.carry_out, asked.id, lambda _: told, self._now())

    async def top_up(self, asked: OpenOrder, order: MakeTopUp) -> Ended:
        """Make the invoice, and keep what it is before anybody is shown it."""
        made = await self.make_top_up(order.machine_id, order.topup_id, order.amount_sats, order.note, asked.actor)
        return await self._store.write(intent_rows.carry_out, asked.id, partial(_keep, made=made), self._now())

    async def make_top_up(self, machine_id: str, topup_id: str, amount_sats: int, note: str, made_by: str) -> TopUp:
        """An invoice of the machine's wallet that says what it is. Nothing is written. Raises Refused, WalletError."""
        machine = self._machine(machine_id)
        admin_key = machine.wallet.admin_key.resolve(self._config().environ)
        if not self._sweeper.is_verified(machine.id, admin_key) and await self._sweeper.sweep_now(machine.id) is None:
            raise Refused(
                f"the wallet of {machine.id} could not be read; `satmachine machines show {machine.id}` says why"
            )
        invoice = await self._lnbits.create_invoice(
            admin_key,
            amount_sats=amount_sats,
            memo=f"Top-up of {machine.name}" + (f": {note}" if note else ""),
            expiry_s=TOP_UP_EXPIRY_S,
            extra={
                "tag": identity.tag(machine.npub),
                **topups.extra_of(machine.id, topup_id, amount_sats, admin_key),
            },
            external_id=topups.topup_key(machine.id, topup_id),
            internal=False,
        )
        return TopUp(
            machine_id=machine.id,
            payment_hash=invoice.payment_hash,
            id=topup_id,
            amount_sats=amount_sats,
            made_at=self._now(),
            made_by=made_by,
            note=note,
            expires_at=invoice.expires_at,
            bolt11=invoice.bolt11,
        )

    def _machine(self, machine_id: str) -> Machine:
        machine = self._config().machine(machine_id)
        if machine is None:
            raise Refused(f"machine {machine_id} is not in the configuration that is in force")
        return machine

    def _wait_s(self, at: int) -> int:
        return max(1, at - self._now())


def _keep(conn: sqlite3.Connection, made: TopUp) -> str:
    incoming.add_top_up(conn, made)
    audit.record(
        conn,
        now=made.made_at,
        actor=made.made_by,
        action="machines.top_up",
        subject=f"machine {made.machine_id}",
        machine_id=made.machine_id,
        reason=made.note,
        after={"payment_hash": made.payment_hash, "amount_sats": made.amount_sats},
    )
    return f"an invoice of {made.amount_sats} sats for the wallet of {made.machine_id} is made"
