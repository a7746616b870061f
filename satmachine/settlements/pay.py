"""Pay one leg, exactly once (SPEC section 6, LNBITS.md "The protocol").

`Payer.advance(leg_id)` takes a leg from wherever it stands: after a crash or in normal running, it is the same
code. Each state is committed before the next call to a wallet; what a call answered is never believed, the fate
of a payment is read from both sides (the destination first) and decided by `transition.decide`.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol

import anyio

from satmachine.clients.forward import complete_leg
from satmachine.config import Config, Machine, Payee, Secret
from satmachine.errors import ConfigError, Refused, WalletRefused, WalletUnavailable
from satmachine.failpoints import failpoint
from satmachine.models import Answer, HoldReason, Leg, LegInvoice, LegStatus, LegType
from satmachine.settlements.payees import (
    client_payee,
    configured_payee,
    forwarding_key,
    given_invoice,
    has_changed,
    refund_payee,
)
from satmachine.settlements.transition import Decision, Sighting, Step, View, decide
from satmachine.store import clients, legs, settlements, wallets
from satmachine.store.database import Store
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.lnbits import Invoice, Lnbits, PayAnswer
from satmachine.wallet.lnurl import LnurlInvoice
from satmachine.wallet.rows import WalletPayment

log = logging.getLogger(__name__)

_random_fraction = SystemRandom().random

#: How long, and how often, a puzzling view is looked at again before a person is called.
LOOKS = 3
LOOK_AGAIN_S = 10.0

#: Nobody's clock is further off than this when an invoice is said to have expired.
EXPIRY_MARGIN_S = 600

#: A payment that LNbits has dated this long after the start of this daemon was certainly made after it.
CLOCKS_APART_S = 60

#: Waits between tries: doubling from the first to the last, with jitter.
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 600.0

#: An autoforward that failed so often (about an hour) is not tried again on its own.
FORWARD_TRIES = 12

#: LNbits' usual reserve for routing fees is 1 %, at least this much: a first guess that saves a question.
MIN_RESERVE_SATS = 2
RESERVE_TRIES = 3

#: Legs that are planned with their sale, when its payments of the past are looked up.
_PLANNED_TYPES = frozenset({LegType.SUPER_FEE, LegType.OPERATOR_SPLIT, LegType.DCA})

_SIGHTINGS = {Answer.SUCCESS: Sighting.SUCCESS, Answer.PENDING: Sighting.PENDING, Answer.FAILURE: Sighting.FAILED}


class ExternalPayees(Protocol):
    """Where invoices of Lightning addresses and LNURLs come from."""

    async def invoice(self, payee: str, amount_msat: int, *, comment: str = "") -> LnurlInvoice: ...


@dataclass(frozen=True, slots=True)
class Sides:
    """What both wallets showed of one invoice."""

    source: WalletPayment | None
    destination: WalletPayment | None


@dataclass(frozen=True, slots=True)
class Job:
    """A leg with all that is needed to pay it. `payee` None: the file no longer names one.

    `source_key` is the admin key of the wallet that pays: the machine's, and for an autoforward the LP's own.
    """

    leg: Leg
    invoice: LegInvoice | None
    machine: Machine
    payee: Payee | None
    source_key: Secret | None

    @property
    def internal(self) -> bool:
        return self.payee is not None and self.payee.invoice_key is not None


class Stuck(Exception):
    """This leg cannot go on without a person; `detail` says why."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class Superseded(Exception):
    """The leg's state changed while it was worked on; what it is now decides what happens next."""


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
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        random_fraction: Callable[[], float] = _random_fraction,
        is_verified: Callable[[str, str], bool] = lambda _machine_id, _key: True,
    ) -> None:
        """`is_verified(machine id, admin key)`: whether a sweep has seen that the key is of the machine's wallet."""
        self._store = store
        self._lnbits = lnbits
        self._external = external
        self._config = config
        self._now = now
        self._began_at = now()
        self._sleep = sleep
        self._random_fraction = random_fraction
        self._is_verified = is_verified

    async def advance(self, leg_id: int) -> LegStatus:
        """Take a leg as far as it goes now; returns how it stands then. Raises nothing that a wallet can cause."""
        job = await self._job(leg_id)
        if job.leg.status not in legs.OPEN:
            return job.leg.status
        try:
            await self._advance(job)
        except WalletUnavailable as error:
            await self._retry_later(leg_id, str(error), at_least_s=error.retry_after_s or 0)
        except WalletRefused as error:
            await self._stuck(leg_id, str(error))
        except ConfigError as error:  # a key that cannot be read: somebody may be rotating it
            await self._retry_later(leg_id, "; ".join(error.problems), at_least_s=LAST_RETRY_S)
        except Superseded:
            log.info("leg %d was changed by somebody else while it was worked on", leg_id)
        except Stuck as stuck:
            await self._stuck(leg_id, stuck.detail)
        return await self._report(leg_id)

    async def look_up(self, leg_id: int) -> View | None:
        """What both wallets show of a leg's latest invoice, read only; None where it never had one.

        Raises WalletError, ConfigError, and Refused where the payee's wallet cannot be asked any more.
        """
        job = await self._job(leg_id)
        if job.invoice is None or job.invoice.payment_hash is None:
            return None
        try:
            return self._view(job, await self._look(job), last_look=True)
        except Stuck as stuck:
            raise Refused(f"leg {job.leg.leg}: {stuck.detail}") from None

    # --- the flow

    async def _advance(self, job: Job) -> None:
        answer = None
        if job.invoice is None or job.invoice.dead_at is not None:
            has_past = self._may_have_a_past(job.leg)
            job = await self._begin_generation(job)
            if has_past:
                job = await self._recover_invoice(job)
            else:
                # Nobody has seen this invoice yet: there is nothing to resolve.
                job = await self._make_invoice(job)
                answer = await self._send(job)
        elif job.invoice.payment_hash is None:
            job = await self._recover_invoice(job)
        await self._resolve(job, answer)

    def _may_have_a_past(self, leg: Leg) -> bool:
        """Whether another life of this database (restored or lost since) may have begun to pay this leg.

        The legs of a sale are looked up together when it is planned. That misses a payment which LNbits has not
        written yet at that moment, but for a sale that came while this daemon runs there is nobody who could have sent
        one. Every other leg is looked up on its own, at the payee too, so that it pays the *same* invoice; and so is
        one whose invoice was given up: while the wallet shows a payment, there is no new invoice.
        """
        of_old = leg.effective_at < self._began_at + CLOCKS_APART_S
        return leg.leg_type not in _PLANNED_TYPES or of_old or leg.generation > 0

    async def _begin_generation(self, job: Job) -> Job:
        leg = job.leg
        self._require_payable(job)
        generation = await self._store.write(
            legs.begin_invoice, leg, amount_sats=leg.amount_sats, internal=job.internal, now=self._now()
        )
        if generation is None:
            raise Superseded
        failpoint("pay.begun")
        return await self._job(leg.id)

    async def _make_invoice(self, job: Job) -> Job:
        leg = job.leg
        invoice = await self._ask_invoice(job)
        failpoint("pay.asked")
        if invoice.wallet_id is not None:
            own = await self._store.read(wallets.wallet_id, leg.machine_id)
            if invoice.wallet_id == own:
                raise Stuck("its payee is the machine's own wallet: name another wallet, then retry")
        await self._store.write(
            legs.store_invoice,
            leg.id,
            leg.generation,
            bolt11=invoice.bolt11,
            payment_hash=invoice.payment_hash,
            amount_sats=invoice.amount_sats,
            expires_at=invoice.expires_at,
        )
        failpoint("pay.invoiced")
        return await self._job(leg.id)

    async def _ask_invoice(self, job: Job) -> Invoice:
        leg, given = job.leg, given_invoice(job.leg)
        if given is not None:
            asked = invoices.decode(given)  # it was checked when the refund was asked for
            return Invoice(asked.payment_hash, given, (asked.amount_msat or 0) // 1000, asked.expires_at)
        payee = self._payee(job)
        if payee.invoice_key is None:
            return await self._ask_external(job, payee)
        return await self._lnbits.create_invoice(
            payee.invoice_key.resolve(self._config().environ),
            amount_sats=leg.amount_sats,
            memo=self._memo(job),
            expiry_s=self._config().payouts.invoice_expiry_s,
            extra=self._extra(job),
            external_id=leg.leg_key,
        )

    async def _ask_external(self, job: Job, payee: Payee) -> Invoice:
        """The payee gets the exact amount, or the amount less the wallet's reserve for it (SPEC section 5)."""
        leg_sats = job.leg.amount_sats
        if self._fee_on_top(job):
            return await self._fetch(payee, leg_sats, job)
        ask_sats = leg_sats - max(MIN_RESERVE_SATS, leg_sats // 100)
        for _ in range(RESERVE_TRIES):
            if ask_sats <= 0:
                break
            invoice = await self._fetch(payee, ask_sats, job)
            reserve_sats = await self._lnbits.fee_reserve_sats(self._admin_key(job), invoice.bolt11)
            if ask_sats + reserve_sats <= leg_sats:
                return invoice
            ask_sats = leg_sats - reserve_sats
        raise Stuck(f"{leg_sats} sats do not cover the amount and the wallet's reserve for routing fees")

    async def _fetch(self, payee: Payee, amount_sats: int, job: Job) -> Invoice:
        address = payee.lightning_address or payee.lnurl
        assert address is not None
        found = await self._external.invoice(address, amount_sats * 1000, comment=self._memo(job))
        return Invoice(found.payment_hash, found.bolt11, amount_sats, found.expires_at)

    async def _recover_invoice(self, job: Job) -> Job:
        """A crash came between the wish and the invoice: adopt what was made, else make it now."""
        adopted = await self._adopt(job)
        if adopted is not None:
            return adopted
        payee_key = None if job.payee is None else job.payee.invoice_key
        if payee_key is not None:
            found = await self._lnbits.find_by_leg_key(
                payee_key.resolve(self._config().environ), job.leg.leg_key, self._tag(job)
            )
            for row in found:
                usable = row.incoming and row.status is Answer.PENDING and row.amount_sats == job.leg.amount_sats
                if usable and not _expired(row.expires_at, self._now()):
                    return await self._store_adopted(job, row)
        return await self._make_invoice(job)

    async def _adopt(self, job: Job) -> Job | None:
        """Take over a payment for this leg that was made in another life of this database."""
        found = await self._lnbits.find_by_leg_key(self._admin_key(job), job.leg.leg_key, self._tag(job))
        alive = [row for row in found if row.outgoing and row.status in (Answer.SUCCESS, Answer.PENDING)]
        if not alive:
            return None
        if len(alive) > 1:
            raise Stuck("the wallet shows more than one payment for this leg: " + _hashes(alive))
        await self._require_adoptable(job, alive[0])
        if job.invoice is None or job.invoice.payment_hash is not None:
            job = await self._begin_generation(job)
        return await self._store_adopted(job, alive[0])

    async def _require_adoptable(self, job: Job, row: WalletPayment) -> None:
        """Hold the leg where the payment is of an invoice that was given up, or was made for something else."""
        leg = job.leg
        own = await self._store.read(legs.had_invoice, leg.id, row.payment_hash)
        said = row.extra.get("fiat_amount_minor")
        other_fiat = leg.fiat_amount_minor is not None and said is not None and said != leg.fiat_amount_minor
        if not (own or other_fiat or row.amount_sats > leg.amount_sats):
            return
        error = f"the wallet shows a payment for this leg that does not fit it: {row.payment_hash}"
        evidence = {"another_payment": row.payment_hash, "amount_sats": row.amount_sats}
        await self._store.write(_hold_leg, leg, HoldReason.CONTRADICTION, error, evidence)
        raise Superseded

    async def _store_adopted(self, job: Job, row: WalletPayment) -> Job:
        await self._store.write(
            legs.store_invoice,
            job.leg.id,
            job.leg.generation,
            bolt11=row.bolt11,
            payment_hash=row.payment_hash,
            amount_sats=row.amount_sats,
            expires_at=row.expires_at,
            adopted=True,
        )
        log.info("%s: adopted payment %s that was made before", _name(job.leg), row.payment_hash)
        return await self._job(job.leg.id)

    async def _send(self, job: Job) -> PayAnswer:
        """Commit the intent, then pay. The answer is only a hint."""
        invoice = job.invoice
        assert invoice is not None
        assert invoice.bolt11 is not None
        paused = self._config().payouts.paused  # since this leg was taken up: the red button holds at once
        if paused or not await self._store.write(legs.mark_sending, job.leg, now=self._now()):
            raise Superseded
        failpoint("pay.sending")
        answer = await self._lnbits.pay(
            self._admin_key(job), invoice.bolt11, extra=self._extra(job), external_id=job.leg.leg_key
        )
        failpoint("pay.sent")
        return answer

    async def _resolve(self, job: Job, answer: PayAnswer | None) -> None:
        """Read, decide, act; bounded by the number of looks. Sends at most once, and not if it was (`answer`)."""
        for look in range(1, LOOKS + 2):
            sides = await self._look(job)
            decision = decide(self._view(job, sides, last_look=look > LOOKS))
            if decision.step is Step.PAY and answer is None:
                answer = await self._send(job)
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
            await self._complete(job, sides)
        elif decision.step is Step.HOLD:
            assert decision.reason is not None
            await self._hold(job, sides, decision.reason)
        elif decision.step is Step.RENEW:
            await self._store.write(legs.mark_invoice_dead, leg, now=self._now())
            await self._wait(leg.id, LegStatus.FAILED, "the invoice can no longer be paid; a new one is made")
        elif decision.step is Step.PAY:
            assert answer is not None, "it was sent, and neither wallet shows it"
            # Only where LNbits has ended the request is "not there" final; else it may still be at it.
            # An earlier request that was not seen to end may be under way, whatever became of this one.
            ended = answer.ended and leg.status is not LegStatus.SENDING
            status = LegStatus.FAILED if ended else LegStatus.SENDING
            error = f"not paid: {answer.detail}; it is tried again"
            await self._wait(leg.id, status, error, at_least_s=answer.retry_after_s or 0)
        else:
            await self._wait(leg.id, LegStatus.SENDING, "on its way: the wallet says pending")

    # --- looking

    async def _look(self, job: Job) -> Sides:
        """The destination first: only then does "not at the source" prove anything (LNBITS.md)."""
        invoice = job.invoice
        assert invoice is not None
        assert invoice.payment_hash is not None
        destination = None
        if invoice.internal:
            payee_key = self._payee(job).invoice_key
            if payee_key is None:
                raise Stuck("its payee was a wallet of this LNbits and is not any more; its fate cannot be looked up")
            rows = await self._lnbits.payments(
                payee_key.resolve(self._config().environ), payment_hash=invoice.payment_hash
            )
            destination = next((row for row in rows if row.incoming), None)
        rows = await self._lnbits.payments(self._admin_key(job), payment_hash=invoice.payment_hash)
        source = next((row for row in rows if row.outgoing), None)
        return Sides(source, destination)

    def _view(self, job: Job, sides: Sides, *, last_look: bool) -> View:
        invoice = job.invoice
        assert invoice is not None
        return View(
            source=_sighting(sides.source),
            destination=_sighting(sides.destination) if invoice.internal else None,
            expired=_expired(invoice.expires_at, self._now()),
            preimage_fits=_preimage_fits(sides.source, invoice.payment_hash),
            amounts_fit=self._amounts_fit(job, sides),
            last_look=last_look,
        )

    # --- writing down

    async def _complete(self, job: Job, sides: Sides) -> None:
        source = sides.source
        assert source is not None
        await self._store.write(
            complete_leg,
            job.leg,
            sent_sats=source.amount_sats,
            fee_sats=_fee_sats(source),
            preimage=source.preimage,
            now=self._now(),
        )
        failpoint("pay.completed")

    def _amounts_fit(self, job: Job, sides: Sides) -> bool:
        """Whether both wallets moved what the invoice says, and the leg bears it (with the fee, where there is one)."""
        source, destination, invoice = sides.source, sides.destination, job.invoice
        if source is None or invoice is None or source.amount_sats != invoice.amount_sats:
            return False
        if not invoice.internal:
            return source.amount_sats + _fee_sats(source) <= job.leg.amount_sats + self._fee_on_top(job)
        credited_sats = None if destination is None else destination.amount_sats
        return source.amount_sats == credited_sats == job.leg.amount_sats

    def _fee_on_top(self, job: Job) -> int:
        """Where the machine bears routing fees, they come on top of the leg's amount; an LP's wallet never can."""
        internal = job.internal if job.invoice is None else job.invoice.internal
        bears = self._config().payouts.routing_fees == "machine" and not internal
        return job.leg.amount_sats if bears and job.leg.leg_type is not LegType.AUTOFORWARD else 0

    async def _hold(self, job: Job, sides: Sides, reason: HoldReason) -> None:
        evidence = {"source": _evidence(sides.source), "destination": _evidence(sides.destination)}
        detail = _HOLD_TEXT[reason]
        await self._store.write(_hold_leg, job.leg, reason, detail, evidence)
        log.error("%s is held: %s", _name(job.leg), detail)

    async def _wait(self, leg_id: int, status: LegStatus, error: str, *, at_least_s: float = 0) -> None:
        leg, _ = await self._store.read(legs.get, leg_id)
        wait_s = max(at_least_s, backoff_s(leg.attempts, self._random_fraction()))
        until: int | None = self._now() + round(wait_s)
        if leg.leg_type is LegType.AUTOFORWARD and status is LegStatus.FAILED and leg.attempts >= FORWARD_TRIES:
            until = None  # best-effort: the sats are the LP's, in the LP's own wallet
        await self._store.write(legs.postpone, leg, status=status, until=until, error=error)
        log.warning("%s: %s", _name(leg), error)

    async def _retry_later(self, leg_id: int, error: str, *, at_least_s: float) -> None:
        leg, _ = await self._store.read(legs.get, leg_id)
        await self._wait(leg_id, leg.status, error, at_least_s=at_least_s)

    async def _stuck(self, leg_id: int, detail: str) -> None:
        """A person must act. What may have been sent is still looked up, slowly; the rest waits."""
        leg, invoice = await self._store.read(legs.get, leg_id)
        if invoice is not None and invoice.sent_at is not None and leg.status is LegStatus.SENDING:
            await self._wait(leg_id, LegStatus.SENDING, detail, at_least_s=LAST_RETRY_S)
            return
        await self._store.write(legs.postpone, leg, status=LegStatus.FAILED, until=None, error=detail)
        log.error("%s waits for a person: %s", _name(leg), detail)

    async def _report(self, leg_id: int) -> LegStatus:
        leg, _ = await self._store.read(legs.get, leg_id)
        if leg.settlement_id is not None:
            await self._store.write(settlements.refresh_status, leg.settlement_id, self._now())
        if leg.status is LegStatus.COMPLETED:
            log.info("%s: paid %d sats to %s", _name(leg), leg.amount_sats, leg.payee)
        failpoint("pay.reported")
        return leg.status

    # --- facts

    async def _job(self, leg_id: int) -> Job:
        leg, invoice = await self._store.read(legs.get, leg_id)
        config = self._config()
        machine = config.machine(leg.machine_id)
        assert machine is not None, f"machine {leg.machine_id} has work, so it is in the registry"
        source_key: Secret | None = machine.wallet.admin_key
        if leg.leg_type is LegType.AUTOFORWARD and leg.client_id is not None:
            payee: Payee | None = Payee(lightning_address=leg.payee)
            source_key = forwarding_key(await self._store.read(clients.get, leg.client_id))
        elif leg.leg_type in (LegType.DCA, LegType.SETTLEMENT) and leg.client_id is not None:
            payee = client_payee(await self._store.read(clients.payee_of, leg.client_id))
        elif leg.leg_type is LegType.REFUND:
            payee = refund_payee(leg)
        else:
            payee = configured_payee(config, leg)
        return Job(leg, invoice, machine, payee, source_key)

    def _require_payable(self, job: Job) -> None:
        """Without a payee there is nothing to begin; the invoice that a refund was given is paid once or never."""
        if given_invoice(job.leg) is None:
            self._payee(job)
        elif job.invoice is not None:
            raise Stuck(
                "the customer's invoice can no longer be paid; `satmachine settlements close` frees the sats, then "
                "refund them to a new invoice"
            )

    def _payee(self, job: Job) -> Payee:
        if job.payee is None:
            raise Stuck(f"the configuration no longer names a payee for {job.leg.leg}; add it again, then retry")
        if has_changed(job.payee, job.leg):
            raise Stuck(
                f"it was planned for {job.leg.payee}, the configuration now names {job.payee.describe()}; put the "
                "former back and retry, or close the sale and redistribute what it retains"
            )
        return job.payee

    def _admin_key(self, job: Job) -> str:
        if job.source_key is None:
            raise Stuck("the client has no key to forward with any more: nothing is forwarded")
        key = job.source_key.resolve(self._config().environ)
        if job.leg.leg_type is not LegType.AUTOFORWARD and not self._is_verified(job.machine.id, key):
            raise WalletUnavailable("the machine's wallet key is new; nothing is sent before it was looked at")
        return key

    def _tag(self, job: Job) -> str:
        return payment_tag(job.machine)

    def _memo(self, job: Job) -> str:
        sale = f"sale {job.leg.settlement_id}" if job.leg.settlement_id is not None else "balance"
        return f"{job.machine.name}: {job.leg.leg_type.replace('_', ' ')} of {sale}"

    def _extra(self, job: Job) -> Mapping[str, object]:
        """What travels with the payment: enough to rebuild the books from the wallets (LNBITS.md)."""
        leg = job.leg
        return {
            "tag": self._tag(job),
            "machine": leg.machine_id,
            "leg_type": leg.leg_type,
            "generation": leg.generation,
            "client": leg.leg.split(":")[1] if leg.client_id is not None else None,
            "fiat_amount_minor": leg.fiat_amount_minor,
            "currency": leg.currency,
            "exchange_rate": None if leg.exchange_rate is None else f"{leg.exchange_rate:f}",
        }


def _hold_leg(
    conn: sqlite3.Connection, leg: Leg, reason: HoldReason, error: str, evidence: Mapping[str, object]
) -> None:
    """An LNbits that was rolled back has forgotten payments: nothing at all is paid from this wallet then."""
    legs.hold(conn, leg, reason=reason, error=error, evidence=evidence)
    if reason is HoldReason.WALLET_ROLLED_BACK:
        wallets.refresh_safe_mode(conn, leg.machine_id)


def payment_tag(machine: Machine) -> str:
    """What LNbits' own payment history filters by (SPEC section 5)."""
    return f"satmachine:{machine.npub}"


def backoff_s(attempts: int, random_fraction: float) -> float:
    """How long to wait before the next try: doubling, capped, within 20 % either way."""
    wait_s: float = min(FIRST_RETRY_S * 2 ** min(attempts, 20), LAST_RETRY_S)
    return wait_s * (0.8 + 0.4 * random_fraction)


def _name(leg: Leg) -> str:
    """A leg in a log line; a sale can be followed by its settlement number."""
    sale = "balance payout" if leg.settlement_id is None else f"settlement {leg.settlement_id}"
    return f"{sale} of {leg.machine_id}, leg {leg.leg}"


def _sighting(row: WalletPayment | None) -> Sighting:
    if row is None:
        return Sighting.ABSENT
    if row.status not in _SIGHTINGS:
        raise WalletUnavailable(f"LNbits shows a payment in a state that is not known: {row.checking_id}")
    return _SIGHTINGS[row.status]


def _expired(expires_at: int | None, now: int) -> bool:
    return expires_at is not None and now > expires_at + EXPIRY_MARGIN_S


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


def _hashes(found: list[WalletPayment]) -> str:
    return ", ".join(row.payment_hash for row in found)


_HOLD_TEXT = {
    HoldReason.DEBIT_WITHOUT_CREDIT: "the machine's wallet was debited, but the payee's was not credited",
    HoldReason.PAID_BY_ANOTHER: "the payee was paid, but not by the machine's wallet",
    HoldReason.WALLET_ROLLED_BACK: "neither wallet knows the invoice any more: LNbits was restored from a backup, "
    "or the payee's key was changed",
    HoldReason.BAD_PREIMAGE: "the wallet says paid, but its proof of payment (preimage) does not fit the invoice",
    HoldReason.AMOUNT_MISMATCH: "the wallets show other amounts than the leg's",
    HoldReason.CONTRADICTION: "the machine's wallet says failed, the payee's still waits",
}
