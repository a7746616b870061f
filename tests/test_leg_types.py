"""What a type of leg is stands in one table: no other place lists types, and none that tells people lacks one.

A type that is added to the enum alone fails here, once for each place that it is missing from.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from satmachine import identity
from satmachine.ledger import postings
from satmachine.models import leg_types
from satmachine.models.leg_types import KINDS, LegType, NamedBy
from satmachine.reports import summary, whatif
from satmachine.settlements import explain
from satmachine.store import fragments
from satmachine.web import flow

ROOT = Path(__file__).parents[1]
#: A condition on the type of a leg that is more than "is this one type".
LISTED = re.compile(r"leg_type (?:NOT )?IN \(([^)]*)\)|leg_type <> ('[a-z_]+')")
PAID_BY_MACHINE = set(LegType) - set(leg_types.PAID_BY_LP)


def listed(text: str) -> list[set[str]]:
    return [set(re.findall(r"'([a-z_]+)'", "".join(found))) for found in LISTED.findall(text)]


def test_every_type_is_in_the_table() -> None:
    assert list(KINDS) == list(LegType)


@pytest.mark.parametrize("leg_type", LegType)
def test_a_legs_name_in_its_key_begins_as_the_table_says(leg_type: LegType) -> None:
    kind = KINDS[leg_type]
    if leg_type is LegType.SETTLEMENT:
        key = identity.balance_leg_key("machine-1", "maria", 1)
        assert key.startswith(f"{identity.PREFIX}{kind.key_part}:")
        return
    name = kind.key_part if leg_type is LegType.SUPER_FEE else f"{kind.key_part}:1"
    assert identity.parse_key(identity.sale_leg_key("ab" * 32, 1, name)) == identity.SaleLeg("ab" * 32, 1, name)


@pytest.mark.parametrize("path", sorted((ROOT / "satmachine/store").glob("*.py")), ids=lambda path: str(path.name))
def test_statements_take_lists_of_types_from_the_fragments(path: Path) -> None:
    assert [one for one in listed(path.read_text()) if one] == []


def test_the_schema_knows_the_types_as_the_table_has_them() -> None:
    known = [set(LegType), set(leg_types.USES_CASH), set(leg_types.RARE)]
    found = listed((ROOT / "schema.sql").read_text())
    assert len(found) > 5, "the schema is written in another way than this test reads"
    assert all(one in known for one in found)


def test_the_index_of_rare_types_has_the_condition_of_its_statements() -> None:
    assert f"WHERE {fragments.LEG_IS_RARE};" in (ROOT / "schema.sql").read_text(), "else SQLite does not use it"


@pytest.mark.parametrize(
    ("told", "types"),
    [
        pytest.param(explain._HOW, LegType, id="explain"),
        pytest.param(postings._PAID, LegType, id="postings"),
        pytest.param(summary._MEASURES, PAID_BY_MACHINE, id="summary"),
        pytest.param(whatif._PARTS, leg_types.OF_EVERY_PLAN, id="whatif"),
        pytest.param(flow._DRINKS_FROM, leg_types.OF_THE_SALE, id="flow"),
    ],
)
def test_what_tells_people_of_legs_has_every_type(told: Collection[str], types: Collection[LegType]) -> None:
    assert set(told) == set(types)


@pytest.mark.parametrize("leg_type", sorted(PAID_BY_MACHINE))
def test_what_a_machine_pays_has_an_account(leg_type: LegType) -> None:
    assert postings.payee_account("machine-1", leg_type, "maria")


def test_what_the_ledger_does_not_know_is_booked_nowhere() -> None:
    with pytest.raises(ValueError, match="loyalty has no account"):
        postings.payee_account("machine-1", "loyalty", "maria")


def test_what_is_paid_from_an_lps_wallet_shares_out_nothing() -> None:
    """Conservation, balances and seals leave it out for that reason."""
    assert not set(leg_types.PAID_BY_LP) & {*leg_types.OF_THE_SALE, *leg_types.USES_CASH}
    assert all(KINDS[one].named_by is NamedBy.FORWARD for one in leg_types.PAID_BY_LP)
