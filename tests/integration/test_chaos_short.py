"""A short seeded part of the campaign (`make chaos` is the long one): a minute of the worst, then the proof."""

from __future__ import annotations

from pathlib import Path

from chaos.campaign import Plan, run


async def test_nothing_is_lost_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    result = await run(Plan(seed=7, fault="kills", rounds=5), tmp_path)
    assert result.violations == []
    assert result.sales > 0
    assert result.debits > 0
