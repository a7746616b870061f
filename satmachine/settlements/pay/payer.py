"""Pay legs, each exactly once (SPEC section 6, docs/lnbits.md "The protocol").

Two steps. Both continue a leg from its present state; the code is the same after a crash and in normal running:

    prepare   legs of one bundle, or of several of one wallet, get their invoices, all are stored in one transaction,
              and for each bundle a mark that names them is written into the paying wallet and seen there (marker.py)
    advance   one leg whose invoice is marked: send it if the wallets do not show it yet, and resolve its fate

Each state is committed before the next call to a wallet. What happened to a payment is read from both sides (the
destination first) and decided by `transition.decide`. One answer is trusted without looking: LNbits' own 201 `success`
for a payment inside itself, which comes after both of its commits (`PayAnswer.settled`, for `PROVEN_VERSIONS`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from random import SystemRandom

import anyio

from satmachine.clients.forward import plan_autoforward
from satmachine.config import Config
from satmachine.errors import ConfigError, Refused, WalletRefused, WalletUnavailable
from satmachine.failpoints import failpoint
from satmachine.identity import PayeeKind
from satmachine.models import Cause, Leg, LegStatus, Proof, leg_types
from satmachine.settlements.pay.both_sides import BothSides, Sides
from satmachine.settlements.pay.forward_check import foreign_source
from satmachine.settlements.pay.invoicing import ExternalPayees, Invoicer, PayeeWallets, keep_invoices
from satmachine.settlements.pay.jobs import Job, Jobs, Stuck, leg_name
from satmachine.settlements.pay.marker import FRESH_S, Marker, Purse, RolledBack, Standoff
from satmachine.settlements.pay.seal_check import Strange, beyond, strange
from satmachine.settlements.pay.transition import Decision, Sighting, Step, View, decide
from satmachine.settlements.pay.waiting import Waiting
from satmachine.store import legs, settlements
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Invoice, Lnbits, PayAnswer
from satmachine.wallet.rows import WalletPayment

log = logging.getLogger(__name__)

_random_fraction = SystemRandom().random

#: How long, and how often, a puzzling view is looked at again before a person is called.
LOOKS = 3
LOOK_AGAIN_S = 10.0

#: LNbits that were shown, with a pause between its two commits, to answer `success` only after the second.
PROVEN_VERSIONS = frozenset({"1.4.2", "1.5.6", "1.6.2"})


class Superseded(Exception):
    """The leg's state changed while it was worked on; what it is now decides what happens next."""


class NotOrdered(Exception):
    """The daemon itself did not order this payment in the form that is in the books: it is held."""

    def __init__(self, found: Strange) -> None:
        self.found = found
        super().__init__(found.text)


