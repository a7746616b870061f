"""What a connection asks for, and how it changes; against a small model of a relay."""

from __future__ import annotations

import json
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.nostr.event import Closed, Fault
from satmachine.nostr.subscriptions import Complaint, Shape, Subscriptions, complaint_of

SHAPE = Shape(authors_per_filter=4, filters_per_req=3)


def authors(*numbers: int) -> frozenset[str]:
    return frozenset(f"{number:064x}" for number in numbers)


class Model:
    """What a relay holds after it has read our texts."""

    def __init__(self) -> None:
        self.open: dict[str, list[dict[str, list[object]]]] = {}

    def read(self, texts: list[str] | Fault) -> list[str]:
        """The ids of what is newly asked for."""
        assert not isinstance(texts, Fault)
        asked = []
        for text in texts:
            verb, sub_id, *filters = json.loads(text)
            if verb == "REQ":
                self.open[sub_id] = filters
                asked.append(sub_id)
            else:
                assert verb == "CLOSE"
                self.open.pop(sub_id, None)
        return asked

    def asked_for(self, kind: int) -> set[object]:
        filters = chain.from_iterable(self.open.values())
        return set(chain.from_iterable(f["authors"] for f in filters if kind in f["kinds"]))

    def covers(self, wanted: frozenset[str]) -> bool:
        return all(wanted <= self.asked_for(kind) for kind in (21000, 30078, 30079))


def subscribed(wanted: frozenset[str], shape: Shape = SHAPE) -> tuple[Subscriptions, Model]:
    subscriptions, model = Subscriptions(shape, 1_000), Model()
    for sub_id in model.read(subscriptions.set_authors(wanted)):
        assert model.read(subscriptions.on_eose(sub_id)) == []
    assert subscriptions.complete
    return subscriptions, model


def test_authors_are_split_over_filters_and_filters_over_subscriptions() -> None:
    _, model = subscribed(authors(*range(10)))
    assert model.covers(authors(*range(10)))
    filters = list(chain.from_iterable(model.open.values()))
    assert len(filters) == 6
    assert len(model.open) == 2
    assert all(len(f["authors"]) <= 4 for f in filters)
    assert all(("since" in f) == (f["kinds"] == [21000]) for f in filters)


def test_no_authors_means_no_subscription() -> None:
    subscriptions, model = subscribed(frozenset())
    assert model.open == {}
    assert subscriptions.complete


def test_it_is_complete_when_all_stored_events_have_come() -> None:
    subscriptions, model = Subscriptions(SHAPE, None), Model()
    first, second = model.read(subscriptions.set_authors(authors(*range(10))))
    assert not subscriptions.complete
    subscriptions.on_eose(first)
    assert not subscriptions.complete
    subscriptions.on_eose(second)
    assert subscriptions.complete


def test_a_change_opens_the_new_before_it_closes_the_old() -> None:
    subscriptions, model = subscribed(authors(*range(10)))
    stay = authors(*range(1, 10))
    new = model.read(subscriptions.set_authors(stay | authors(77)))
    while new:
        # At no moment is anybody who stays not asked for.
        assert model.covers(stay)
        assert not subscriptions.complete
        new += model.read(subscriptions.on_eose(new.pop(0)))
    assert subscriptions.complete
    assert model.covers(stay | authors(77))
    assert not model.asked_for(21000) & authors(0)


def test_additions_leave_what_is_live_alone() -> None:
    subscriptions, model = subscribed(authors(1, 2))
    before = set(model.open)
    new = model.read(subscriptions.set_authors(authors(1, 2, 3)))
    assert before < set(model.open)
    assert model.read(subscriptions.on_eose(new[0])) == []
    assert before < set(model.open)


def test_many_additions_are_packed_anew() -> None:
    subscriptions, model = subscribed(authors(0), Shape(100, 10))
    for number in range(1, 50):
        for sub_id in model.read(subscriptions.set_authors(authors(*range(number + 1)))):
            model.read(subscriptions.on_eose(sub_id))
        assert len(model.open) <= 5
        assert model.covers(authors(*range(number + 1)))


