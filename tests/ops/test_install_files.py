"""What a host needs beside the program, written for the prefix under which the program lies."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from satmachine.cli.main import NOUNS, app


def install(to: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["install-files", "--to", str(to), *words])


@pytest.mark.parametrize(
    ("prefix", "units", "sysusers"),
    [
        ("/usr/local", "etc/systemd/system", "etc/sysusers.d"),
        ("/usr", "usr/lib/systemd/system", "usr/lib/sysusers.d"),
    ],
)
def test_units_name_the_program_and_documents_of_their_prefix(
    tmp_path: Path, prefix: str, units: str, sysusers: str
) -> None:
    done = install(tmp_path, "--prefix", prefix)
    assert done.exit_code == 0, done.output
    folder = tmp_path / units
    assert {path.name for path in folder.iterdir()} >= {"satmachine.service", "satmachine-backup.timer"}
    for unit in folder.iterdir():
        assert set(re.findall(r"(/usr(?:/local)?)/(?:bin|share)", unit.read_text())) <= {prefix}
        assert stat.S_IMODE(unit.stat().st_mode) == 0o644
        for document in re.findall(r"Documentation=file:/(\S+)", unit.read_text()):
            assert (tmp_path / document).is_file(), f"{unit.name} names {document}"
    assert (tmp_path / sysusers / "satmachine.conf").is_file()
    share = tmp_path / prefix.lstrip("/") / "share"
    assert {path.name for path in (share / "man/man1").iterdir()} == {"satmachine.1"} | {
        f"satmachine-{noun}.1" for noun in NOUNS
    }
    assert (share / "doc/satmachine/examples/config.example.toml").is_file()
    assert (share / "bash-completion/completions/satmachine").read_text().startswith("_satmachine")


def test_a_dry_run_writes_nothing_and_the_second_time_all_is_the_same(tmp_path: Path) -> None:
    shown = install(tmp_path, "--dry-run")
    assert "new     " in shown.output
    assert list(tmp_path.iterdir()) == []
    install(tmp_path)
    unit = tmp_path / "etc/systemd/system/satmachine.service"
    unit.write_text("of an older version")
    again = install(tmp_path)
    assert f"changed {unit}" in again.output
    assert "new     " not in again.output
    assert "ExecReload" in unit.read_text()


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "etc").touch()
    done = install(tmp_path)
    assert done.exit_code == 1
    assert re.search(r"etc/systemd/system/\S+ cannot be (read|written): Not a directory", done.output)
