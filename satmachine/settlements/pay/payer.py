"""Pay legs, each exactly once (SPEC section 6, docs/lnbits.md "The protocol").

Two steps. Both continue a leg from its present state; the code is the same after a crash and in normal running:

    prepare   legs of one bundle get their invoices, all are stored in one transaction, and a mark that names them is
              written into the paying wallet and seen there (marker.py)
    advance   one leg whose invoice is marked: send it if the wallets do not show it yet, and resolve its fate

Each state is committed before the next call to a wallet. What happened to a payment is read from both sides (the
destination first) and decided by `transition.decide`. One answer is trusted without looking: LNbits' own 201 `success`
for a payment inside itself, which comes after both of its commits (`PayAnswer.settled`, for `PROVEN_VERSIONS`).
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import SystemRandom

import anyio

from satmachine import identity
from satmachine.config import Config, Secret
from satmachine.errors import ConfigError, Refused, WalletRefused, WalletUnavailable
from satmachine.failpoints import failpoint
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Answer, Cause, HoldReason, Leg, LegStatus, LegType, Proof, Retained, RetainedReason
from satmachine.settlements.pay.completion import complete_leg
from satmachine.settlements.pay.forward_check import foreign_source
from satmachine.settlements.pay.invoicing import MIN_RESERVE_SATS, ExternalPayees, Invoicer
from satmachine.settlements.pay.jobs import Job, Jobs, Stuck, changed_payee, leg_name
from satmachine.settlements.pay.marker import Marker, Purse, RolledBack, Standoff
from satmachine.settlements.pay.seal_check import Strange, beyond, strange
from satmachine.settlements.pay.transition import Decision, Sighting, Step, View, decide
from satmachine.settlements.plan.named_payees import client_payee, wallets_named
from satmachine.store import clients, corrections, legs, payees, settlements, wallets
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Invoice, Lnbits, PayAnswer
from satmachine.wallet.rows import WalletPayment, require_wallet

log = logging.getLogger(__name__)

_random_fraction = SystemRandom().random

#: How long, and how often, a puzzling view is looked at again before a person is called.
LOOKS = 3
LOOK_AGAIN_S = 10.0

#: Nobody's clock is further off than this when an invoice is said to have expired.
EXPIRY_MARGIN_S = 600

#: Waits between tries: doubling from the first to the last, with jitter.
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 600.0

#: An autoforward that failed so often (about an hour) is not tried again on its own.
FORWARD_TRIES = 12

#: LNbits that were shown, with a pause between its two commits, to answer `success` only after the second.
PROVEN_VERSIONS = frozenset({"1.4.2", "1.5.6", "1.6.2"})

#: What a person may mend outside of satmachine, so that it is tried again now and then.
_MAY_PASS = frozenset({Cause.PAYEE_CHANGED, Cause.NO_PAYEE, Cause.PAYEE_UNREACHABLE, Cause.NO_FUNDS})

_SIGHTINGS = {Answer.SUCCESS: Sighting.SUCCESS, Answer.PENDING: Sighting.PENDING, Answer.FAILURE: Sighting.FAILED}


@dataclass(frozen=True, slots=True)
class Sides:
    """What both wallets showed about one invoice."""

    source: WalletPayment | None
    destination: WalletPayment | None


class Superseded(Exception):
    """The leg's state changed while it was worked on; what it is now decides what happens next."""


