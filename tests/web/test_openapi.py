"""The addresses for programs are as their OpenAPI document says: schemathesis asks what it allows, and what not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from satmachine.web import openapi
from satmachine.web.places import PROGRAMS
from tests.web.conftest import ORIGIN, Site

#: Without what it says of tokens: who may see what is asked in test_access.py, and here everybody has one.
SCHEMA = schemathesis.openapi.from_dict({**openapi.document(ORIGIN), "security": []})
_QUICK = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _ask(site: Site, case: Any, person: str) -> Any:
    answer = site.client.get(
        case.formatted_path, params=case.query, headers={"authorization": f"Bearer {site.token(person)}"}
    )
    case.validate_response(answer)
    return answer


@pytest.mark.parametrize("path", [place.path for place in PROGRAMS])
def test_whatever_is_asked_as_described_is_answered_as_described(site: Site, path: str) -> None:
    @_QUICK
    @given(SCHEMA[path]["GET"].as_strategy(), st.sampled_from(("ana", "boss")))
    def asked(case: Any, person: str) -> None:
        assert _ask(site, case, person).status_code in (200, 404)

    asked()


#: Where something can be asked wrongly: a number, or one of some words.
_CHOOSY = ("settlements", "settlements/{id}", "payments", "deposits", "commission-splits")


@pytest.mark.parametrize("name", _CHOOSY)
def test_what_is_asked_wrongly_is_refused_in_words(site: Site, name: str) -> None:
    cases = SCHEMA[f"/api/v1/dca/{name}"]["GET"].as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @_QUICK
    @given(cases, st.sampled_from(("ana", "boss", "maria")))
    def asked(case: Any, person: str) -> None:
        answer = _ask(site, case, person)  # which refuses what is accepted although it is wrong
        assert answer.status_code in (200, 400, 404)
        assert answer.status_code == 200 or answer.json()["error"]

    asked()


@pytest.mark.parametrize("path", [place.path for place in PROGRAMS])
def test_what_the_books_hold_is_described_to_the_last_key(site: Site, path: str) -> None:
    values = {"machine": "panajachel-1", "id": 1}
    for query in ({}, {"effective": "1"} if "splits" in path else {"client_id": 1} if "deposits" in path else {}):
        case = SCHEMA[path]["GET"].Case(path_parameters=values, query=query)
        answer = _ask(site, case, "ana")
        assert answer.status_code == 200
