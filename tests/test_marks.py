"""Marks: what is genuine, what is known, and that two payers never both see themselves alone."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine import identity, marks
from satmachine.marks import Mark

SALE = "ab" * 32
BUNDLE = identity.sale_bundle(SALE)
KEY = "a" * 32
HASH = "cd" * 32
MARK = Mark("0" * 16, BUNDLE, (), {f"{BUNDLE}:r1:super": HASH})
ROW = identity.mark_key(BUNDLE, MARK.id)


def test_a_mark_that_was_written_is_read_as_it_was() -> None:
    assert marks.genuine(json.loads(json.dumps(marks.extra_of(MARK, KEY))), ROW, KEY) == MARK


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"mark": MARK.content},
        {"mark": MARK.content, "mac": "00" * 32},
        {"mark": MARK.content, "mac": 7},
        {"mark": MARK.content, "mac": "é"},
        {"mark": 7, "mac": "00" * 32},
        {"mark": "\ud800", "mac": "00" * 32},
        marks.extra_of(MARK, "another key"),
        {**marks.extra_of(MARK, KEY), "mark": MARK.content.replace("super", "super ")},
    ],
)
def test_what_does_not_verify_under_the_admin_key_is_no_mark(extra: dict[str, object]) -> None:
    assert marks.genuine(extra, ROW, KEY) is None


@pytest.mark.parametrize("key", [None, "", identity.mark_key(BUNDLE, "1" * 16), identity.mark_key("sm1:x", MARK.id)])
def test_a_genuine_mark_in_another_place_is_no_mark(key: str | None) -> None:
    assert marks.genuine(marks.extra_of(MARK, KEY), key, KEY) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 10_000,
        MARK.content.replace('"version":1', '"version":2'),
        MARK.content.replace('"prev":[]', '"prev":["x"]'),
        MARK.content.replace(HASH, "xy"),
        MARK.content.replace(f"{BUNDLE}:r1", "sm1:other:r1"),
        MARK.content + " ",
    ],
)
def test_content_that_this_version_does_not_write_is_no_mark(content: str) -> None:
    assert marks.from_content(content) is None


def test_the_text_of_a_mark_is_the_same_in_every_version_that_is_running() -> None:
    """Two daemons of one wallet may be of two versions: what one writes, the other must read, or both would pay."""
    mark = Mark("1" * 16, "sm1:x", ("0" * 16,), {"sm1:x:r1:super": HASH}, ("sm1:x",))
    text = (
        f'{{"version":1,"id":"{"1" * 16}","bundle":"sm1:x","prev":["{"0" * 16}"],'
        f'"invoices":{{"sm1:x:r1:super":"{HASH}"}},"stopped":["sm1:x"]}}'
    )
    assert mark.content == text
    assert marks.from_content(text) == mark
    assert marks.extra_of(mark, KEY)["mac"] == "d1283f80db811fbe317135f6b12909a1a8d2e70b58fd62417b36511640b1e505"


@pytest.mark.parametrize(
    "mark",
    [
        Mark("x" * 16, BUNDLE, (), {}),
        Mark("0" * 15, BUNDLE, (), {}),
        Mark("0" * 17, BUNDLE, (), {}),
        Mark("0" * 16, BUNDLE, ("0" * 16, "y"), {}),
        Mark("0" * 16, BUNDLE, (), {f"{BUNDLE}:r1:super": HASH + "0"}),
        Mark("0" * 16, BUNDLE, (), {f"{BUNDLE}0:r1:super": HASH}),
        Mark("0" * 16, BUNDLE, (), {}, (f"{BUNDLE}0",)),
        Mark("0" * 16, BUNDLE, (), {}, (BUNDLE, "sm1:other")),
    ],
    ids=str,
)
def test_a_mark_that_names_what_is_not_its_own_is_none_even_with_the_right_key(mark: Mark) -> None:
    assert marks.from_content(mark.content) is None
    assert marks.genuine(marks.extra_of(mark, KEY), identity.mark_key(mark.bundle, mark.id), KEY) is None


def test_a_row_without_a_readable_mark_is_none_wherever_it_stands() -> None:
    for extra in ({}, {"mark": None}, {"mark": 7}, {"mark": "{}"}):
        assert marks.written(extra, ROW) is None


def test_a_mark_is_known_by_its_whole_content() -> None:
    other = Mark(MARK.id, BUNDLE, (), {f"{BUNDLE}:r1:super": "ef" * 32})
    seen = marks.compare([MARK, other], mine=MARK, known={MARK.id: MARK.content})
    assert seen.mine
    assert seen.unknown == (other,)


def test_the_same_content_twice_is_one_mark() -> None:
    seen = marks.compare([MARK, MARK], mine=MARK, known={MARK.id: MARK.content})
    assert seen == marks.Sight(mine=True, unknown=())


def test_a_later_mark_names_all_before_it() -> None:
    later = marks.successor("2" * 16, BUNDLE, MARK, ["1" * 16], {})
    assert later.prev == ("0" * 16, "1" * 16)


@given(st.data())
def test_of_two_payers_at_most_one_sees_itself_alone(data: st.DataObject) -> None:
    """Each writes its mark, whose commit may come late, and lists; in every interleaving of commits and lists."""
    mine = [Mark(f"{number:016x}", BUNDLE, (), {f"{BUNDLE}:r1:super": f"{number:064x}"}) for number in (1, 2)]
    steps = data.draw(
        st.permutations([("commit", 0), ("commit", 1), ("list", 0), ("list", 1), ("list", 0), ("list", 1)])
    )
    wallet: list[Mark] = []
    may_pay = set()
    for step, who in steps:
        if step == "commit":
            wallet.append(mine[who])
            continue
        seen = marks.compare(wallet, mine=mine[who], known={mine[who].id: mine[who].content})
        if seen.mine and not seen.unknown:
            may_pay.add(who)
    assert len(may_pay) <= 1


def test_there_is_an_interleaving_in_which_nobody_pays_and_one_in_which_somebody_does() -> None:
    mine = [Mark(f"{number:016x}", BUNDLE, (), {}) for number in (1, 2)]
    alone = [marks.compare(wallet, mine=mine[0], known={mine[0].id: mine[0].content}) for wallet in ([mine[0]], mine)]
    assert [seen.mine and not seen.unknown for seen in alone] == [True, False]
    assert len(list(itertools.permutations(mine))) == 2


def test_a_mark_says_what_a_person_has_stopped() -> None:
    stopped = marks.successor("1" * 16, BUNDLE, MARK, [], {}, [f"{BUNDLE}:r1:super", BUNDLE])
    assert marks.genuine(marks.extra_of(stopped, KEY), identity.mark_key(BUNDLE, stopped.id), KEY) == stopped
    assert stopped.stopped == (BUNDLE, f"{BUNDLE}:r1:super")
    assert marks.from_content(stopped.content.replace(f'"{BUNDLE}",', '"sm1:other",')) is None


def test_what_stands_for_an_old_mark_is_its_digest() -> None:
    other = Mark(MARK.id, BUNDLE, (), {})
    assert MARK.is_known({MARK.id: MARK.digest})
    assert not other.is_known({MARK.id: MARK.digest})
    assert json.loads(MARK.digest).startswith("sha256:")


def test_a_mark_under_another_key_is_only_what_somebody_wrote() -> None:
    extra = marks.extra_of(MARK, "another key")
    assert marks.genuine(extra, ROW, KEY) is None
    assert marks.written(extra, ROW) == MARK
    assert marks.written(extra, identity.mark_key(BUNDLE, "1" * 16)) is None
