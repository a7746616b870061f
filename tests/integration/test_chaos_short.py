"""A short seeded part of the campaign (`make chaos` is the long one): a minute of the worst, then the proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.campaign import Plan, run

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("fault", "rounds"), [("kills", 5), ("books-restored", 4)])
async def test_nothing_is_lost_and_nothing_is_paid_twice(fault: str, rounds: int, tmp_path: Path) -> None:
    result = await run(Plan(seed=7, fault=fault, rounds=rounds), tmp_path)
    assert result.violations == []
    assert result.sales > 0
    assert result.debits > 0
