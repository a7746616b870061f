"""What came into a machine's wallet: matched to sales, landed, or listed (SPEC section 6.3).

    a page of settled payments -> whose is each? -> (its payer, where only the wallets know) -> one transaction

The same code is used by a sweep and after a hint that something came in. Nothing is paid here, and a hint decides
nothing: only what is in the wallet's own list is landed. Running twice, or in parallel, changes nothing: the
transaction leaves a payment alone if it belongs to a sale by then.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from satmachine.config import Config, Machine
from satmachine.models import Answer, Claim, LandingResult, Rejection
from satmachine.settlements.claim.content import claim_from_payment, derived_claim
from satmachine.settlements.land.landing import Rules, land_claim, with_rate
from satmachine.settlements.plan import shortfall_refund
from satmachine.settlements.sweep import unannounced
from satmachine.settlements.sweep.own_wallets import OwnWallets, WalletOwner
from satmachine.settlements.sweep.topups import genuine_id
from satmachine.settlements.sweep.unannounced import JustListed, Share, Wait
from satmachine.store import incoming, settlements
from satmachine.store.database import Store
from satmachine.store.incoming import KnownIncoming
from satmachine.wallet.rows import WalletPayment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of a page: sales landed, payments newly listed, and when one that waits for its event is due."""

    landed: int = 0
    unmatched: int = 0
    look_again_at: int | None = None

    def __add__(self, other: Arrived) -> Arrived:
        due = [at for at in (self.look_again_at, other.look_again_at) if at is not None]
        return Arrived(self.landed + other.landed, self.unmatched + other.unmatched, min(due, default=None))


