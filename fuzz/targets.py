"""One function of bytes for every place where strangers' input is read. None raises, whatever comes.

There is not one `except` here that hides something: a target names the one exception that its subject promises, and
asserts what must hold of everything that was accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import httpx
import orjson
from bech32 import CHARSET, bech32_encode, convertbits

from fuzz import fixtures
from fuzz.fixtures import DAEMON_KEY, MACHINE_PUBKEY, MACHINE_SECRET, NOW, PAYMENT_HASH
from satmachine.config import load
from satmachine.errors import ConfigError
from satmachine.models import Claim, Rejection
from satmachine.nostr import nip44
from satmachine.nostr.event import (
    AuthorKeys,
    Closed,
    Eose,
    Event,
    EventMessage,
    Fault,
    Notice,
    parse_event,
    parse_message,
    scan_event_id,
    verify,
)
from satmachine.nostr.subscriptions import Shape, Subscriptions
from satmachine.settlements.claim.content import claim_from_event, claim_from_payment
from satmachine.settlements.claim.envelope import Transport, Window, read_event
from satmachine.settlements.land.landing import Rules, land_event
from satmachine.settlements.prove.verdict import judge
from satmachine.store import incoming, settlements, telemetry_rows
from satmachine.store.settlements import EventRecord
from satmachine.telemetry import beacons
from satmachine.wallet import bolt11, lnbits, lnurl
from satmachine.wallet.rows import AnswerError, parse_payment
from satmachine.wallet.transport import HttpAnswer, parse_json, printable

Target = Callable[[bytes], None]

_KEYRING = AuthorKeys()
_WINDOW = Window(max_age_s=3600, max_future_s=900)


def relay_messages(data: bytes) -> None:
    """A relay's side of a conversation, one frame a line."""
    subscriptions = Subscriptions(Shape(authors_per_filter=4, filters_per_req=2), NOW)
    asked = subscriptions.set_authors(frozenset(f"{number:064x}" for number in range(20)))
    for number, frame in enumerate(data.split(b"\n")[:50]):
        scan_event_id(frame)
        message = parse_message(frame)
        answer: list[str] | Fault = []
        if isinstance(message, Eose):
            answer = subscriptions.on_eose(message.subscription)
        elif isinstance(message, Closed):
            answer = subscriptions.on_closed(message, float(number))
        elif isinstance(message, Notice):
            answer = subscriptions.on_notice(message.text)
        elif isinstance(message, EventMessage):
            parse_event(message.raw_event)
        if not isinstance(answer, Fault):
            asked = [*answer, *subscriptions.due(number + 1e6)]
        assert len(asked) <= 100, "a relay cannot make us talk without end"
        assert all(json.loads(text)[0] in ("REQ", "CLOSE") for text in asked)


def events(data: bytes) -> None:
    """An event as a relay hands it over."""
    event = parse_event(parse_json(data))
    if isinstance(event, Event) and verify(event, _KEYRING) is None:
        assert parse_event(orjson.loads(event.to_json())) == event, "what is stored is what was verified"


def settlement_content(data: bytes) -> None:
    """What a stolen machine key can put into a settlement, down to its row."""
    event = fixtures.event(data.decode(errors="surrogateescape"))
    claim = read_event(event, fixtures.machine(), key=DAEMON_KEY, window=_WINDOW, now=NOW)
    if not isinstance(claim, Transport):
        _land(event, claim)


def encrypted_content(data: bytes) -> None:
    """NIP-44: a payload as it comes, and any plaintext under a true MAC."""
    key = nip44.conversation_key(DAEMON_KEY.secret, MACHINE_PUBKEY)
    _decrypt(data.decode("latin-1"), key)
    text = data.decode(errors="replace")
    if 0 < len(text.encode()) <= nip44.MAX_PLAINTEXT:
        sender = nip44.conversation_key(MACHINE_SECRET, DAEMON_KEY.pubkey)
        payload = nip44.encrypt(text, sender, bytes(32))
        assert nip44.decrypt(payload, key) == text
        event = fixtures.event(payload, tags=(("p", DAEMON_KEY.pubkey),))
        read_event(event, fixtures.machine(), key=DAEMON_KEY, window=_WINDOW, now=NOW)


def beacon_content(data: bytes) -> None:
    """Telemetry of both kinds, down to its row."""
    content = data.decode(errors="surrogateescape")
    for kind in (30078, 30079):
        event = fixtures.event(content, kind=kind, tags=(("d", content[:300]),))
        record = beacons.read(event, "machine-1", NOW, content=content, currency="GTQ")
        if not isinstance(record, Rejection):
            _in_books(partial(telemetry_rows.store_batch, fixtures.books(), [record]))


def config_toml(data: bytes) -> None:
    """A configuration file."""
    path = fixtures.scratch() / "fuzzed.toml"
    path.write_bytes(data)
    try:
        load(path, environ={})
    except ConfigError as error:
        assert error.problems, "a refusal says why"


def invoices(data: bytes) -> None:
    """A BOLT 11 invoice: as it comes, and with a true checksum."""
    text = data.decode("latin-1")
    _decode(text)
    prefix, _, groups = text.partition("1")
    human = "".join(char for char in prefix.lower() if "!" <= char <= "~")
    _decode(bech32_encode(human, [CHARSET.find(char) % 32 for char in groups]))


