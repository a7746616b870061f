"""The daemon's part of the books for people: it signs statements on request, and delivers messages to LPs.

It never touches money. A message is a row before anybody tries to send it, and stays one until a relay has accepted it:
a crash loses no message, and because each is sealed once, with one id, no reader gets it twice.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import partial

import anyio
import orjson

from satmachine.config import Config
from satmachine.errors import Refused, StoreError
from satmachine.intents import Actions
from satmachine.ledger.periods import month_of, month_span
from satmachine.nostr.event import Event, parse_event
from satmachine.nostr.gift import wrap
from satmachine.nostr.keys import npub_to_hex
from satmachine.nostr.post import post
from satmachine.orders import SignStatement
from satmachine.reports import letters
from satmachine.reports.make import sign_statement
from satmachine.store import audit_log as audit
from satmachine.store import balances, clients, intent_rows, message_rows, statement_rows
from satmachine.store.database import Store
from satmachine.store.intent_rows import Ended, OpenOrder
from satmachine.store.message_rows import Message, Wishes

log = logging.getLogger(__name__)

BRING_EVERY_S = 5.0
TIMEOUT_S = 20.0
#: A month's statements wait this long after its end, for sales that land late.
MONTH_SETTLES_S = 3_600
_FIRST_RETRY_S, _LONGEST_RETRY_S = 10, 3_600


class PeopleDesk:
    """`secret` is the daemon's own Nostr key, None if it has none; `now` gives Unix seconds."""

    def __init__(
        self, store: Store, config: Callable[[], Config], secret: bytes | None, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._config = config
        self._secret = secret
        self._now = now
        self._noted_month = ""
        self.actions: Actions = {SignStatement: self._sign}

    async def run(self) -> None:
        """Deliver what is due, again and again."""
        while True:
            try:
                await self.bring_due()
            except StoreError as error:
                log.warning("messages to liquidity providers are delivered later: %s", error)
            await anyio.sleep(BRING_EVERY_S)

    async def bring_due(self) -> None:
        """Each message that is due, once."""
        if self._secret is None:
            return
        now = self._now()
        await self._note_last_month(now)
        for message in await self._store.read(message_rows.due, now):
            await self._bring(message, self._secret)

    async def _note_last_month(self, now: int) -> None:
        """Send the month that ended last, once it has settled (months in UTC)."""
        ended_at, _ = month_span(month_of(now, UTC), UTC)
        month = month_of(ended_at - 1, UTC)
        if month != self._noted_month and now >= ended_at + MONTH_SETTLES_S:
            await self._store.write(message_rows.note_month, month, ended_at, now)
            self._noted_month = month

    async def _bring(self, message: Message, secret: bytes) -> None:
        now = self._now()
        sealed = await self._store.write(seal, message, secret, now)
        if sealed is None:
            return
        event, relays = sealed
        relay, refusals = await self._offer(event, relays or self._config().nostr.relays, secret, now)
        if relay is not None:
            await self._store.write(message_rows.taken, message.id, relay, now)
            return
        log.warning("no relay accepted a message to LP %d: %s", message.client_id, refusals)
        wait_s = min(_FIRST_RETRY_S * 2 ** min(message.attempts, 16), _LONGEST_RETRY_S)
        await self._store.write(message_rows.postpone, message.id, error=refusals, until=now + wait_s)

    async def _offer(self, event: Event, relays: Sequence[str], secret: bytes, now: int) -> tuple[str | None, str]:
        """Offer an event to all of them; returns one that accepted it, and what the others said."""
        took: list[str] = []
        refusals: list[str] = []

        async def tell(url: str) -> None:
            problem = "no answer in time"
            with anyio.move_on_after(TIMEOUT_S):
                problem = await post(url, event, secret, now, timeout_s=TIMEOUT_S)
            if problem:
                refusals.append(f"{url}: {problem}")
            else:
                took.append(url)

        async with anyio.create_task_group() as tasks:
            for url in relays:
                tasks.start_soon(tell, url)
        return (took[0] if took else None), "; ".join(refusals) or "there is no relay to send it to"

    async def _sign(self, asked: OpenOrder, order: SignStatement) -> Ended:
        if self._secret is None:
            raise Refused(
                "the daemon has no key for signing: set [nostr] secret_key, and restart it "
                "(docs/liquidity-providers.md, Statements); with --html --unsigned, the page has no signature"
            )
        now = self._now()
        change = partial(_sign_ordered, order=order, secret=self._secret, actor=asked.actor, now=now)
        return await self._store.write(intent_rows.carry_out, asked.id, change, now)


def seal(conn: sqlite3.Connection, message: Message, secret: bytes, now: int) -> tuple[Event, tuple[str, ...]] | None:
    """The event of a message, which is stored before it is sent; None if nobody wants it any more."""
    wishes = message_rows.wishes_of(conn, message.client_id)
    if wishes is None:
        return None
    if message.event is None:
        text = _text_of(conn, message, secret, now)
        event = wrap(text, secret=secret, receiver=npub_to_hex(wishes.npub), now=now, entropy=secrets.token_bytes)
        if not message_rows.seal(conn, message.id, event.to_json()):
            return None
        return event, wishes.relays
    return _sealed(message.event, wishes)


def _sealed(text: str, wishes: Wishes) -> tuple[Event, tuple[str, ...]]:
    event = parse_event(orjson.loads(text))
    assert isinstance(event, Event), "what was sealed is an event"
    return event, wishes.relays


def _text_of(conn: sqlite3.Connection, message: Message, secret: bytes, now: int) -> str:
    client = clients.get(conn, message.client_id)
    _, machine_name = statement_rows.names_of(conn, client.machine_id)
    if message.kind == "receipt":
        balance = balances.of_client(conn, client.id)
        left_minor = balance.confirmed_minor - balance.spent_minor
        leg = message_rows.paid_leg(conn, client.id, message.subject)
        return letters.receipt(leg, machine_name=machine_name, currency=client.currency, balance_minor=left_minor)
    since, until = month_span(message.subject, UTC)
    order = SignStatement(client.id, since, until)
    signed, document = sign_statement(conn, order, secret=secret, actor=audit.DAEMON, now=now)
    return letters.monthly(message.subject, document, signed.id)


def _sign_ordered(conn: sqlite3.Connection, *, order: SignStatement, secret: bytes, actor: str, now: int) -> str:
    signed, _ = sign_statement(conn, order, secret=secret, actor=actor, now=now)
    return f"the statement of LP {order.client_id} is signed: {signed.id}"
