"""The pictures: every sat of a sale is in one, and nothing in them runs."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from satmachine.web import charts, flow
from satmachine.web.tries import Limiter

#: Without an n: what is drawn must hold no "nan".
_LABELS = st.text(st.characters(exclude_characters="nN"), max_size=8)
LEG_TYPES = ("super_fee", "operator_split", "dca", "refund")


@st.composite
def sales(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """A sale whose legs and retained sats are its gross, as the books have it after any correction."""
    net, commission, undispensed = (draw(st.integers(0, 10**8)) for _ in range(3))
    gross = max(net + commission + undispensed, 1)
    net += gross - net - commission - undispensed
    topped_up = draw(st.one_of(st.just(0), st.integers(0, 10**6)))
    left, legs = gross + topped_up, []
    for _ in range(draw(st.integers(0, 8))):
        sats = draw(st.integers(0, left))
        left -= sats
        legs.append(
            {"leg_type": draw(st.sampled_from(LEG_TYPES)), "label": draw(_LABELS), "client_id": None,
             "amount_sats": sats, "sent_sats": sats, "fee_sats": 0,
             "status": draw(st.sampled_from(("completed", "pending")))}
        )  # fmt: skip
    kept = [{"leg": "", "reason": draw(st.sampled_from(("undispensed", "no_ruleset", "x"))), "amount_sats": left}]
    sale = {"gross_sats": gross, "net_sats": net, "commission_sats": commission, "undispensed_sats": undispensed,
            "topped_up_sats": topped_up}  # fmt: skip
    return sale, legs, kept if left else []


@given(sales())
def test_the_bands_add_up_on_both_sides(
    case: tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    sale, legs, kept = case
    found = flow.flow_of(sale, legs, kept, {})
    came_in_sats = sale["gross_sats"] + sale["topped_up_sats"]
    assert sum(sats for _, sats in found.parts) == came_in_sats
    assert sum(place.amount_sats for place in found.places) == came_in_sats
    for index, (_, sats) in enumerate(found.parts):
        assert sum(band for part, _, band in found.bands if part == index) == sats
    for index, place in enumerate(found.places):
        assert sum(band for _, to, band in found.bands if to == index) == place.amount_sats


@given(sales())
def test_a_picture_is_whole_and_harmless(
    case: tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    sale, legs, kept = case
    drawn = flow.draw(flow.flow_of(sale, legs, kept, {}), {"title": "<b>"})
    assert drawn.startswith("<svg")
    assert "<b>" not in drawn
    assert "nan" not in drawn.lower()


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(-(10**9), 10**9)), max_size=30))
def test_a_curve_stays_within_its_frame(points: list[tuple[int, int]]) -> None:
    drawn = charts.steps(sorted(points), 0, 2**40, "t", "top", ["a", "b"])
    assert drawn.count("<svg") == 1
    assert "nan" not in drawn


def test_a_limiter_refuses_who_asks_too_often_and_forgets_whom_it_knows_longest() -> None:
    now = [0.0]
    limiter = Limiter(lambda: now[0], burst=3, per_minute=60, all_per_minute=6_000, max_keys=2)
    assert [limiter.admits("a") for _ in range(4)] == [True, True, True, False]
    now[0] += 1
    assert limiter.admits("a")
    assert limiter.admits("b")
    assert limiter.admits("c")
    assert [limiter.admits("a") for _ in range(3)] == [True, True, True], "a was forgotten, and starts afresh"


def test_a_limiter_has_an_end_for_all_together() -> None:
    limiter = Limiter(lambda: 0.0, burst=5, per_minute=60, all_per_minute=60)
    assert sum(limiter.admits(str(number)) for number in range(100)) == 10


def test_a_curve_ends_now() -> None:
    whole, morning, over = (charts.steps([(0, 5)], 0, 100, "t", "5", ["a"], now=now) for now in (None, 50, 900))
    ends = [max(map(float, re.findall(r"H([\d.]+)", drawn))) for drawn in (whole, morning, over)]
    assert ends[0] == ends[2] > ends[1] * 1.9