class NotOrdered(Exception):
    """The daemon itself did not order this payment in the form that is in the books: it is held."""

    def __init__(self, found: Strange) -> None:
        self.too_much = found.too_much
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
        self._random_fraction = random_fraction
        self._jobs = Jobs(store, config, is_verified=is_verified)
        self._invoicer = Invoicer(lnbits, external, self._jobs, config)
        self._learning = anyio.Lock()
        self.marker = marker or Marker(store, lnbits, config, now, sleep=sleep)

    # --- prepare

    async def prepare(self, leg_ids: Sequence[int]) -> None:
        """Give legs of one bundle invoices that may be paid. What fails concerns only its own leg, but for the mark."""
        ready: list[tuple[Job, Invoice | None]] = []
        for leg_id in leg_ids:
            job = await self._jobs.of(leg_id)
            if job.leg.status not in legs.OPEN:
                continue
            try:
                await self._require_own_source(job, self._jobs.admin_key(job))
                needs_one = job.invoice is None or job.invoice.dead_at is not None
                if needs_one:  # of what has an invoice the fate is read first; it is asked again before it is sent
                    await self._require_ordered(job)
                ready.append((job, await self._invoicer.ask(job) if needs_one else None))
            except (WalletUnavailable, WalletRefused, ConfigError, Stuck) as trouble:
                await self._trouble(leg_id, trouble)
            except NotOrdered as found:
                await self._hold_strange(job.leg, found)
        if not ready:
            return
        failpoint("pay.asked")
        refused = await self._store.write(_keep_invoices, ready, self._now())
        failpoint("pay.invoiced")
        for leg_id, stuck in refused.items():
            await self._trouble(leg_id, stuck)
        marked = [job.leg.id for job, _ in ready if job.leg.id not in refused]
        if not marked:
            return
        try:
            await self.marker.establish(self._purse(ready[0][0]))
        except (WalletUnavailable, WalletRefused, ConfigError, Stuck, Standoff) as trouble:
            for leg_id in marked:
                await self._trouble(leg_id, trouble)

    async def _require_own_source(self, job: Job, key: str) -> None:
        """A forward is paid from the wallet that got the share, never from a machine's. Raises Stuck, WalletError."""
        if job.leg.leg_type is LegType.AUTOFORWARD:
            why = await foreign_source(self._store, self._lnbits, job.leg, key)
            if why is not None:
                raise Stuck(Cause.NO_PAYEE, why)

    async def _require_ordered(self, job: Job) -> None:
        """Raises NotOrdered where the daemon itself has not planned exactly this (seal_check.py)."""
        found = await self._store.read(strange, job.leg, job.invoice)
        if found is not None:
            raise NotOrdered(found)

    async def _hold_strange(self, leg: Leg, found: NotOrdered) -> None:
        await self._store.write(_hold_unordered, leg, found, self._now())
        log.error("%s is held: %s", leg_name(leg), found)

    async def learn_payees(self, machine_id: str) -> None:
        """Before a sale is planned: which wallets its payees are, so that another key under a name shows later.

        Raises WalletUnavailable: a payee that LNbits might tell in a moment is not left unknown.
        """
        named = wallets_named(self._config(), machine_id)
        if not await self._store.read(payees.unknown_wallets, machine_id, named):
            return
        async with self._learning:  # the next sale of this machine need not ask again
            for scope in await self._store.read(payees.unknown_wallets, machine_id, named):
                await self._learn_payee(scope, named.get(scope))

    async def _learn_payee(self, scope: str, key: Secret | None) -> None:
        if key is None:
            client_id = int(scope.removeprefix("client:"))
            key = client_payee(await self._store.read(clients.payee_of, client_id)).invoice_key
        wallet_id = None if key is None else await self._invoicer.wallet_of(key)
        if wallet_id is not None:
            await self._store.write(payees.learn, scope, PayeeIdentity(PayeeKind.WALLET, wallet_id), self._now())

    # --- advance

    async def advance(self, leg_id: int) -> LegStatus:
        """Take a marked leg as far as it goes now; returns how it stands. Raises nothing that a wallet can cause."""
        job = await self._jobs.of(leg_id)
        if job.leg.status not in legs.OPEN:
            return job.leg.status
        try:
            await self._advance(job)
        except (WalletUnavailable, WalletRefused, ConfigError, Stuck, Standoff) as trouble:
            await self._trouble(leg_id, trouble)
        except RolledBack:
            text = "LNbits has forgotten the mark of this sale: it was restored from a backup, or the row was deleted"
            await self._store.write(_hold_leg, job.leg, HoldReason.WALLET_ROLLED_BACK, text, {})
            log.error("%s is held: %s", leg_name(job.leg), text)  # noqa: TRY400 - the message says it all
        except NotOrdered as found:
            await self._hold_strange(job.leg, found)
        except Superseded:
            log.info("leg %d was changed by somebody else while it was worked on", leg_id)
        return await self._report(leg_id)

    async def look_up(self, leg_id: int) -> View | None:
        """What both wallets show of a leg's latest invoice, read only; None where it never had one.

        Raises WalletError, ConfigError, and Refused where the payee's wallet cannot be asked any more.
        """
        job = await self._jobs.of(leg_id)
        if job.invoice is None:
            return None
        try:
            view = self._view(job, await self._look(job), last_look=True)
            if view.destination is None and view.source in (Sighting.ABSENT, Sighting.FAILED):
                await self._require_memory(job)
        except RolledBack:
            return replace(view, forgotten=True)
        except Stuck as stuck:
            raise Refused(f"leg {job.leg.leg}: {stuck.detail}") from None
        return view

    async def withdraw(self, leg_ids: Sequence[int], sale: tuple[str, str] | None = None) -> None:
        """No daemon pays these legs' invoices any more, as far as a mark can see to it (`Marker.withdraw`).

        `sale`: the machine and the bundle of a sale that is stopped as a whole, planned or not.
        Raises WalletError, ConfigError, and Refused where the wallet shows what these books do not know.
        """
        jobs = [await self._jobs.of(leg_id) for leg_id in leg_ids]
        may_be_under_way = False
        try:
            stopped = {job.bundle: (self._purse(job), [job.leg.leg_key]) for job in reversed(jobs)}
            for job in jobs:
                stopped[job.bundle][1].append(job.leg.leg_key)
            if sale is not None and sale[1] not in stopped:
                stopped[sale[1]] = (await self._purse_of(*sale), [sale[1]])
            for purse, keys in stopped.values():
                may_be_under_way |= await self.marker.withdraw(purse, keys)
        except (Standoff, Stuck) as why:
            raise Refused(f"{why}. Nothing was changed") from None
        if may_be_under_way:
            await self._sleep(self.marker.under_way_s)

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
        await self.marker.look_unless_fresh(self._purse(job))
        await self._require_ordered(job)
        if (found := await self._store.read(beyond, job.leg, invoice, self.marker.paid(job.bundle))) is not None:
            raise NotOrdered(found)
        paused = self._config().payouts.paused  # since this leg was taken up: the red button holds at once
        if paused or not await self._store.write(legs.mark_sending, job.leg, now=self._now()):
            raise Superseded
        failpoint("pay.sending")
        if not self.marker.is_fresh(job.bundle):
            raise WalletUnavailable("this host slept, or was slow, between the look at the wallet and the payment")
        answer = await self._lnbits.pay(key, invoice.bolt11, extra=self._jobs.extra(job), external_id=job.leg.leg_key)
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
            sides = await self._look(job)
            await self._note_shown(job, sides)
            decision = decide(self._view(job, sides, last_look=look > LOOKS))
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

    async def _act(self, job: Job, sides: Sides, decision: Decision, answer: PayAnswer | None) -> None:
        leg = job.leg
        if decision.step is Step.COMPLETE:
            assert sides.source is not None
            internal = job.invoice is not None and job.invoice.internal
            await self._complete(job, sides.source, Proof.BOTH_SIDES if internal else Proof.PREIMAGE)
        elif decision.step is Step.HOLD:
            assert decision.reason is not None
            await self._hold(job, sides, decision.reason)
        elif decision.step is Step.RENEW:
            await self._require_memory(job)
            await self._store.write(legs.mark_invoice_dead, leg, now=self._now())
            error = "the invoice can no longer be paid; a new one is made"
            await self._wait(leg.id, LegStatus.FAILED, Cause.INVOICE_DEAD, error)
        elif decision.step is Step.PAY:
            assert answer is not None, "it was sent, and neither wallet shows it"
            # Only where LNbits has ended the request is "not there" final; else it may still be at it.
            # An earlier request that was not seen to end may be under way, whatever became of this one.
            ended = answer.ended and leg.status is not LegStatus.SENDING
            status = LegStatus.FAILED if ended else LegStatus.SENDING
            cause = Cause.NO_FUNDS if "insufficient" in answer.detail.lower() else Cause.NOT_PAID
            error = f"not paid: {answer.detail}; it is tried again"
            await self._wait(leg.id, status, cause, error, at_least_s=answer.retry_after_s or 0)
        else:
            error = "on its way: the wallet says pending"
            await self._wait(leg.id, LegStatus.SENDING, Cause.ON_ITS_WAY, error)

    # --- looking

    async def _look(self, job: Job) -> Sides:
        """The destination first: only then does "not at the source" prove anything (docs/lnbits.md)."""
        invoice = job.invoice
        assert invoice is not None
        assert invoice.payment_hash is not None
        destination = None
        if invoice.internal:
            destination = await self._look_at_destination(job, invoice.payment_hash, invoice.wallet_id)
        rows = await self._lnbits.payments(self._jobs.admin_key(job), payment_hash=invoice.payment_hash)
        source = next((row for row in rows if row.outgoing), None)
        if source is not None and job.source_id is not None:
            require_wallet([source], job.source_id, job.machine.id)
        return Sides(source, destination)

    async def _look_at_destination(self, job: Job, payment_hash: str, wallet_id: str | None) -> WalletPayment | None:
        key = self._jobs.payee_key(job)
        rows = await self._lnbits.payments(key, payment_hash=payment_hash)
        destination = next((row for row in rows if row.incoming), None)
        if destination is not None and wallet_id in (None, destination.wallet_id):
            return destination
        # Not there: has LNbits forgotten it, or does the key lead to another wallet by now?
        found = await self._lnbits.wallet_of(key)
        moved = wallet_id is not None and found != wallet_id
        first = None if job.invoice is None else job.invoice.mark_id
        if moved and (found is not None or await self.marker.is_there(self._purse(job), first)):
            raise Stuck(Cause.PAYEE_CHANGED, changed_payee(job.leg, "another wallet"))
        return None

    async def _note_shown(self, job: Job, sides: Sides) -> None:
        """Keep that the paying wallet shows a payment elsewhere: once it does not any more, LNbits has forgotten it."""
        invoice = job.invoice
        if invoice is not None and not invoice.internal and sides.source is not None and invoice.shown_at is None:
            await self._store.write(legs.note_shown, job.leg, now=self._now())

    async def _require_memory(self, job: Job) -> None:
        """Before a sent invoice is given up for dead because its payment is nowhere, or failed: an LNbits that was
        restored from an older copy has forgotten payments, and one that is sent again fails *because* it was paid.
        Then the mark that first named the invoice is not there any more (a later one may be). Raises RolledBack."""
        invoice = job.invoice
        if invoice is None or invoice.sent_at is None:
            return
        if not await self.marker.is_there(self._purse(job), invoice.mark_id):
            raise RolledBack

    def _view(self, job: Job, sides: Sides, *, last_look: bool) -> View:
        invoice = job.invoice
        assert invoice is not None
        return View(
            source=_sighting(sides.source),
            destination=_sighting(sides.destination) if invoice.internal else None,
            expired=invoice.expires_at is not None and self._now() > invoice.expires_at + EXPIRY_MARGIN_S,
            forgotten=sides.source is None and invoice.shown_at is not None,
            preimage_fits=_preimage_fits(sides.source, invoice.payment_hash),
            same_lnbits=sides.source is not None and sides.source.moved_inside,
            amounts_fit=self._amounts_fit(job, sides),
            last_look=last_look,
        )

    def _amounts_fit(self, job: Job, sides: Sides) -> bool:
        """Whether both wallets moved what the invoice says, and the leg bears it (with the fee, where there is one)."""
        source, destination, invoice = sides.source, sides.destination, job.invoice
        if source is None or invoice is None or source.amount_sats != invoice.amount_sats:
            return False
        if not invoice.internal:
            return source.amount_sats + _fee_sats(source) <= job.leg.amount_sats + self._jobs.fee_on_top_sats(job)
        credited_sats = None if destination is None else destination.amount_sats
        return source.amount_sats == credited_sats == job.leg.amount_sats

    # --- writing down

    async def _complete(self, job: Job, source: WalletPayment, proof: Proof) -> None:
        await self._store.write(
            complete_leg,
            job.leg,
            sent_sats=source.amount_sats,
            fee_sats=_fee_sats(source),
            preimage=source.preimage,
            proof=proof,
            now=self._now(),
        )
        failpoint("pay.completed")

    async def _hold(self, job: Job, sides: Sides, reason: HoldReason) -> None:
        evidence = {"source": _evidence(sides.source), "destination": _evidence(sides.destination)}
        detail = _HOLD_TEXT[reason]
        await self._store.write(_hold_leg, job.leg, reason, detail, evidence)
        log.error("%s is held: %s", leg_name(job.leg), detail)

    async def _trouble(self, leg_id: int, trouble: Exception) -> None:
        """What stops a leg, as the state in which it waits."""
        leg, invoice = await self._store.read(legs.get, leg_id)
        if isinstance(trouble, Stuck):
            await self._stuck(leg_id, trouble.cause, trouble.detail)
        elif isinstance(trouble, WalletRefused):
            await self._stuck(leg_id, Cause.PAYEE_UNREACHABLE, str(trouble))
        elif isinstance(trouble, ConfigError):  # a key that cannot be read: somebody may be rotating it
            error = "; ".join(trouble.problems)
            await self._wait(leg_id, leg.status, Cause.KEY_UNREADABLE, error, at_least_s=LAST_RETRY_S)
        elif isinstance(trouble, Standoff):
            await self._wait(leg_id, leg.status, Cause.MARKS, str(trouble), at_least_s=LAST_RETRY_S)
        else:
            at_least_s = trouble.retry_after_s or 0 if isinstance(trouble, WalletUnavailable) else 0
            external = leg.payee_kind is not PayeeKind.WALLET and invoice is None
            cause = Cause.PAYEE_UNREACHABLE if external else Cause.WALLET_UNREACHABLE
            await self._wait(leg_id, leg.status, cause, str(trouble), at_least_s=at_least_s)

    async def _wait(self, leg_id: int, status: LegStatus, cause: Cause, error: str, *, at_least_s: float = 0) -> None:
        leg, _ = await self._store.read(legs.get, leg_id)
        wait_s = max(at_least_s, backoff_s(leg.attempts, self._random_fraction()))
        until: int | None = self._now() + round(wait_s)
        if leg.leg_type is LegType.AUTOFORWARD and status is LegStatus.FAILED and leg.attempts >= FORWARD_TRIES:
            until = None  # best-effort: the sats are the LP's, in the LP's own wallet
        await self._store.write(_postpone, leg, status, until, error, cause, self._now())
        log.warning("%s: %s", leg_name(leg), error)

    async def _stuck(self, leg_id: int, cause: Cause, detail: str) -> None:
        """A person must act. What may have been sent is still looked up, slowly; the rest waits."""
        leg, invoice = await self._store.read(legs.get, leg_id)
        if cause is Cause.FEES_NOT_COVERED and invoice is None and _is_too_small(leg):
            await self._store.write(_give_up, leg, self._now())
            log.info(
                "%s: %d sats are too few to be sent elsewhere and stay in the wallet", leg_name(leg), leg.amount_sats
            )
            return
        if invoice is not None and invoice.sent_at is not None and leg.status is LegStatus.SENDING:
            await self._wait(leg_id, LegStatus.SENDING, cause, detail, at_least_s=LAST_RETRY_S)
            return
        until = self._now() + round(LAST_RETRY_S) if cause in _MAY_PASS else None
        await self._store.write(_postpone, leg, LegStatus.FAILED, until, detail, cause, self._now())
        log.error("%s waits for a person: %s", leg_name(leg), detail)

    async def _report(self, leg_id: int) -> LegStatus:
        leg, _ = await self._store.read(legs.get, leg_id)
        if leg.settlement_id is not None:
            await self._store.write(settlements.refresh_status, leg.settlement_id, self._now())
        if leg.status is LegStatus.COMPLETED:
            log.info("%s: paid %d sats to %s", leg_name(leg), leg.amount_sats, leg.payee)
        failpoint("pay.reported")
        return leg.status

    async def _purse_of(self, machine_id: str, bundle: str) -> Purse:
        machine = self._config().machine(machine_id)
        if machine is None:
            raise Refused(f"machine {machine_id} is no longer in the configuration: put it back first")
        key = self._jobs.machine_key(machine)
        wallet_id = await self._store.read(wallets.wallet_id, machine_id)
        return Purse(machine_id, wallet_id, key, identity.tag(machine.npub), bundle)

    def _purse(self, job: Job) -> Purse:
        key, tag = self._jobs.admin_key(job), identity.tag(job.machine.npub)
        return Purse(job.leg.machine_id, job.source_id, key, tag, job.bundle)


