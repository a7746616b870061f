"""Parts that others have written: the relay server nostr-relay (Python) and nostr-tools (JavaScript).

`python -m testkit.interop` (`make test-interop`) installs them into folders of their own in the cache, from the exact
versions beside this file, and plays tests/interop; what cannot be installed is told, and its tests are skipped with the
reason. Nothing of satmachine or of its other tests needs them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import anyio

from satmachine.errors import SatmachineError
from testkit.ports import free_port

_HERE: Final = Path(__file__).parent
_START_TIMEOUT_S: Final = 60.0


def _cache_dir() -> Path:
    return Path(os.environ.get("SATMACHINE_CACHE_DIR") or Path.home() / ".cache" / "satmachine")


def relay_program() -> Path:
    """Where nostr-relay is, or would be, installed."""
    return _folder("nostr-relay", "nostr-relay.txt") / "bin" / "nostr-relay"


def node_folder() -> Path:
    """Where nostr-tools is, or would be, installed."""
    return _folder("nostr-tools", "package.json")


def _folder(name: str, pinned: str) -> Path:
    fingerprint = hashlib.sha256((_HERE / pinned).read_bytes()).hexdigest()[:12]
    return _cache_dir() / f"interop-{name}-{fingerprint}"


def missing_relay() -> str:
    """Why nostr-relay cannot be played with; "" where it can."""
    return "" if relay_program().exists() else "nostr-relay is not installed here (make test-interop does it)"


def missing_tools() -> str:
    """Why nostr-tools cannot be played with; "" where it can."""
    if shutil.which("node") is None:
        return "there is no node here, which nostr-tools needs"
    installed = node_folder() / "node_modules" / "nostr-tools" / "package.json"
    return "" if installed.exists() else "nostr-tools is not installed here (make test-interop does it)"


# --- installation


def install() -> None:
    """What is not there yet; tells what could not be installed, and goes on."""
    if missing_relay():
        folder = relay_program().parent.parent
        python = str(folder / "bin" / "python")
        pip = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ]
        made = _ran([sys.executable, "-m", "venv", "--clear", str(folder)])
        if not (made and _ran([*pip, "-r", str(_HERE / "nostr-relay.txt")])):
            shutil.rmtree(folder, ignore_errors=True)
            print("Not run: nostr-relay could not be installed.")
    if shutil.which("npm") is None:
        print("Not run: there is no npm here, so nostr-tools cannot be installed.")
    elif missing_tools():
        folder = node_folder()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_HERE / "package.json", folder)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        if not _ran(npm, cwd=folder):
            shutil.rmtree(folder, ignore_errors=True)
            print("Not run: nostr-tools could not be installed.")


def _ran(command: list[str], *, cwd: Path | None = None) -> bool:
    return subprocess.run(command, cwd=cwd, check=False).returncode == 0


# --- a relay


class NostrRelay:
    """The relay server nostr-relay on a loopback port, with its database in `folder`. It keeps events for a moment
    after their OK: who publishes hears OK before the subscribers hear the event."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yaml"
        config.write_text(_CONFIG.format(database=self.folder / "nostr.sqlite3", port=self.port))
        with (self.folder / "relay.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  returns at once
                [str(relay_program()), "-c", str(config), "serve"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
                start_new_session=True,
            )
        with anyio.move_on_after(_START_TIMEOUT_S):
            while self.running:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                    return self
                await anyio.sleep(0.1)
        self.stop()
        raise SatmachineError("nostr-relay does not start:\n" + (self.folder / "relay.log").read_text()[-2000:])

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take it off the net, with the workers that it has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


_CONFIG: Final = """\
relay_name: tests
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{database}
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
verification:
  nip05_verification: disabled
gunicorn:
  bind: 127.0.0.1:{port}
  workers: 1
  loglevel: info
authentication:
  enabled: false
subscription_limit: 32
"""


# --- another implementation


class NostrTools:
    """nostr-tools in a process of node: it publishes, encrypts, decrypts and verifies what it is asked to."""

    def __init__(self) -> None:
        script = node_folder() / "speak.mjs"
        shutil.copy(_HERE / "speak.mjs", script)
        self._process = subprocess.Popen(
            ["node", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    async def ask(self, **request: Any) -> Any:
        """Its answer. Raises SatmachineError with what it says is wrong."""
        return await anyio.to_thread.run_sync(self._ask, request)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        if "error" in told:
            raise SatmachineError(f"nostr-tools: {told['error']}")
        return told["answer"]


@contextlib.contextmanager
def nostr_tools() -> Iterator[NostrTools]:
    """Ended when the block is left."""
    tools = NostrTools()
    try:
        yield tools
    finally:
        tools.close()
