"""A leg that is not paid now waits: until it is tried again, or for a person. Here that is decided and written down.

A setback waits longer each time; what only a person can mend waits until they have; a leg whose wallets show something
that must not be, or that the daemon has not ordered, is held.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping

from satmachine.errors import ConfigError, WalletRefused, WalletUnavailable
from satmachine.identity import PayeeKind
from satmachine.models import Cause, HoldReason, Leg, LegStatus, Retained, RetainedReason, leg_types
from satmachine.settlements.pay.invoicing import MIN_RESERVE_SATS
from satmachine.settlements.pay.jobs import Stuck, leg_name
from satmachine.settlements.pay.marker import Standoff
from satmachine.settlements.pay.seal_check import Strange
from satmachine.store import corrections, legs, settlements, wallet_rows
from satmachine.store.database import Store

log = logging.getLogger(__name__)

#: Waits between tries: doubling from the first to the last, with jitter.
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 600.0

#: An autoforward that failed so often (about an hour) is not tried again on its own.
FORWARD_TRIES = 12

#: What a person may mend outside of satmachine, so that it is tried again now and then.
_MAY_PASS = frozenset({Cause.PAYEE_CHANGED, Cause.NO_PAYEE, Cause.PAYEE_UNREACHABLE, Cause.NO_FUNDS})

_HELD_BECAUSE = {
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
_MARK_FORGOTTEN = "LNbits has forgotten the mark of this sale: it was restored from a backup, or the row was deleted"


def backoff_s(attempts: int, random_fraction: float) -> float:
    """How long to wait before the next try: doubling, capped, within 20 % either way."""
    wait_s: float = min(FIRST_RETRY_S * 2 ** min(attempts, 20), LAST_RETRY_S)
    return wait_s * (0.8 + 0.4 * random_fraction)


class Waiting:
    """Lets legs wait."""

    def __init__(self, store: Store, now: Callable[[], int], random_fraction: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._random_fraction = random_fraction

    async def after(self, leg_id: int, trouble: Exception) -> None:
        """What stops a leg, as the state in which it waits."""
        leg, invoice = await self._store.read(legs.get, leg_id)
        if isinstance(trouble, Stuck):
            await self._for_a_person(leg_id, trouble.cause, trouble.detail)
        elif isinstance(trouble, WalletRefused):
            await self._for_a_person(leg_id, Cause.PAYEE_UNREACHABLE, str(trouble))
        elif isinstance(trouble, ConfigError):  # a key that cannot be read: somebody may be rotating it
            error = "; ".join(trouble.problems)
            await self.try_later(leg_id, leg.status, Cause.KEY_UNREADABLE, error, at_least_s=LAST_RETRY_S)
        elif isinstance(trouble, Standoff):
            await self.try_later(leg_id, leg.status, Cause.MARKS, str(trouble), at_least_s=LAST_RETRY_S)
        else:
            at_least_s = trouble.retry_after_s or 0 if isinstance(trouble, WalletUnavailable) else 0
            external = leg.payee_kind is not PayeeKind.WALLET and invoice is None
            cause = Cause.PAYEE_UNREACHABLE if external else Cause.WALLET_UNREACHABLE
            await self.try_later(leg_id, leg.status, cause, str(trouble), at_least_s=at_least_s)

    async def try_later(
        self, leg_id: int, status: LegStatus, cause: Cause, error: str, *, at_least_s: float = 0
    ) -> None:
        """It is tried again on its own, each time a little later."""
        leg, _ = await self._store.read(legs.get, leg_id)
        wait_s = max(at_least_s, backoff_s(leg.attempts, self._random_fraction()))
        until: int | None = self._now() + round(wait_s)
        if leg.leg_type in leg_types.PAID_BY_LP and status is LegStatus.FAILED and leg.attempts >= FORWARD_TRIES:
            until = None  # best-effort: the sats are the LP's, in the LP's own wallet
        await self._store.write(_postpone, leg, status, until, error, cause, self._now())
        log.warning("%s: %s", leg_name(leg), error)

    async def _for_a_person(self, leg_id: int, cause: Cause, detail: str) -> None:
        """A person must act. What may have been sent is still looked up, slowly; the rest waits."""
        leg, invoice = await self._store.read(legs.get, leg_id)
        if cause is Cause.FEES_NOT_COVERED and invoice is None and _is_too_small(leg):
            await self._store.write(_give_up, leg, self._now())
            log.info(
                "%s: %d sats are too few to be sent elsewhere and stay in the wallet", leg_name(leg), leg.amount_sats
            )
            return
        if invoice is not None and invoice.sent_at is not None and leg.status is LegStatus.SENDING:
            await self.try_later(leg_id, LegStatus.SENDING, cause, detail, at_least_s=LAST_RETRY_S)
            return
        until = self._now() + round(LAST_RETRY_S) if cause in _MAY_PASS else None
        await self._store.write(_postpone, leg, LegStatus.FAILED, until, detail, cause, self._now())
        log.error("%s waits for a person: %s", leg_name(leg), detail)

    # --- held

    async def hold(self, leg: Leg, reason: HoldReason, evidence: Mapping[str, object]) -> None:
        """What both wallets show must not be."""
        await self._hold(leg, reason, _HELD_BECAUSE[reason], evidence)

    async def hold_rolled_back(self, leg: Leg) -> None:
        """LNbits does not show the mark any more by which this leg may be paid."""
        await self._hold(leg, HoldReason.WALLET_ROLLED_BACK, _MARK_FORGOTTEN, {})

    async def hold_unordered(self, leg: Leg, found: Strange) -> None:
        """The daemon itself has not ordered this payment as it stands."""
        await self._store.write(_hold_unordered, leg, found, self._now())
        log.error("%s is held: %s", leg_name(leg), found.text)

    async def _hold(self, leg: Leg, reason: HoldReason, why: str, evidence: Mapping[str, object]) -> None:
        await self._store.write(_hold_leg, leg, reason, why, evidence)
        log.error("%s is held: %s", leg_name(leg), why)


# --- transactions


def _postpone(
    conn: sqlite3.Connection, leg: Leg, status: LegStatus, until: int | None, error: str, cause: Cause, now: int
) -> None:
    """The leg waits, and its sale says so."""
    legs.postpone(conn, leg, status=status, until=until, error=error, cause=cause)
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, now)


def _is_too_small(leg: Leg) -> bool:
    """Whether the leg is too small for any routing fee: then it ends like one of 0 sats."""
    of_a_sale = leg.settlement_id is not None and leg.leg_type not in leg_types.PAID_BY_LP
    return of_a_sale and leg.amount_sats <= MIN_RESERVE_SATS


def _give_up(conn: sqlite3.Connection, leg: Leg, now: int) -> None:
    assert leg.settlement_id is not None
    corrections.void(conn, leg, None)
    kept = Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg)
    settlements.retain(conn, leg.settlement_id, leg.revision, [kept], now)
    settlements.refresh_status(conn, leg.settlement_id, now)


def _hold_unordered(conn: sqlite3.Connection, leg: Leg, found: Strange, now: int) -> None:
    """The leg is held, and its sale says so."""
    _hold_leg(conn, leg, HoldReason.UNORDERED, found.text, {"too_much": found.too_much})
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, now)


def _hold_leg(
    conn: sqlite3.Connection, leg: Leg, reason: HoldReason, error: str, evidence: Mapping[str, object]
) -> None:
    """An LNbits that was rolled back has forgotten payments: nothing at all is paid from this wallet then."""
    legs.hold(conn, leg, reason=reason, error=error, evidence=evidence)
    if reason is HoldReason.WALLET_ROLLED_BACK:
        wallet_rows.refresh_safe_mode(conn, leg.machine_id)
