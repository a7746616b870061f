"""Machines' own lists of relays (NIP-65): what is believed of them, and what a stolen key cannot do with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from satmachine.config import Config
from satmachine.nostr.event import RELAY_LIST_KIND, Event
from satmachine.relay_lists import MAX_EACH, MAX_IN_ALL, MAX_TOLD, RelayList, read, relays_of
from satmachine.store import relay_list_rows
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, fresh_books
from testkit.config_files import VALID, a_machine, load_text
from testkit.relays import Machine

ATM = Machine()


def a_list(*tags: list[str], created_at: int = NOW) -> Event:
    return ATM.event("", kind=RELAY_LIST_KIND, tags=tags, created_at=created_at)


def names(*urls: str) -> Event:
    return a_list(*(["r", url] for url in urls))


def test_write_relays_count_and_read_relays_do_not() -> None:
    event = a_list(
        ["r", "wss://both.example"],
        ["r", "wss://write.example", "write"],
        ["r", "wss://read.example", "read"],
        ["r", "wss://odd.example", "sometimes"],
        ["r"],
        ["p", "wss://other.example"],
    )
    assert read(event, allow_private=False) == RelayList(("wss://both.example", "wss://write.example"), {})


def test_the_same_relay_in_two_spellings_is_one() -> None:
    event = names("wss://Relay.Example:443/", "wss://relay.example", " wss://relay.example ")
    assert read(event, allow_private=False).relays == ("wss://relay.example",)


@pytest.mark.parametrize(
    "url",
    [
        "ws://relay.example",
        "wss://localhost",
        "wss://localhost:7777",
        "wss://127.0.0.1",
        "wss://127.1",
        "wss://0x7f.1",
        "wss://0.0.0.0",
        "wss://[::1]",
        "wss://[::ffff:127.0.0.1]",
        "wss://10.1.2.3",
        "wss://192.168.1.1:8443",
        "wss://169.254.169.254",
        "wss://100.64.0.1",
        "wss://[fd00::1]",
        "wss://router",
        "wss://nas.local",
        "wss://db.internal.",
        "https://relay.example",
        "wss://user:password@relay.example",
        "wss://relay.example/#x",
        "javascript:alert(1)",
        "",
        "wss://" + "a" * 300 + ".example",
    ],
)
def test_what_is_not_encrypted_private_or_no_relay_is_refused_with_the_reason(url: str) -> None:
    found = read(names(url, "wss://good.example"), allow_private=False)
    assert found.relays == ("wss://good.example",)
    assert len(found.refused) == 1


def test_for_tests_private_ones_may_be_allowed() -> None:
    assert read(names("ws://127.0.0.1:7777"), allow_private=True).relays == ("ws://127.0.0.1:7777",)


def test_a_thousand_relays_are_four_and_a_short_word_on_the_others() -> None:
    found = read(names(*(f"wss://relay-{n}.example" for n in range(1_000))), allow_private=False)
    assert found.relays == tuple(f"wss://relay-{n}.example" for n in range(MAX_EACH))
    assert len(found.refused) == MAX_TOLD + 1
    assert "and 988 more" in found.refused


def test_what_is_told_of_a_refused_one_fits_a_terminal() -> None:
    [told] = read(names("wss://x\x1b[31m\n.example"), allow_private=False).refused
    assert told.isprintable()


def a_config(folder: Path, *settings: str, machines: int = 1) -> Config:
    text = VALID.replace("[nostr]\n", "[nostr]\n" + "".join(f"{line}\n" for line in settings))
    return load_text(folder, text + "".join(a_machine(number) for number in range(2, machines + 1)))


DISCOVER = "discover_relays = true"


def test_without_the_switch_no_list_counts(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    wanted = relays_of(config, {config.machines[0].id: ["wss://own.example"]})
    assert {*wanted.relays} == {"wss://relay.one.example", "wss://relay.two.example"}


def test_a_machines_own_relay_is_asked_for_that_machine_alone(tmp_path: Path) -> None:
    config = a_config(tmp_path, DISCOVER, machines=2)
    first, second = config.machines
    wanted = relays_of(config, {first.id: ["wss://own.example", "wss://relay.one.example"]})
    assert wanted.relays["wss://own.example"] == {first.pubkey}
    assert wanted.relays["wss://relay.one.example"] == {first.pubkey, second.pubkey}
    assert wanted.named == {"wss://own.example"}


def test_a_kept_list_is_judged_again_by_the_file_of_now(tmp_path: Path) -> None:
    config = a_config(tmp_path, DISCOVER)
    lists = {config.machines[0].id: ["ws://127.0.0.1:7777", "wss://own.example"]}
    assert relays_of(config, lists).named == {"wss://own.example"}
    assert relays_of(a_config(tmp_path, DISCOVER, "discover_private = true"), lists).named == {
        *lists[config.machines[0].id]
    }


def test_a_fleet_of_stolen_keys_names_a_bounded_number_and_crowds_out_nobody_that_many_name(tmp_path: Path) -> None:
    config = a_config(tmp_path, DISCOVER, machines=40)
    lists = {m.id: [f"wss://a-{m.id}-{n}.example" for n in range(3)] for m in config.machines[:30]}
    lists |= {m.id: ["wss://zz-common.example"] for m in config.machines[30:]}
    wanted = relays_of(config, lists)
    assert len(wanted.named) == MAX_IN_ALL
    assert "wss://zz-common.example" in wanted.named
    assert len(wanted.left_out) == 91 - MAX_IN_ALL


def test_the_newest_list_counts_whatever_comes_last(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:

        def note(event_id: str, created_at: int, *relays: str) -> bool:
            with atomic(conn):
                return relay_list_rows.note(
                    conn,
                    MACHINE,
                    event_id=event_id,
                    created_at=created_at,
                    received_at=NOW,
                    relays=relays,
                    refused={},
                )

        assert note("bb", NOW, "wss://one.example")
        assert not note("aa", NOW - 1, "wss://old.example")
        assert not note("cc", NOW, "wss://higher-id.example")
        assert note("aa", NOW, "wss://lower-id.example")
        assert not note("aa", NOW, "wss://lower-id.example")
        assert relay_list_rows.of_all(conn) == {MACHINE: ["wss://lower-id.example"]}
        assert note("dd", NOW + 1)
        assert relay_list_rows.of_all(conn) == {MACHINE: []}
