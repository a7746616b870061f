"""Where a leg's invoice comes from: a wallet of this LNbits, a Lightning address or LNURL, or the customer's own.

Asking writes nothing: an invoice that no mark names is never paid, so it does no harm if one is lost on the way. Those
of a bundle are kept in one transaction, `keep_invoices`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol

from satmachine.config import Config, Payee
from satmachine.identity import PayeeKind
from satmachine.models import Cause, Leg
from satmachine.settlements.pay.jobs import Job, Jobs, Stuck, changed_payee
from satmachine.settlements.plan.named_payees import given_invoice
from satmachine.store import legs
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.lnbits import Invoice, Lnbits
from satmachine.wallet.lnurl import LnurlInvoice

#: LNbits' usual reserve for routing fees is 1 %, at least this much: a first guess that saves a question.
MIN_RESERVE_SATS = 2
RESERVE_TRIES = 3


class ExternalPayees(Protocol):
    """Where invoices of Lightning addresses and LNURLs come from."""

    async def invoice(self, payee: str, amount_msat: int, *, comment: str = "") -> LnurlInvoice: ...


class Invoicer:
    """Asks for invoices."""

    def __init__(self, lnbits: Lnbits, external: ExternalPayees, jobs: Jobs, config: Callable[[], Config]) -> None:
        self._lnbits = lnbits
        self._external = external
        self._jobs = jobs
        self._config = config

    async def ask(self, job: Job) -> Invoice:
        """An invoice of the leg's payee, of exactly the amount that the leg bears. Raises WalletError, ConfigError,
        Stuck where a person must act."""
        given = given_invoice(job.leg)
        if given is not None:
            asked = self._given(job, given)
            return await self._require_reserve(job, asked) if self._jobs.fee_on_top_sats(job) else asked
        payee = self._jobs.payee(job)
        if payee.invoice_key is None:
            return await self._ask_external(job, payee)
        invoice = await self._lnbits.create_invoice(
            self._jobs.payee_key(job),
            amount_sats=job.leg.amount_sats,
            memo=self._jobs.memo(job),
            expiry_s=self._config().payouts.invoice_expiry_s,
            extra=self._jobs.extra(job),
            external_id=job.leg.leg_key,
        )
        if invoice.wallet_id == job.source_id:
            raise Stuck(Cause.PAYEE_CHANGED, "its payee is the machine's own wallet: name another wallet, then retry")
        return invoice

    def _given(self, job: Job, bolt11: str) -> Invoice:
        """The invoice given for a refund is paid once or never."""
        if job.leg.generation > 0:
            raise Stuck(
                Cause.INVOICE_DEAD,
                "the customer's invoice can no longer be paid; `satmachine settlements close "
                f"{job.leg.settlement_id}` frees the sats, then refund them to a new invoice",
            )
        asked = invoices.decode(bolt11)  # it was checked when the refund was asked for
        return Invoice(asked.payment_hash, bolt11, (asked.amount_msat or 0) // 1000, asked.expires_at)

    async def _ask_external(self, job: Job, payee: Payee) -> Invoice:
        """The payee gets the exact amount, or the amount less the wallet's reserve for it (SPEC section 5)."""
        leg_sats = job.leg.amount_sats
        if self._jobs.fee_on_top_sats(job):
            return await self._require_reserve(job, await self._fetch(payee, leg_sats, job))
        ask_sats = leg_sats - max(MIN_RESERVE_SATS, leg_sats // 100)
        for _ in range(RESERVE_TRIES):
            if ask_sats <= 0:
                break
            invoice = await self._fetch(payee, ask_sats, job)
            reserve_sats = await self._lnbits.fee_reserve_sats(self._jobs.admin_key(job), invoice.bolt11)
            if ask_sats + reserve_sats <= leg_sats:
                return invoice
            ask_sats = leg_sats - reserve_sats
        raise Stuck(
            Cause.FEES_NOT_COVERED,
            f"{leg_sats} sats do not cover the amount and the wallet's reserve for routing fees; close the sale, or "
            "name a wallet of this LNbits as payee",
        )

    async def _require_reserve(self, job: Job, invoice: Invoice) -> Invoice:
        """Where the machine bears the fees, they are to come out of what its wallet owes to nobody. Raises Stuck."""
        key = self._jobs.admin_key(job)
        reserve_sats = await self._lnbits.fee_reserve_sats(key, invoice.bolt11)
        balance_sats = (await self._lnbits.wallet(key)).balance_msat // 1000
        owed_sats = await self._jobs.owed_sats(
            job
        )  # after the balance: what is sent meanwhile is counted once or never
        lacks_sats = owed_sats + reserve_sats - balance_sats
        if lacks_sats > 0:
            raise Stuck(
                Cause.NO_FUNDS,
                f"the wallet holds {balance_sats} sats and owes {owed_sats}; {reserve_sats} more are set aside for "
                f"routing fees, which the machine bears: put {lacks_sats} sats into it",
            )
        return invoice

    async def _fetch(self, payee: Payee, amount_sats: int, job: Job) -> Invoice:
        address = payee.lightning_address or payee.lnurl
        assert address is not None
        found = await self._external.invoice(address, amount_sats * 1000, comment=self._jobs.memo(job))
        return Invoice(found.payment_hash, found.bolt11, amount_sats, found.expires_at)


def keep_invoices(conn: sqlite3.Connection, ready: Sequence[tuple[Job, Invoice | None]], now: int) -> dict[int, Stuck]:
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
