"""What is shown of somebody's own is the same, to the last octet, whether there is anything of others or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.web.rivals import BY_ID, Answer, Town, copied, served
from tests.web.test_rivals import HTML, JSON, paths
from tests.web.worlds import without_others

_LINK = re.compile(rb'href="(/[^"#]*)"')
#: For how many addresses a whole walk stands: pages look alike from the second of a kind on.
_OF_A_KIND, _IN_ALL = 3, 60


def _kind(address: str) -> str:
    return re.sub(r"[0-9a-f]{64}|\d+", "#", address)


def _walk(town: Town, person: str) -> dict[tuple[str, str], Answer]:
    """What somebody sees who follows every link, and a program that asks every list."""
    wire, cookie = town.wire(), town.cookie(person)
    todo = ["/", *(path for path in paths(town) if "{" not in path and path not in ("/live", "/sign-out"))]
    seen: dict[tuple[str, str], Answer] = {}
    kinds: dict[str, int] = {}
    while todo and len(seen) < 2 * _IN_ALL:
        address = todo.pop(0)
        kind = _kind(address)
        if (address, HTML) in seen or kinds.get(kind, 0) >= _OF_A_KIND:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        for accept in (HTML, JSON):
            seen[address, accept] = wire.ask(address, cookie, accept)
        links = [link.decode().replace("&amp;", "&") for link in _LINK.findall(seen[address, HTML].body)]
        todo += [link for link in links if not link.startswith("/static")]
        todo += [
            f"/api/v1/dca/{rows}?limit=1000&client_id={number}"
            for number in re.findall(r"^/clients/(\d+)$", address)
            for rows in ("payments", "deposits")
        ]
    return seen


@pytest.mark.parametrize("person", BY_ID)
def test_the_pages_are_the_same_without_the_others(town: Town, rival_books: Path, person: str, tmp_path: Path) -> None:
    alone = copied(rival_books, tmp_path / "alone.db")
    assert without_others(alone, BY_ID[person]) > 100
    before = _walk(town, person)
    with served(alone, tmp_path / "web.db") as lonely:
        wire, cookie = lonely.wire(), lonely.cookie(person)
        after = {key: wire.ask(key[0], cookie, key[1]) for key in before}
    assert [key for key, answer in before.items() if _own(answer, town) != _own(after[key], lonely)] == []
    assert sum(answer.status == 200 for answer in before.values()) > 10


def _own(answer: Answer, town: Town) -> tuple[object, ...]:
    """Without the port of this test."""
    headers = [one for one in answer.headers if one[0] != "content-length"]
    return answer.status, headers, answer.body.replace(town.settings.origin.encode(), b"")
