"""Whose wallet made a payment: one that the configuration names, or a stranger's (SPEC section 6.3).

A credit does not say who paid it; the debit does, and is in the payer's own wallet under the same payment hash. So
before an unannounced payment is shared out, the wallets that may have made it are asked: the machine's own, those of
its payees and LPs, those of the operator's other machines, and those in `[lnbits] own_wallets`. It only reads.

At most ASKED_AT_MOST wallets are asked, the most likely first. A key that cannot be read, or that LNbits refuses, is
skipped: a payee who has left must not stop the sales. If LNbits cannot be reached, there is no answer, and the sale
waits.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from satmachine.config import Config, Machine, Payee, Secret
from satmachine.errors import ConfigError, WalletRefused
from satmachine.models import Answer
from satmachine.settlements.pay.jobs import client_payee
from satmachine.store import clients
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits

log = logging.getLogger(__name__)

ASKED_AT_MOST = 64
_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class WalletOwner:
    """Whose wallet it is, in words; `is_machine`: the operator's own, so that nobody needs to do anything."""

    name: str
    is_machine: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    payer: WalletOwner
    key: Secret


class OwnWallets:
    """Asks wallets. What it remembers are payers that it has found: a payment that was made stays made."""

    def __init__(self, store: Store, lnbits: Lnbits, config: Callable[[], Config]) -> None:
        self._store = store
        self._lnbits = lnbits
        self._config = config
        self._found: OrderedDict[str, WalletOwner] = OrderedDict()

    async def payer_of(self, machine: Machine, admin_key: str, payment_hash: str) -> WalletOwner | None:
        """Which of our wallets has made this payment; None: none of those that were asked.

        Raises WalletUnavailable.
        """
        payer = self._found.get(payment_hash) or await self._ask(machine, admin_key, payment_hash)
        if payer is not None:
            self._found[payment_hash] = payer
            if len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return payer

    async def _ask(self, machine: Machine, admin_key: str, payment_hash: str) -> WalletOwner | None:
        if await self._has_paid(admin_key, payment_hash):
            return WalletOwner("its own wallet", is_machine=True)
        asked = {admin_key}
        for candidate in await self._candidates(machine):
            try:
                key = candidate.key.resolve(self._config().environ)
            except ConfigError:
                continue
            if key in asked:
                continue
            if len(asked) >= ASKED_AT_MOST:
                break
            asked.add(key)
            if await self._has_paid(key, payment_hash):
                return candidate.payer
        return None

    async def _has_paid(self, key: str, payment_hash: str) -> bool:
        """Whether this wallet shows the debit, made or under way."""
        try:
            rows = await self._lnbits.payments(key, payment_hash=payment_hash)
        except WalletRefused as refused:
            log.info("a wallet that may have made a payment cannot be asked: %s", refused)
            return False
        return any(row.outgoing and row.status is not Answer.FAILURE for row in rows)

    async def _candidates(self, machine: Machine) -> list[_Candidate]:
        config = self._config()
        lps = await self._store.read(clients.payees_of_machine, machine.id)
        found = [*_configured(config, machine)]
        for lp in lps:
            key = client_payee(lp).invoice_key
            if key is not None:
                found.append(_Candidate(WalletOwner(f"the wallet of the LP {lp.label}", is_machine=False), key))
        return [*found, *_machines(config, machine)]


def _configured(config: Config, machine: Machine) -> Iterator[_Candidate]:
    for secret in config.lnbits.own_wallets:
        yield _Candidate(WalletOwner(f"your own wallet ({secret.where})", is_machine=True), secret)
    named: list[tuple[str, Payee | None]] = [("the platform", config.super_.payee)]
    named += [(split.label, split.payee) for split in config.ruleset(machine).splits]
    for name, payee in named:
        if payee is not None and payee.invoice_key is not None:
            yield _Candidate(WalletOwner(f"the wallet of {name}", is_machine=False), payee.invoice_key)


def _machines(config: Config, machine: Machine) -> Iterator[_Candidate]:
    """Other machines' wallets, the same operator's first."""
    others = [other for other in config.machines if other.id != machine.id]
    for other in sorted(others, key=lambda other: other.operator != machine.operator):
        yield _Candidate(WalletOwner(f"the wallet of machine {other.id}", is_machine=True), other.wallet.admin_key)
