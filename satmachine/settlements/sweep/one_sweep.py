"""The second witness: reads the machines' wallets and lands what the relays never delivered (SPEC section 6.3).

One sweep of one machine: its balance, its incoming payments since the last sweep, and its tagged outgoing ones.
Nothing is paid here. A machine pays nothing before its wallet was swept once in this run, so that a database that
was restored or lost learns first what has been paid already.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from satmachine.config import Config, Machine
from satmachine.errors import WalletRefused
from satmachine.failpoints import failpoint
from satmachine.marks import Mark
from satmachine.settlements.pay.marker import genuine_marks, outgoing, written_marks
from satmachine.settlements.pay.sealed_since import begin
from satmachine.settlements.sweep.arrivals import Arrived, Incoming
from satmachine.settlements.sweep.own_wallets import OwnWallets
from satmachine.store import mark_rows, seal_rows, wallet_rows
from satmachine.store.database import Store
from satmachine.store.wallet_rows import ReadUntil
from satmachine.wallet.lnbits import Capabilities, Lnbits
from satmachine.wallet.rows import require_wallet

log = logging.getLogger(__name__)

#: How far back each sweep reads again: clocks differ, and rows are committed after their time stamp.
OVERLAP_S = 600
#: And how far back the first one of a run does, and one every day: LNbits' clock may have been set back.
DEEP_OVERLAP_S = 3 * 86_400
DEEP_EVERY_S = 86_400


#: How long the content of marks is kept of which nothing is open any more.
MARKS_WHOLE_S = 30 * 86_400

#: Rows that are read at a time: strangers can store large ones.
_PAGE = 200

#: How often LNbits is asked which version it is.
PROBE_EVERY_S = 3600

_LACKS = {
    True: "",
    False: ": it has no external_id (1.5 has), so payments are found by reading all those with the machine's tag",
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found; `landed` are sales that no event has told of so far.

    `look_again_at`: when a payment that waits for its event is due (Unix seconds).
    """

    landed: int
    unmatched: int
    strange: int
    safe_mode: str | None
    look_again_at: int | None = None


