"""One connection to a relay, from the first REQ to its end (I/O: a websocket, the log).

Frames are processed where they arrive, without a queue or a task switch for each event; what the socket delivers at
once (up to 256 KiB) means about 30 ms of verifications, then others have their turn. A separate task sends, so that a
relay that does not read cannot keep us from hearing what it says.

Nothing that a relay sends raises an exception from here. What it does wrong is counted by `Fault`; a relay that does so
faster than the budget allows is disconnected. What a machine's key has signed is never the relay's fault.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from satmachine.nostr.event import (
    AUTH_KIND,
    SETTLEMENT_KIND,
    Auth,
    Closed,
    Eose,
    EventMessage,
    Fault,
    Notice,
    Octets,
    Ok,
    RelayMessage,
    auth,
    parse_message,
    sign,
)
from satmachine.nostr.health import RelayHealth, RelayState, printable
from satmachine.nostr.intake import Dropped, Intake
from satmachine.nostr.keys import hex_to_npub
from satmachine.nostr.limits import Limits
from satmachine.nostr.subscriptions import Subscriptions
from satmachine.pace import TokenBucket

log = logging.getLogger(__name__)

# Nothing that we ever have to say is longer; a relay that provokes more is not served.
MAX_OUTBOX = 1_000


class Wire(ClientConnection):
    """The websocket, with a short cut: `on_message` gets every text message that arrived in one frame, at once; it must
    not raise. Others come from `recv`.

    The library would pass it through a queue and three coroutines, which costs as much as parsing the frame, even for
    copies from a second relay. And copies would be queued before the first of them has been processed.
    """

    on_message: Callable[[Octets], None] | None = None

    def process_event(self, event: Frame | Request | Response) -> None:
        """The library's hook for everything that arrives, in order."""
        if (
            self.on_message is not None
            and isinstance(event, Frame)
            and event.opcode is Opcode.TEXT
            and event.fin
            and isinstance(event.data, Octets)
        ):
            self.on_message(event.data)
        else:
            super().process_event(event)


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Why a connection ended; `flooded`: we closed it, because the relay misbehaved."""

    problem: str
    flooded: bool = False


class Session:
    """`health` is the relay's, and is updated here. `secret_key` answers NIP-42; `clock` gives Unix seconds."""

    def __init__(
        self,
        socket: Wire,
        *,
        health: RelayHealth,
        authors: frozenset[str],
        subscriptions: Subscriptions,
        intake: Intake,
        limits: Limits,
        secret_key: bytes | None,
        clock: Callable[[], float],
        subscribed: anyio.Event,
    ) -> None:
        self._socket = socket
        self._health = health
        self._authors = authors
        self._subscriptions = subscriptions
        self._intake = intake
        self._limits = limits
        self._secret_key = secret_key
        self._clock = clock
        self._subscribed = subscribed
        self.newest_settlement_at: int | None = None
        self._auth_id = ""
        self._outbox: deque[str] = deque()
        self._dropped: Counter[tuple[str, Dropped]] = Counter()
        self._wake_sender = anyio.Event()
        self._ended: Disconnected | None = None
        self._receiving = anyio.CancelScope()
        self._held_back = anyio.Event()
        self._budget = TokenBucket.full(limits.fault_burst, limits.faults_per_s, anyio.current_time())

    def set_authors(self, authors: frozenset[str]) -> None:
        self._authors = authors
        self._send(self._subscriptions.set_authors(authors))
        self._update_state()

    async def run(self) -> Disconnected:
        """Runs until the connection ends, from whichever side."""
        self._health.last_connected_at = int(self._clock())
        self._health.enter(RelayState.CONNECTED, self._clock())
        self.set_authors(self._authors)
        self._socket.on_message = self._take
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_sending)
            tasks.start_soon(self._keep_pace)
            ended = await self._keep_receiving()
            tasks.cancel_scope.cancel()
        return ended

    async def _keep_receiving(self) -> Disconnected:
        """Runs until the connection ends. Most messages arrive directly in `_take`; here, those in several frames."""
        try:
            with self._receiving:
                while self._ended is None:
                    # Octets, not text: then bad UTF-8 is a fault of one frame, not the end of the connection.
                    self._take(await self._socket.recv(decode=False))
        except ConnectionClosed as error:
            return self._ended or Disconnected(f"connection lost: {printable(str(error))}")
        assert self._ended is not None, "receiving ends by `_end` only"
        return self._ended

    async def _keep_pace(self) -> None:
        """Read no further while there is no room for settlements."""
        while True:
            await self._held_back.wait()
            await self._intake.room()
            self._held_back = anyio.Event()
            self._socket.transport.resume_reading()

    async def _keep_sending(self) -> None:
        """Send what is in the outbox, and ask again for what is due."""
        try:
            while True:
                self._send(self._subscriptions.due(anyio.current_time()))
                self._wake_sender = anyio.Event()
                while self._outbox:
                    with anyio.move_on_after(self._limits.ping_timeout_s) as patience:
                        await self._socket.send(self._outbox.popleft())
                    if patience.cancelled_caught:
                        self._end(Disconnected("the relay does not read what we send"))
                        return
                due = self._subscriptions.next_due()
                with anyio.CancelScope(deadline=float("inf") if due is None else due):
                    await self._wake_sender.wait()
        except ConnectionClosed:
            return  # the receiving side sees it too, and says why

    def _send(self, texts: list[str]) -> None:
        self._outbox.extend(texts)
        if len(self._outbox) > MAX_OUTBOX:
            self._outbox.clear()
            self._end(Disconnected("the relay asks for more than we are ready to send", flooded=True))
        self._wake_sender.set()

    def _end(self, ended: Disconnected) -> None:
        self._ended = self._ended or ended
        self._receiving.cancel()

    def _take(self, frame: Octets) -> None:
        """A message as it arrives. What has already been read is processed even if there is no more room."""
        if self._ended is not None:
            return
        self._process(frame)
        if self._intake.must_wait:
            self._socket.transport.pause_reading()
            self._held_back.set()

    def _process(self, frame: Octets) -> None:
        if self._intake.is_duplicate(frame):
            self._health.duplicates += 1
            self._delivered()
        elif len(frame) > self._limits.max_event_bytes:
            self._on_too_big(frame)
        else:
            message = parse_message(frame)
            if isinstance(message, EventMessage):
                self._on_event(message, len(frame))
            elif isinstance(message, Fault):
                self._fault(message)
            else:
                self._on_control(message)

    def _on_too_big(self, frame: Octets) -> None:
        """Of no use to anybody, but an honest relay keeps what a stolen key has signed."""
        message = parse_message(frame)
        if isinstance(message, EventMessage) and self._subscriptions.knows(message.subscription):
            blamed = self._intake.blame(message.raw_event, self._authors, len(frame), Fault.TOO_BIG)
            if isinstance(blamed, Dropped):
                self._on_dropped(blamed, message.raw_event)
                return
        self._fault(Fault.TOO_BIG)

    def _on_event(self, message: EventMessage, size: int) -> None:
        if not self._subscriptions.knows(message.subscription):
            self._fault(Fault.UNKNOWN_SUBSCRIPTION)
            return
        result = self._intake.take(message.raw_event, self._authors, self._health.url, size)
        if isinstance(result, Dropped):
            self._delivered()
            self._on_dropped(result, message.raw_event)
            return
        if isinstance(result, Fault):
            self._fault(result)
            return
        now = self._delivered()
        self._health.events += 1
        if result.kind == SETTLEMENT_KIND:
            # For `since` at the next connect. A clock that is ahead must not hide others' sales.
            self.newest_settlement_at = max(self.newest_settlement_at or 0, min(result.created_at, now))

    def _on_dropped(self, dropped: Dropped, raw_event: object) -> None:
        """An event of a known author that is dropped: counted, and logged at the first, tenth, hundredth one."""
        if dropped is Dropped.DUPLICATE:
            self._health.duplicates += 1
            return
        if dropped is Dropped.SHED:
            self._health.shed += 1
            what = "sends more than its budget; the rest is dropped (sales are found in its wallet)"
        else:
            self._health.malformed += 1
            what = "signs messages that are not Nostr events; they are dropped"
        author = raw_event["pubkey"] if isinstance(raw_event, dict) else ""
        self._dropped[author, dropped] += 1
        count = self._dropped[author, dropped]
        if str(count).strip("0") == "1":
            log.warning(
                "%s: the machine with the key %s %s (%d so far). If its program is not broken, its key is stolen",
                self._health.url,
                hex_to_npub(author),  # the relay side knows no machines' names
                what,
                count,
            )

    def _delivered(self) -> int:
        now = int(self._clock())
        self._health.last_event_at = now
        self._health.missed = 0
        return now

    def _on_control(self, message: RelayMessage) -> None:
        match message:
            case Eose(sub_id):
                self._answer(self._subscriptions.on_eose(sub_id))
            case Closed():
                self._charge("CLOSED messages")
                self._report(f"subscription closed: {message.prefix}: {message.text}")
                self._answer(self._subscriptions.on_closed(message, anyio.current_time()))
            case Notice(text):
                self._charge("NOTICE messages")
                self._report(f"notice: {text}")
                self._answer(self._subscriptions.on_notice(text))
            case Auth(challenge):
                self._charge("AUTH messages")
                self._authenticate(challenge)
            case Ok():
                self._charge("OK messages")
                self._on_ok(message)
        self._update_state()

    def _answer(self, texts: list[str] | Fault) -> None:
        if isinstance(texts, Fault):
            self._fault(texts)
        else:
            self._send(texts)

    def _authenticate(self, challenge: str) -> None:
        """NIP-42: sign the relay's challenge."""
        if self._secret_key is None:
            self._report("asks for authentication (NIP-42), but [nostr] secret_key is not configured")
            return
        tags = (("relay", self._health.url), ("challenge", challenge))
        answer = sign(AUTH_KIND, "", tags, int(self._clock()), self._secret_key)
        self._auth_id = answer.id
        self._send([auth(answer)])

    def _on_ok(self, message: Ok) -> None:
        if not self._auth_id or message.event_id != self._auth_id:
            return
        if message.accepted:
            self._health.error = ""
            self._send(self._subscriptions.on_authenticated())
        else:
            self._end(Disconnected(f"authentication refused: {printable(message.text)}"))

    def _update_state(self) -> None:
        if not self._subscriptions.complete:
            self._health.enter(RelayState.CONNECTED, self._clock())
        elif self._health.state is not RelayState.SUBSCRIBED:
            self._health.enter(RelayState.SUBSCRIBED, self._clock())
            self._health.error = ""
            self._subscribed.set()
            log.info("%s: subscribed for %d machines", self._health.url, len(self._authors))

    def _report(self, problem: str) -> None:
        """Show it in the health; log it once, until it changes."""
        problem = printable(problem)
        level = logging.DEBUG if problem == self._health.error else logging.WARNING
        self._health.error = problem
        log.log(level, "%s: %s", self._health.url, problem)

    def _fault(self, fault: Fault) -> None:
        self._health.faults[fault] += 1
        self._charge(f"faulty messages, the last one: {fault}")

    def _charge(self, what: str) -> None:
        if not self._budget.spend(anyio.current_time()):
            self._end(Disconnected(f"too many {what}; disconnected", flooded=True))
