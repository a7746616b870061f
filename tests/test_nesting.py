"""The one bound on how deep JSON may be nested."""

from __future__ import annotations

import json

import pytest

from satmachine.nesting import MAX_DEPTH, is_too_deep


@pytest.mark.parametrize("leaf", ["1", "{}", "[]", '"[[[["'])
@pytest.mark.parametrize("bracket", [("[", "]"), ('{"a":', "}")])
def test_the_bound_is_the_same_whatever_is_at_the_bottom(leaf: str, bracket: tuple[str, str]) -> None:
    opening, closing = bracket
    for levels, too_deep in ((MAX_DEPTH - 1, False), (MAX_DEPTH, True), (10 * MAX_DEPTH, True)):
        text = opening * levels + leaf + closing * levels
        assert is_too_deep(text, json.loads(text)) is too_deep


def test_many_brackets_side_by_side_are_not_deep() -> None:
    text = json.dumps([[{}] for _ in range(100)])
    assert not is_too_deep(text, json.loads(text))
