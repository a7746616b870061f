"""The world outside the modelled LNbits: people's servers that give invoices, and a Lightning network that pays them.

Nothing is paid twice there: an invoice is settled once, whoever pays it. Amounts int msats, times float seconds.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from satmachine.wallet import bolt11
from simulator import invoices


class Fate(StrEnum):
    """How a payment to an invoice of the outside goes."""

    PAYS = "it arrives"
    FAILS = "no route"
    STUCK = "it neither arrives nor fails, ever"


@dataclass(frozen=True, slots=True)
class Settled:
    """An invoice of the outside that was really paid."""

    at: float
    payee: str
    payment_hash: str
    amount_msat: int


@dataclass(slots=True)
class Attempt:
    """A payment under way, or ended at `ends_at`."""

    fate: Fate
    ends_at: float


@dataclass(slots=True)
class Issued:
    """An invoice of somebody outside. `fate` and `takes_s` decide what happens when it is paid."""

    payee: str
    payment_hash: str
    preimage: str
    bolt11: str
    amount_msat: int
    fate: Fate = Fate.PAYS
    takes_s: float = 0
    attempts: list[Attempt] = field(default_factory=list)


class Outside:
    """Issues and pays invoices that are not of the modelled LNbits."""

    def __init__(self, clock: Callable[[], float], chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self.issued: dict[str, Issued] = {}
        #: Routing fee of a payment that arrives, in msats.
        self.fee_msat = 0

    def issue(
        self,
        payee: str,
        amount_msat: int,
        *,
        expiry_s: int = 3_600,
        fate: Fate = Fate.PAYS,
        takes_s: float = 0,
        created_at: float | None = None,
    ) -> Issued:
        """A new invoice of a stranger."""
        preimage = self._chance.randbytes(32)
        payment_hash = hashlib.sha256(preimage).hexdigest()
        text = invoices.encode(
            amount_msat=amount_msat,
            payment_hash=payment_hash,
            created_at=int(self._clock() if created_at is None else created_at),
            expiry_s=expiry_s,
            description=f"Payment to {payee}",
        )
        issued = Issued(payee, payment_hash, preimage.hex(), text, amount_msat, fate, takes_s)
        self.issued[payment_hash] = issued
        return issued

    def send(self, payment_hash: str) -> Attempt | None:
        """Begin to pay; None for an invoice of nobody. What is paid already, or has expired, fails at once."""
        issued = self.issued.get(payment_hash)
        if issued is None:
            return None
        now = self._clock()
        over = self.is_settled(payment_hash) or bolt11.decode(issued.bolt11).expires_at < now
        attempt = Attempt(Fate.FAILS, now) if over else Attempt(issued.fate, now + issued.takes_s)
        issued.attempts.append(attempt)
        return attempt

    def status(self, payment_hash: str) -> str:
        """Of the last attempt: "success", "failed", or "pending" (also for what nobody knows)."""
        issued = self.issued.get(payment_hash)
        if issued is None or not issued.attempts:
            return "pending"
        if self.is_settled(payment_hash):
            return "success"
        last = issued.attempts[-1]
        return "failed" if last.fate is Fate.FAILS and last.ends_at <= self._clock() else "pending"

    def is_settled(self, payment_hash: str) -> bool:
        return self.settlement(payment_hash) is not None

    def settlement(self, payment_hash: str) -> Settled | None:
        """The payment of this invoice that arrived by now; there is never a second one."""
        issued = self.issued.get(payment_hash)
        arrivals = [a.ends_at for a in issued.attempts if a.fate is Fate.PAYS] if issued is not None else []
        if issued is None or not arrivals or min(arrivals) > self._clock():
            return None
        return Settled(min(arrivals), issued.payee, payment_hash, issued.amount_msat)

    @property
    def settled(self) -> list[Settled]:
        """Everything that people outside have really got by now."""
        found = (self.settlement(payment_hash) for payment_hash in self.issued)
        return [settled for settled in found if settled is not None]
