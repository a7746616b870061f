"""Writes marks into the paying wallet and checks that there are no others (marks.py has the rule and why it is safe).

One list of a bundle is enough: it shows marks, and every payment that was ever made for the bundle. So what is missing
in these books is found before a sat is sent. Bundles of one wallet that are looked at together share the list, and
nothing else: what is wrong with one of them stops that one. Nothing is paid here.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio

from satmachine import identity, marks
from satmachine.config import Config
from satmachine.errors import WalletError, WalletLied, WalletRefused, WalletUnavailable
from satmachine.failpoints import failpoint
from satmachine.marks import Mark
from satmachine.models import Answer
from satmachine.store import legs, mark_rows, wallet_rows
from satmachine.store.database import Store
from satmachine.store.wallet_rows import Outgoing
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment, require_wallet

log = logging.getLogger(__name__)

#: A look at a bundle counts for so long: a payment that is begun later looks again.
FRESH_S = 10.0
#: How often, and how far apart, a mark that was written is looked for.
SEE_TRIES = 3
SEE_AGAIN_S = 1.0
#: Beyond the pay timeout: how much longer a request of another daemon may be under way.
UNDER_WAY_MARGIN_S = 15.0

_MARK_SATS = 1
_NOT_SHOWN = "the wallet does not show the mark of this sale; it is written again"
_MEMO = "satmachine: do not pay, names the payments of one sale"


class MarkNotShown(WalletUnavailable):
    """The wallet does not show a mark (yet)."""


class RolledBack(Exception):
    """A mark that was seen is not there any more: LNbits has forgotten what it once knew."""


class Standoff(Exception):
    """The wallet shows marks or payments that these books do not know: nothing is paid until a person has decided."""


@dataclass(frozen=True, slots=True)
class Purse:
    """A bundle, and the wallet that pays it. `wallet_id` None: an LP's own, for a forward."""

    machine_id: str
    wallet_id: str | None
    admin_key: str = field(repr=False)
    tag: str
    bundle: str

    @property
    def forwards(self) -> bool:
        """Whether this is an LP's wallet: what is strange in it concerns the forward only."""
        return self.wallet_id is None


