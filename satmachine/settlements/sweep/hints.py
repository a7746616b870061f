"""LNbits' websocket: it reports at once that something came into a wallet (SPEC section 6.3). A hint, never a fact.

One connection for each machine's wallet, `[lnbits] websockets` of them at the most. With more machines, most
connections go to those that sold last, and the others take turns; a machine without a connection is still swept.
Anybody who knows a wallet's invoice key can send anything over its socket. So what comes is only read to distinguish a
payment that went out, which happens six times a sale, from one that may have come in. Its size is limited, and it is
never logged.

The address of the socket holds a key, and addresses end up in the logs of servers. So it is the wallet's *invoice* key:
from the file, or else LNbits is asked for it. The admin key is never part of an address.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from random import SystemRandom

import anyio
import orjson
from websockets.exceptions import WebSocketException

from satmachine.config import Config, Machine
from satmachine.errors import ConfigError, StoreError, WalletError
from satmachine.nostr.connect import straight
from satmachine.pace import Backoff
from satmachine.store import incoming
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits

log = logging.getLogger(__name__)

#: How long a connection has to last before the next failure counts as the first.
HEALTHY_AFTER_S = 60.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
#: A wallet's keys may be exchanged: then nothing comes over the old address any more, and nobody says so.
LONGEST_S = 3600.0
#: How often it is decided who is listened to, where there are more machines than connections.
REVIEW_S = 300.0
#: How often a changed configuration is noticed.
LOOK_EVERY_S = 1.0
CONNECTING_AT_ONCE = 8
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
PING_EVERY_S = 30.0
#: A payment with a large `extra` is longer; its connection ends, and the next one begins with a look.
MAX_MESSAGE_BYTES = 256 * 1024

_chance = SystemRandom().random
_wire_log = logging.getLogger("satmachine.settlements.sweep.hints.wire")
_wire_log.setLevel(logging.CRITICAL)  # its lines would hold the address


class Hints:
    """Keeps the connections; `hint` is called with a machine's id, and may be called for nothing."""

    def __init__(self, store: Store, lnbits: Lnbits, config: Callable[[], Config], hint: Callable[[str], None]) -> None:
        self._store = store
        self._lnbits = lnbits
        self._config = config
        self._hint = hint
        self._connections: dict[str, anyio.CancelScope] = {}
        self._keys: dict[str, str] = {}
        #: Machines that are listened to at this moment.
        self.listening: set[str] = set()
        self._turn = 0
        self._complained = False

    async def run(self) -> None:
        """Until cancelled."""
        self._connections.clear()
        self.listening.clear()
        limiter = anyio.CapacityLimiter(CONNECTING_AT_ONCE)
        known: Config | None = None
        reviewed_at = 0.0
        async with anyio.create_task_group() as group:
            while True:
                config, now = self._config(), anyio.current_time()
                if config is not known or now - reviewed_at >= REVIEW_S:
                    for machine_id in await self._review(config):
                        group.start_soon(self._keep, machine_id, limiter)
                    known, reviewed_at = config, now
                await anyio.sleep(LOOK_EVERY_S)

    async def _review(self, config: Config) -> list[str]:
        """End the connections of those whose turn is over; who is listened to from now on."""
        wanted = await self._wanted(config)
        for machine_id in self._connections.keys() - wanted:
            self._connections.pop(machine_id).cancel()
        added = [machine_id for machine_id in wanted if machine_id not in self._connections]
        self._connections.update({machine_id: anyio.CancelScope() for machine_id in added})
        return added

    async def _wanted(self, config: Config) -> set[str]:
        ids = [machine.id for machine in config.machines]
        places = config.lnbits.websockets
        if len(ids) <= places:
            return set(ids)
        self._turn += 1
        try:
            lately = await self._store.read(incoming.machines_by_last_sale)
        except StoreError:
            lately = []
        return choose(ids, lately, places, self._turn)

    async def _keep(self, machine_id: str, limiter: anyio.CapacityLimiter) -> None:
        """One machine's connection, made again whenever it ends."""
        scope = self._connections.get(machine_id)
        if scope is None:  # dropped before it began
            return
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        with scope:
            while (machine := self._config().machine(machine_id)) is not None:
                began_at = anyio.current_time()
                problem = await self._listen(machine, limiter)
                if anyio.current_time() - began_at >= HEALTHY_AFTER_S:
                    backoff.reset()
                else:
                    self._complain(machine_id, problem)
                await anyio.sleep(backoff.next_delay_s(_chance()))

    async def _listen(self, machine: Machine, limiter: anyio.CapacityLimiter) -> str:
        """One connection from its beginning to its end; why it ended, without the address."""
        try:
            async with limiter:
                url = socket_url(self._config().lnbits.url, await self._invoice_key(machine))
                socket = await straight(
                    url,
                    compression=None,
                    proxy=None,
                    open_timeout=OPEN_TIMEOUT_S,
                    close_timeout=CLOSE_TIMEOUT_S,
                    ping_interval=PING_EVERY_S,
                    ping_timeout=PING_EVERY_S,
                    max_size=MAX_MESSAGE_BYTES,
                    max_queue=4,
                    logger=_wire_log,
                )
            try:
                self.listening.add(machine.id)
                self._complained = False
                self._hint(machine.id)  # for what came while nobody listened
                with anyio.move_on_after(LONGEST_S * (1 - _chance() / 4)):
                    async for message in socket:
                        if may_be_incoming(message):
                            self._hint(machine.id)
            finally:
                self.listening.discard(machine.id)
                with anyio.move_on_after(CLOSE_TIMEOUT_S + 1, shield=True):
                    await socket.close()
                socket.transport.abort()
        except (WalletError, ConfigError) as error:
            return str(error)
        except (OSError, WebSocketException, UnicodeError, ValueError) as error:
            return type(error).__name__  # its text may hold the address
        return "it was closed"

    async def _invoice_key(self, machine: Machine) -> str:
        """Raises WalletError, ConfigError."""
        environ = self._config().environ
        if machine.wallet.invoice_key is not None:
            return machine.wallet.invoice_key.resolve(environ)
        admin_key = machine.wallet.admin_key.resolve(environ)
        name = hashlib.sha256(admin_key.encode()).hexdigest()
        if name not in self._keys:
            if len(self._keys) >= 2 * max(1, len(self._config().machines)):
                self._keys.clear()
            self._keys[name] = await self._lnbits.invoice_key(admin_key)
        return self._keys[name]

    def _complain(self, machine_id: str, problem: str) -> None:
        """Once, until a connection stands again: hundreds of machines would say the same."""
        level = logging.DEBUG if self._complained else logging.INFO
        self._complained = True
        log.log(
            level, "machine %s: LNbits does not tell at once what comes in (%s); sweeps find it", machine_id, problem
        )


