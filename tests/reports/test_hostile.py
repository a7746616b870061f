"""Names and notes that are attacks, in every form in which the books are handed out: nothing of them is obeyed.

They are written straight into the database, past every check of what a person types; `export` is asked with --anyway.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path

import pytest
from beancount import loader
from beancount.core import data

from satmachine.clients.terms import parse_person
from satmachine.models.facts import PaidLeg
from satmachine.nostr.event import Event, parse_event
from satmachine.orders import SignStatement
from satmachine.reports.html import report_page
from satmachine.reports.letters import receipt
from satmachine.reports.make import sign_statement
from satmachine.reports.reading import report
from satmachine.reports.signed import Verified, event_file, verify_file, with_event
from satmachine.store.database import atomic
from satmachine.store.ledger import Span
from tests.cli.books import Cli
from tests.reports.conftest import cli_of
from tests.reports.year import START, Year, every_event, new_year

HOSTILE = [
    *(
        'x"; 2026-01-01 * "y" "z',
        'y"\n2026-01-01 open Assets:Evil\n2026-01-01 * "e"\n  Assets:Evil  1 SAT\n  Assets:Evil',
    ),
    *("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\uff1d1+1", "\n=1", "\t=1", "\r=1", "=1\u202e"),
    *(
        "\u202egnp.exe\u2066",
        "\u200eLRM",
        "\x1b]0;owned\x07\x9b31m",
        "\u2028next\u2029\x85line",
        "nul\x00",
        "\U000e0041",
    ),
    *("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "--></style><b>", "'><a href=//evil>"),
    *(
        "; id: leg:sm1:x",
        'include "/etc/passwd"',
        "(code) ! *",
        "a;b|c  d",
        "[2026-01-01]",
        "tag:v,w",
        "\\",
        '"',
        "#t ^l",
    ),
]
PLAIN = "plain"
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20\n\t\r")


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    year = new_year(tmp_path_factory.mktemp("spoiled"))
    every_event(year)
    year.conn.execute("PRAGMA ignore_check_constraints = ON")
    for row in year.conn.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        year.conn.execute(f"DROP TRIGGER {row['name']}")
    values = ("2026-01", 0, 1, "UTC", 2, "x", "x", 0, "{}", "0" * 64, "", "0" * 64)
    year.conn.execute(f"INSERT INTO dca_periods VALUES ({', '.join('?' * len(values))})", values)
    yield year
    year.conn.close()


def spoil(conn: sqlite3.Connection, texts: Sequence[str]) -> None:
    """Everything that somebody once typed is one of these, in turn."""
    parameters = {"texts": json.dumps(texts), "many": len(texts), "first": texts[0]}
    with atomic(conn):
        for table, column in (("dca_operators", "name"), ("dca_machines", "name"), ("dca_periods", "reason")):
            conn.execute(f"UPDATE {table} SET {column} = :first", parameters)
        for table, column in _MANY:
            where = " WHERE leg_type = 'operator_split'" if table == "dca_payments" else ""
            suffix = " || '-' || id" if (table, column) == ("dca_clients", "label") else ""  # each its own
            number = f"(SELECT count(*) FROM {table} x WHERE x.rowid < {table}.rowid) % :many"
            chosen = f"(SELECT value FROM json_each(:texts) WHERE key = {number})"
            conn.execute(f"UPDATE {table} SET {column} = {chosen}{suffix}{where}", parameters)


_MANY = (
    *(("dca_clients", "person"), ("dca_clients", "label"), ("dca_deposits", "notes"), ("dca_payments", "label")),
    *(("audit_log", "reason"), ("audit_log", "actor")),
)
#: Some in each place at a time; each comes first once.
ROUNDS = [HOSTILE[at:] + HOSTILE[:at] for at in range(0, len(HOSTILE), 3)]


TABLES = (
    ("clients", "list"),
    ("clients", "show", "1"),
    ("clients", "statement", "1"),
    ("deposits", "list"),
    ("payments", "list", "--type", "operator_split"),
    ("period", "list"),
    ("report",),
    ("audit", "log"),
)


@pytest.mark.parametrize("command", TABLES, ids=" ".join)
def test_no_form_obeys_a_name(spoiled: Year, command: tuple[str, ...]) -> None:
    cli = cli_of(spoiled)
    for texts in ROUNDS[:: 1 if command[:2] == ("clients", "show") else 6]:
        spoil(spoiled.conn, texts)
        for told in (cli(*command), cli.piped(*command)):
            assert told.exit_code == 0, told.output
            steers_nothing(told.stdout)
        as_json = cli(*command, "--json").stdout
        steers_nothing(as_json)
        json.loads(as_json)
        if command[:2] != ("clients", "show"):
            cells(cli(*command, "--csv").stdout)


def test_no_csv_of_the_ledger_or_of_payees_is_a_formula(spoiled: Year) -> None:
    cli = cli_of(spoiled)
    for texts in ROUNDS[::6]:
        spoil(spoiled.conn, texts)
        cells(cli("report", "--by", "payee", "--csv").stdout)
        cells(cli("export", "ledger", "--format", "csv", "--anyway").stdout)


def steers_nothing(text: str) -> None:
    assert [char for char in text if not char.isprintable() and char not in "\n\t\u202f"] == []


def cells(text: str) -> None:
    """No cell is a formula, and every row has as many as the head."""
    steers_nothing(text.replace("\r\n", "\n"))
    rows = list(csv.reader(io.StringIO(text)))
    assert {len(row) for row in rows} == {len(rows[0])}
    suspicious = [one for row in rows for one in row if one.startswith(_FORMULA)]
    assert [one for one in suspicious if not re.fullmatch(r"[+-]?\d+(\.\d+)?", one)] == []


def test_importers_take_the_export_for_what_it_is(spoiled: Year, tmp_path: Path) -> None:
    cli = cli_of(spoiled)
    spoil(spoiled.conn, [PLAIN])
    as_it_was = transactions(cli, tmp_path)
    spoil(spoiled.conn, HOSTILE)
    assert transactions(cli, tmp_path) == as_it_was


def transactions(cli: Cli, folder: Path) -> tuple[int, str]:
    """How many transactions beancount reads, and what hledger counts; neither finds an error, or anything else."""
    path = folder / "books"
    path.write_text(exported(cli, "beancount"), "utf-8")
    entries, errors, options = loader.load_file(str(path))
    assert (errors, options["include"], options["plugin"]) == ([], [str(path)], [])
    assert {type(one) for one in entries} == {data.Transaction, data.Open, data.Commodity}
    assert not [one for one in entries if isinstance(one, data.Open) and "Evil" in one.account.split(":")]
    count = sum(isinstance(one, data.Transaction) for one in entries)
    return count, counted_by_hledger(cli, folder / "books.journal")


def exported(cli: Cli, form: str) -> str:
    text = cli("export", "ledger", "--format", form, "--anyway").stdout
    steers_nothing(text)
    return text


def counted_by_hledger(cli: Cli, path: Path) -> str:
    if shutil.which("hledger") is None:
        return ""
    path.write_text(exported(cli, "hledger"), "utf-8")
    checked = subprocess.run(["hledger", "-f", str(path), "check", "-s"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    told = subprocess.run(["hledger", "-f", str(path), "stats"], capture_output=True, text=True, check=True).stdout
    return " ".join(re.findall(r"Transactions +: \d+", told))


class Tags(HTMLParser):
    """The tags of a page with their attributes' names, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_says_a_name_and_does_nothing_with_it(spoiled: Year) -> None:
    def pages() -> list[Tags]:
        made = report(spoiled.conn, Span(START, spoiled.now))
        return [Tags(page) for page in (report_page(made, UTC, spoiled.now), signed(spoiled)[0])]

    spoil(spoiled.conn, [PLAIN])
    plain = pages()[1]
    for texts in ROUNDS:
        spoil(spoiled.conn, texts)
        of_report, of_statement = pages()
        assert of_statement.tags == plain.tags
        assert not {"script", "img", "b", "a"} & {tag for tag, _ in of_report.tags}
        steers_nothing(of_report.text)
        steers_nothing(of_statement.text)


