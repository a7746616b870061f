"""The doctor's look at this host: keys, database, permissions, disk space. Asks nobody, changes nothing."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from satmachine.config import Config, check_secrets, hidden_credentials, wallet_conflicts, warnings
from satmachine.errors import ConfigError, StoreError
from satmachine.nostr.keys import hex_to_npub, parse_secret_key, public_key_of
from satmachine.ops.findings import CheckResult, Finding
from satmachine.ops.service import starts
from satmachine.store.database import connect, daemon_is_running
from satmachine.store.integrity import damage

#: Less free space than the first is a warning, less than the second a problem: SQLite needs space to commit a payment.
LOW_DISK_BYTES = 1_000_000_000
FULL_DISK_BYTES = 200_000_000

#: As shutil.disk_usage: (total, used, free) in bytes.
DiskUsage = Callable[[Path], tuple[int, int, int]]


def keys(config: Config) -> Iterator[Finding]:
    """Every secret can be read and is protected; no wallet is used twice."""
    hidden = hidden_credentials(config)
    problems = check_secrets(config)
    for text in [*problems, *wallet_conflicts(config)]:
        what, _, fix = text.rpartition(": ")
        yield Finding("keys", config.path.name, CheckResult.PROBLEM, what or text, fix)
    for text in warnings(config):
        what, _, fix = text.rpartition(": ")
        guarded = "plain text" in text
        yield Finding(
            "config", config.path.name, CheckResult.PROBLEM if guarded else CheckResult.WARNING, what or text, fix
        )
    if hidden:
        yield Finding(
            "keys",
            f"{len(hidden)} credential(s)",
            CheckResult.UNKNOWN,
            "only root and the service can see them, so they and their wallets are not checked here",
            "sudo satmachine doctor",
        )
    elif not problems:
        yield Finding("keys", config.path.name, CheckResult.OK, "every key is there, and nobody else can read it")
    if (npub := _own_npub(config)) is not None:
        yield Finding(
            "keys", "the daemon's own", CheckResult.OK, f"signs as {npub}; LPs check their statements with it"
        )


def _own_npub(config: Config) -> str | None:
    """The key by which others know this daemon; None if it has no key, or none that can be read here."""
    try:
        secret = None if config.nostr.secret_key is None else config.nostr.secret_key.resolve(config.environ)
        return None if secret is None else hex_to_npub(public_key_of(parse_secret_key(secret)))
    except (ConfigError, ValueError):
        return None


def database(config: Config) -> Iterator[Finding]:
    path = config.database.path
    if not path.exists():
        yield Finding("database", str(path), CheckResult.WARNING, "there are no books yet", "satmachine run")
        return
    try:
        conn = connect(path, read_only=True)
        try:
            trouble = damage(conn)
        finally:
            conn.close()
    except StoreError as error:
        yield Finding("database", str(path), CheckResult.PROBLEM, str(error), "docs/operations.md, Restore")
        return
    if trouble:
        yield Finding(
            "database", str(path), CheckResult.PROBLEM, trouble, "stop the daemon; docs/operations.md, Restore"
        )
    else:
        yield Finding("database", str(path), CheckResult.OK, "complete, and in the version that this program needs")
    if daemon_is_running(path):
        yield Finding("daemon", str(path), CheckResult.OK, "the daemon is running")
    else:
        yield Finding("daemon", str(path), CheckResult.WARNING, "no daemon runs: nothing is paid", starts(path).start)


def permissions(config: Config) -> Iterator[Finding]:
    path = config.database.path
    if not path.exists():
        return
    subjects = [path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm", ".lock"))]
    bad = [file for file in (path.parent, *subjects) if file.exists() and _mode(file) & 0o002]
    readable = [file for file in subjects[:1] if _mode(file) & 0o004 and _mode(path.parent) & 0o001]
    for file in bad:
        fix = f"chmod o-w {file}"
        yield Finding("permissions", str(file), CheckResult.PROBLEM, "every user of this host may change it", fix)
    for file in readable:
        yield Finding(
            "permissions", str(file), CheckResult.WARNING, "every user may read the books", f"chmod o= {file}"
        )
    if not bad and not readable:
        yield Finding("permissions", str(path), CheckResult.OK, "nobody else can read the books")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def disk(config: Config, disk_usage: DiskUsage) -> Iterator[Finding]:
    folder = config.database.path.parent
    while not folder.exists():
        folder = folder.parent
    free = disk_usage(folder)[2]
    told = f"{free / 1e9:.1f} GB are free"
    if free < FULL_DISK_BYTES:
        yield Finding(
            "disk", str(folder), CheckResult.PROBLEM, f"nearly full: {told}", "free some space now: at 0 payouts stop"
        )
    elif free < LOW_DISK_BYTES:
        yield Finding("disk", str(folder), CheckResult.WARNING, told, "free some space, or lower [telemetry] keep_days")
    else:
        yield Finding("disk", str(folder), CheckResult.OK, told)
