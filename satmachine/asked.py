"""If the daemon died while it asked a payee's server, that server is not asked again at once (I/O: the database).

Otherwise an answer that kills the daemon would kill each next one too: the leg is due again at the start. Everything
that a payee sends is limited; this is for what nobody has thought of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

from satmachine.store import asked_rows
from satmachine.store.database import Store
from satmachine.wallet.lnurl import LnurlUnavailable


class AskedPayees:
    """`now` gives Unix seconds. `recover` is called once, before anybody is asked."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now
        self._waiting: dict[str, int] = {}
        self._in_hand: Counter[str] = Counter()

    async def recover(self) -> None:
        """Find out who was being asked when the last daemon died."""
        self._waiting = await self._store.write(asked_rows.left_behind, self._now())

    @asynccontextmanager
    async def asking(self, payee: str) -> AsyncIterator[None]:
        """Ask this payee inside the block. Raises LnurlUnavailable while it must wait, StoreError."""
        digest = sha256(payee.strip().lower().encode(errors="replace")).hexdigest()
        wait_s = self._waiting.get(digest, 0) - self._now()
        if wait_s > 0:
            raise LnurlUnavailable(
                f"the daemon died while it asked this payee's server for an invoice; it is asked again in {wait_s} s"
            )
        self._in_hand[digest] += 1
        try:
            await self._store.write(asked_rows.begin, digest, self._now())
            yield
        finally:
            self._in_hand[digest] -= 1
            if not self._in_hand[digest]:
                del self._in_hand[digest]
                await self._store.write(asked_rows.end, digest)
                self._waiting.pop(digest, None)