def signed(year: Year) -> tuple[str, str]:
    """A page and a document as they are handed out."""
    year.conn.execute("BEGIN")
    made, _ = sign_statement(year.conn, SignStatement(1), secret=bytes([7] * 32), actor="maria", now=year.now)
    year.conn.execute("ROLLBACK")
    event = parse_event(json.loads(made.event))
    assert isinstance(event, Event)
    return with_event(made.html, event), event_file(event)


def test_a_statement_with_such_a_name_is_proven_and_says_it_harmlessly(spoiled: Year) -> None:
    for text in HOSTILE:
        spoil(spoiled.conn, [text])
        for file in signed(spoiled):
            found = verify_file(file.encode())
            assert isinstance(found, Verified)
            assert all(found.document[name].isprintable() for name in ("operator", "machine_name", "person", "client"))


def test_a_receipt_says_a_name_harmlessly(spoiled: Year) -> None:
    leg = PaidLeg("dca", 10, 1, 133, "7.5", "ab" * 32, START, START)
    for text in HOSTILE:
        assert receipt(leg, machine_name=text, currency="GTQ", balance_minor=5).isprintable()


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "\u202ex", "\x1b[31m", "x" * 101])
def test_a_person_is_a_name_on_one_line(spoiled: Year, text: str) -> None:
    with pytest.raises(ValueError, match="a name on one line"):
        parse_person(text)
    refused = cli_of(spoiled)("clients", "update", "1", "--person", text, "--dry-run")
    assert refused.exit_code == 2
    assert "a name on one line" in " ".join(refused.output.split())