class Payer:
    """Pays legs. Holds no state that matters: everything is in the store."""

    def __init__(
        self,
        store: Store,
        lnbits: Lnbits,
        external: ExternalPayees,
        config: Callable[[], Config],
        now: Callable[[], int],
        *,
        marker: Marker | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        random_fraction: Callable[[], float] = _random_fraction,
        is_verified: Callable[[str, str], bool] = lambda _machine_id, _key: True,
    ) -> None:
        """`is_verified(machine id, admin key)`: whether a sweep has seen that the key is of the machine's wallet."""
        self._store = store
        self._lnbits = lnbits
        self._config = config
        self._now = now
        self._sleep = sleep
        self._jobs = Jobs(store, config, is_verified=is_verified)
        self._invoicer = Invoicer(lnbits, external, self._jobs, config)
        self._waiting = Waiting(store, now, random_fraction)
        self.marker = marker or Marker(store, lnbits, config, now, sleep=sleep)
        self._both_sides = BothSides(lnbits, self._jobs, self.marker, now)
        self.payee_wallets = PayeeWallets(store, lnbits, config, now)

    # --- prepare

    async def prepare(self, leg_ids: Sequence[int]) -> None:
        """Give legs of bundles that one wallet pays invoices that may be paid. What fails concerns only its own leg; a
        mark that fails, its bundle's."""
        ready: list[tuple[Job, Invoice | None]] = []
        begun, began_at = set[str](), anyio.current_time()
        for leg_id in leg_ids:
            job = await self._jobs.of(leg_id)
            if job.leg.status not in legs.OPEN:
                continue
            if begun and job.bundle not in begun and anyio.current_time() - began_at > FRESH_S:
                continue  # LNbits is slow: the others should not wait for this one; it is still due
            begun.add(job.bundle)
            try:
                await self._require_own_source(job, self._jobs.admin_key(job))
                needs_one = job.invoice is None or job.invoice.dead_at is not None
                if needs_one:  # of what has an invoice the fate is read first; it is asked again before it is sent
                    await self._require_ordered(job)
                ready.append((job, await self._invoicer.ask(job) if needs_one else None))
            except (WalletUnavailable, WalletRefused, ConfigError, Stuck) as trouble:
                await self._waiting.after(leg_id, trouble)
            except NotOrdered as unordered:
                await self._waiting.hold_unordered(job.leg, unordered.found)
        if not ready:
            return
        failpoint("pay.asked")
        refused = await self._store.write(keep_invoices, ready, self._now())
        failpoint("pay.invoiced")
        for leg_id, stuck in refused.items():
            await self._waiting.after(leg_id, stuck)
        await self._mark([job for job, _ in ready if job.leg.id not in refused])

    async def _mark(self, jobs: Sequence[Job]) -> None:
        wrong: dict[str, Exception] = {}
        purses: dict[str, Purse] = {}
        for job in jobs:
            try:
                purses.setdefault(job.bundle, self._jobs.purse(job))
            except (WalletUnavailable, ConfigError, Stuck) as trouble:
                wrong[job.bundle] = trouble
        for key in {purse.admin_key for purse in purses.values()}:  # one, unless it is replaced at this moment
            wrong |= await self.marker.establish([purse for purse in purses.values() if purse.admin_key == key])
        for job in jobs:
            if job.bundle in wrong:
                await self._waiting.after(job.leg.id, wrong[job.bundle])

    async def _require_own_source(self, job: Job, key: str) -> None:
        """A forward is paid from the wallet that got the share, never from a machine's. Raises Stuck, WalletError."""
        if job.leg.leg_type in leg_types.PAID_BY_LP:
            why = await foreign_source(self._store, self._lnbits, job.leg, key)
            if why is not None:
                raise Stuck(Cause.NO_PAYEE, why)

    async def _require_ordered(self, job: Job) -> None:
        """Raises NotOrdered where the daemon itself has not planned exactly this (seal_check.py)."""
        found = await self._store.read(strange, job.leg, job.invoice)
        if found is not None:
            raise NotOrdered(found)

    # --- advance

    async def advance(self, leg_id: int) -> LegStatus:
        """Take a marked leg as far as it goes now; returns how it stands. Raises nothing that a wallet can cause."""
        job = await self._jobs.of(leg_id)
        if job.leg.status not in legs.OPEN:
            return job.leg.status
        try:
            await self._advance(job)
        except (WalletUnavailable, WalletRefused, ConfigError, Stuck, Standoff) as trouble:
            await self._waiting.after(leg_id, trouble)
        except RolledBack:
            await self._waiting.hold_rolled_back(job.leg)
        except NotOrdered as unordered:
            await self._waiting.hold_unordered(job.leg, unordered.found)
        except Superseded:
            log.info("leg %d is not sent now: it was paused, held, stopped or changed meanwhile", leg_id)
        return await self._report(leg_id)

    async def _advance(self, job: Job) -> None:
        assert job.invoice is not None, "a marked leg has its invoice"
        answer = None
        if job.invoice.sent_at is None and job.leg.status is LegStatus.INVOICED:
            # Nobody has sent this invoice from these books: there is nothing to resolve yet.
            answer = await self._send(job)
            if await self._settled(job, answer):
                return
        await self._resolve(job, answer)

    async def _send(self, job: Job) -> PayAnswer:
        """Look at the bundle, commit the intent, then pay."""
        invoice = job.invoice
        assert invoice is not None
        assert invoice.bolt11 is not None
        key = self._jobs.admin_key(job)
        if job.leg.payee_kind is not PayeeKind.INVOICE:
            self._jobs.payee(job)  # still whom it was planned for
        await self.marker.look_unless_fresh(self._jobs.purse(job))
        await self._require_ordered(job)
        if (found := await self._store.read(beyond, job.leg, invoice, self.marker.paid(job.bundle))) is not None:
            raise NotOrdered(found)
        paused = self._config().payouts.paused  # since this leg was taken up: the red button holds at once
        if paused or not await self._store.write(legs.mark_sending, job.leg, now=self._now()):
            raise Superseded
        failpoint("pay.sending")
        if not self.marker.is_fresh(job.bundle):
            raise WalletUnavailable("this host slept, or was slow, between the look at the wallet and the payment")
        answer = await self._lnbits.pay(
            key,
            invoice.bolt11,
            extra=self._jobs.extra(job),
            external_id=job.leg.leg_key,
            may_go=lambda: self.marker.is_fresh(job.bundle),  # other calls, or a rate limit, may keep it waiting
        )
        failpoint("pay.sent")
        return answer

    async def _settled(self, job: Job, answer: PayAnswer) -> bool:
        """Complete by LNbits' own answer, where that proves both of its commits."""
        row, invoice = answer.settled, job.invoice
        if row is None or invoice is None or self._lnbits.version not in PROVEN_VERSIONS:
            return False
        ours = row.payment_hash == invoice.payment_hash and job.source_id in (None, row.wallet_id)
        exact = row.amount_sats == invoice.amount_sats and row.fee_msat == 0
        if not ours or not exact or (invoice.internal and row.amount_sats != job.leg.amount_sats):
            return False
        failpoint("pay.resolved")
        await self._complete(job, row, Proof.ANSWER)
        return True

    async def _resolve(self, job: Job, answer: PayAnswer | None) -> None:
        """Read, decide, act; bounded by the number of looks. Sends at most once, and not if it was (`answer`)."""
        for look in range(1, LOOKS + 2):
            sides = await self._both_sides.look(job)
            await self._note_shown(job, sides)
            decision = decide(self._both_sides.view(job, sides, last_look=look > LOOKS))
            if decision.step is Step.PAY and answer is None:
                answer = await self._send(job)
                if await self._settled(job, answer):
                    return
                continue
            if decision.step is not Step.LOOK_AGAIN:
                failpoint("pay.resolved")
                await self._act(job, sides, decision, answer)
                return
            await self._sleep(LOOK_AGAIN_S)
        raise WalletUnavailable("the payment's fate is not clear yet; it is looked up again")

    async def _note_shown(self, job: Job, sides: Sides) -> None:
        """Keep that the paying wallet shows a payment elsewhere: once it does not any more, LNbits has forgotten it."""
        invoice = job.invoice
        if invoice is not None and not invoice.internal and sides.source is not None and invoice.shown_at is None:
            await self._store.write(legs.note_shown, job.leg, now=self._now())

    async def _act(self, job: Job, sides: Sides, decision: Decision, answer: PayAnswer | None) -> None:
        leg = job.leg
        if decision.step is Step.COMPLETE:
            assert sides.source is not None
            internal = job.invoice is not None and job.invoice.internal
            await self._complete(job, sides.source, Proof.BOTH_SIDES if internal else Proof.PREIMAGE)
        elif decision.step is Step.HOLD:
            assert decision.reason is not None
            await self._waiting.hold(leg, decision.reason, sides.evidence)
        elif decision.step is Step.RENEW:
            if not await self._both_sides.remembers(job):
                raise RolledBack
            await self._store.write(legs.mark_invoice_dead, leg, now=self._now())
            error = "the invoice can no longer be paid; a new one is made"
            await self._waiting.try_later(leg.id, LegStatus.FAILED, Cause.INVOICE_DEAD, error)
        elif decision.step is Step.PAY:
            assert answer is not None, "it was sent, and neither wallet shows it"
            # Only where LNbits has ended the request is "not there" final; else it may still be at it.
            # An earlier request that was not seen to end may be under way, whatever became of this one.
            ended = answer.ended and leg.status is not LegStatus.SENDING
            status = LegStatus.FAILED if ended else LegStatus.SENDING
            cause = Cause.NO_FUNDS if "insufficient" in answer.detail.lower() else Cause.NOT_PAID
            error = f"not paid: {answer.detail}; it is tried again"
            await self._waiting.try_later(leg.id, status, cause, error, at_least_s=answer.retry_after_s or 0)
        else:
            error = "on its way: the wallet says pending"
            await self._waiting.try_later(leg.id, LegStatus.SENDING, Cause.ON_ITS_WAY, error)

    async def _complete(self, job: Job, source: WalletPayment, proof: Proof) -> None:
        await self._store.write(
            complete_leg,
            job.leg,
            sent_sats=source.amount_sats,
            fee_sats=source.fee_sats,
            preimage=source.preimage,
            proof=proof,
            now=self._now(),
        )
        failpoint("pay.completed")

    async def _report(self, leg_id: int) -> LegStatus:
        leg, _ = await self._store.read(legs.get, leg_id)
        if leg.settlement_id is not None:
            await self._store.write(settlements.refresh_status, leg.settlement_id, self._now())
        if leg.status is LegStatus.COMPLETED:
            log.info("%s: paid %d sats to %s", leg_name(leg), leg.amount_sats, leg.payee)
        failpoint("pay.reported")
        return leg.status

    # --- what a person's order asks first

    async def look_up(self, leg_id: int) -> View | None:
        """What both wallets show of a leg's latest invoice, read only; None where it never had one.

        Raises WalletError, ConfigError, and Refused where the payee's wallet cannot be asked any more.
        """
        job = await self._jobs.of(leg_id)
        if job.invoice is None:
            return None
        try:
            view = self._both_sides.view(job, await self._both_sides.look(job), last_look=True)
            unseen = view.destination is None and view.source in (Sighting.ABSENT, Sighting.FAILED)
            return replace(view, forgotten=True) if unseen and not await self._both_sides.remembers(job) else view
        except Stuck as stuck:
            raise Refused(f"leg {job.leg.leg}: {stuck.detail}") from None

    async def withdraw(self, leg_ids: Sequence[int], sale: tuple[str, str] | None = None) -> None:
        """No daemon pays these legs' invoices any more, as far as a mark can see to it (`Marker.withdraw`).

        `sale`: the machine and the bundle of a sale that is stopped as a whole, planned or not.
        Raises WalletError, ConfigError, and Refused where the wallet shows what these books do not know.
        """
        jobs = [await self._jobs.of(leg_id) for leg_id in leg_ids]
        may_be_under_way = False
        try:
            stopped: dict[str, tuple[Purse, list[str]]] = {}
            for job in jobs:
                _, keys = stopped.setdefault(job.bundle, (self._jobs.purse(job), []))
                keys.append(job.leg.leg_key)
            if sale is not None and sale[1] not in stopped:
                stopped[sale[1]] = (await self._jobs.purse_of(*sale), [sale[1]])
            for purse, keys in stopped.values():
                may_be_under_way |= await self.marker.withdraw(purse, keys)
        except (Standoff, Stuck) as why:
            raise Refused(f"{why}. No payment was changed") from None
        if may_be_under_way:
            await self._sleep(self.marker.under_way_s)


def complete_leg(
    conn: sqlite3.Connection,
    leg: Leg,
    *,
    sent_sats: int,
    fee_sats: int,
    preimage: str | None,
    proof: Proof,
    now: int,
) -> bool:
    """Complete the leg, retain what an external payee's reserve left over, refresh its sale, plan its forward: all in
    one transaction, so that a crash can lose none of it.

    A person's decision (`correct/vouched.py`) and reconciling complete legs by themselves; nothing is forwarded then.
    False where the leg was final already: then nothing is written.
    """
    if not legs.complete(conn, leg, sent_sats=sent_sats, fee_sats=fee_sats, preimage=preimage, proof=proof, now=now):
        return False
    settlements.retain_reserve(conn, leg, leg.amount_sats - sent_sats - fee_sats, now)
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, now)
    plan_autoforward(conn, leg, sent_sats=sent_sats, now=now)
    return True
