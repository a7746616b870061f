"""Where the campaign starts: one true specimen of everything, and the words that the formats are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fuzz import fixtures
from fuzz.fixtures import DAEMON_KEY, MACHINE_SECRET, PAYMENT_HASH
from satmachine.nostr import nip44

#: From BOLT 11: 2,500 micro-bitcoin for a cup of coffee.
INVOICE = (
    "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq"
    "5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3q"
    "fegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"
)

SALE: dict[str, object] = {
    "source": "bitspire",
    "payment_hash": PAYMENT_HASH,
    "txid": "sale-1",
    "gross_sats": 266_800,
    "net_sats": 258_835,
    "fee_sats": 7_965,
    "fee_pct": 0.03,
    "discount_pct": 0,
    "exchange_rate": 143.797,
    "fiat_amount": 1800.5,
    "currency": "GTQ",
    "machine_npub": "npub1",
    "bills": [{"denomination": 100, "count": 18}],
    "cassettes": {"a": [1, 2.5, None, True, "\u00e9"]},
}

BEACON: dict[str, object] = {
    "name": "Panajachel",
    "location": {"lat": 14.74, "lon": -91.15},
    "status": "online",
    "version": "1.2.3",
    "uptime": 86_400,
    "cassettes": [{"denomination": 100, "count": 40, "capacity": 500}],
    "cash_total": 4000,
    "currency": "GTQ",
    "exchange_rate": 143.797,
    "fee_pct": 0.03,
    "last_error": "jam",
}

PAYMENT: dict[str, object] = {
    "payment_hash": PAYMENT_HASH,
    "checking_id": "internal_x",
    "wallet_id": "w",
    "amount": 266_800_000,
    "fee": -1,
    "status": "success",
    "memo": "sale",
    "tag": "t",
    "extra": SALE,
    "external_id": "sm1:x",
    "bolt11": INVOICE,
    "preimage": "00",
    "time": "2026-11-22T00:00:00+00:00",
    "updated_at": "2026-11-22T00:00:00.5+00:00",
}

OFFER: dict[str, object] = {
    "tag": "payRequest",
    "callback": "https://host.example/cb?x=1",
    "minSendable": 1000,
    "maxSendable": 100_000_000.0,
    "metadata": '[["text/plain","x"]]',
    "commentAllowed": 20,
    "pr": INVOICE,
}

_EVENT = fixtures.signed(json.dumps(SALE), tags=(("p", DAEMON_KEY.pubkey), ("d", "x")))
_PAYLOAD = nip44.encrypt(json.dumps(SALE), nip44.conversation_key(MACHINE_SECRET, DAEMON_KEY.pubkey), bytes(32))
_RATES = {"exchange_rate": 1e-18, "fiat_amount": 1e15, "fee_pct": 12_345_678_901_234_567_890}

_FRAMES = "\n".join(
    [
        json.dumps(["EVENT", "satmachine-1", _EVENT.to_dict()]),
        '["EOSE","satmachine-1"]',
        '["CLOSED","satmachine-2","error: too many filters"]',
        '["CLOSED","satmachine-3","auth-required: who are you"]',
        '["NOTICE","too many concurrent subscriptions, maximum 1"]',
        '["OK","' + "00" * 32 + '",true,""]',
        '["AUTH","challenge"]',
    ]
)


def _json(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


SEEDS: Mapping[str, list[bytes]] = {
    "relay_messages": [_FRAMES.encode(), *(line.encode() for line in _FRAMES.split("\n"))],
    "events": [_EVENT.to_json().encode()],
    "settlement_content": [
        *_json(SALE, {"extra": SALE}, {"gross_sats": 10**5}, {**SALE, **_RATES}, [SALE], "x", None),
        _PAYLOAD.encode(),
    ],
    "encrypted_content": [_PAYLOAD.encode(), *_json(SALE)],
    "beacon_content": _json(BEACON, [BEACON], {"state": BEACON}),
    "config_toml": [fixtures.CONFIG_TEXT.encode()],
    "invoices": [INVOICE.encode()],
    "lnurl_answers": _json(OFFER, {"pr": INVOICE}, {"status": "ERROR", "reason": "closed"}),
    "lnurl_payees": [b"https://host.example/a?b=c", b"lp@host.example", b"lightning:lp@host.example:443"],
    "lnbits_answers": _json(PAYMENT, {"data": [PAYMENT], "total": 1}, {"detail": "no"}, {"detail": [{"loc": []}]}),
    "payment_extras": _json(SALE, {"source": "bitspire"}, {"extra": SALE, "tag": "x"}),
}


def words() -> list[str]:
    """For libFuzzer's dictionary: keys, prefixes, and what tends to hurt."""
    keys = {key for value in (SALE, BEACON, PAYMENT, OFFER, _EVENT.to_dict()) for key in value}
    hurtful = [
        "1e999",
        "-0",
        "NaN",
        "Infinity",
        "1e-999999999999",
        "9223372036854775808",
        "\\ud800",
        "[[[[[[[[",
        "\x1b[",
    ]
    return [*sorted(keys), "EVENT", "EOSE", "CLOSED", "NOTICE", "satmachine-1", "bitspire", "nsec1", *hurtful]
