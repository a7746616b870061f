"""What is seen of a machine, and the settings that follow from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from satmachine.config import Config
from satmachine.models import Answer
from satmachine.nostr import nip44
from satmachine.nostr.event import Event
from satmachine.nostr.keys import public_key_of
from satmachine.observe.fit import MachineSeen, fitting, match
from satmachine.observe.sightings import Form, SeenEvent, SeenPayment, of_event, of_payment
from satmachine.settlements.claim.envelope import DaemonKey
from satmachine.wallet.rows import WalletPayment
from testkit.books import HASH, NOW, OTHER_HASH
from testkit.config_files import VALID, load_text
from testkit.relays import Machine

ATM = Machine()
SECRET = b"\x07" * 32
KEY = DaemonKey(SECRET, public_key_of(SECRET))
SALE = {"source": "bitspire", "payment_hash": HASH, "gross_sats": 1050, "net_sats": 1000, "fee_sats": 50}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_text(tmp_path, VALID)


def seen_event(config: Config, content: object, key: DaemonKey | None = KEY, **fields: Any) -> SeenEvent:
    text = content if isinstance(content, str) else json.dumps(content)
    return of_event(ATM.event(text, **fields), config.machines[0], key, NOW)


def a_row(**fields: Any) -> WalletPayment:
    row = WalletPayment(HASH, HASH, "w", 1_050_000, 0, Answer.SUCCESS, "", None, {}, None, "", None, NOW, NOW)
    return replace(row, **fields)


def paid(config: Config, **fields: Any) -> SeenPayment:
    found = of_payment(a_row(**fields), config.machines[0])
    assert found is not None
    return found


def lines(config: Config, *seen: SeenEvent | SeenPayment) -> list[str]:
    """The settings that fit, and the first words of what there is to know."""
    events = [one for one in seen if isinstance(one, SeenEvent)]
    payments = [one for one in seen if isinstance(one, SeenPayment)]
    told = MachineSeen(config.machines[0], events, payments, matched=match(events, payments))
    return [setting.line or setting.why for setting in fitting(told, config)]


def encrypted(content: object, to: str = KEY.pubkey, payload: str | None = None) -> Event:
    text = payload or nip44.encrypt(json.dumps(content), nip44.conversation_key(ATM.secret, to), b"\x05" * 32)
    return ATM.event(text, tags=[["p", to]])


def test_every_form_of_content_is_told_apart(config: Config) -> None:
    old = "A" + "Q" + "a" * 60
    forms = {
        Form.PLAIN: ' {"a": 1}',
        Form.EMPTY: "",
        Form.OLD_NIP44: old,
        Form.NIP04: "a" * 24 + "?iv=" + "b" * 24,
        Form.OTHER: "hello",
        Form.NIP44: encrypted({}).content,
    }
    assert {form: seen_event(config, text).form for form, text in forms.items()} == {form: form for form in forms}


def test_an_event_is_known_by_its_tags_keys_and_what_it_says(config: Config) -> None:
    found = seen_event(config, {**SALE, "extra": {"txid": "t-1", "bills": []}}, tags=[["t", "x"], ["expiration", "9"]])
    assert found.tags == ("expiration", "t")
    assert found.keys == ("extra.bills", "extra.txid", "fee_sats", "gross_sats", "net_sats", "payment_hash", "source")
    assert found.claim is not None
    assert (found.claim.payment_hash, found.for_us, found.d) == (HASH, True, None)


def test_what_is_encrypted_to_this_daemon_is_opened_and_what_is_for_another_is_not(config: Config) -> None:
    ours = of_event(encrypted(SALE), config.machines[0], KEY, NOW)
    assert (ours.opened, ours.claim is not None, ours.for_us) == (True, True, True)
    another = of_event(encrypted(SALE, ATM.pubkey), config.machines[0], KEY, NOW)
    assert (another.opened, another.claim, another.for_us, another.problem) == (False, None, False, "")


def test_hostile_content_is_cut_short_and_harmless(config: Config) -> None:
    deep = '{"a":' * 5_000 + "1" + "}" * 5_000
    wide = json.dumps({f"\x1b[31m{n}" + "k" * 500: n for n in range(5_000)})
    for text in (deep, wide, "[" * 5_000, '{"extra": 1, "extra": 2}', "{"):
        found = seen_event(config, text)
        assert len(found.keys) <= 40
        assert all(len(key) <= 70 and key.isprintable() for key in found.keys)
        assert len(found.problem) <= 160


def test_what_satmachine_paid_itself_is_not_seen(config: Config) -> None:
    assert of_payment(a_row(external_id=f"sm1:{HASH}:r1:super"), config.machines[0]) is None


def test_a_fleet_that_announces_nothing_may_be_shared_with_what_tells_its_payments_apart(config: Config) -> None:
    three = [paid(config, payment_hash=f"{n:064x}", memo=f"ATM Panajachel {n}00", tag="tpos") for n in range(3)]
    assert lines(config, *three) == ['unannounced = { sales = "share", memo = "^ATM Panajachel", tags = ["tpos"] }']
    assert lines(config, *three[:2]) == ['unannounced = { sales = "share" }']  # two may be chance


def test_the_memo_that_is_proposed_is_one_that_the_file_takes(config: Config, tmp_path: Path) -> None:
    three = [paid(config, payment_hash=f"{n:064x}", memo=f'Sale (x) "ü" {n}') for n in range(3)]
    [line] = lines(config, *three)
    assert load_text(tmp_path, VALID + line + "\n").machines[0].unannounced.memo is not None


def test_sales_that_are_announced_and_paid_need_no_change(config: Config) -> None:
    assert lines(config, seen_event(config, SALE), paid(config)) == []


def test_a_payment_that_says_itself_what_it_is_needs_no_change(config: Config) -> None:
    assert lines(config, paid(config, extra={**SALE, "exchange_rate": 100})) == []


def test_a_sale_is_matched_by_its_txid_too(config: Config) -> None:
    told = {key: value for key, value in SALE.items() if key != "payment_hash"} | {"txid": "t-1"}
    assert lines(config, seen_event(config, told), paid(config, extra={"extra": {"txid": "t-1"}})) == []


def test_announced_sales_whose_payments_are_in_another_wallet(config: Config) -> None:
    [told] = lines(config, seen_event(config, SALE))
    assert "is it the right wallet" in told


def test_an_event_that_comes_late_is_waited_for_longer(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + 'unannounced = { sales = "share" }\n')
    late = replace(seen_event(config, SALE), received_at=NOW + 200)
    assert lines(config, late, paid(config)) == ["unannounced = { after_s = 400 }"]


def test_encryption_that_everything_has_can_be_asked_for(config: Config) -> None:
    ours = of_event(encrypted(SALE), config.machines[0], KEY, NOW)
    assert lines(config, ours, paid(config)) == ["encrypted = true"]
    assert lines(config, ours, paid(config), seen_event(config, {"cash": 1}, kind=30078)) == []


def test_a_machine_that_must_encrypt_and_does_not(tmp_path: Path) -> None:
    config = load_text(
        tmp_path, VALID.replace("[nostr]", '[nostr]\nsecret_key = { env = "WALLET_2" }') + "encrypted = true\n"
    )
    assert "encrypted = false" in lines(config, seen_event(config, SALE), paid(config))


def test_old_encryption_and_messages_to_others_are_explained(config: Config) -> None:
    old = seen_event(config, "AQ" + "a" * 60, tags=[["p", "6d" * 32]])
    found = lines(config, old)
    assert ["before version 2" in found[0], "requests to its LNbits" in found[1]] == [True, True] or [
        "requests to its LNbits" in found[0],
        "before version 2" in found[1],
    ] == [True, True]


def test_d_tags_that_are_no_telemetry_are_left_out(config: Config) -> None:
    good = seen_event(config, {"cash_left": 100, "exchange_rate": 5}, kind=30078, tags=[["d", "status"]])
    bad = seen_event(config, {"theme": "dark"}, kind=30078, tags=[["d", "settings"]])
    assert lines(config, good) == []
    assert lines(config, good, bad) == ['beacon_d = ["status"]']


def test_relays_that_a_machine_names_itself_can_be_discovered(config: Config) -> None:
    known = seen_event(config, "", kind=10002, tags=[["r", "wss://relay.one.example"]])
    assert lines(config, known) == []
    assert lines(config, seen_event(config, "", kind=10002, tags=[["r", "wss://own.example"]])) == [
        "discover_relays = true"
    ]


def test_a_sale_that_would_go_into_quarantine_is_told_with_its_reason(config: Config) -> None:
    found = lines(config, seen_event(config, {**SALE, "currency": "USD"}), paid(config, payment_hash=OTHER_HASH))
    assert any("configured for GTQ" in line for line in found)
