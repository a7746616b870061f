"""A backup is one moment of the books, proven, and there whole or not at all."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from satmachine.cli.main import app
from satmachine.errors import StoreError
from satmachine.ops import backup as backup_module
from satmachine.ops.backup import make_backup, place, thin_out
from satmachine.settlements.land.landing import Rules, land_event
from satmachine.store.database import atomic, connect
from satmachine.store.settlements import EventRecord
from testkit.books import MACHINE, NOW, a_claim, fresh_books


def land(conn: sqlite3.Connection, number: int) -> None:
    with atomic(conn):
        record = EventRecord(f"{number:064x}", NOW, NOW, "wss://relay.example", "{}")
        claim = a_claim(payment_hash=f"{number:064x}")
        land_event(conn, MACHINE, record, claim, Rules(machine_active=True, payouts_since=0), NOW)


def test_a_backup_while_the_daemon_writes_is_consistent(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        stop = threading.Event()
        landed = 0

        def write() -> None:
            nonlocal landed
            while not stop.is_set():
                landed += 1
                land(conn, landed)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            made = [make_backup(tmp_path / "satmachine.db", tmp_path / f"copy-{n}.db") for n in range(5)]
        finally:
            stop.set()
            thread.join()
        assert landed > 5
    counts = [backup.settlements for backup in made]
    assert counts == sorted(counts)
    for backup in made:
        with connect(backup.path, read_only=True) as copy:
            for table in ("dca_settlements", "dca_settlement_events"):
                assert copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == backup.settlements
        copy.close()
        assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600
    leftovers = {path.name for path in tmp_path.iterdir() if "copy" in path.name}
    assert leftovers == {f"copy-{n}.db" for n in range(5)}


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "precious.db"
    target.write_text("precious")
    with fresh_books(tmp_path), pytest.raises(StoreError, match="never overwritten"):
        make_backup(tmp_path / "satmachine.db", target)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("target", ["missing/folder/copy.db", "satmachine.db"])
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path, target: str) -> None:
    with fresh_books(tmp_path), pytest.raises(StoreError, match=r"copy\.db: no backup|never overwritten"):
        make_backup(tmp_path / "satmachine.db", tmp_path / target)


def test_a_copy_that_is_not_whole_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "damage", lambda _conn: "row 3 is missing from index x")
    with fresh_books(tmp_path), pytest.raises(StoreError, match=r"damaged.*row 3"):
        make_backup(tmp_path / "satmachine.db", tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


def test_a_link_that_somebody_planted_is_not_followed_and_gives_no_mode(tmp_path: Path) -> None:
    """The folder belongs to a group; others in it can plant what they like under names that can be guessed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    (tmp_path / ".copy.db.partial").symlink_to(victim)
    with fresh_books(tmp_path):
        made = make_backup(tmp_path / "satmachine.db", tmp_path / "copy.db")
    assert victim.read_text() == "precious"
    assert not made.path.is_symlink()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert made.path.stat().st_nlink == 1


def test_a_file_that_somebody_left_gives_the_copy_no_mode(tmp_path: Path) -> None:
    planted = tmp_path / ".copy.db.partial"
    planted.touch(mode=0o666)
    planted.chmod(0o666)
    with fresh_books(tmp_path):
        made = make_backup(tmp_path / "satmachine.db", tmp_path / "copy.db")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert planted.exists()


def test_the_target_may_not_be_a_link_either(tmp_path: Path) -> None:
    (tmp_path / "copy.db").symlink_to(tmp_path / "elsewhere.db")
    with fresh_books(tmp_path), pytest.raises(StoreError, match="no backup was made"):
        make_backup(tmp_path / "satmachine.db", tmp_path / "copy.db")
    assert not (tmp_path / "elsewhere.db").exists()


def test_the_command_names_the_file_by_the_time(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "config.toml").write_text('[database]\npath = "satmachine.db"\n')
    with fresh_books(tmp_path) as conn:
        land(conn, 1)
        arguments = ["--config", str(tmp_path / "config.toml"), "backup", str(tmp_path / "backups"), "--json"]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    [made] = (tmp_path / "backups").iterdir()
    assert told["path"] == str(made)
    assert told["settlements"] == 1
    assert made.name.startswith("satmachine-20")


def books_with_a_sale(folder: Path) -> Path:
    with fresh_books(folder) as conn:
        land(conn, 1)
    config = folder / "config.toml"
    config.write_text('[database]\npath = "satmachine.db"\n')
    return config


def command(config: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["--config", str(config), *words])


@pytest.mark.parametrize(("name", "ending"), [("backups", ""), ("backups", "/"), ("deep/er", ""), ("named.db", "/")])
def test_a_folder_is_made_and_filled_again_and_again(tmp_path: Path, name: str, ending: str) -> None:
    """The first time and the second: a file of the folder's name would have kept every later copy away."""
    config = books_with_a_sale(tmp_path)
    target = tmp_path / name
    first = place(target, datetime(2026, 11, 22, 10, tzinfo=UTC), as_folder=ending == "/")
    make_backup(tmp_path / "satmachine.db", first)
    assert first == target / "satmachine-20261122T100000Z.db"
    result = command(config, "backup", f"{target}{ending}")
    assert result.exit_code == 0, result.output
    assert len(list(target.iterdir())) == 2


def test_a_file_where_the_folder_should_be_is_said_and_stays(tmp_path: Path) -> None:
    config = books_with_a_sale(tmp_path)
    (tmp_path / "backups").write_text("mine")
    result = command(config, "backup", str(tmp_path / "backups"))
    assert result.exit_code == 1
    assert "there is a file of that name; name a folder" in result.output
    assert (tmp_path / "backups").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    config = books_with_a_sale(tmp_path)
    (tmp_path / "file").touch()
    result = command(config, "backup", str(tmp_path / "file" / "backups"))
    assert result.exit_code == 1
    assert "the folder cannot be made: Not a directory" in result.output


def test_old_copies_go_by_days_and_by_months_and_nothing_else_does(tmp_path: Path) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    for hours in (0, 1, 47, 24 * 3, 24 * 3 + 1, 24 * 100, 24 * 101, 24 * 150):
        (tmp_path / f"satmachine-{now - timedelta(hours=hours):%Y%m%dT%H%M%SZ}.db").touch()
    others = ["satmachine-before-upgrade-of-version-4.db", "satmachine-19990101T000000Z.db.gz", "notes.txt"]
    for other in others:
        (tmp_path / other).touch()
    removed = thin_out(tmp_path, now)
    assert [path.name for path in removed] == [
        f"satmachine-{now - timedelta(hours=24 * 101):%Y%m%dT%H%M%SZ}.db",
        f"satmachine-{now - timedelta(hours=24 * 3 + 1):%Y%m%dT%H%M%SZ}.db",
    ]
    assert {*others} <= {path.name for path in tmp_path.iterdir()}


def test_thin_goes_with_a_folder(tmp_path: Path) -> None:
    result = command(books_with_a_sale(tmp_path), "backup", str(tmp_path / "one.db"), "--thin")
    assert result.exit_code == 2
    assert not (tmp_path / "one.db").exists()
