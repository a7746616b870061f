"""A whole Debian host, booted: debootstrap makes it once, an overlay keeps it clean, systemd-nspawn boots it.

It shares this machine's network, so that a testkit LNbits and relay on loopback are beside it, as on a real host.
Root's, and for machines that may be changed: it mounts, and boots containers.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from satmachine.errors import SatmachineError
from testkit.lnbits import cache_dir

SUITE = "bookworm"
_MIRROR = "http://deb.debian.org/debian"
_PACKAGES = (
    "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,procps,iproute2,bash-completion,man-db,sqlite3"
)
_BOOTS_WITHIN_S = 120


def missing() -> str:
    """Why no host can be booted here; empty where one can."""
    if os.geteuid() != 0:
        return "root is needed"
    tools = [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None]
    return f"{', '.join(tools)} missing: apt-get install debootstrap systemd-container" if tools else ""


class Host:
    """One booted host below `folder`; what is typed on it is kept in `transcript`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.root = folder / "root"
        self.transcript: list[str] = []
        self._folder = folder
        self._name = name
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Make its file system, and start it. Raises SatmachineError where it does not come up."""
        base = _base()
        for part in (self.root, self._folder / "upper", self._folder / "work"):
            part.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={base},upperdir={self._folder}/upper,workdir={self._folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)], check=True)
        (self.root / "etc/hostname").write_text(self._name + "\n")
        with (self._folder / "console.log").open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--quiet",
                    "--register=no",
                    "--keep-unit",
                    "--link-journal=no",
                    "--boot",
                    f"--machine={self._name}",
                    f"--directory={self.root}",
                    "--console=read-only",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_up()

    def shut_down(self) -> None:
        """Power off, or pull the plug where that takes too long; nothing of it stays mounted."""
        if self._nspawn is not None:
            if self._leader:
                self._enter("systemctl poweroff --no-block")
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
            self._nspawn = None
        subprocess.run(["umount", "--lazy", str(self.root)], check=False)

    def run(self, command: str, *, leaves: int | None = 0, stdin: str = "") -> str:
        """Type a command as root; what it said. Raises SatmachineError where it leaves with another code."""
        done = self._enter(command, stdin)
        said = done.stdout + done.stderr
        self.transcript.append(f"# {command}\n{said}")
        if leaves is not None and done.returncode != leaves:
            raise SatmachineError(f"{command}\nleft with {done.returncode}, not {leaves}:\n{said[-3000:]}")
        return said

    def as_user(self, user: str, command: str, *, leaves: int | None = 0) -> str:
        """The same as another user of the host."""
        return self.run(f"runuser -u {user} -- sh -c {shlex.quote(command)}", leaves=leaves)

    def until(self, command: str, words: str, *, timeout_s: float = 120) -> str:
        """Until what a command says has these words in it."""
        said = ""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            done = self._enter(command)
            said = done.stdout + done.stderr
            if words in said:
                self.transcript.append(f"# {command}\n{said}")
                return said
            time.sleep(0.5)
        raise SatmachineError(f"{command}\nnever said {words!r} within {timeout_s:.0f} s, but:\n{said[-3000:]}")

    def put(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """A file, as somebody has copied it there."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def bring(self, file: Path, folder: str = "/root") -> None:
        """A file of this machine, copied into a folder of the host."""
        self.put(f"{folder}/{file.name}", file.read_bytes())

    def _enter(self, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "nsenter",
                f"--target={self._leader}",
                "--all",
                "env",
                "-i",
                "HOME=/root",
                "LANG=C.UTF-8",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "/bin/sh",
                "-c",
                f"cd /root && {command}",
            ],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def _wait_until_up(self) -> None:
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        deadline = time.monotonic() + _BOOTS_WITHIN_S
        while time.monotonic() < deadline and self._nspawn.poll() is None:
            self._leader = int(children.read_text().split()[0]) if children.read_text().split() else 0
            if self._leader and self._enter("systemctl is-system-running").stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.5)
        console = (self._folder / "console.log").read_text(errors="replace")
        self.shut_down()
        raise SatmachineError(f"the host did not boot:\n{console[-3000:]}")


def _base() -> Path:
    """A Debian as debootstrap makes it, kept in the cache."""
    base = cache_dir() / "host" / f"debian-{SUITE}"
    if base.exists():
        return base.resolve()
    base.parent.mkdir(parents=True, exist_ok=True)
    fresh = base.with_name(f"{base.name}.{os.getpid()}")
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, str(fresh), _MIRROR],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise SatmachineError(f"debootstrap made no Debian: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    fresh.rename(base)
    return base.resolve()
