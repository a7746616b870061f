"""The drill of docs/failover.md, once in each way (`make test-found`); `python -m chaos.failover --runs 20` plays it
again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.failover import WAYS, drill
from testkit.lnbits import LnbitsServer


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_a_second_host_takes_over_and_the_first_comes_back_unasked(
    lnbits: LnbitsServer, tmp_path: Path, way: str
) -> None:
    result = await drill(7, way, tmp_path, lnbits)
    assert result.violations == []
    assert (result.sales, result.held) == (8, [])
    assert result.debits >= 8
