"""`make test-compat`: the integration tests against every LNbits that is supported, and what came of each.

Each version on SQLite, and the newest on PostgreSQL too, where one is installed. A version that fails stops none of the
others. The table is printed as docs/lnbits.md shows it; the outcome of every test is kept in the folder that is named.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from testkit.lnbits import DEFAULT_VERSION
from testkit.postgres import MISSING, Postgres, programs

VERSIONS: Final = ("1.4.2", "1.5.6", "1.6.2")
FOLDERS: Final = ("tests/wallet", "tests/integration")
#: It starts LNbits on both databases itself.
_OF_BOTH: Final = "tests/integration/test_lnbits_tuning.py"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run. `skipped`: how many, by why."""

    version: str
    database: str
    passed: int
    failed: int
    skipped: Counter[str]
    minutes: float

    def row(self) -> str:
        why = "; ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items())) or "-"
        cells = (self.version, self.database, self.passed, self.failed, self.skipped.total(), why)
        return "| " + " | ".join(map(str, cells)) + " |"


def main(arguments: Sequence[str]) -> int:
    """`arguments` go to pytest. 1 where any test failed."""
    folder = Path(tempfile.mkdtemp(prefix="satmachine-compat-"))
    outcomes = [_run(version, "SQLite", {}, folder, arguments) for version in VERSIONS]
    with _postgres() as (name, settings):
        if settings:
            outcomes.append(_run(DEFAULT_VERSION, name, settings, folder, [*arguments, f"--ignore={_OF_BOTH}"]))
        else:
            print(f"Not run: LNbits {DEFAULT_VERSION} on PostgreSQL: {MISSING}.")
    print("\n| LNbits | database | passed | failed | skipped | because |\n|---|---|---|---|---|---|")
    print("\n".join(outcome.row() for outcome in outcomes))
    print(f"\nEvery test's outcome: {folder}")
    return int(any(outcome.failed or not outcome.passed for outcome in outcomes))


@contextmanager
def _postgres() -> Iterator[tuple[str, dict[str, str]]]:
    """Its name with its version, and what tests are told of it; nothing where there is none."""
    if programs() is None:
        yield "", {}
        return
    with Postgres() as cluster:
        yield f"PostgreSQL {cluster.version}", {"SATMACHINE_LNBITS_POSTGRES": str(cluster.port)}


def _run(version: str, database: str, settings: dict[str, str], folder: Path, arguments: Sequence[str]) -> Outcome:
    print(f"LNbits {version} on {database}", flush=True)
    report = folder / f"{version}-{database.split()[0].lower()}.xml"
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *FOLDERS, f"--junit-xml={report}", *arguments],
        env={**os.environ, "SATMACHINE_LNBITS_VERSION": version, **settings},
        check=False,
    )
    return read(report, version, database, (time.monotonic() - began) / 60)


def read(report: Path, version: str, database: str, minutes: float) -> Outcome:
    """From pytest's report in XML; nothing passed where there is none."""
    if not report.exists():
        return Outcome(version, database, 0, 0, Counter(), minutes)
    passed = failed = 0
    skipped: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        why = case.find("skipped")
        if why is not None:
            skipped[why.get("message", "")] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        else:
            passed += 1
    return Outcome(version, database, passed, failed, skipped, minutes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
