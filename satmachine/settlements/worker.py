"""Does the work that the books say is due: prove, plan, pay (SPEC section 5).

Crash-only: the database says what is due, and a wake-up only saves waiting. The memory holds only which rows are being
worked on right now, so that none is taken twice. Every payment is a task of its own: a slow or failing one never delays
another, and a machine takes no more than its share of the places. Sales of a machine that wait at the same time are
proven, planned and marked together, because they can share a look at its wallet. They share nothing else: a list for
several can only show too little, so what it lacks is asked for alone.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import TypeAlias

import anyio

from satmachine import identity
from satmachine.config import Config, Machine
from satmachine.errors import ConfigError, WalletError, WalletLied, WalletUnavailable
from satmachine.failpoints import failpoint
from satmachine.models import HoldReason, Settlement
from satmachine.settlements.claim.content import names_a_sale
from satmachine.settlements.pay.jobs import bundle_of
from satmachine.settlements.pay.marker import Purse, Standoff
from satmachine.settlements.pay.payer import Payer
from satmachine.settlements.pay.waiting import backoff_s
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.plan.planning import Bounds, Outcome, plan_settlement, terms_for
from satmachine.settlements.prove.verdict import NotYet, Proven, Refuted, judge
from satmachine.store import legs, settlements, wallet_rows
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment, require_wallet

log = logging.getLogger(__name__)

#: Rows of a wallet by payment hash.
_Shown: TypeAlias = dict[str, list[WalletPayment]]

_random_fraction = SystemRandom().random

#: Rows that one payee of a machine, one machine, and all machines together, may have in work at a time.
PER_PAYEE = 2
PER_MACHINE = 4
#: Sales and payouts of a machine that are proven, planned or marked together: one look at its wallet serves all.
TOGETHER = 8
#: As many invoices are asked for in one go as LNbits makes in this time. It is well below `marker.FRESH_S`: what was
#: looked at together should be paid before it has to be looked at again.
_SOON_S = 4.0
#: And never more legs than this: the query names each bundle.
_MOST_LEGS = 64
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
    """Work that is due: sales ("settlement") to prove or plan, a marked "leg" to pay, or a "bundle" of legs to prepare,
    or several.

    `ids` are the rows', of a bundle its legs'; `sales` the sales that they belong to. `alone`: never with others.
    """

    kind: str
    ids: tuple[int, ...]
    machine_id: str
    sales: frozenset[int]
    payee: str = ""
    host: str = ""
    alone: bool = True

    @property
    def rows(self) -> list[tuple[str, int]]:
        """The rows that nobody else may work on during this time."""
        return [("settlement" if self.kind == "settlement" else "leg", id_) for id_ in self.ids]

    def __str__(self) -> str:
        return f"{self.kind} {', '.join(map(str, self.ids))}"


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
            while any(settlement_id in item.sales for item in self._in_work.values()):
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
        free = [item for item in due if not item.sales & self._aside and self._in_work.keys().isdisjoint(item.rows)]
        at_work = set(self._in_work.values())
        of_machine = Counter(item.machine_id for item in at_work)
        of_payee = Counter((item.machine_id, item.payee) for item in at_work)
        of_host = Counter(item.host for item in at_work if item.host)
        taken: list[Work] = []
        for item in _together(free, min(_MOST_LEGS, int(_SOON_S / (self._lnbits.latency_s or _SOON_S)))):
            payee = (item.machine_id, item.payee)
            full = of_machine[item.machine_id] >= PER_MACHINE or (item.payee and of_payee[payee] >= PER_PAYEE)
            full = full or of_host[item.host] >= PER_HOST or len(at_work) + len(taken) >= IN_WORK
            if full:
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
            await self._payer.advance(*item.ids)
            return
        if item.kind == "bundle":
            await self._payer.prepare(item.ids)
            return
        machine = self._config().machine(item.machine_id)
        sales = [await self._store.read(settlements.get, id_) for id_ in item.ids]
        pending = [sale for sale in sales if sale.status == "pending"]
        if machine is None:
            for sale in pending:
                await self._postpone(sale, "its machine is no longer in the configuration", at_least_s=60)
            return
        proven: list[Settlement] = []
        async with self._or_later(pending):
            shown = await self._customers_payments(pending, machine)
            for sale in pending:
                async with self._or_later([sale]):
                    if await self._is_proven(sale, machine, shown):
                        proven.append(sale)
        await self._plan(proven, machine)

    @asynccontextmanager
    async def _or_later(self, sales: Sequence[Settlement]) -> AsyncIterator[None]:
        """Where the wallet, or a key, fails: these are tried again a little later."""
        try:
            yield
        except (WalletError, ConfigError) as error:
            at_least_s = error.retry_after_s or 0 if isinstance(error, WalletUnavailable) else 0
            for sale in sales:
                await self._postpone(sale, str(error), at_least_s=at_least_s)

    # --- prove

    async def _customers_payments(self, sales: Sequence[Settlement], machine: Machine) -> _Shown:
        """What the wallet shows of the customers' payments of several sales, in one look, by payment hash."""
        named = (sale.settlement_key if sale.proof == "proven" else sale.payment_hash for sale in sales)
        hashes = {payment_hash for payment_hash in named if payment_hash is not None}
        shown: _Shown = {}
        if len(hashes) > 1 and self._config().payouts.require_payment_proof:
            try:
                for row in await self._lnbits.payments(self._key(machine), payment_hashes=hashes):
                    shown.setdefault(row.payment_hash, []).append(row)
            except WalletLied:  # each is asked for by itself
                shown.clear()
        return shown

    async def _rows_of(self, payment_hash: str, machine: Machine, shown: _Shown) -> Sequence[WalletPayment]:
        """The rows of one payment. What a look at several did not show is asked for by itself: only that proves that
        it is not there."""
        rows = shown.get(payment_hash) or await self._lnbits.payments(self._key(machine), payment_hash=payment_hash)
        require_wallet(rows, await self._store.read(wallet_rows.wallet_id, machine.id), machine.id)
        return rows

    async def _is_proven(self, settlement: Settlement, machine: Machine, shown: _Shown) -> bool:
        prove = self._prove if settlement.proof == "waiting" else self._is_still_proven
        return await prove(settlement, machine, shown)

    async def _prove(self, settlement: Settlement, machine: Machine, shown: _Shown) -> bool:
        """Ask the wallet; True once the settlement is proven, or needs no proof."""
        if not self._config().payouts.require_payment_proof:
            key = identity.waived_settlement_key(settlement.payment_hash, settlement.txid, settlement.bitspire_event_id)
            return await self._mark_proven(settlement, None, key, settlement.occurred_at, "waived")
        payment_hash = settlement.payment_hash or await self._find_hash(settlement, machine)
        if payment_hash is None:
            verdict: Proven | NotYet | Refuted = NotYet("the event has no payment_hash, and no payment names it")
        else:
            rows = await self._rows_of(payment_hash, machine, shown)
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

    async def _is_still_proven(self, settlement: Settlement, machine: Machine, shown: _Shown) -> bool:
        """The file says that a sale was proven, but others may write to the file: unless it was proven a moment ago,
        the wallet is asked again before the sale is planned. So it is where proof was waived, and is required now."""
        if settlement.planned_at is not None or not self._config().payouts.require_payment_proof:
            return True
        key = settlement.settlement_key or ""
        verdict: Proven | NotYet | Refuted = NotYet("its proof was waived, and payment proof is required now")
        if settlement.payment_hash == key:
            rows = await self._rows_of(key, machine, shown)
            verdict = judge(settlement, rows, machine, machine.payouts_since)
        if isinstance(verdict, Proven) and verdict.payment_hash == key:
            if settlement.proof == "proven":
                return True
            return await self._mark_proven(settlement, key, key, verdict.occurred_at, "proven")
        reason = verdict.reason if isinstance(verdict, Refuted) else HoldReason.PAYMENT_NOT_FOUND
        detail = getattr(verdict, "detail", "the wallet shows another payment")
        if settlement.proof == "proven":
            detail = f"these books call it proven, but {detail}"
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

    async def _plan(self, sales: Sequence[Settlement], machine: Machine) -> None:
        """Before a settlement's first leg, the wallet is asked for everything that was ever paid for this sale."""
        found = [(judged, await self._store.read(settlements.get, judged.id)) for judged in sales]
        same = [sale for judged, sale in found if sale.revision == judged.revision]
        due = [sale for sale in same if await self._may_be_planned(sale, machine)]
        if not due:
            return
        async with self._or_later(due):
            key, wallet_id = self._key(machine), await self._store.read(wallet_rows.wallet_id, machine.id)
            tag = identity.tag(machine.npub)
            purses = {
                sale.id: Purse(machine.id, wallet_id, key, tag, bundle) for sale in due if (bundle := sale.bundle)
            }
            wrong = await self._payer.marker.look(list(purses.values()))
            await self._payer.payee_wallets.learn(machine.id)
            for sale in due:
                async with self._or_later([sale]):
                    await self._make_legs(sale, machine, wrong.get(purses[sale.id].bundle))

    async def _may_be_planned(self, sale: Settlement, machine: Machine) -> bool:
        if sale.status != "pending" or sale.settlement_key is None or sale.planned_at is not None:
            return False
        due_at = sale.occurred_at + machine.payout_delay_s
        if due_at <= self._now():
            return True
        waits = f"it waits for payout_delay_s = {machine.payout_delay_s}: time to hold it, should the machine jam"
        await self._store.write(settlements.postpone, sale.id, until=due_at, error=waits)
        return False

    async def _make_legs(self, sale: Settlement, machine: Machine, wrong: Exception | None) -> None:
        """Plan it, if nothing was `wrong` in the look at the wallet."""
        if isinstance(wrong, Standoff):
            await self._hold(sale, HoldReason.UNKNOWN_PAYMENTS, str(wrong))
            return
        if wrong is not None:
            raise wrong
        terms = terms_for(self._config(), machine.id)
        bounds = Bounds(
            machine.max_commission_pct,
            machine.max_rate_deviation,
            machine.daily_limit_sats,
            machine.rate_min,
            machine.rate_max,
            machine.hold_on_error,
        )
        outcome = await self._store.write(_plan_as_judged, sale, terms, bounds, self._now())
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
    waiting = settlements.due_to_prove(conn, now, per_machine=2 * TOGETHER, limit=_DUE)
    payers = legs.machines_with_open_legs(conn) & may_pay
    payable = legs.due(conn, now, payers, per_payee=2 * TOGETHER, limit=_DUE) if payers else []
    sales = [
        Work(
            "settlement",
            (row.id,),
            row.machine_id,
            frozenset({row.id}),
            alone=row.payment_hash is None or row.attempts > 0,  # what names no payment has to be searched for
        )
        for row in waiting
    ]
    return sales + _bundled(payable)


