"""The table of `make test-compat` counts what pytest has reported, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from testkit.compat import Outcome, read

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite>
<testcase name="a"/><testcase name="b"/>
<testcase name="c"><failure message="no"/></testcase>
<testcase name="d"><error message="no"/></testcase>
<testcase name="e"><skipped message="is about LNbits' SQLite file"/></testcase>
<testcase name="f"><skipped message="1.4 has no external_id"/></testcase>
<testcase name="g"><skipped message="1.4 has no external_id"/></testcase>
</testsuite></testsuites>"""


def test_each_outcome_is_counted_and_skips_by_their_reason(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    found = read(report, "1.4.2", "SQLite", 1.0)
    skipped = Counter({"is about LNbits' SQLite file": 1, "1.4 has no external_id": 2})
    assert found == Outcome("1.4.2", "SQLite", 2, 2, skipped, 1.0)
    assert found.row() == ("| 1.4.2 | SQLite | 2 | 2 | 3 | 2 1.4 has no external_id; 1 is about LNbits' SQLite file |")


def test_a_run_that_reports_nothing_has_passed_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none.xml", "1.4.2", "SQLite", 0.0).passed == 0
