"""Statements: signed, verified, and whatever is altered is found; also by the recipes of the documentation."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satmachine.cli.clients.wishes import _npub
from satmachine.nostr.event import Event, parse_event, sign
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.orders import SignStatement
from satmachine.reports.make import sign_statement
from satmachine.reports.signed import Unproven, Verified, event_file, verify_file, with_event
from satmachine.store.database import atomic
from tests.cli.books import Cli
from tests.reports.year import Year

SECRET, OTHER = bytes([7] * 32), bytes([8] * 32)
NPUB, OTHER_NPUB = (hex_to_npub(public_key_of(secret)) for secret in (SECRET, OTHER))
DOCS = Path(__file__).parents[2] / "docs" / "for-liquidity-providers.md"


@pytest.fixture(scope="session")
def files(year: Year, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """maria's statement as a page and as a document."""
    with atomic(year.conn):
        made, _ = sign_statement(year.conn, SignStatement(1), secret=SECRET, actor="maria", now=year.now)
    event = parse_event(json.loads(made.event))
    assert isinstance(event, Event)
    folder = tmp_path_factory.mktemp("statement")
    page, document = folder / "maria.html", folder / "maria.json"
    page.write_text(with_event(made.html, event), "utf-8")
    document.write_text(event_file(event), "utf-8")
    return page, document


def test_a_statement_proves_itself_and_names_its_signer(files: tuple[Path, Path]) -> None:
    for path in files:
        found = verify_file(path.read_bytes())
        assert isinstance(found, Verified)
        assert found.npub == NPUB
        assert found.document["client"] == "maria"


@settings(max_examples=150)
@given(place=st.integers(0, 10**9), flip=st.integers(1, 255), which=st.integers(0, 1))
def test_one_altered_byte_proves_nothing(files: tuple[Path, Path], place: int, flip: int, which: int) -> None:
    content = bytearray(files[which].read_bytes())
    content[place % len(content)] ^= flip
    assert isinstance(verify_file(bytes(content)), Unproven)


@given(place=st.integers(0, 10**9), added=st.sampled_from([b" ", b"\n", b"0", b"<"]), which=st.integers(0, 1))
def test_one_added_or_missing_byte_proves_nothing(
    files: tuple[Path, Path], place: int, added: bytes, which: int
) -> None:
    content = files[which].read_bytes()
    at = place % len(content)
    assert isinstance(verify_file(content[:at] + added + content[at:]), Unproven)
    assert isinstance(verify_file(content[:at] + content[at + 1 :]), Unproven)


def test_no_byte_of_a_small_statement_can_be_altered(fresh: Year) -> None:
    with atomic(fresh.conn):
        made, _ = sign_statement(fresh.conn, SignStatement(3, until=fresh.now - 1), secret=SECRET, actor="maria", now=1)
    event = parse_event(json.loads(made.event))
    assert isinstance(event, Event)
    for text in (event_file(event), with_event(made.html, event)):
        content = bytearray(text.encode())
        for place in range(len(content)):
            content[place] ^= 1
            assert isinstance(verify_file(bytes(content)), Unproven), place
            content[place] ^= 1
        assert isinstance(verify_file(bytes(content)), Verified)


@pytest.mark.parametrize("altered", [lambda b: b.replace(b"\n", b"\r\n"), lambda b: b"\xef\xbb\xbf" + b])
def test_a_file_that_a_program_has_written_anew_is_told_from_a_lie(
    files: tuple[Path, Path], altered: Callable[[bytes], bytes]
) -> None:
    for path in files:
        found = verify_file(altered(path.read_bytes()))
        assert isinstance(found, Unproven)
        assert found.why.endswith("ask for it once more, zipped")


@pytest.mark.parametrize("text", ["{}", "[]", '"x"', '{"lines": []}'])
def test_a_document_without_a_signature_is_called_that(text: str) -> None:
    assert verify_file(text.encode()) == Unproven("it holds no signature; ask for a signed statement")


