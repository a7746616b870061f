"""Does the work that the books say is due: prove, plan, pay (SPEC section 5).

Crash-only: the database says what is due, and a wake-up only saves waiting. The memory holds only which rows are being
worked on right now, so that none is taken twice. Every row is a task of its own: a slow or failing one never delays
another, and a machine takes no more than its share of the places.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import SystemRandom

import anyio

from satmachine import identity
from satmachine.config import Config, Machine
from satmachine.errors import ConfigError, WalletError, WalletUnavailable
from satmachine.failpoints import failpoint
from satmachine.models import HoldReason, Settlement
from satmachine.settlements.claim.content import names_a_sale
from satmachine.settlements.pay.jobs import bundle_of
from satmachine.settlements.pay.marker import Purse, Standoff
from satmachine.settlements.pay.payer import Payer
from satmachine.settlements.pay.waiting import backoff_s
from satmachine.settlements.plan.planning import Bounds, Outcome, plan_settlement, terms_for
from satmachine.settlements.prove.verdict import NotYet, Proven, Refuted, judge
from satmachine.store import legs, settlements
from satmachine.store import wallet_rows as wallets
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import require_wallet

log = logging.getLogger(__name__)

_random_fraction = SystemRandom().random

#: Rows that one payee of a machine, one machine, and all machines together, may have in work at a time.
PER_PAYEE = 2
PER_MACHINE = 4
#: Rows that one server of external payees may have in work, of all machines: one that hangs leaves others room.
PER_HOST = 4
IN_WORK = 32
#: Due rows that are looked at for free places; per machine and payee enough to find one that is not in work.
_DUE = 512
#: How long the loop sleeps at the most when nothing wakes it.
IDLE_S = 5.0
#: How far before an event the payment of a sale without payment hash is looked for.
_SEARCH_BACK_S = 86_400


@dataclass(frozen=True, slots=True)
class Work:
    """Work that is due: a "settlement" to prove or plan, a marked "leg" to pay, or a "bundle" of legs to prepare.

    `id` is the row's, of a bundle the first leg's; `leg_ids` are the legs that it has in hand.
    """

    kind: str
    id: int
    machine_id: str
    settlement_id: int | None
    payee: str = ""
    host: str = ""
    leg_ids: tuple[int, ...] = ()

    @property
    def rows(self) -> list[tuple[str, int]]:
        """The rows that nobody else may work on during this time."""
        return [("leg", leg_id) for leg_id in self.leg_ids] or [(self.kind, self.id)]


class Worker:
    """The loop that prove, plan and pay run in."""

    def __init__(
        self,
        store: Store,
        lnbits: Lnbits,
        payer: Payer,
        config: Callable[[], Config],
        now: Callable[[], int],
        *,
        guard: Callable[[Work, Callable[[], Awaitable[None]]], Awaitable[None]],
        is_verified: Callable[[str, str], bool] = lambda _machine_id, _key: True,
    ) -> None:
        """`is_verified(machine id, admin key)`: whether a sweep has seen that the key is of the machine's wallet.

        `guard` runs one item and keeps a surprise in it from ending the loop (the daemon's)."""
        self._store = store
        self._lnbits = lnbits
        self._payer = payer
        self._config = config
        self._now = now
        self._guard = guard
        self._is_verified = is_verified
        self._wake = anyio.Event()
        self._in_work: dict[tuple[str, int], Work] = {}
        self._aside: set[int] = set()
        self._swept: set[str] = set()
        self._finishing = False
        self._ended = anyio.Event()

    def wake(self) -> None:
        """Something was committed that may be due now."""
        self._wake.set()

    def may_pay(self, machine_id: str) -> None:
        """This machine's wallet was swept in this run: payments that are not in these books are known."""
        self._swept.add(machine_id)
        self.wake()

    async def finish(self) -> None:
        """Begin nothing more, and return when what is in work has ended."""
        self._finishing = True
        while self._in_work:
            await self._ended.wait()

    @asynccontextmanager
    async def set_aside(self, settlement_id: int) -> AsyncIterator[None]:
        """Keep a sale and its legs out of work while the block runs; it begins when none of them is in work.

        So a correction cannot race a payment. It is enough in memory: this daemon is the only payer.
        """
        self._aside.add(settlement_id)
        try:
            while any(item.settlement_id == settlement_id for item in self._in_work.values()):
                await self._ended.wait()
            yield
        finally:
            self._aside.discard(settlement_id)
            self.wake()

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                self._wake = anyio.Event()
                for item in [] if self._finishing else await self._take():
                    group.start_soon(self._work, item)
                with anyio.move_on_after(IDLE_S):
                    await self._wake.wait()

    async def _take(self) -> list[Work]:
        """Due rows for the free places: a payee or a machine that hangs never takes all places."""
        may_pay = frozenset() if self._config().payouts.paused else frozenset(self._swept)
        due = await self._store.read(_due, self._now(), may_pay)
        at_work = set(self._in_work.values())
        of_machine = Counter(item.machine_id for item in at_work)
        of_payee = Counter((item.machine_id, item.payee) for item in at_work)
        of_host = Counter(item.host for item in at_work if item.host)
        taken: list[Work] = []
        for item in due:
            payee = (item.machine_id, item.payee)
            full = of_machine[item.machine_id] >= PER_MACHINE or (item.payee and of_payee[payee] >= PER_PAYEE)
            full = full or of_host[item.host] >= PER_HOST or len(at_work) + len(taken) >= IN_WORK
            if full or item.settlement_id in self._aside or any(row in self._in_work for row in item.rows):
                continue
            self._in_work.update(dict.fromkeys(item.rows, item))
            of_machine[item.machine_id] += 1
            of_payee[payee] += 1
            if item.host:
                of_host[item.host] += 1
            taken.append(item)
        return taken

    async def _work(self, item: Work) -> None:
        try:
            await self._guard(item, lambda: self._do(item))
        finally:
            for row in item.rows:
                del self._in_work[row]
            self._ended.set()
            self._ended = anyio.Event()
            self.wake()

    async def _do(self, item: Work) -> None:
        """A sale comes here three times: as `settlement` (it is proven and planned), as `bundle` (its legs get invoices
        and a mark), and once for each `leg` (it is paid). What is due next is asked of the books after each."""
        if item.kind == "leg":
            await self._payer.advance(item.id)
            return
        if item.kind == "bundle":
            await self._payer.prepare(item.leg_ids)
            return
        settlement = await self._store.read(settlements.get, item.id)
        machine = self._config().machine(settlement.machine_id)
        if settlement.status != "pending":
            return
        if machine is None:
            await self._postpone(settlement, "its machine is no longer in the configuration", at_least_s=60)
            return
        try:
            if settlement.proof == "waiting":
                if not await self._prove(settlement, machine):
                    return
            elif not await self._is_still_proven(settlement, machine):
                return
            await self._plan(item.id, machine)
        except (WalletError, ConfigError) as error:
            at_least_s = error.retry_after_s or 0 if isinstance(error, WalletUnavailable) else 0
            await self._postpone(settlement, str(error), at_least_s=at_least_s)

    # --- prove

    async def _prove(self, settlement: Settlement, machine: Machine) -> bool:
        """Ask the wallet; True once the settlement is proven, or needs no proof."""
        if not self._config().payouts.require_payment_proof:
            key = identity.waived_settlement_key(settlement.payment_hash, settlement.txid, settlement.bitspire_event_id)
            return await self._mark_proven(settlement, None, key, settlement.occurred_at, "waived")
        payment_hash = settlement.payment_hash or await self._find_hash(settlement, machine)
        if payment_hash is None:
            verdict: Proven | NotYet | Refuted = NotYet("the event has no payment_hash, and no payment names it")
        else:
            rows = await self._lnbits.payments(self._key(machine), payment_hash=payment_hash)
            require_wallet(rows, await self._store.read(wallets.wallet_id, machine.id), machine.id)
            verdict = judge(settlement, rows, machine, machine.payouts_since)
        if isinstance(verdict, Proven):
            return await self._mark_proven(
                settlement, verdict.payment_hash, verdict.payment_hash, verdict.occurred_at, "proven"
            )
        if isinstance(verdict, Refuted):
            await self._hold(settlement, verdict.reason, verdict.detail, payment_seen=True)
        elif self._now() - settlement.landed_at >= self._config().payouts.proof_wait_s:
            reason = HoldReason.PAYMENT_NOT_FOUND if payment_hash else HoldReason.NO_PAYMENT_HASH
            await self._hold(settlement, reason, verdict.detail)
        else:
            await self._postpone(settlement, f"waiting for the customer's payment: {verdict.detail}")
        return False

    async def _is_still_proven(self, settlement: Settlement, machine: Machine) -> bool:
        """The file says that a sale was proven, but others may write to the file: unless it was proven a moment ago,
        the wallet is asked again before the sale is planned."""
        if settlement.planned_at is not None or not self._config().payouts.require_payment_proof:
            return True
        key = settlement.settlement_key or ""
        verdict: Proven | NotYet | Refuted = NotYet("its proof was waived, and payment proof is required now")
        if settlement.proof == "proven":
            rows = await self._lnbits.payments(self._key(machine), payment_hash=key)
            require_wallet(rows, await self._store.read(wallets.wallet_id, machine.id), machine.id)
            verdict = judge(settlement, rows, machine, machine.payouts_since)
        if isinstance(verdict, Proven) and verdict.payment_hash == key:
            return True
        reason = verdict.reason if isinstance(verdict, Refuted) else HoldReason.PAYMENT_NOT_FOUND
        detail = "these books call it proven, but " + getattr(verdict, "detail", "the wallet shows another payment")
        await self._hold(settlement, reason, detail)
        return False

    async def _find_hash(self, settlement: Settlement, machine: Machine) -> str | None:
        """The payment whose `extra` names this sale's txid or event; None if none does, or more than one."""
        event_ids = await self._store.read(settlements.event_ids, settlement.id)
        found = set()
        since = max(settlement.occurred_at - _SEARCH_BACK_S, machine.payouts_since)
        async for page in self._lnbits.iter_payments(self._key(machine), incoming=True, created_since=since):
            found |= {
                row.payment_hash for row in page if names_a_sale(row.extra, txid=settlement.txid, event_ids=event_ids)
            }
        return found.pop() if len(found) == 1 else None

    async def _mark_proven(
        self, settlement: Settlement, payment_hash: str | None, key: str, occurred_at: int, proof: str
    ) -> bool:
        taken = await self._store.read(settlements.id_of_key, settlement.machine_id, key)
        if taken not in (None, settlement.id):
            await self._hold(settlement, HoldReason.PAYMENT_MISMATCH, f"this payment is already sale {taken}'s")
            return False
        proven = await self._store.write(
            settlements.mark_proven,
            settlement,
            payment_hash=payment_hash,
            settlement_key=key,
            occurred_at=occurred_at,
            proof=proof,
            now=self._now(),
        )
        failpoint("prove.committed")
        return proven

    # --- plan

    async def _plan(self, settlement_id: int, machine: Machine) -> None:
        """Before a settlement's first leg, the wallet is asked for everything that was ever paid for this sale."""
        settlement = await self._store.read(settlements.get, settlement_id)
        if settlement.status != "pending" or settlement.settlement_key is None or settlement.planned_at is not None:
            return
        due_at = settlement.occurred_at + machine.payout_delay_s
        if due_at > self._now():
            waits = f"it waits for payout_delay_s = {machine.payout_delay_s}: time to hold it, should the machine jam"
            await self._store.write(settlements.postpone, settlement_id, until=due_at, error=waits)
            return
        bundle = identity.sale_bundle(settlement.settlement_key)
        wallet_id = await self._store.read(wallets.wallet_id, machine.id)
        purse = Purse(machine.id, wallet_id, self._key(machine), identity.tag(machine.npub), bundle)
        try:
            await self._payer.marker.look(purse)
        except Standoff as standoff:
            await self._hold(settlement, HoldReason.UNKNOWN_PAYMENTS, str(standoff))
            return
        await self._payer.payee_wallets.learn(machine.id)
        terms = terms_for(self._config(), machine.id)
        bounds = Bounds(
            machine.max_commission_pct,
            machine.max_rate_deviation,
            machine.daily_limit_sats,
            machine.rate_min,
            machine.rate_max,
            machine.hold_on_error,
        )
        outcome = await self._store.write(plan_settlement, settlement_id, terms, bounds, self._now())
        failpoint("plan.committed")
        if outcome is not None:
            _report_plan(outcome, machine)

    # --- helpers

    def _key(self, machine: Machine) -> str:
        """The machine's key, once a sweep has seen that it is of the machine's own wallet."""
        key = machine.wallet.admin_key.resolve(self._config().environ)
        if not self._is_verified(machine.id, key):
            raise WalletUnavailable("the machine's wallet key is new; nothing is believed before it was looked at")
        self._store.keyring.learn(machine.id, key)
        return key

    async def _hold(
        self, settlement: Settlement, reason: HoldReason, detail: str, *, payment_seen: bool = False
    ) -> None:
        await self._store.write(settlements.hold, settlement.id, reason=reason, error=detail, payment_seen=payment_seen)
        log.error("settlement %d of %s is held: %s", settlement.id, settlement.machine_id, detail)

    async def _postpone(self, settlement: Settlement, error: str, *, at_least_s: float = 0) -> None:
        wait_s = max(at_least_s, min(backoff_s(settlement.attempts, _random_fraction()), 60))
        until = self._now() + max(1, round(wait_s))
        await self._store.write(settlements.postpone, settlement.id, until=until, error=error)
        if settlement.attempts == 0:
            log.warning("settlement %d of %s: %s", settlement.id, settlement.machine_id, error)


def _due(conn: sqlite3.Connection, now: int, may_pay: frozenset[str]) -> list[Work]:
    """What is due, settlements first: planning is quick and makes legs."""
    waiting = settlements.due_to_prove(conn, now, per_machine=2 * PER_MACHINE, limit=_DUE)
    payers = legs.machines_with_open_legs(conn) & may_pay
    payable = legs.due(conn, now, payers, per_payee=2 * PER_PAYEE, limit=_DUE) if payers else []
    items = [Work("settlement", row.id, row.machine_id, row.id) for row in waiting]
    return items + _bundled(payable)


def _bundled(payable: Sequence[legs.DueLeg]) -> list[Work]:
    """Marked legs one by one; the others by bundle, so that one mark serves all wallets of this LNbits. An external
    payee is prepared on its own: its server may be slow."""
    items: list[Work] = []
    groups: dict[tuple[str, str, str], list[legs.DueLeg]] = {}
    for leg in payable:
        if leg.marked:
            items.append(Work("leg", leg.id, leg.machine_id, leg.settlement_id, leg.payee, leg_ids=(leg.id,)))
            continue
        lane = "" if leg.payee_kind is identity.PayeeKind.WALLET else leg.payee
        groups.setdefault((leg.machine_id, bundle_of(leg.leg_key, leg.leg_type), lane), []).append(leg)
    for (machine_id, _, lane), group in groups.items():
        ids = tuple(leg.id for leg in group)
        host = lane.rpartition("@")[2]
        items.append(Work("bundle", ids[0], machine_id, group[0].settlement_id, lane, host, ids))
    return items


def _report_plan(outcome: Outcome, machine: Machine) -> None:
    settlement = outcome.settlement
    if outcome.held is not None:
        log.error("settlement %d of %s is held: %s", settlement.id, machine.id, settlement.error or outcome.held)
        return
    log.info("settlement %d of %s: %d sats planned", settlement.id, machine.id, settlement.gross_sats)
    if settlement.retained_sats:
        # Whether that is as it should be, the books say sale by sale; what needs a person is on the list of `status`.
        log.info("settlement %d of %s: %d sats stay in the wallet", settlement.id, machine.id, settlement.retained_sats)