def choose(ids: Sequence[str], lately: Sequence[str], places: int, turn: int) -> set[str]:
    """Who is listened to, of more machines than places: nine in ten places to those that sold last (`lately`, the
    latest first), the others to the rest by turns. Pure."""
    present = set(ids)
    steady = [machine_id for machine_id in lately if machine_id in present][: places - places // 10]
    rest = sorted(present - set(steady))
    left = places - len(steady)
    start = turn * left % len(rest) if rest else 0
    return {*steady, *(rest + rest)[start : start + left]}


def socket_url(lnbits_url: str, invoice_key: str) -> str:
    """Where LNbits tells of this wallet. Raises ValueError for what is no key."""
    if not invoice_key.isalnum() or len(invoice_key) > 200:
        raise ValueError("that is no wallet key")
    return f"{lnbits_url.replace('http', 'ws', 1)}/api/v1/ws/{invoice_key}"


def may_be_incoming(message: str | bytes) -> bool:
    """False only for what clearly tells of a payment that went out, or has not come yet. Pure."""
    try:
        told = orjson.loads(message)
    except orjson.JSONDecodeError:
        return True
    payment = told.get("payment") if isinstance(told, dict) else None
    if not isinstance(payment, dict):
        return True
    amount = payment.get("amount")
    went_out = isinstance(amount, int) and amount < 0
    return not went_out and payment.get("status", "success") not in ("pending", "failed")
