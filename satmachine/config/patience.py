"""Looks at files without waiting for ever: a dead network file system never answers, and no call ends the wait.

Another thread looks, and the caller waits for it for `DEADLINE_S`. If that is not enough, the thread is left alone, and
until its call has ended nobody looks at that folder again: callers get the error at once. So a folder that hangs costs
the daemon's loop one deadline, not one for each key in it and each attempt. When the file system is back, so are its
keys.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

#: Disks, and network file systems that work, answer in milliseconds.
DEADLINE_S = 1.0


class Hangs(OSError):
    """The file system does not answer."""

    def __init__(self) -> None:
        super().__init__(None, "its file system does not answer")


class _Call(Generic[T]):
    """One look, and its result."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._ended = threading.Event()
        self._answers: list[T] = []
        self._error: BaseException | None = None

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def run(self) -> None:
        try:
            self._answers.append(self._look())
        except (OSError, ValueError) as error:
            self._error = error
        self._ended.set()

    def answer(self) -> T:
        """Raises Hangs, and what the look itself raised."""
        if not self._ended.wait(DEADLINE_S):
            raise Hangs
        if self._error is not None:
            raise self._error
        return self._answers[0]


_lock = threading.Lock()
_hanging: set[Path] = set()
_idle: list[SimpleQueue[Callable[[], None]]] = []


def look(folder: Path, at: Callable[[], T]) -> T:
    """What `at` says about a file in this folder. Raises Hangs if that takes too long, and OSError and ValueError as
    `at` does."""
    with _lock:
        if folder in _hanging:
            raise Hangs
        jobs = _idle.pop() if _idle else _new_thread()
    call = _Call(at)

    def job() -> None:
        call.run()
        with _lock:
            _hanging.discard(folder)
            _idle.append(jobs)

    jobs.put(job)
    try:
        return call.answer()
    except Hangs:
        with _lock:
            if not call.has_ended:  # just now
                _hanging.add(folder)
        raise


def _new_thread() -> SimpleQueue[Callable[[], None]]:
    """A thread that does one look after the other; it does not keep the process from ending."""
    jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def work() -> None:
        while True:
            jobs.get()()

    threading.Thread(target=work, name="key files", daemon=True).start()
    return jobs