def backoff_s(attempts: int, random_fraction: float) -> float:
    """How long to wait before the next try: doubling, capped, within 20 % either way."""
    wait_s: float = min(FIRST_RETRY_S * 2 ** min(attempts, 20), LAST_RETRY_S)
    return wait_s * (0.8 + 0.4 * random_fraction)


def _keep_invoices(conn: sqlite3.Connection, ready: Sequence[tuple[Job, Invoice | None]], now: int) -> dict[int, Stuck]:
    """Store new invoices, in one transaction; returns why those of some legs are not taken."""
    refused = {}
    for job, invoice in ready:
        if invoice is None:
            continue
        stuck = _unwelcome(conn, job.leg, invoice, now)
        if stuck is not None:
            refused[job.leg.id] = stuck
            continue
        legs.add_invoice(
            conn,
            job.leg,
            bolt11=invoice.bolt11,
            payment_hash=invoice.payment_hash,
            amount_sats=invoice.amount_sats,
            expires_at=invoice.expires_at,
            wallet_id=invoice.wallet_id,
            now=now,
        )
    return refused


def _unwelcome(conn: sqlite3.Connection, leg: Leg, invoice: Invoice, now: int) -> Stuck | None:
    """Why an invoice is not taken: another wallet's than the payee's, or one that was given before."""
    if leg.payee_kind is PayeeKind.WALLET:
        same = leg.payee_ref == invoice.wallet_id
        if leg.payee_ref is None and invoice.wallet_id is not None:
            same = legs.learn_payee(conn, leg, invoice.wallet_id, now)
        if not same:
            return Stuck(Cause.PAYEE_CHANGED, changed_payee(leg, "another wallet"))
    if legs.invoice_is_known(conn, invoice.payment_hash):
        return Stuck(Cause.PAYEE_UNREACHABLE, "its payee's server gave an invoice that it has given before")
    return None