def _bundled(payable: Sequence[legs.DueLeg]) -> list[Work]:
    """Marked legs one by one; the others by bundle, so that one mark serves all wallets of this LNbits. An external
    payee is prepared on its own: its server may be slow."""
    items: list[Work] = []
    groups: dict[tuple[str, str, str], list[legs.DueLeg]] = {}
    for leg in payable:
        if leg.marked:
            items.append(Work("leg", (leg.id,), leg.machine_id, _sales([leg]), leg.payee))
            continue
        lane = "" if leg.payee_kind is identity.PayeeKind.WALLET else leg.payee
        groups.setdefault((leg.machine_id, bundle_of(leg.leg_key, leg.leg_type), lane), []).append(leg)
    for (machine_id, _, lane), group in groups.items():
        ids = tuple(leg.id for leg in group)
        alone = bool(lane) or any(leg.attempts for leg in group)
        items.append(Work("bundle", ids, machine_id, _sales(group), lane, lane.rpartition("@")[2], alone=alone))
    return items


def _sales(payable: Sequence[legs.DueLeg]) -> frozenset[int]:
    return frozenset(leg.settlement_id for leg in payable if leg.settlement_id is not None)


def _together(items: Sequence[Work], most_legs: int) -> list[Work]:
    """Work of the same kind for the same machine as one, if it need not be alone; it stands where its first item stood.

    At most TOGETHER sales or payouts, because each has its name in the address of the look, and `most_legs` legs. What
    has failed is alone from then on: so one that LNbits cannot answer for does not stop the others for long.
    """
    joined: list[Work] = []
    open_at: dict[tuple[str, str], tuple[int, int]] = {}  # its place, and of how many it is
    for item in items:
        if item.alone:
            joined.append(item)
            continue
        at, size = open_at.get((item.kind, item.machine_id), (0, TOGETHER))
        if size < TOGETHER:
            both = replace(joined[at], ids=joined[at].ids + item.ids, sales=joined[at].sales | item.sales)
            if both.kind == "settlement" or len(both.ids) <= most_legs:
                joined[at] = both
                open_at[item.kind, item.machine_id] = at, size + 1
                continue
        open_at[item.kind, item.machine_id] = len(joined), 1
        joined.append(item)
    return joined


def _plan_as_judged(
    conn: sqlite3.Connection, judged: Settlement, terms: Terms, bounds: Bounds, now: int
) -> Outcome | None:
    """Not where an event has brought other figures since the wallet was asked: then it is asked again."""
    if settlements.get(conn, judged.id).revision != judged.revision:
        return None
    return plan_settlement(conn, judged.id, terms, bounds, now)


def _report_plan(outcome: Outcome, machine: Machine) -> None:
    settlement = outcome.settlement
    if outcome.held is not None:
        log.error("settlement %d of %s is held: %s", settlement.id, machine.id, settlement.error or outcome.held)
        return
    log.info("settlement %d of %s: %d sats planned", settlement.id, machine.id, settlement.gross_sats)
    if settlement.retained_sats:
        # Whether that is as it should be, the books say sale by sale; what needs a person is on the list of `status`.
        log.info("settlement %d of %s: %d sats stay in the wallet", settlement.id, machine.id, settlement.retained_sats)
