"""Every fuzz target over its seeds and over what hypothesis makes of them; `make fuzz` goes on for longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS

SEEDED = [pytest.param(name, seed, id=f"{name}-{n}") for name in TARGETS for n, seed in enumerate(SEEDS[name])]


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A specimen with a piece cut out and something else in its place."""
    seed = draw(st.sampled_from(seeds))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, min(len(seed), start + 40)))
    pieces = st.one_of(
        st.binary(max_size=20), st.sampled_from([b"null", b"1e999", b"-1", b'"\\ud800"', b"[[[[", b"{}"])
    )
    return seed[:start] + draw(pieces) + seed[end:]


@pytest.mark.parametrize(("name", "seed"), SEEDED)
def test_specimens_are_read_without_a_surprise(name: str, seed: bytes) -> None:
    TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_specimens_are_read_without_a_surprise(name: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.one_of(damaged(SEEDS[name]), st.binary(max_size=200)))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param(
            "payment_extras", b'{"source": "bitspire", "fee_pct": 1e99999999999999999999}', id="huge exponent"
        ),
        pytest.param("lnurl_answers", b'{"minSendable": 1e99999999999999999999}', id="huge exponent of a stranger"),
        pytest.param("settlement_content", b'{"gross_sats": 100, "bills": ["\\ud800"]}', id="half a surrogate pair"),
        pytest.param("settlement_content", b'{"gross_sats": 1e9999999}', id="too large for arithmetic"),
        pytest.param("settlement_content", b'{"gross_sats": 9, "bills": [-1e9999999]}', id="the same in what is kept"),
        pytest.param("lnbits_answers", b"[" * 5_000, id="nested without end"),
    ],
)
def test_what_the_campaign_once_found(name: str, data: bytes) -> None:
    TARGETS[name](data)
