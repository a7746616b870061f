"""`python -m tests.integration.traced FILE ...`: satmachine, which also writes down which of its modules run.

From one SIGUSR1 to the next; then FILE has their names, one on each line. What runs for a task that has nothing to do
with a sale on its way (a sweep, the daemon's report of its own state) does not count.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import satmachine
from satmachine.cli.main import main

ROOT = Path(satmachine.__file__).parent

#: "module function" of what runs beside a sale, as the beginning of both.
BESIDE = ("settlements/sweep/", "ops/", "nostr/pool.py health")


class Trace:
    """The modules below satmachine/ in which a function was called."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._on = False
        self._found: set[str] = set()
        self._names: dict[str, str] = {}

    def toggle(self, *_: object) -> None:
        """Begin; or end, and write what was found."""
        if self._on:
            self._file.with_suffix(".new").write_text("\n".join(sorted(self._found)))
            self._file.with_suffix(".new").rename(self._file)
        self._on = not self._on

    def called(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Python's hook for every call."""
        if not self._on or event != "call":
            return
        name = self._name_of(frame)
        if name and name not in self._found and not self._is_beside(frame):
            self._found.add(name)

    def _is_beside(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if f"{self._name_of(frame)} {frame.f_code.co_name}".startswith(BESIDE):
                return True
            frame = frame.f_back
        return False

    def _name_of(self, frame: FrameType) -> str:
        path = frame.f_code.co_filename
        if path not in self._names:
            self._names[path] = Path(path).relative_to(ROOT).as_posix() if path.startswith(f"{ROOT}/") else ""
        return self._names[path]


if __name__ == "__main__":
    trace = Trace(Path(sys.argv.pop(1)))
    signal.signal(signal.SIGUSR1, trace.toggle)
    threading.setprofile(trace.called)
    sys.setprofile(trace.called)
    main()
