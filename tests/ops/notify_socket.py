"""systemd's side of sd_notify, for tests: a socket that keeps every message with the time at which it came."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import anyio


@dataclass
class NotifySocket:
    """Listens at `path`; `messages` are (monotonic seconds, text)."""

    path: Path
    messages: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> list[str]:
        """Everything that came so far, oldest first."""
        while True:
            try:
                text = self._socket.recv(65_536).decode()
            except BlockingIOError:
                return [text for _, text in self.messages]
            self.messages.append((time.monotonic(), text))

    def count(self, prefix: str) -> int:
        return sum(text.startswith(prefix) for text in self.receive())

    async def wait_for(self, prefix: str, *, times: int = 1, timeout_s: float = 30) -> str:
        """Until so many messages began so; the last of them."""
        for _ in range(int(timeout_s / 0.02)):
            found = [text for text in self.receive() if text.startswith(prefix)]
            if len(found) >= times:
                return found[-1]
            await anyio.sleep(0.02)
        raise AssertionError(f"no {times} x {prefix!r} in {self.messages}")