def test_the_command_leaves_with_0_or_1(files: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:
    for path in files:
        assert cli("verify", str(path), "--npub", NPUB).exit_code == 0
        unnamed = cli("verify", str(path))
        assert unnamed.exit_code == 0
        assert "Anybody can sign" in " ".join(unnamed.output.split())
        assert NPUB in unnamed.output
        other = cli("verify", str(path), "--npub", OTHER_NPUB)
        assert other.exit_code == 1
        assert "another key" in other.output
    altered = tmp_path / "altered.html"
    altered.write_bytes(files[0].read_bytes().replace(b"Balance after", b"Balance AFTER"))
    assert cli("verify", str(altered), "--npub", NPUB).exit_code == 1
    assert cli.json("verify", str(files[1]), "--npub", NPUB)["document"]["client"] == "maria"


def test_a_statement_of_another_key_is_not_the_operators(files: tuple[Path, Path], year: Year) -> None:
    year.conn.execute("BEGIN")
    made, _ = sign_statement(year.conn, SignStatement(1), secret=OTHER, actor="thief", now=year.now)
    year.conn.execute("ROLLBACK")
    event = parse_event(json.loads(made.event))
    assert isinstance(event, Event)
    found = verify_file(event_file(event).encode())
    assert isinstance(found, Verified)
    assert found.npub == OTHER_NPUB


def test_a_page_is_proven_by_its_own_signature_alone(files: tuple[Path, Path], year: Year) -> None:
    page = files[0].read_text("utf-8")
    year.conn.execute("BEGIN")
    of_jose, _ = sign_statement(year.conn, SignStatement(2), secret=SECRET, actor="maria", now=year.now)
    year.conn.execute("ROLLBACK")
    other = parse_event(json.loads(of_jose.event))
    assert isinstance(other, Event)
    empty = re.sub(r'(id="proof">).*?(</script>)', r"\1\2", page)
    [place] = re.findall(r"<script.*?</script>", page)
    for forged, why in (
        (with_event(empty, other), "says something else"),
        (empty, "no JSON"),
        (page.replace(place, place + place), "holds no signature"),
        (page.replace(place, f"<!-- {place} -->{place}"), "holds no signature"),
        (page.replace(place, ""), "holds no signature"),
        (page + " ", "says something else"),
    ):
        found = verify_file(forged.encode())
        assert isinstance(found, Unproven)
        assert why in found.why


def test_no_document_is_proven_by_a_signature_for_something_else(files: tuple[Path, Path]) -> None:
    event = parse_event(json.loads(files[1].read_text("utf-8")))
    assert isinstance(event, Event)
    for kind, content in ((1, event.content), (event.kind, "{}"), (event.kind, "[]"), (event.kind, "a note")):
        note = sign(kind, content, event.tags, event.created_at, SECRET)
        assert isinstance(verify_file(event_file(note).encode()), Unproven)


def test_a_statement_says_nothing_of_others(files: tuple[Path, Path]) -> None:
    for path in files:
        text = path.read_text("utf-8").lower()
        assert not re.search(r"jose|ana\b|pedro|technician|super|counted twice|@example", text)


def test_a_statement_adds_up(files: tuple[Path, Path], year: Year) -> None:
    from decimal import Decimal

    found = verify_file(files[1].read_bytes())
    assert isinstance(found, Verified)
    document = found.document
    amounts = [Decimal(line["amount"]) for line in document["lines"]]
    assert Decimal(document["opening"]) + sum(amounts) == Decimal(document["closing"])
    bought = [line for line in document["lines"] if line["what"] == "purchase"]
    assert bought
    for line in bought:
        left, _, rest = line["arithmetic"].partition(" / ")
        assert int(left) >= line["sats"]
        assert rest.startswith(line["rate"])


def recipe(language: str) -> str:
    """The only block of that language in the page."""
    [found] = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    return str(found)


@pytest.mark.parametrize(("language", "program"), [("js", "node"), ("python", sys.executable)])
def test_the_recipes_of_the_documentation_verify_without_us(
    files: tuple[Path, Path], tmp_path: Path, language: str, program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    script = tmp_path / f"verify.{'mjs' if language == 'js' else 'py'}"
    assert f" {script.name} maria.html npub1..." in DOCS.read_text("utf-8")
    script.write_text(recipe(language), "utf-8")
    assert len([line for line in recipe(language).splitlines() if line]) <= 36
    altered = tmp_path / "altered"
    for path in files:
        altered.write_bytes(path.read_bytes().replace(b"maria", b"marta", 1))
        for file, npub, ok in ((path, NPUB, True), (altered, NPUB, False), (path, OTHER_NPUB, False)):
            done = subprocess.run(
                [program, str(script), str(file), npub],
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
                env={"PATH": "/usr/bin:/bin"},
            )
            assert (done.returncode == 0) is ok, (done.stdout, done.stderr)


def test_a_key_is_read_in_its_usual_form() -> None:
    assert _npub(f" {NPUB} ") == NPUB