def test_removing_everybody_closes_everything() -> None:
    subscriptions, model = subscribed(authors(*range(10)))
    assert model.read(subscriptions.set_authors(frozenset())) == []
    assert model.open == {}


@given(st.lists(st.frozensets(st.integers(0, 12), max_size=10), max_size=6), st.data())
def test_whatever_changes_and_whatever_order_the_relay_answers_in(
    steps: list[frozenset[int]], data: st.DataObject
) -> None:
    subscriptions, model = Subscriptions(SHAPE, None), Model()
    pending: list[str] = []
    now = 0.0
    for step in steps:
        pending += model.read(subscriptions.set_authors(authors(*step)))
        for _ in range(data.draw(st.integers(0, 3))):
            if not pending:
                break
            sub_id = pending.pop(data.draw(st.integers(0, len(pending) - 1)))
            reason = data.draw(st.sampled_from(["eose", "error: sorry", "error: too many filters", "too many authors"]))
            if reason == "eose":
                pending += model.read(subscriptions.on_eose(sub_id))
            else:
                model.open.pop(sub_id, None)
                pending += model.read(subscriptions.on_closed(Closed(sub_id, "", reason), now))
    for _ in range(100):
        now += 1_000
        pending += model.read(subscriptions.due(now))
        if not pending:
            break
        pending += model.read(subscriptions.on_eose(pending.pop(0)))
    last = authors(*steps[-1]) if steps else frozenset()
    assert subscriptions.complete
    assert model.covers(last)
    assert model.asked_for(21000) == last


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("too many filters", Complaint.FILTERS),
        ("ERROR: bad req: filter item too large", Complaint.AUTHORS),
        ("too many authors in filter", Complaint.AUTHORS),
        ("message too large", Complaint.AUTHORS),
        ("too many concurrent REQs", Complaint.SUBSCRIPTIONS),
        ("Subscription limit reached", Complaint.SUBSCRIPTIONS),
        ("max subscriptions exceeded", Complaint.SUBSCRIPTIONS),
        ("active subscriptions exceed max size 1048576 bytes", Complaint.TOTAL),
        ("REQ exceeds max filter count 20", Complaint.FILTERS),
        ("slow down", None),
        ("filters look fine", None),
    ],
)
def test_what_relays_complain_of(text: str, complaint: Complaint | None) -> None:
    assert complaint_of(text) is complaint


def test_too_many_authors_halves_the_filters_of_that_subscription() -> None:
    subscriptions, model = subscribed(authors(*range(4)))
    (sub_id,) = model.open
    model.open.clear()
    model.read(subscriptions.on_closed(Closed(sub_id, "error", "too many authors"), 0.0))
    assert model.covers(authors(*range(4)))
    assert all(len(f["authors"]) <= 2 for f in chain.from_iterable(model.open.values()))
    assert subscriptions.shape == Shape(2, 3)


def test_several_complaints_at_once_change_the_shape_once() -> None:
    subscriptions, model = subscribed(authors(*range(20)))
    for sub_id in list(model.open):
        del model.open[sub_id]
        model.read(subscriptions.on_closed(Closed(sub_id, "error", "too many filters"), 0.0))
    assert (subscriptions.shape.authors_per_filter, subscriptions.shape.filters_per_req) == (4, 1)
    assert model.covers(authors(*range(20)))


def test_too_many_subscriptions_packs_more_into_each() -> None:
    subscriptions, model = subscribed(authors(*range(20)))
    before = len(model.open)
    sub_id = next(iter(model.open))
    del model.open[sub_id]
    model.read(subscriptions.on_closed(Closed(sub_id, "error", "too many subscriptions"), 0.0))
    assert len(model.open) == before // 2
    assert model.covers(authors(*range(20)))


