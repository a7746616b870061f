"""A PostgreSQL of one's own for an LNbits: a throw-away cluster on a loopback port, and `psql` to look into it.

    if programs() is not None:
        with Postgres() as postgres:
            url = postgres.create("lnbits")
            rows = postgres.run("SELECT 1", "lnbits")

It is found where Debian and others put it, or on the PATH. It refuses to run as root: then it runs as `postgres`.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from satmachine.errors import SatmachineError
from testkit.ports import free_port

_USER: Final = "postgres"
_TIMEOUT_S: Final = 600
#: For those who want to read why something was not measured or tested.
MISSING: Final = "PostgreSQL is not installed here (Debian, Ubuntu: apt-get install postgresql)"


def programs() -> Path | None:
    """The folder with `initdb`, `pg_ctl` and `psql` of the newest PostgreSQL; None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).parent)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "psql").exists()), None)


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


class Postgres:
    """A running cluster; as a context manager it is stopped and removed at the end. Failures raise SatmachineError."""

    def __init__(self) -> None:
        found = programs()
        if found is None:
            raise SatmachineError(f"{MISSING}.")
        self._programs = found
        self._user = _USER if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="satmachine-postgres-"))
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self.port = free_port()

    def __enter__(self) -> Self:
        self._call("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        log = str(self._folder / "log")
        self._call("pg_ctl", "-D", str(self._data), "-l", log, "-o", options, "-w", "start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    @property
    def version(self) -> str:
        return self.run("SHOW server_version").splitlines()[1].split()[0]

    def create(self, name: str) -> str:
        """An empty database, as LNbits names it in LNBITS_DATABASE_URL."""
        self.run(f"CREATE DATABASE {name}")
        return url(self.port, name)

    def drop(self, name: str) -> None:
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, sql: str, database: str = "postgres") -> str:
        """What `psql` prints, as CSV with a line of names. Stops at the first error."""
        return self._psql(database, sql, "--csv")

    def run_file(self, path: Path, database: str) -> str:
        """Run a file as its users do."""
        return self._psql(database, path.read_text("utf-8"))

    def load(self, database: str, table: str, columns: Sequence[str], csv_path: Path) -> None:
        """Rows from a file; empty fields are NULL."""
        names = ", ".join(f'"{column}"' for column in columns)
        text = csv_path.read_text("utf-8")
        self._psql(database, f"COPY {table} ({names}) FROM STDIN WITH (FORMAT csv);\n{text}\\.\n")

    def _psql(self, database: str, stdin: str, *options: str) -> str:
        return self._call("psql", *_where(self.port, database), *options, stdin=stdin)

    def _call(self, program: str, *arguments: str, stdin: str = "") -> str:
        # Output goes to files: the server inherits it from pg_ctl, and a pipe would stay open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                input=stdin,
                stdout=out,
                stderr=err,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                cwd=self._folder,
                user=self._user,
            )
            out.seek(0)
            err.seek(0)
            said, complaint = out.read(), err.read()
        if done.returncode:
            raise SatmachineError(f"{program} ended with {done.returncode}: {complaint[-2000:]}")
        return said


def url(port: int, name: str) -> str:
    """A database of a cluster that runs on this port, as LNbits names it."""
    return f"postgres://{_USER}@127.0.0.1:{port}/{name}"


def ask(port: int, sql: str, database: str = "postgres") -> list[tuple[str, ...]]:
    """The rows of a statement, as text, from a cluster that somebody else has started. Raises SatmachineError."""
    command = ["psql", *_where(port, database), "--csv", "-t"]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise SatmachineError(f"psql ended with {done.returncode}: {done.stderr[-2000:]}")
    return [tuple(row) for row in csv.reader(io.StringIO(done.stdout))]


def _where(port: int, database: str) -> list[str]:
    return ["-h", "127.0.0.1", "-p", str(port), "-U", _USER, "-d", database, "-X", "-q", "-v", "ON_ERROR_STOP=1"]