class Incoming:
    """Takes in what machines' wallets have received."""

    def __init__(
        self, store: Store, config: Callable[[], Config], own_wallets: OwnWallets, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._config = config
        self._own_wallets = own_wallets
        self._now = now

    async def take_in(self, machine: Machine, admin_key: str, page: Sequence[WalletPayment]) -> Arrived:
        """A page of a wallet's incoming payments. Raises WalletUnavailable, StoreError."""
        wanted = [row for row in page if row.status is Answer.SUCCESS]
        if not wanted:
            return Arrived()
        named = [
            (row.payment_hash, topup_id)
            for row in sorted(wanted, key=lambda row: (row.updated_at, row.payment_hash))
            if (topup_id := genuine_id(row.extra, machine.id, row.amount_sats, admin_key)) is not None
        ]
        known = await self._store.read(_known, machine.id, wanted, named)
        payers: dict[str, WalletOwner | None] = {}
        for row in wanted:
            if isinstance(_about(row, machine, known, {}, self._now()), Share):
                payers[row.payment_hash] = await self._own_wallets.payer_of(machine, admin_key, row.payment_hash)
        return await self._store.write(
            note_incoming,
            machine,
            wanted,
            may_land=self._config().payouts.require_payment_proof,
            named_top_ups=named,
            payers=payers,
            now=self._now(),
        )


def note_incoming(
    conn: sqlite3.Connection,
    machine: Machine,
    found: Sequence[WalletPayment],
    *,
    may_land: bool,
    named_top_ups: Sequence[tuple[str, str]] = (),
    payers: Mapping[str, WalletOwner | None] | None = None,
    now: int,
) -> Arrived:
    """Match settled incoming payments to settlements, in one transaction.

    `may_land` False (no payment proof is required): only list, so that one sale cannot be landed under two keys.
    `named_top_ups`: (hash, id) of those that name a top-up truly. `payers`: whose of our wallets has made a payment,
    None: a stranger's. Nothing is shared before that was asked.
    """
    arrived = Arrived()
    known = _known(conn, machine.id, found, named_top_ups)
    genuine = {payment_hash: topup_id for payment_hash, topup_id in named_top_ups if payment_hash in known.top_ups}
    for row in found:
        if settlements.payment_arrived(conn, machine.id, row.payment_hash) or row.payment_hash in known.dismissed:
            continue
        verdict = _about(row, machine, known, payers or {}, now)
        if isinstance(verdict, Share) and row.payment_hash not in (payers or {}):
            verdict = Wait(now + 1)  # it has become due since its payer could be asked
        if isinstance(verdict, Wait):
            arrived += Arrived(look_again_at=verdict.until)
            continue
        done = (
            verdict
            if isinstance(verdict, JustListed)
            else _land(conn, machine, row, verdict, may_land=may_land, now=now)
        )
        if isinstance(done, JustListed):
            arrived += Arrived(unmatched=int(_list(conn, machine, row, done, now)))
            if row.payment_hash in genuine:
                shortfall_refund.fund(conn, machine.id, row, genuine[row.payment_hash], now)
        else:
            arrived += Arrived(landed=int(done))
    return arrived


def _known(
    conn: sqlite3.Connection, machine_id: str, found: Sequence[WalletPayment], named: Sequence[tuple[str, str]]
) -> KnownIncoming:
    known = incoming.known(conn, machine_id, [row.payment_hash for row in found])
    return replace(known, top_ups=known.top_ups | incoming.top_ups_among(conn, machine_id, named))


def _about(
    row: WalletPayment, machine: Machine, known: KnownIncoming, payers: Mapping[str, WalletOwner | None], now: int
) -> Claim | JustListed | Wait | Share:
    """What a payment is: a Claim where it says so itself, Share where it is taken for a sale that nobody announced."""
    hash_ = row.payment_hash
    if hash_ in known.settled or hash_ in known.dismissed:
        return JustListed("it is known")
    rule = machine.unannounced
    top_up = hash_ in known.top_ups
    claim = None if top_up else _claim_of(row, machine)
    if isinstance(claim, Rejection):
        return JustListed(claim.detail)
    if row.created_at < machine.payouts_since and not top_up:
        return JustListed("its invoice was made before the machine's payouts_since, and paid after")
    if claim is None:
        payer = payers.get(hash_)
        if payer is not None:
            return unannounced.transfer(payer.name, is_machine=payer.is_machine)
        after_s = unannounced.wait_s(rule.after_s, announces=known.announces)
        return unannounced.classify(row, rule, top_up=top_up, own=hash_ in known.own, after_s=after_s, now=now)
    # A machine that writes half of it into the payment is one that announces the rest.
    due_at = row.updated_at + unannounced.wait_s(rule.after_s, announces=True)
    return Wait(due_at) if _is_rough(claim) and now < due_at else claim


def _claim_of(row: WalletPayment, machine: Machine) -> Claim | Rejection | None:
    return claim_from_payment(
        row.extra,
        machine,
        payment_hash=row.payment_hash,
        amount_sats=row.amount_sats,
        settled_at=row.updated_at,
    )


def _land(
    conn: sqlite3.Connection, machine: Machine, row: WalletPayment, said: Claim | Share, *, may_land: bool, now: int
) -> bool | JustListed:
    """Make it a sale; whether it is a new one, or why it cannot be."""
    if not may_land:
        return JustListed("require_payment_proof is false: sales are landed from events only")
    claim = said
    if isinstance(claim, Share):
        bare = derived_claim(
            machine, payment_hash=row.payment_hash, amount_sats=row.amount_sats, settled_at=row.updated_at
        )
        claim = replace(bare, source="wallet")
    if claim.exchange_rate == 0:
        claim = with_rate(conn, claim, row.extra, machine.unannounced.rate_max_age_s)
    twin = _may_be_decided_already(conn, claim)
    if twin is not None:
        return JustListed(twin)
    landing = land_claim(conn, claim, Rules(machine.active, machine.payouts_since), now)
    if landing.result is LandingResult.CONFLICT:
        return JustListed(landing.detail)
    if landing.result is LandingResult.LANDED and claim.exchange_rate == 0:
        log.warning(
            "settlement %s of %s: its exchange rate is not known, so the LPs' part stays in the wallet until "
            "`satmachine settlements redistribute %s --rate SATS`",
            landing.settlement_id,
            machine.id,
            landing.settlement_id,
        )
    return landing.result is LandingResult.LANDED


def _list(conn: sqlite3.Connection, machine: Machine, row: WalletPayment, report: JustListed, now: int) -> bool:
    return incoming.note(
        conn,
        machine.id,
        payment_hash=row.payment_hash,
        amount_sats=row.amount_sats,
        memo=row.memo,
        extra=row.extra,
        settled_at=row.updated_at,
        reason=report.why,
        kind=report.kind,
        now=now,
    )


def _is_rough(claim: Claim) -> bool:
    """Whether the payment does not carry the whole split and the rate: then the event knows better."""
    return claim.used_fallback_split or claim.exchange_rate == 0


def _may_be_decided_already(conn: sqlite3.Connection, claim: Claim) -> str | None:
    """A sale without a payment hash, paid on the machine's word or stopped by a person, may be this payment's."""
    if settlements.find_same_sale(conn, claim):
        return None
    waived = settlements.waived_like(conn, claim.machine_id, claim.gross_sats, claim.occurred_at)
    if waived is not None:
        return f"sale {waived} of the same amount was paid on the machine's word that day: this may be its payment"
    stopped = settlements.stopped_like(conn, claim)
    if stopped is not None:
        return f"sale {stopped} of the same amount was stopped by a person: this may be its payment"
    return None
