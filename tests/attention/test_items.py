"""The list of what needs a person: what comes first, what is quiet and for how long, and how it is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.attention.items import CONDITIONS, Attention, Item, Silence, headline, names_of, sorted_out

NOW = 1_800_000_000
HELD = Item("settlement_held", "machine-1", "sale 7 is held", "satmachine status", since=NOW - 60, ref="7")
LOW = Item("wallet_low", "machine-1", "5 sats", "satmachine machines list", since=NOW - 600)
BROKEN = Item("books_broken", "", "2 sats too many", "satmachine audit")


def silence(item: str, until: int | None = None) -> Silence:
    return Silence(item, until, "I know", "ana", NOW - 5)


def test_an_item_is_named_by_its_condition_and_what_it_concerns() -> None:
    assert [HELD.id, LOW.id, BROKEN.id] == ["settlement_held:machine-1:7", "wallet_low:machine-1", "books_broken"]


def test_a_silence_names_the_item_or_all_of_its_kind() -> None:
    assert list(names_of(HELD)) == ["settlement_held:machine-1:7", "settlement_held:machine-1"]
    assert list(names_of(BROKEN)) == ["books_broken", "books_broken"]


def test_the_most_serious_comes_first_and_of_a_kind_the_oldest() -> None:
    later = replace(HELD, since=NOW, ref="8")
    unknown = replace(HELD, since=None, ref="9")
    other = replace(HELD, subject="machine-0")
    found = sorted_out([LOW, later, HELD, BROKEN, other, unknown], [], NOW)
    assert found.items == (BROKEN, other, unknown, HELD, later, LOW)
    assert found.silenced == ()


@given(st.permutations([HELD, LOW, BROKEN, replace(HELD, ref="8", since=NOW)]))
def test_the_order_in_which_they_were_found_says_nothing(found: list[Item]) -> None:
    assert [item.id for item in sorted_out(found, [], NOW).items] == [
        "books_broken",
        "settlement_held:machine-1:7",
        "settlement_held:machine-1:8",
        "wallet_low:machine-1",
    ]


@pytest.mark.parametrize(("until", "quiet"), [(None, True), (NOW + 1, True), (NOW, False), (NOW - 1, False)])
def test_a_silence_ends_at_its_time(until: int | None, quiet: bool) -> None:
    found = sorted_out([HELD], [silence(HELD.id, until)], NOW)
    assert (found.items == ()) is quiet
    assert [item.silenced for item in found.silenced] == ["by ana: I know"] * quiet


@pytest.mark.parametrize(
    ("name", "quiet"),
    [
        ("settlement_held:machine-1", ["7", "8"]),
        ("settlement_held:machine-1:7", ["7"]),
        ("settlement_held", []),
        ("wallet_low:machine-1", []),
        ("settlement_held:machine-2", []),
    ],
)
def test_a_silence_covers_what_is_below_it_and_nothing_beside_it(name: str, quiet: list[str]) -> None:
    found = sorted_out([HELD, replace(HELD, ref="8")], [silence(name)], NOW)
    assert [item.ref for item in found.silenced] == quiet


def test_every_condition_is_counted_silenced_ones_not() -> None:
    found = sorted_out([HELD, replace(HELD, ref="8"), LOW], [silence(LOW.id)], NOW)
    assert set(found.counts) == set(CONDITIONS)
    assert {name: count for name, count in found.counts.items() if count} == {"settlement_held": 2}


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ((), ""),
        ((BROKEN,), "1 thing(s) need you: the books do not add up"),
        ((HELD, LOW), "2 thing(s) need you: machine-1: sales are held and wait for you (and 1 more)"),
    ],
)
def test_half_a_sentence_for_systemd(items: tuple[Item, ...], told: str) -> None:
    assert headline(Attention(items)) == told


def test_what_wakes_a_person_at_night_is_about_money_machines_and_payees() -> None:
    """What can wait for the morning is a message, and no alarm."""
    quiet = {name for name in CONDITIONS if not Item(name, "", "", "").is_alarm}
    assert quiet == {
        "daemon_down",
        "daemon_frozen",
        "cash_differs",
        "payouts_paused",
        "request_waits",
        "quarantined",
        "rate_unknown",
        "shortfall_waits",
        "unmatched",
    }


def test_how_long_a_machine_is_silent_stands_in_its_sentence_already() -> None:
    assert Item("machine_silent", "machine-1", "silent for 2 h", "x", since=NOW).shown_since is None
    assert HELD.shown_since == HELD.since