def _postpone(
    conn: sqlite3.Connection, leg: Leg, status: LegStatus, until: int | None, error: str, cause: Cause, now: int
) -> None:
    """The leg waits, and its sale says so."""
    legs.postpone(conn, leg, status=status, until=until, error=error, cause=cause)
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, now)


def _is_too_small(leg: Leg) -> bool:
    """Whether the leg is too small for any routing fee: then it ends like one of 0 sats."""
    of_a_sale = leg.settlement_id is not None and leg.leg_type is not LegType.AUTOFORWARD
    return of_a_sale and leg.amount_sats <= MIN_RESERVE_SATS


def _give_up(conn: sqlite3.Connection, leg: Leg, now: int) -> None:
    assert leg.settlement_id is not None
    corrections.void(conn, leg, None)
    kept = Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg)
    settlements.retain(conn, leg.settlement_id, leg.revision, [kept], now)
    settlements.refresh_status(conn, leg.settlement_id, now)


def _hold_unordered(conn: sqlite3.Connection, leg: Leg, found: NotOrdered, now: int) -> None:
    """The leg is held, and its sale says so."""
    _hold_leg(conn, leg, HoldReason.UNORDERED, str(found), {"too_much": found.too_much})
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, now)


def _hold_leg(
    conn: sqlite3.Connection, leg: Leg, reason: HoldReason, error: str, evidence: Mapping[str, object]
) -> None:
    """An LNbits that was rolled back has forgotten payments: nothing at all is paid from this wallet then."""
    legs.hold(conn, leg, reason=reason, error=error, evidence=evidence)
    if reason is HoldReason.WALLET_ROLLED_BACK:
        wallets.refresh_safe_mode(conn, leg.machine_id)