def lnurl_answers(data: bytes) -> None:
    """A payee's server: its offer, and its invoice."""
    client = fixtures.lnurl_client()
    for status in (200, 404, 302):
        try:
            body = lnurl._json_object(status, data, _URL, _PAYEE)
            assert client._checked_invoice(body.get("pr"), _OFFER, 1_000, 60, False).amount_msat == 1_000
        except (lnurl.LnurlRefused, lnurl.LnurlUnavailable) as error:
            assert str(error).isprintable()
    parsed = parse_json(data)
    if isinstance(parsed, dict):
        try:
            lnurl._error_reason(parsed)
            offer = lnurl._parse_pay_request(parsed, _PAYEE)
            lnurl._parse_url(offer.callback, _PAYEE).copy_merge_params({"amount": "1"})
        except lnurl.LnurlRefused as error:
            assert str(error).isprintable()


def lnurl_payees(data: bytes) -> None:
    """What an LP may be paid at: an address, an LNURL as it comes, and one with a true checksum."""
    text = data.decode(errors="surrogateescape")
    groups = convertbits(data, 8, 5) or []
    for payee in (text, "lnurl1" + text, bech32_encode("lnurl", groups)):
        try:
            url = fixtures.lnurl_client()._payee_url(payee)
            assert url.host
            assert not url.userinfo
        except lnurl.LnurlRefused as error:
            assert error.status == 0


def lnbits_answers(data: bytes) -> None:
    """An answer of LNbits: a page, a payment, a refusal; and what a sale's proof makes of it."""
    body = parse_json(data)
    for status in (200, 201, 400, 401):
        lnbits._pay_answer(HttpAnswer(status, body, printable(data.decode(errors="replace"), 200)), "lnbc1")
    try:
        lnbits._parse_page(body)
    except AnswerError as lie:
        assert str(lie)
    try:
        payment = parse_payment(body)
    except AnswerError:
        return
    expires_at, key = payment.expires_at, payment.leg_key
    assert expires_at is None or expires_at >= 0
    assert key is None or isinstance(key, str)


def payment_extras(data: bytes) -> None:
    """The `extra` of an incoming payment, which says what was sold; down to a verdict and to rows."""
    extra = parse_json(data)
    if not isinstance(extra, dict):
        return
    claim = claim_from_payment(
        extra, fixtures.machine(), payment_hash=PAYMENT_HASH, amount_sats=266_800, settled_at=NOW
    )
    if isinstance(claim, Claim):
        assert (claim.gross_sats, claim.payment_hash) == (266_800, PAYMENT_HASH)
    _in_books(lambda: _keep_payment(extra, claim))


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        relay_messages,
        events,
        settlement_content,
        encrypted_content,
        beacon_content,
        config_toml,
        invoices,
        lnurl_answers,
        lnurl_payees,
        lnbits_answers,
        payment_extras,
    )
}

_PAYEE = "lp@host.example"
_URL = httpx.URL("https://host.example/callback")
_OFFER = lnurl.PayRequest(_PAYEE, str(_URL), 1, 10**9, "[]", 0)

_PAYMENT: dict[str, object] = {
    "payment_hash": PAYMENT_HASH,
    "checking_id": PAYMENT_HASH,
    "wallet_id": "w",
    "amount": 266_800_000,
    "fee": 0,
    "status": "success",
    "bolt11": "",
    "time": "2026-11-22T00:00:00+00:00",
    "updated_at": "2026-11-22T00:00:00+00:00",
}


def _land(event: Event, claim: Claim | Rejection) -> None:
    if isinstance(claim, Claim):
        assert claim.gross_sats > 0
        assert claim.net_sats + (claim.gross_sats - claim.net_sats) == claim.gross_sats
        assert 0 <= claim.net_sats <= claim.gross_sats
    else:
        assert claim.reason
        assert len(claim.detail) < 1_000
    record = EventRecord(event.id, event.created_at, NOW, "wss://relay.example", "{}")
    rules = Rules(machine_active=True, payouts_since=0)
    _in_books(lambda: land_event(fixtures.books(), "machine-1", record, claim, rules, NOW))


def _keep_payment(extra: dict[str, object], claim: Claim | Rejection | None) -> None:
    """As a sweep does; and hold the payment against the sale that the machine has told of."""
    conn = fixtures.books()
    unmatched = {"amount_sats": 266_800, "memo": "", "settled_at": NOW, "reason": "", "kind": "unknown", "now": NOW}
    incoming.note(conn, "machine-1", payment_hash=PAYMENT_HASH, extra=extra, **unmatched)  # type: ignore[arg-type]
    told = claim_from_event('{"net_sats": 258835, "fee_sats": 7965}', fixtures.machine(), NOW)
    for each in (claim, told):
        if isinstance(each, Claim):
            settlement_id = settlements.insert(conn, each, event_id="00" * 32, now=NOW, proof="waiting")
            payment = parse_payment({**_PAYMENT, "extra": extra})
            judge(settlements.get(conn, settlement_id), [payment], fixtures.machine(), 0)
            return


def _in_books(write: Callable[[], object]) -> None:
    """As one transaction, which is taken back."""
    conn = fixtures.books()
    conn.execute("BEGIN")
    try:
        write()
    finally:
        conn.execute("ROLLBACK")


def _decrypt(payload: str, key: bytes) -> None:
    try:
        nip44.decrypt(payload, key)
    except nip44.Nip44Error as error:
        assert str(error)


def _decode(text: str) -> None:
    try:
        decoded = bolt11.decode(text)
    except bolt11.InvoiceError as error:
        assert str(error)
    else:
        assert decoded.amount_msat is None or decoded.amount_msat > 0
        assert len(decoded.payment_hash) == 64
