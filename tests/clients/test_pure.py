"""Statements, terms, payees and explanations: values in, values out."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from satmachine.clients import typed_payee as payees
from satmachine.clients.shares import PlannedShare, explain_distribution
from satmachine.clients.statement import average_cost_minor, make_statement
from satmachine.clients.terms import check_mode, parse_fiat, parse_rate
from satmachine.models import Movement
from satmachine.money import calculate_distribution, minor_to_fiat


def moved(at: int, kind: str, amount_minor: int, sats: int = 0, status: str = "completed") -> Movement:
    return Movement(at, kind, at, None, amount_minor, sats, 0, None, status, "")


MOVEMENTS = [
    moved(1, "deposit", 100_000, status="confirmed"),
    moved(2, "purchase", -20_000, 30_000),
    moved(3, "deposit", 5_000, status="confirmed"),
    moved(4, "purchase", -10_000, 14_000, status="failed"),
    moved(5, "payout", -30_000, 45_000),
]


def test_a_statement_runs_from_opening_to_closing() -> None:
    statement = make_statement(MOVEMENTS)
    assert [line.balance_minor for line in statement.lines] == [100_000, 80_000, 85_000, 75_000, 45_000]
    assert (statement.opening_minor, statement.closing_minor) == (0, 45_000)
    totals = statement.totals
    assert (totals.deposited_minor, totals.bought_minor, totals.bought_sats) == (105_000, 50_000, 75_000)
    assert (totals.reserved_minor, totals.reserved_sats) == (10_000, 14_000)
    assert totals.average_cost_minor == 66_666_667


def test_a_time_range_opens_with_the_balance_so_far() -> None:
    statement = make_statement(MOVEMENTS, since=2, until=4)
    assert [line.movement.at for line in statement.lines] == [2, 3]
    assert (statement.opening_minor, statement.closing_minor) == (100_000, 85_000)
    assert statement.totals.bought_sats == 30_000


def test_an_empty_statement_says_nothing_of_cost() -> None:
    statement = make_statement([], since=1)
    assert (statement.opening_minor, statement.closing_minor, statement.lines) == (0, 0, ())
    assert statement.totals.average_cost_minor is None


@pytest.mark.parametrize(("fiat", "sats", "cost"), [(1, 100_000_000, 1), (100, 200_000_000, 50), (1, 200_000_000, 1)])
def test_average_cost_is_rounded_half_up(fiat: int, sats: int, cost: int) -> None:
    assert average_cost_minor(fiat, sats) == cost


@pytest.mark.parametrize(
    ("text", "currency", "minor"), [("1000", "GTQ", 100_000), ("12.5", "GTQ", 1_250), ("7", "JPY", 7)]
)
def test_amounts_are_exact(text: str, currency: str, minor: int) -> None:
    assert parse_fiat(text, currency) == minor


@pytest.mark.parametrize("text", ["0", "-1", "1.005", "1,000", "NaN", "Infinity", "", "ten", "1e30", "1e-9"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fiat(text, "GTQ")


@pytest.mark.parametrize("text", ["0", "-1", "NaN", "Infinity", "x", "1e20", "1e-20"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)


@pytest.mark.parametrize(("mode", "limit_minor"), [("fixed", None), ("flow", 1), ("other", None)])
def test_fixed_needs_a_limit_and_flow_has_none(mode: str, limit_minor: int | None) -> None:
    with pytest.raises(ValueError):
        check_mode(mode, limit_minor)


def test_a_key_file_is_kept_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("abc123\n")
    (tmp_path / "key").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    assert payees.choose(invoice_key_file=Path("key")) == ("invoice_key_file", str(tmp_path / "key"))


def test_a_key_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        payees.choose(invoice_key_file=tmp_path / "missing")
    (tmp_path / "open").write_text("abc123\n")
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(ValueError, match="open to every user"):
        payees.choose(invoice_key_file=tmp_path / "open")
    (tmp_path / "empty").write_text("")
    with pytest.raises(ValueError, match="empty"):
        payees.choose(invoice_key_file=tmp_path / "empty")


def test_one_payee_at_a_time(tmp_path: Path) -> None:
    assert payees.choose() is None
    assert payees.choose(address="Maria@Example.org") == ("lightning_address", "maria@example.org")
    with pytest.raises(ValueError, match="give one of"):
        payees.choose(address="maria@example.org", lnurl_code="lnurl1x")
    with pytest.raises(ValueError, match="--lnurl must be an LNURL"):
        payees.choose(lnurl_code="lnurl1x")


def test_autoforward_needs_both_and_a_wallet_of_this_lnbits(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc")
    assert payees.autoforward(None, None, "lnurl") is None
    with pytest.raises(ValueError, match="belong together"):
        payees.autoforward("maria@example.org", None, "invoice_key_file")
    with pytest.raises(ValueError, match="needs --invoice-key-file"):
        payees.autoforward("maria@example.org", tmp_path / "key", "lightning_address")


@example(net=11, rate=Decimal("145.37"), lps=[(1, 0), (1, 0), (44, 1), (1, 0), (1373, 8), (43, 0)])
@given(
    st.integers(0, 10**7),
    st.sampled_from([Decimal("145.37"), Decimal("0.5"), Decimal(3), Decimal("1234.567")]),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=7),
)
def test_every_distribution_is_explained_as_it_was_made(net: int, rate: Decimal, lps: list[tuple[int, int]]) -> None:
    weights = {f"lp{n}": weight for n, (weight, _) in enumerate(lps)}
    caps = {f"lp{n}": min(pair) for n, pair in enumerate(lps)}
    shares, orphan = calculate_distribution(
        net,
        rate,
        {label: minor_to_fiat(weight, "GTQ") for label, weight in weights.items()},
        {label: minor_to_fiat(cap, "GTQ") for label, cap in caps.items()},
    )
    planned = [PlannedShare(label, 1, sats, 0, "flow", weights[label], caps[label]) for label, sats in shares.items()]
    explained = explain_distribution(net, rate, "GTQ", planned)
    assert explained.as_recorded
    assert explained.orphan_sats == orphan
    assert bool(explained.orphan_reason) == bool(orphan)
    for share in explained.shares:
        if share.capped:
            assert share.amount_sats == share.cap_sats
        else:
            assert share.amount_sats - share.exact_sats < 1
            assert share.remainder_sat == (share.amount_sats > share.exact_sats)
