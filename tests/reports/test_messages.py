"""Messages to LPs: opt-in, kept until a relay took them, never twice, and about nobody else."""

from __future__ import annotations

import nostr_sdk

from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.reports.report_desk import PeopleDesk
from satmachine.store import message_rows
from satmachine.store.database import atomic, open_store
from satmachine.store.message_rows import Wishes
from testkit.relays import local_relay
from tests.reports.year import Year

SECRET = bytes([7] * 32)
READER = nostr_sdk.Keys.generate()


def wish(year: Year, client_id: int, relay: str) -> None:
    npub = hex_to_npub(READER.public_key().to_hex())
    wishes = Wishes(client_id, npub, (relay,), receipts=True, monthly=False, since_at=year.now)
    with atomic(year.conn):
        message_rows.set_wishes(year.conn, wishes, "panajachel-1", actor="maria", now=year.now)


def rows(year: Year) -> list[tuple[int, str | None, int | None, int]]:
    found = year.conn.execute("SELECT client_id, event, taken_at, attempts FROM dca_messages ORDER BY id")
    return [tuple(row) for row in found]


async def test_a_receipt_is_kept_until_a_relay_takes_it_and_is_sent_under_one_name(fresh: Year) -> None:
    assert rows(fresh) == []  # nobody has asked for any
    wish(fresh, 1, "ws://127.0.0.1:1")
    fresh.pay(fresh.sale("panajachel-1"))
    assert [row[0] for row in rows(fresh)] == [1], "one for maria, none for those who did not ask"
    async with open_store(fresh.config.database.path) as store:
        desk = PeopleDesk(store, lambda: fresh.config, SECRET, lambda: fresh.now)
        await desk.bring_due()
        [(_, sealed, taken_at, attempts)] = rows(fresh)
        assert (taken_at, attempts) == (None, 1)
        async with local_relay() as url:
            fresh.conn.execute("UPDATE dca_client_messages SET relays = json_array(?)", (url,))
            fresh.now += 3600
            await desk.bring_due()
            [(_, again, taken_at, _)] = rows(fresh)
            assert (again, taken_at) == (sealed, fresh.now)
            await desk.bring_due()
            assert len(rows(fresh)) == 1
    assert sealed is not None
    gift = nostr_sdk.UnwrappedGift.from_gift_wrap(READER, nostr_sdk.Event.from_json(sealed))
    assert gift.sender().to_hex() == public_key_of(SECRET)
    text = gift.rumor().content()
    assert text.startswith("Panajachel market: you got ")
    assert not any(word in text.lower() for word in ("jose", "ana ", "owner", "technician", "commission"))


async def test_who_wants_nothing_any_more_gets_nothing(fresh: Year) -> None:
    wish(fresh, 1, "ws://127.0.0.1:1")
    fresh.pay(fresh.sale("panajachel-1"))
    with atomic(fresh.conn):
        message_rows.end_wishes(fresh.conn, 1, "panajachel-1", actor="maria", now=fresh.now)
    assert rows(fresh) == []