class Marker:
    """What was seen is in the store; here is when a bundle was last looked at, and what its wallet showed as paid."""

    def __init__(
        self,
        store: Store,
        lnbits: Lnbits,
        config: Callable[[], Config],
        now: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._store = store
        self._lnbits = lnbits
        self._config = config
        self._now = now
        self._sleep = sleep
        self._new_id = new_id
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}
        self._looked_at: dict[str, tuple[float, int]] = {}
        self._paid: dict[str, dict[str, int]] = {}

    async def establish(self, purses: Sequence[Purse]) -> dict[str, Exception]:
        """See to it that in each bundle one mark names every live invoice, and stands alone.

        `purses` are of one wallet. Returns what went wrong (Standoff, WalletError) by bundle: of these nothing may be
        paid that was not marked before.
        """
        async with AsyncExitStack() as held:
            for bundle in sorted(purse.bundle for purse in purses):
                await held.enter_async_context(self._one_at_a_time(bundle))
            wanted = {purse: self._new_id() for purse in purses}
            written = await self._store.write(_next_marks, wanted, self._now())
            failpoint("mark.written_down")
            return await self._put(written)

    async def withdraw(self, purse: Purse, leg_keys: Sequence[str]) -> bool:
        """Before a person's order stops, reduces or redirects payments: a later mark that drops these legs' invoices,
        and says that they are stopped. The bundle itself among the keys stands for everything of it.

        True where some were named before: then the caller lets `under_way_s` pass, in which a request of another daemon
        that saw the former mark may still be under way, and looks at both sides. Raises Standoff, WalletError.
        """
        async with self._one_at_a_time(purse.bundle):
            named = await self._store.read(_names_any, purse, frozenset(leg_keys))
            mark = await self._store.write(_next_mark, purse, self._new_id(), frozenset(leg_keys), self._now())
            if mark is not None:
                _raise_any(await self._put({purse: mark}))
            return named

    @property
    def under_way_s(self) -> float:
        """How long after a look at a bundle a payment that it allowed may still be under way."""
        return self._config().lnbits.pay_timeout_s + FRESH_S + UNDER_WAY_MARGIN_S

    async def look_unless_fresh(self, purse: Purse) -> None:
        """Look again where the last look is older than FRESH_S. Raises Standoff, RolledBack, WalletError."""
        if self.is_fresh(purse.bundle):
            return
        async with self._one_at_a_time(purse.bundle):
            if self.is_fresh(purse.bundle):
                return  # another payment of the bundle has looked meanwhile
            found = await self._store.read(mark_rows.current, purse.machine_id, purse.bundle)
            assert found is not None, "what is to be paid was marked"
            mark, was_seen = found
            wrong = await self._see({purse: mark})
            if was_seen and isinstance(wrong.get(purse.bundle), MarkNotShown):
                if not await self.is_there(purse, mark.id):
                    raise RolledBack
                wrong = await self._mark_again(purse)
            _raise_any(wrong)

    async def _mark_again(self, purse: Purse) -> dict[str, Exception]:
        """The wallet's key was replaced since: a mark under the former one says nothing to those who have the new."""
        mark = await self._store.write(_next_mark, purse, self._new_id(), frozenset(), self._now(), afresh=True)
        assert mark is not None, "it is written afresh"
        return await self._put({purse: mark})

    async def is_there(self, purse: Purse, mark_id: str | None) -> bool:
        """Whether the wallet still shows this mark of the bundle, under whatever key it was written: then LNbits has
        not forgotten what came after it. Raises WalletError."""
        known = await self._store.read(mark_rows.known, purse.machine_id, purse.bundle)
        wrong: dict[str, Exception] = {}
        rows = await self._list([purse], wrong)
        _raise_any(wrong)
        seen = written_marks(rows[purse])
        return any(mark.id == mark_id and mark.is_known(known) for mark in seen)

    def is_fresh(self, bundle: str) -> bool:
        """Whether the bundle was looked at within FRESH_S, on every clock there is: a host may have slept."""
        at, now = self._looked_at.get(bundle, (-FRESH_S, 0))
        return anyio.current_time() - at < FRESH_S and abs(self._now() - now) < FRESH_S

    def paid(self, bundle: str) -> Mapping[str, int]:
        """What the wallet showed, at the last look, as paid or being paid for a bundle: sats without fees, by hash."""
        return self._paid.get(bundle, {})

    async def look(self, purses: Sequence[Purse]) -> dict[str, Exception]:
        """Before anything is planned: note what the wallet that these are of has paid for each bundle.

        Returns the bundles for which it shows what these books do not know (Standoff), or that it does not show
        (WalletError). What a list for several misses, the list that shows a bundle's mark has to show: nothing is paid
        before that.
        """
        wrong: dict[str, Exception] = {}
        for purse, rows in (await self._list(purses, wrong)).items():
            try:
                await self._require_known(purse, rows, None)
            except Standoff as standoff:
                wrong[purse.bundle] = standoff
        return wrong

    # --- writing and seeing

    async def _put(self, written: Mapping[Purse, Mark]) -> dict[str, Exception]:
        """Write the marks, once more with the same content where the answer was lost, and see them.

        Returns what went wrong, by bundle. Where LNbits does not answer, the marks that follow are not tried.
        """
        wrong: dict[str, Exception] = {}
        put: dict[Purse, Mark] = {}
        for purse, mark in written.items():
            try:
                await self._write(purse, mark)
                put[purse] = mark
            except WalletRefused as refused:
                wrong[purse.bundle] = _of_the_payer(refused)
            except WalletUnavailable as silent:
                left = [purse.bundle for purse in written if purse not in put and purse.bundle not in wrong]
                wrong |= dict.fromkeys(left, silent)
                break
        if put:
            wrong |= await self._see(put)
            failpoint("mark.seen")
        return wrong

    async def _write(self, purse: Purse, mark: Mark) -> None:
        await self._lnbits.create_invoice(
            purse.admin_key,
            amount_sats=_MARK_SATS,
            memo=_MEMO,
            expiry_s=self._config().payouts.invoice_expiry_s,
            extra={"tag": purse.tag, **marks.extra_of(mark, purse.admin_key)},
            external_id=identity.mark_key(mark.bundle, mark.id),
        )
        failpoint("mark.written")

    async def _see(self, written: Mapping[Purse, Mark]) -> dict[str, Exception]:
        """Look for these marks of one wallet: together, then each that was not shown by itself.

        Returns the bundles in which a mark does not stand alone, and why.
        """
        wrong: dict[str, Exception] = {}
        together = [list(written)]
        for attempt in range(SEE_TRIES):
            unseen: list[Purse] = []
            for purses in together:
                looked_at = (anyio.current_time(), self._now())
                for purse, rows in (await self._list(purses, wrong)).items():
                    try:
                        if await self._require_known(purse, rows, written[purse]):
                            await self._store.write(mark_rows.establish, written[purse], self._now())
                            self._remember(purse.bundle, looked_at, outgoing(rows))
                        else:
                            unseen.append(purse)
                    except Standoff as standoff:
                        wrong[purse.bundle] = standoff
            if not unseen or attempt + 1 == SEE_TRIES:
                break
            together = [[purse] for purse in unseen]
            await self._sleep(SEE_AGAIN_S)
        return wrong | {purse.bundle: MarkNotShown(_NOT_SHOWN) for purse in unseen}

    async def _list(self, purses: Sequence[Purse], wrong: dict[str, Exception]) -> dict[Purse, list[WalletPayment]]:
        """The rows of each bundle: one look at the wallet that all of these are of. What it does not show is noted in
        `wrong`; if one answer for all cannot be believed, each is asked for by itself."""
        (admin_key,) = {purse.admin_key for purse in purses}
        try:
            found = await self._lnbits.bundles(admin_key, [purse.bundle for purse in purses])
        except WalletError as error:
            if len(purses) > 1 and isinstance(error, WalletLied):
                return {key: rows for purse in purses for key, rows in (await self._list([purse], wrong)).items()}
            wrong |= dict.fromkeys((purse.bundle for purse in purses), _of_the_payer(error))
            return {}
        shown: dict[Purse, list[WalletPayment]] = {}
        for purse in purses:
            try:
                if purse.wallet_id is not None:
                    require_wallet(found[purse.bundle], purse.wallet_id, purse.machine_id)
                shown[purse] = found[purse.bundle]
            except WalletUnavailable as error:
                wrong[purse.bundle] = error
        return shown

    async def _require_known(self, purse: Purse, rows: Sequence[WalletPayment], mine: Mark | None) -> bool:
        """Whether `mine` is among the rows. Raises Standoff where there are marks or payments that are not known."""
        seen = genuine_marks(rows, purse.admin_key)
        strange = await self._store.write(_note_strange, purse, seen, outgoing(rows), mine, self._now())
        if strange is not None:
            raise Standoff(strange)
        return mine is not None and mine in seen

    def _remember(self, bundle: str, looked_at: tuple[float, int], paid: Sequence[Outgoing]) -> None:
        now = anyio.current_time()
        if len(self._looked_at) > 1_000:
            self._looked_at = {name: at for name, at in self._looked_at.items() if now - at[0] < FRESH_S}
            self._paid = {name: sums for name, sums in self._paid.items() if name in self._looked_at}
        self._looked_at[bundle] = looked_at
        self._paid[bundle] = {row.payment_hash: row.amount_sats for row in paid}

    @asynccontextmanager
    async def _one_at_a_time(self, bundle: str) -> AsyncIterator[None]:
        """Marks of one bundle are written one after another; of different bundles side by side."""
        lock, users = self._locks.get(bundle, (anyio.Lock(), 0))
        self._locks[bundle] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[bundle]
            if users == 1:
                del self._locks[bundle]
            else:
                self._locks[bundle] = (lock, users - 1)