class WalletSweep:
    """Sweeps machine wallets."""

    def __init__(self, store: Store, lnbits: Lnbits, config: Callable[[], Config], now: Callable[[], int]) -> None:
        self._store = store
        self._lnbits = lnbits
        self._config = config
        self._now = now
        self._incoming = Incoming(store, config, OwnWallets(store, lnbits, config), now)
        self._verified: dict[str, str] = {}
        self._deep_at: dict[str, int] = {}
        self._found: Capabilities | None = None
        self._probe_at = 0

    def is_verified(self, machine_id: str, key: str) -> bool:
        """Whether the last sweep found this key to be of the machine's own wallet; a key may be exchanged any time."""
        return self._verified.get(machine_id) == _digest(key)

    async def sweep(self, machine: Machine) -> Sweep:
        """Read a machine's wallet from where the last sweep ended. Raises WalletError, ConfigError, StoreError."""
        key = machine.wallet.admin_key.resolve(self._config().environ)
        try:
            await self._check_wallet(machine, key)
        except WalletRefused:
            self._verified.pop(machine.id, None)
            raise
        self._verified[machine.id] = _digest(key)
        if self._store.keyring.learn(machine.id, key):
            await self._store.write(seal_rows.renew, machine.id)
        await begin(self._store, self._lnbits, machine, key, self._now())
        marks = await self._store.read(wallet_rows.read_until, machine.id)
        deep = self._now() >= self._deep_at.get(machine.id, 0)
        if deep:
            marks = ReadUntil(marks.swept_until - DEEP_OVERLAP_S, marks.known_until - DEEP_OVERLAP_S)
        reached = _ReadTo(self._now())
        strange = await self._sweep_outgoing(machine, key, marks, reached)
        await self._sweep_marks(machine, key, marks)
        failpoint("sweep.outgoing")
        arrived = await self._sweep_incoming(machine, key, marks, reached)
        failpoint("sweep.incoming")
        await self._store.write(wallet_rows.mark_swept, machine.id, reached.marks(), self._now())
        if deep:
            await self._store.write(mark_rows.shorten, machine.id, written_before=self._now() - MARKS_WHOLE_S)
            self._deep_at[machine.id] = self._now() + DEEP_EVERY_S
        safe_mode = await self._store.write(wallet_rows.refresh_safe_mode, machine.id)
        return Sweep(arrived.landed, arrived.unmatched, strange, safe_mode, arrived.look_again_at)

    async def look(self, machine: Machine) -> Arrived | None:
        """Only what came in: something hints at a payment, or one was waited for. None where no sweep has seen yet that
        the key is of the machine's own wallet. Raises WalletError, ConfigError, StoreError."""
        key = machine.wallet.admin_key.resolve(self._config().environ)
        if not self.is_verified(machine.id, key):
            return None
        marks = await self._store.read(wallet_rows.read_until, machine.id)
        return await self._sweep_incoming(machine, key, marks, _ReadTo(self._now()))

    async def _check_wallet(self, machine: Machine, key: str) -> None:
        info = await self._lnbits.wallet(key)
        if not info.can_pay or info.wallet_id is None:
            raise WalletRefused(
                f"machine {machine.id}: wallet.admin_key is an invoice key, which cannot pay; use the admin key",
                status=403,
            )
        version = await self._version(key)
        known = await self._store.read(wallet_rows.wallet_id, machine.id)
        owner = await self._store.read(wallet_rows.owner_of_wallet, info.wallet_id)
        if known not in (None, info.wallet_id):
            raise WalletRefused(
                f"machine {machine.id}: wallet.admin_key belongs to another wallet than before; put the old key back, "
                "or give the machine a new id",
                status=409,
            )
        if owner not in (None, machine.id):
            raise WalletRefused(
                f"machine {machine.id} shares its wallet with machine {owner}: a sale could be paid from either; "
                "give each machine a wallet of its own",
                status=409,
            )
        await self._store.write(
            wallet_rows.note_answer,
            machine.id,
            wallet_id=info.wallet_id,
            balance_sats=info.balance_msat // 1000,
            version=version,
            now=self._now(),
        )

    async def _version(self, key: str) -> str:
        """Which LNbits this is; asked once an hour, because it may be upgraded, and said when that is news."""
        if self._found is None or self._now() >= self._probe_at:
            found = await self._lnbits.probe(key)
            if found != self._found:
                log.info("LNbits is version %s%s", found.version, _LACKS[found.external_id])
            self._found, self._probe_at = found, self._now() + PROBE_EVERY_S
        return self._found.version

    async def _sweep_outgoing(self, machine: Machine, key: str, marks: ReadUntil, reached: _ReadTo) -> int:
        """Learn of every payment that bears a key of ours, whoever made it, of any npub, however old."""
        own = await self._store.read(wallet_rows.wallet_id, machine.id)
        since = self._since(marks.known_until)
        strange = 0
        async for page in self._lnbits.iter_ours(key, incoming=False, created_since=since):
            require_wallet(page, own, machine.id)
            reached.outgoing(row.created_at for row in page)
            strange += await self._store.write(wallet_rows.note_outgoing, machine.id, outgoing(page), self._now())
        if strange:
            log.error("machine %s: its wallet shows %d payment(s) that these books do not know", machine.id, strange)
        return strange

    async def _sweep_marks(self, machine: Machine, key: str, since: ReadUntil) -> None:
        """Learn of every genuine mark that these books did not write: what a person reconciles is then whole.

        Books that see this wallet for the first time (they were lost, or are a copy) cannot know whether its key was
        replaced since a person's orders were marked: they take every mark for one, and a person looks at it.
        """
        own = await self._store.read(wallet_rows.wallet_id, machine.id)
        first = not await self._store.read(wallet_rows.was_swept, machine.id)
        async for page in self._lnbits.iter_ours(key, incoming=True, created_since=self._since(since.known_until)):
            require_wallet(page, own, machine.id)
            await self._store.write(
                _note_marks, machine.id, written_marks(page) if first else genuine_marks(page, key), self._now()
            )

    def _since(self, mark: int) -> int:
        """Where to begin; a mark that lies in the future was set by a clock that was wrong, and says nothing."""
        return max(0 if mark > self._now() else mark - OVERLAP_S, 0)

    async def _sweep_incoming(self, machine: Machine, key: str, marks: ReadUntil, reached: _ReadTo) -> Arrived:
        own = await self._store.read(wallet_rows.wallet_id, machine.id)
        since = max(self._since(marks.swept_until), machine.payouts_since)
        arrived = Arrived()
        async for page in self._lnbits.iter_payments(key, page_size=_PAGE, incoming=True, updated_since=since):
            require_wallet(page, own, machine.id)
            reached.incoming(row.updated_at for row in page)
            arrived += await self._incoming.take_in(machine, key, page)
        if arrived.landed:
            log.warning(
                "machine %s: landed %d sale(s) from its wallet that no event told of", machine.id, arrived.landed
            )
        return arrived


class _ReadTo:
    """How far a sweep has read, by LNbits' own clock: ours may be wrong, and must not make the next one skip rows."""

    def __init__(self, begun_at: int) -> None:
        self._begun_at = begun_at
        self._incoming_at = 0
        self._outgoing_at = 0

    def incoming(self, times: Iterable[int]) -> None:
        self._incoming_at = max(self._incoming_at, *times, 0)

    def outgoing(self, times: Iterable[int]) -> None:
        self._outgoing_at = max(self._outgoing_at, *times, 0)

    def marks(self) -> ReadUntil:
        swept = min(self._begun_at, self._incoming_at) - OVERLAP_S
        return ReadUntil(max(swept, 0), max(min(self._begun_at, self._outgoing_at) - OVERLAP_S, 0))


def _note_marks(conn: sqlite3.Connection, machine_id: str, found: Sequence[Mark], now: int) -> None:
    for mark in found:
        if not mark.is_known(mark_rows.known(conn, machine_id, mark.bundle)):
            mark_rows.note_foreign(conn, machine_id, mark, now)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
