"""Which wallets of this LNbits a machine's payees are: learnt before its first sale is planned.

So another key under the name of a payee shows later, and its legs wait for a person (`Cause.PAYEE_CHANGED`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from satmachine.config import Config, Secret
from satmachine.errors import ConfigError, WalletRefused
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.settlements.plan.named_payees import client_payee, wallets_named
from satmachine.store import clients, payees
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits

log = logging.getLogger(__name__)

_ASK_EXPIRY_S = 600


class PayeeWallets:
    """Asks LNbits once for each payee."""

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
        named = wallets_named(self._config(), machine_id)
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