def _of_the_payer(error: WalletError) -> WalletUnavailable:
    """A refusal here is of the wallet that pays, and no payee's: its key may be about to be replaced."""
    return error if isinstance(error, WalletUnavailable) else WalletUnavailable(str(error))


def _raise_any(wrong: Mapping[str, Exception]) -> None:
    for trouble in wrong.values():
        raise trouble


def genuine_marks(rows: Sequence[WalletPayment], admin_key: str) -> list[Mark]:
    """The marks among these rows that the key's wallet itself has vouched for."""
    found = [marks.genuine(row.extra, row.leg_key, admin_key) for row in rows]
    return [mark for mark in found if mark is not None]


def written_marks(rows: Sequence[WalletPayment]) -> list[Mark]:
    """The marks among these rows, whoever has written them."""
    found = [marks.written(row.extra, row.leg_key) for row in rows]
    return [mark for mark in found if mark is not None]


def outgoing(rows: Sequence[WalletPayment]) -> list[Outgoing]:
    """The payments of these rows that bear a key of ours, and have moved sats or still may."""
    return [
        Outgoing(
            payment_hash=row.payment_hash,
            leg_key=row.leg_key,
            bolt11=row.bolt11,
            amount_sats=row.amount_sats,
            status="success" if row.status is Answer.SUCCESS else "pending",
            expires_at=row.expires_at,
            extra=row.extra,
            made_at=row.created_at,
            fee_sats=row.fee_sats,
            inside=row.moved_inside,
        )
        for row in rows
        if row.outgoing and row.leg_key is not None and row.status is not Answer.FAILURE
    ]