def test_where_the_whole_is_too_much_each_author_is_named_once() -> None:
    subscriptions, model = subscribed(authors(*range(20)))
    sub_id = next(iter(model.open))
    del model.open[sub_id]
    model.read(subscriptions.on_closed(Closed(sub_id, "error", "subscriptions exceed max size"), 0.0))
    assert model.covers(authors(*range(20)))
    named = list(chain.from_iterable(f["authors"] for f in chain.from_iterable(model.open.values())))
    assert len(named) == 20


def test_a_relay_that_finds_filters_and_subscriptions_too_many_is_not_asked_in_circles() -> None:
    subscriptions, model = subscribed(authors(*range(20)))
    asked = 0
    for complaint in ["too many filters", "too many subscriptions"] * 20:
        sub_id = next(iter(model.open), None)
        if sub_id is None:
            break
        del model.open[sub_id]
        asked += len(model.read(subscriptions.on_closed(Closed(sub_id, "error", complaint), 0.0)))
    assert asked < 200
    assert subscriptions.next_due() is not None


def test_a_complaint_that_cannot_be_met_is_waited_out() -> None:
    subscriptions, model = subscribed(authors(1), Shape(1, 1))
    sub_id = next(iter(model.open))
    assert subscriptions.on_closed(Closed(sub_id, "error", "too many authors"), 0.0) == []
    assert subscriptions.next_due() == 2.0
    assert model.read(subscriptions.due(2.0)) == [sub_id]


def test_an_older_relay_complains_by_notice() -> None:
    subscriptions, model = Subscriptions(SHAPE, None), Model()
    model.read(subscriptions.set_authors(authors(*range(4))))
    assert subscriptions.on_notice("welcome") == []
    model.open.clear()
    assert model.read(subscriptions.on_notice("ERROR: too many filters"))
    assert model.covers(authors(*range(4)))


def test_closed_is_asked_again_with_growing_waits() -> None:
    subscriptions, model = subscribed(authors(1))
    (sub_id,) = model.open
    now = 0.0
    waits = []
    for _ in range(9):
        assert subscriptions.on_closed(Closed(sub_id, "error", "sorry"), now) == []
        assert not subscriptions.complete
        due = subscriptions.next_due()
        assert due is not None
        assert subscriptions.due(due - 0.1) == []
        waits.append(due - now)
        now = due
        assert model.read(subscriptions.due(now)) == [sub_id]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    subscriptions.on_eose(sub_id)
    subscriptions.on_closed(Closed(sub_id, "rate-limited", "slow down"), now)
    assert subscriptions.next_due() == now + 10


def test_auth_required_waits_for_authentication() -> None:
    subscriptions, model = subscribed(authors(1))
    (sub_id,) = model.open
    subscriptions.on_closed(Closed(sub_id, "auth-required", "who are you?"), 0.0)
    assert subscriptions.next_due() is None
    assert model.read(subscriptions.on_authenticated()) == [sub_id]
    # Asked again although authenticated: a relay in trouble; not at once.
    subscriptions.on_closed(Closed(sub_id, "auth-required", "who are you?"), 0.0)
    assert subscriptions.next_due() == 2.0


def test_what_was_never_asked_for_is_a_fault() -> None:
    subscriptions, model = subscribed(authors(1))
    (sub_id,) = model.open
    assert subscriptions.on_eose("other") is Fault.UNKNOWN_SUBSCRIPTION
    assert subscriptions.on_eose(sub_id) is Fault.UNKNOWN_SUBSCRIPTION
    assert subscriptions.on_closed(Closed("other", "", ""), 0.0) is Fault.UNKNOWN_SUBSCRIPTION
    assert not subscriptions.knows("other")


def test_events_of_what_was_just_closed_are_still_ours() -> None:
    subscriptions, model = subscribed(authors(1))
    (sub_id,) = model.open
    subscriptions.set_authors(frozenset())
    assert subscriptions.knows(sub_id)
    assert subscriptions.on_closed(Closed(sub_id, "", ""), 0.0) == []
    assert subscriptions.on_eose(sub_id) == []
