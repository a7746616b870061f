"""What code, tests and documents refer to is there: sections of the specification, headings, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("bench", "chaos", "docs", "fuzz", "satmachine", "simulator", "testkit", "tests")
TEXTS = sorted(
    path
    for path in (*ROOT.glob("*.*"), *(found for folder in FOLDERS for found in (ROOT / folder).rglob("*.*")))
    if path.suffix in (".md", ".py", ".sql", ".toml", ".service") and path != Path(__file__)
)
DOCUMENTS = [path for path in TEXTS if path.suffix == ".md"]

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
#: SPEC section 6.4 · SPEC sections 5, 8 and 9 · SPEC 6.7
CITED = re.compile(rf"SPEC\s+(?:sections?\s+)?({_NUMBER}(?:(?:,\s+|\s+and\s+){_NUMBER})*)")
#: docs/lnbits.md "Two payers" · ARCHITECTURE.md, "Marks"
QUOTED = re.compile(r"((?:docs/)?[A-Za-z-]+\.md),?\s+\"([^\"\n]+)\"")
#: In docs/where.md: `store/legs.py` `due`; a path below satmachine/ or the root, and what is defined there.
PLACED = re.compile(r"`([\w./-]+\.\w+)`(?: `(\w+)`)?")
LINKED = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def headings(path: Path) -> list[str]:
    return re.findall(r"(?m)^#{2,4} (.+)$", path.read_text())


SECTIONS = {
    match[1] for heading in headings(ROOT / "docs/spec.md") if (match := re.match(rf"({_NUMBER})\.? ", heading))
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_specification_numbers_its_sections_without_a_gap() -> None:
    whole = sorted(int(number) for number in SECTIONS if "." not in number)
    assert whole == list(range(1, whole[-1] + 1))


def test_every_section_that_is_cited_exists() -> None:
    cited = {
        (name(path), number)
        for path in TEXTS
        for match in CITED.finditer(path.read_text())
        for number in re.findall(_NUMBER, match[1])
    }
    assert len(cited) > 100, "the citations are written in another way than this test reads"
    assert sorted(one for one in cited if one[1] not in SECTIONS) == []


def test_every_heading_that_is_quoted_exists() -> None:
    quoted = {(name(path), *match.groups()) for path in TEXTS for match in QUOTED.finditer(path.read_text())}
    assert len(quoted) > 5, "the quotations are written in another way than this test reads"
    for path, document, heading in sorted(quoted):
        beside = ROOT / document if (ROOT / document).exists() else ROOT / "docs" / document
        assert beside.exists(), f"{path} names {document}"
        known = headings(beside)
        assert any(one.startswith(heading) for one in known), f'{path}: {document} has no "{heading}" but {known}'


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINKED.findall(path.read_text()):
        assert (path.parent / target).exists(), f"{name(path)} links to {target}"


def test_things_go_where_the_page_says() -> None:
    placed = PLACED.findall((ROOT / "docs/where.md").read_text())
    assert len(placed) > 60, "the page is written in another way than this test reads"
    for path, defined in placed:
        beside = ROOT / "satmachine" / path if (ROOT / "satmachine" / path).exists() else ROOT / path
        assert beside.exists(), f"docs/where.md names {path}"
        found = re.search(rf"(?m)^\s*(?:async )?(?:def |class )?{defined}\b(?:\(|:| =)", beside.read_text())
        assert not defined or found, f"{path} defines no {defined}"


def test_what_the_page_on_security_calls_its_proof_is_there() -> None:
    proofs = set(re.findall(r"`([\w/]*test_\w+\.py)`", (ROOT / "docs/security.md").read_text()))
    assert len(proofs) > 20, "the page is written in another way than this test reads"
    whole = {proof: re.sub("^int/", "integration/", proof) for proof in proofs}
    assert sorted(proof for proof, path in whole.items() if not (ROOT / "tests" / path).exists()) == []


def test_the_map_shows_every_room() -> None:
    drawn = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.name for path in (ROOT / "satmachine").glob("[a-z]*") if path.suffix == ".py"}
    rooms |= {f"{path.parent.name}/" for path in (ROOT / "satmachine").glob("*/__init__.py")}
    assert sorted(room for room in rooms if f"`{room}`" not in drawn and f"/{room}`" not in drawn) == []


def test_the_specification_names_every_table() -> None:
    tables = re.findall(r"(?m)^CREATE TABLE (\w+)", (ROOT / "schema.sql").read_text("utf-8"))
    section = (ROOT / "docs/spec.md").read_text("utf-8").partition("## 11.")[2].partition("\n## ")[0]
    assert tables
    assert [name for name in tables if f"`{name}`" not in section] == []