def _next_marks(conn: sqlite3.Connection, ids: Mapping[Purse, str], now: int) -> dict[Purse, Mark]:
    """The marks that are to be put now, of bundles that need one; each would have the id that is given."""
    found = {purse: _next_mark(conn, purse, mark_id, frozenset(), now) for purse, mark_id in ids.items()}
    return {purse: mark for purse, mark in found.items() if mark is not None}


def _next_mark(
    conn: sqlite3.Connection, purse: Purse, mark_id: str, without: frozenset[str], now: int, *, afresh: bool = False
) -> Mark | None:
    """The mark that is to be put now, written down; None where the one that was seen names all there is, unless it is
    to be written `afresh`."""
    live = mark_rows.live_invoices(conn, purse.machine_id, purse.bundle, forwards=purse.forwards)
    found = mark_rows.current(conn, purse.machine_id, purse.bundle)
    current = None if found is None else found[0]
    if without and current is not None:
        without |= set(current.stopped)  # another order's, whose legs may not be voided yet
    wanted = {key: name for key, name in live.items() if key not in without}
    if current is not None and found is not None and not afresh:
        # Once for every order: what it stops stays stopped until a later mark names it.
        covered = wanted.items() <= current.invoices.items() and without <= set(current.stopped)
        if covered and found[1]:
            mark_rows.establish(conn, current, now)
            return None
        if covered:
            return current  # its answer was lost: the same content again
    known = mark_rows.known(conn, purse.machine_id, purse.bundle)
    mark = marks.successor(mark_id, purse.bundle, current, known, wanted, without)
    mark_rows.write_down(conn, purse.machine_id, mark, now)
    mark_rows.unmark(conn, [name for key, name in live.items() if key in without])
    return mark


def _names_any(conn: sqlite3.Connection, purse: Purse, leg_keys: frozenset[str]) -> bool:
    found = mark_rows.current(conn, purse.machine_id, purse.bundle)
    return found is not None and bool(leg_keys & found[0].invoices.keys())


def _note_strange(
    conn: sqlite3.Connection,
    purse: Purse,
    seen: Sequence[Mark],
    paid: Sequence[Outgoing],
    mine: Mark | None,
    now: int,
) -> str | None:
    """Keep what these books do not know; returns what that is, in words, or None.

    In an LP's wallet it only concerns the forward: other machines of theirs may forward from it too.
    """
    for row in paid:
        if wallet_rows.is_decided(conn, purse.machine_id, row.payment_hash):
            continue
        legs.hold_paid_otherwise(conn, purse.machine_id, row.leg_key, row.payment_hash, row.amount_sats)
    known = mark_rows.known(conn, purse.machine_id, purse.bundle)
    unknown = marks.compare(seen, mine=mine, known=known).unknown
    strange = [f"mark {mark.id} of another daemon or another life of these books" for mark in unknown]
    strange += [
        f"payment {row.payment_hash} of {row.amount_sats} sats ({row.leg_key})"
        for row in paid
        if not legs.knows_payment(conn, row.payment_hash)
        and not wallet_rows.is_decided(conn, purse.machine_id, row.payment_hash)
    ]
    if not purse.forwards:
        for mark in unknown:
            mark_rows.note_foreign(conn, purse.machine_id, mark, now)
        wallet_rows.note_outgoing(conn, purse.machine_id, paid, now)
        wallet_rows.refresh_safe_mode(conn, purse.machine_id)
    return None if not strange else "the wallet shows what these books do not know: " + "; ".join(strange[:3])
