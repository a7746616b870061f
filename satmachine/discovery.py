"""Uses machines' own lists of relays (NIP-65): what the recorder has stored becomes what the pool listens to.

A list is only ever added to the relays of the file. If a machine changes its list all the time, the pool connects again
at most once in FOLLOW_EVERY_S.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import anyio

from satmachine.config import Config
from satmachine.relay_lists import MAX_IN_ALL, Wanted, relays_of
from satmachine.store import relay_list_rows
from satmachine.store.database import Store

log = logging.getLogger(__name__)

FOLLOW_EVERY_S = 60.0

Update = Callable[[Mapping[str, frozenset[str]], frozenset[str]], None]


class Discovery:
    """`config` gives the configuration in force; `update` is the pool's."""

    def __init__(self, store: Store, config: Callable[[], Config]) -> None:
        self._store = store
        self._config = config
        self._changed = anyio.Event()

    def changed(self) -> None:
        """Some machine's list has changed."""
        self._changed.set()

    async def wanted(self) -> Wanted:
        """Every relay to listen to. Raises StoreError."""
        config = self._config()
        lists = await self._store.read(relay_list_rows.of_all) if config.nostr.discover_relays else {}
        return relays_of(config, lists)

    async def run(self, update: Update) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            found = await self.wanted()
            update(found.relays, found.named)
            log.info(
                "relays that machines name themselves: %d are used%s",
                len(found.named),
                f", {len(found.left_out)} more than the limit of {MAX_IN_ALL} are not" if found.left_out else "",
            )
            await anyio.sleep(FOLLOW_EVERY_S)
