"""Where a leg's invoice comes from: a wallet of this LNbits, a Lightning address or LNURL, or the customer's own.

Asking writes nothing: an invoice that no mark names is never paid, so it does no harm if one is lost on the way. Those
of a bundle are kept in one transaction, `keep_invoices`. An invoice also tells which wallet a payee's key leads to
(`PayeeWallets`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from satmachine.config import Config, Payee, Secret
from satmachine.errors import ConfigError, WalletRefused
from satmachine.identity import SUPER_SCOPE, PayeeIdentity, PayeeKind, ruleset_scope
from satmachine.models import Cause, Leg
from satmachine.settlements.pay.jobs import Job, Jobs, Stuck, changed_payee, client_payee, given_invoice
from satmachine.store import clients, legs, payees
from satmachine.store.database import Store
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.lnbits import Invoice, Lnbits
from satmachine.wallet.lnurl import LnurlInvoice

log = logging.getLogger(__name__)

#: LNbits' usual reserve for routing fees is 1 %, at least this much: a first guess that saves a question.
MIN_RESERVE_SATS = 2
RESERVE_TRIES = 3

_ASK_EXPIRY_S = 600


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


class PayeeWallets:
    """Which wallets of this LNbits a machine's payees are: learnt before its first sale is planned, each once.

    So another key under the name of a payee shows later, and its legs wait for a person (`Cause.PAYEE_CHANGED`).
    """

    def __init__(self, store: Store, lnbits: Lnbits, config: Callable[[], Config], now: Callable[[], int]) -> None:
        self._store = store
        self._lnbits = lnbits
        self._config = config
        self._now = now
        self._learning = anyio.Lock()

    async def learn(self, machine_id: str) -> None:
        """Learn those of a machine that are not known yet.

        Raises WalletUnavailable: a payee that LNbits might tell in a moment is not left unknown.
        """
        named = _wallets_named(self._config(), machine_id)
        if not await self._store.read(payees.unknown_wallets, machine_id, named):
            return
        async with self._learning:  # the next sale of this machine need not ask again
            for scope in await self._store.read(payees.unknown_wallets, machine_id, named):
                await self._learn_one(scope, named.get(scope))

    async def _learn_one(self, scope: str, key: Secret | None) -> None:
        if key is None:
            client_id = int(scope.removeprefix("client:"))
            key = client_payee(await self._store.read(clients.payee_of, client_id)).invoice_key
        wallet_id = None if key is None else await self._wallet_of(key)
        if wallet_id is not None:
            await self._store.write(payees.learn, scope, PayeeIdentity(PayeeKind.WALLET, wallet_id), self._now())

    async def _wallet_of(self, key: Secret) -> str | None:
        """The id of the wallet that a payee's key leads to, from an invoice that nobody pays: an invoice
        key tells it in no other way. None where the key is refused or cannot be read: the leg itself will say what is
        wrong. Raises WalletUnavailable, where asking again may help."""
        try:
            invoice = await self._lnbits.create_invoice(
                key.resolve(self._config().environ),
                amount_sats=1,
                memo="satmachine: do not pay, asks which wallet this is",
                expiry_s=_ASK_EXPIRY_S,
                extra={"tag": "satmachine"},
                external_id="sm1:ask",
            )
        except (WalletRefused, ConfigError) as error:
            log.info("which wallet a payee's key leads to cannot be learnt yet: %s", error)
            return None
        return invoice.wallet_id


def _wallets_named(config: Config, machine_id: str) -> dict[str, Secret]:
    """The keys of a machine's configured payees that are wallets of this LNbits, by where they are named."""
    machine = config.machine(machine_id)
    assert machine is not None, f"machine {machine_id} is in the registry"
    ruleset = config.ruleset(machine)
    named = {
        ruleset_scope(ruleset.source, machine.id, machine.operator, split.label): split.payee
        for split in ruleset.splits
    }
    if config.super_.payee is not None:
        named[SUPER_SCOPE] = config.super_.payee
    return {scope: payee.invoice_key for scope, payee in named.items() if payee.invoice_key is not None}
