"""Payees elsewhere, and what their servers do: a stand-in for satmachine's LnurlClient (`ExternalPayees`)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio

from satmachine.wallet import bolt11
from satmachine.wallet.lnurl import LnurlInvoice, LnurlRefused, LnurlUnavailable
from simulator.database import PaymentError
from simulator.outside import Fate

if TYPE_CHECKING:
    from simulator.lnbits import ModelLnbits


class Manner(StrEnum):
    """How a payee's server answers the request for an invoice."""

    FRESH = "a new invoice each time"
    REPEATS = "the same invoice as before, as long as the amount is the same"
    DEAD = "does not answer"
    HANGS = "answers after a time, or too late"
    REFUSES = "says that it does not exist"
    SAME_LNBITS = "an address of the LNbits that pays"


@dataclass(slots=True)
class Server:
    """A payee's server; change it at any time. `fate` and `takes_s`: how a payment of its next invoices goes.

    `fails`: how likely it does not answer, whatever its manner. `hangs_s`: for HANGS. `wallet_address`: the local
    part of the address at the LNbits, for SAME_LNBITS, where it is not the address' own.
    """

    manner: Manner = Manner.FRESH
    fate: Fate = Fate.PAYS
    takes_s: float = 0
    expiry_s: int = 3_600
    hangs_s: float = 0
    fails: float = 0
    wallet_address: str | None = None


class ModelLnurl:
    """`servers` by address, as in "alice@pay.example". Who is not there cannot be resolved."""

    def __init__(
        self,
        lnbits: ModelLnbits,
        *,
        clock: Callable[[], float],
        chance: random.Random,
        timeout_s: float = 20,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.servers: dict[str, Server] = {}
        self._lnbits = lnbits
        self._clock = clock
        self._chance = chance
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._given: dict[tuple[str, int], str] = {}

    def add(self, address: str, server: Server | None = None) -> Server:
        self.servers[address] = server or Server()
        return self.servers[address]

    async def invoice(self, payee: str, amount_msat: int, *, comment: str = "") -> LnurlInvoice:  # noqa: ARG002
        """Raises LnurlUnavailable and LnurlRefused as the real client does."""
        server = self.servers.get(payee)
        if server is None:
            raise LnurlUnavailable(f"{payee}: the host cannot be resolved.")
        if server.manner is Manner.REFUSES:
            raise LnurlRefused(f"{payee} does not exist: its server answered HTTP 404.", status=404)
        if server.manner is Manner.DEAD or self._chance.random() < server.fails:
            raise LnurlUnavailable(f"{payee}: its server cannot be reached (ConnectError).")
        if server.manner is Manner.HANGS:
            await self._sleep(min(server.hangs_s, self._timeout_s))
            if server.hangs_s >= self._timeout_s:
                raise LnurlUnavailable(f"{payee}: its server did not answer within {self._timeout_s:.0f} s.")
        text = await self._text(payee, server, amount_msat)
        decoded = bolt11.decode(text)
        if decoded.amount_msat != amount_msat:
            raise LnurlUnavailable(f"{payee} gave an invoice over {decoded.amount_msat} msats; it was not paid.")
        if decoded.expires_at < self._clock() + 60:
            raise LnurlUnavailable(f"{payee} gave an invoice that has expired or is about to; it was not paid.")
        return LnurlInvoice(decoded.payment_hash, text, amount_msat, decoded.expires_at)

    async def _text(self, payee: str, server: Server, amount_msat: int) -> str:
        before = self._given.get((payee, amount_msat))
        if server.manner is Manner.REPEATS and before is not None:
            return before
        if server.manner is Manner.SAME_LNBITS:
            text = await self._of_lnbits(payee, server, amount_msat)
        else:
            issued = self._lnbits.outside.issue(
                payee, amount_msat, expiry_s=server.expiry_s, fate=server.fate, takes_s=server.takes_s
            )
            text = issued.bolt11
        self._given[payee, amount_msat] = text
        return text

    async def _of_lnbits(self, payee: str, server: Server, amount_msat: int) -> str:
        name, _, host = payee.partition("@")
        try:
            return await self._lnbits.address_invoice(server.wallet_address or name, amount_msat, host=host)
        except (ConnectionError, PaymentError) as error:
            raise LnurlUnavailable(f"{payee} gave no invoice: {error}") from error
