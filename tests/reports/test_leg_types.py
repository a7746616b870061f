"""Every type of leg has its place in the ledger and in the reports: a new one fails here, not in somebody's month."""

from __future__ import annotations

import pytest

from satmachine.ledger.postings import payee_account
from satmachine.models import LegType
from satmachine.reports import summary

#: What is forwarded for an LP leaves the LP's own wallet: it is in no machine's accounts.
OF_A_MACHINE = [one for one in LegType if one is not LegType.AUTOFORWARD]


@pytest.mark.parametrize("leg_type", OF_A_MACHINE)
def test_a_leg_has_an_account_and_a_measure(leg_type: LegType) -> None:
    assert payee_account("m1", leg_type, "maria")
    assert leg_type in summary._MEASURES


def test_what_the_ledger_does_not_know_is_booked_nowhere() -> None:
    with pytest.raises(ValueError, match="loyalty has no account"):
        payee_account("m1", "loyalty", "maria")
