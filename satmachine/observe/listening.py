"""Listens to the relays and reads the wallets for a while. Publishes nothing, pays nothing, writes nothing (I/O).

It asks for everything that the machines sign, of whatever kind, which the daemon does not. So it has connections of its
own and can run beside a daemon. What it keeps is bounded.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import anyio
import anyio.abc
import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from satmachine.config import Config, Machine
from satmachine.errors import ConfigError, WalletError
from satmachine.models import Answer
from satmachine.nostr.connect import straight
from satmachine.nostr.event import (
    AUTH_KIND,
    Auth,
    AuthorKeys,
    Closed,
    Eose,
    Event,
    EventMessage,
    Fault,
    Ok,
    auth,
    parse_event,
    parse_message,
    sign,
    verify,
)
from satmachine.nostr.health import printable
from satmachine.observe.fit import MachineSeen, match
from satmachine.observe.sightings import SeenEvent, SeenPayment, of_event, of_payment
from satmachine.settlements.claim.envelope import DaemonKey
from satmachine.wallet.lnbits import Lnbits

_SUBSCRIPTION = "observe"
#: Stored events that a relay may send of all machines of a filter.
_STORED = 500
_AUTHORS = 250
_OPEN_TIMEOUT_S = 10.0
_AGAIN_AFTER_S = 5.0
_WALLET_EVERY_S = 15.0
MAX_EVENTS = 5_000
MAX_PAYMENTS = 2_000
MAX_MESSAGE_BYTES = 1024 * 1024


@dataclass(slots=True)
class RelaySeen:
    """`events` are those that were verified, copies too."""

    url: str
    events: int = 0
    faults: int = 0
    reached: bool = False
    problem: str = ""


@dataclass(slots=True)
class Seen:
    """Everything that was seen between two times (Unix seconds)."""

    began_at: int
    ended_at: int = 0
    relays: list[RelaySeen] = field(default_factory=list)
    machines: list[MachineSeen] = field(default_factory=list)


class Listening:
    """`clock` gives Unix seconds; `key` opens what is encrypted to the daemon and answers NIP-42."""

    def __init__(
        self, config: Config, machines: Iterable[Machine], key: DaemonKey | None, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._machines = {machine.pubkey: machine for machine in machines}
        self._key = key
        self._clock = clock
        self._keyring = AuthorKeys()
        self._events: dict[str, SeenEvent] = {}
        self._payments: dict[tuple[str, str], SeenPayment] = {}
        self._problems: dict[str, str] = {}

    async def run(self, *, seconds: float, past_s: int, begun: Callable[[], None] = lambda: None) -> Seen:
        """Watch for so long, or until Ctrl-C, which ends it as it should from when `begun` was called; wallets are read
        from `past_s` before."""
        seen = Seen(int(self._clock()))
        urls = {url for machine in self._machines.values() for url in self._config.relays_of(machine)}
        seen.relays = [RelaySeen(url) for url in sorted(urls)]
        async with (
            Lnbits(self._config.lnbits.url, timeout_s=self._config.lnbits.timeout_s, instance_id="observe") as lnbits,
            anyio.create_task_group() as tasks,
        ):
            await tasks.start(self._until_told_to_stop, tasks.cancel_scope)
            begun()
            for relay in seen.relays:
                tasks.start_soon(self._listen, relay)
            with anyio.move_on_after(seconds):
                while True:
                    await self._read_wallets(lnbits, seen.began_at - past_s)
                    await anyio.sleep(_WALLET_EVERY_S)
            await self._read_wallets(lnbits, seen.began_at - past_s)
            tasks.cancel_scope.cancel()
        seen.ended_at = int(self._clock())
        seen.machines = [self._of(machine, seen.began_at) for machine in self._machines.values()]
        return seen

    def _of(self, machine: Machine, began_at: int) -> MachineSeen:
        events = [event for event in self._events.values() if event.machine_id == machine.id]
        paid = [payment for payment in self._payments.values() if payment.machine_id == machine.id]
        during = [payment for payment in paid if payment.settled_at >= began_at]
        return MachineSeen(
            machine,
            events,
            during,
            [payment for payment in paid if payment.settled_at < began_at],
            self._problems.get(machine.id, ""),
            match(events, during),
        )

    @staticmethod
    async def _until_told_to_stop(
        scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as told:
            task_status.started()
            async for _ in told:
                scope.cancel()

    # --- wallets

    async def _read_wallets(self, lnbits: Lnbits, since: int) -> None:
        for machine in self._machines.values():
            try:
                key = (machine.wallet.invoice_key or machine.wallet.admin_key).resolve(self._config.environ)
                await self._read_wallet(lnbits, machine, key, since)
            except (ConfigError, WalletError) as error:
                self._problems[machine.id] = str(error)
            else:
                self._problems.pop(machine.id, None)

    async def _read_wallet(self, lnbits: Lnbits, machine: Machine, key: str, since: int) -> None:
        async for page in lnbits.iter_payments(key, incoming=True, status=Answer.SUCCESS, updated_since=since):
            for row in page:
                found = of_payment(row, machine)
                if found is not None and len(self._payments) < MAX_PAYMENTS:
                    self._payments[machine.id, found.payment_hash] = found

    # --- relays

    async def _listen(self, relay: RelaySeen) -> None:
        while True:
            try:
                async with straight(
                    relay.url,
                    proxy=None,
                    open_timeout=_OPEN_TIMEOUT_S,
                    close_timeout=1,
                    compression=None,
                    max_size=MAX_MESSAGE_BYTES,
                ) as socket:
                    await self._talk(socket, relay)
            except (OSError, WebSocketException, UnicodeError) as error:
                relay.problem = printable(str(error) or type(error).__name__)
            await anyio.sleep(_AGAIN_AFTER_S)

    async def _talk(self, socket: ClientConnection, relay: RelaySeen) -> None:
        authors = sorted(key for key, one in self._machines.items() if relay.url in self._config.relays_of(one))
        parts = [authors[start : start + _AUTHORS] for start in range(0, len(authors), _AUTHORS)]
        question = orjson.dumps(
            ["REQ", _SUBSCRIPTION, *({"authors": part, "limit": _STORED} for part in parts)]
        ).decode()
        await socket.send(question)
        login = ""
        while True:
            match parse_message(await socket.recv(decode=False)):
                case EventMessage(_, raw_event):
                    self._take(raw_event, relay)
                case Eose():
                    relay.reached, relay.problem = True, ""
                case Auth(challenge) if self._key is not None:
                    tags = (("relay", relay.url), ("challenge", challenge))
                    answer = sign(AUTH_KIND, "", tags, int(self._clock()), self._key.secret)
                    login = answer.id
                    await socket.send(auth(answer))
                case Ok(event_id, accepted, text) if event_id == login:
                    relay.problem = "" if accepted else printable(text)
                    if accepted:
                        await socket.send(question)
                case Closed() as closed:
                    relay.problem = printable(f"{closed.prefix}: {closed.text}")
                case Fault():
                    relay.faults += 1

    def _take(self, raw_event: object, relay: RelaySeen) -> None:
        event = parse_event(raw_event)
        if not isinstance(event, Event) or event.pubkey not in self._machines:
            relay.faults += 1
            return
        if event.id not in self._events:
            if verify(event, self._keyring) is not None:
                relay.faults += 1
                return
            if len(self._events) >= MAX_EVENTS:
                return
            machine = self._machines[event.pubkey]
            self._events[event.id] = of_event(event, machine, self._key, int(self._clock()))
        relay.events += 1