def _sighting(row: WalletPayment | None) -> Sighting:
    if row is None:
        return Sighting.ABSENT
    if row.status not in _SIGHTINGS:
        raise WalletUnavailable(f"LNbits shows a payment in a state that is not known: {row.checking_id}")
    return _SIGHTINGS[row.status]


def _fee_sats(row: WalletPayment) -> int:
    return -(-row.fee_msat // 1000)


def _preimage_fits(row: WalletPayment | None, payment_hash: str | None) -> bool:
    if row is None or row.preimage is None or payment_hash is None:
        return False
    try:
        return hashlib.sha256(bytes.fromhex(row.preimage)).hexdigest() == payment_hash
    except ValueError:
        return False


def _evidence(row: WalletPayment | None) -> Mapping[str, object] | None:
    if row is None:
        return None
    return {
        "payment_hash": row.payment_hash,
        "status": row.status,
        "amount_msat": row.amount_msat,
        "fee_msat": row.fee_msat,
        "wallet_id": row.wallet_id,
        "updated_at": row.updated_at,
    }


_HOLD_TEXT = {
    HoldReason.DEBIT_WITHOUT_CREDIT: "the machine's wallet was debited, but the payee's was not credited",
    HoldReason.PAID_BY_ANOTHER: "the payee was paid, but not by the machine's wallet",
    HoldReason.WALLET_ROLLED_BACK: "LNbits does not show this payment any more: it was restored from a backup, "
    "or the payee's key was changed",
    HoldReason.BAD_PREIMAGE: "the wallet says paid, but its proof of payment (preimage) does not fit the invoice",
    HoldReason.AMOUNT_MISMATCH: "the wallets show other amounts than the leg's",
    HoldReason.CONTRADICTION: "the machine's wallet says failed, the payee's still waits",
    HoldReason.CREDIT_UNSEEN: "the machine's wallet was debited; the payee is of the same LNbits, and whether its "
    "wallet was credited cannot be seen from here: ask the payee",
}
