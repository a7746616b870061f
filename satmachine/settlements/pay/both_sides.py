"""What both wallets show about a leg's invoice, for `transition.decide`. Only reads; every call may ask LNbits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from satmachine.errors import WalletUnavailable
from satmachine.models import Answer, Cause
from satmachine.settlements.pay.jobs import Job, Jobs, Stuck, changed_payee
from satmachine.settlements.pay.marker import Marker
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment, require_wallet

#: Nobody's clock is further off than this when an invoice is said to have expired.
EXPIRY_MARGIN_S = 600

_SIGHTINGS = {Answer.SUCCESS: Sighting.SUCCESS, Answer.PENDING: Sighting.PENDING, Answer.FAILURE: Sighting.FAILED}


@dataclass(frozen=True, slots=True)
class Sides:
    """What both wallets showed about one invoice."""

    source: WalletPayment | None
    destination: WalletPayment | None

    @property
    def evidence(self) -> Mapping[str, object]:
        """For the person who has to decide."""
        return {"source": _evidence(self.source), "destination": _evidence(self.destination)}


class BothSides:
    """Looks at both wallets of a leg's latest invoice, and says what they show."""

    def __init__(self, lnbits: Lnbits, jobs: Jobs, marker: Marker, now: Callable[[], int]) -> None:
        self._lnbits = lnbits
        self._jobs = jobs
        self._marker = marker
        self._now = now

    async def look(self, job: Job) -> Sides:
        """The destination first: only then does "not at the source" prove anything (docs/lnbits.md).

        Raises WalletError, ConfigError, and Stuck where the payee's wallet cannot be asked any more.
        """
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

    def view(self, job: Job, sides: Sides, *, last_look: bool) -> View:
        """What was seen, in the words of the table that decides. Raises WalletUnavailable for an unknown state."""
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

    async def remembers(self, job: Job) -> bool:
        """Before a sent invoice is given up for dead because its payment is nowhere, or failed: an LNbits that was
        restored from an older copy has forgotten payments, and one that is sent again fails *because* it was paid.
        Then the mark that first named the invoice is not there any more (a later one may be)."""
        invoice = job.invoice
        if invoice is None or invoice.sent_at is None:
            return True
        return await self._marker.is_there(self._jobs.purse(job), invoice.mark_id)

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
        if moved and (found is not None or await self._marker.is_there(self._jobs.purse(job), first)):
            raise Stuck(Cause.PAYEE_CHANGED, changed_payee(job.leg, "another wallet"))
        return None

    def _amounts_fit(self, job: Job, sides: Sides) -> bool:
        """Whether both wallets moved what the invoice says, and the leg bears it (with the fee, where there is one)."""
        source, destination, invoice = sides.source, sides.destination, job.invoice
        if source is None or invoice is None or source.amount_sats != invoice.amount_sats:
            return False
        if not invoice.internal:
            return source.amount_sats + source.fee_sats <= job.leg.amount_sats + self._jobs.fee_on_top_sats(job)
        credited_sats = None if destination is None else destination.amount_sats
        return source.amount_sats == credited_sats == job.leg.amount_sats


def _sighting(row: WalletPayment | None) -> Sighting:
    if row is None:
        return Sighting.ABSENT
    if row.status not in _SIGHTINGS:
        raise WalletUnavailable(f"LNbits shows a payment in a state that is not known: {row.checking_id}")
    return _SIGHTINGS[row.status]


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
