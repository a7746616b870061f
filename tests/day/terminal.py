"""A terminal with a shell, and a person at it who types, pastes, reads and presses Ctrl-C. Keys are counted."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import anyio
import anyio.to_thread

_LINES, _COLUMNS = 50, 120
#: Tells the exit code of what ran before, and that the shell is ready.
_PROMPT = re.compile(r"<(\d+)> \$ $")
_PROMPTS = {"PS1": "<$?> $ ", "PS2": "> "}
#: What a terminal is told beside text: colours, where to write, its title.
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")
_CTRL_C = "\x03"
#: What a person says who does what a screen tells them: yes, and why.
ANSWERS = {"[y/N]: ": "y", "Why (kept in the audit log): ": "as it was told"}


class Terminal:
    """`keys` is what was pressed so far; what is pasted counts as one, in `pastes`."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.keys = self.pastes = 0
        self._shown = ""
        self._read_to = 0
        self._end, inner = os.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
        os.set_blocking(self._end, False)
        terminal = {"TERM": "xterm", "HOME": str(folder), **_PROMPTS, **environ}
        self._shell = subprocess.Popen(
            # Whatever started the tests may have told what it starts to ignore Ctrl-C; a login does not.
            ["env", "--default-signal=INT", "setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting"],
            cwd=folder,
            env=terminal,
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)

    async def __aenter__(self) -> Terminal:
        await self._until(_PROMPT, 30)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closing the window: what still runs in it gets SIGHUP."""
        os.close(self._end)
        try:
            await anyio.to_thread.run_sync(self._shell.wait, 30)
        except subprocess.TimeoutExpired:
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()

    @property
    def shown(self) -> str:
        """All that it has shown."""
        return self._shown

    def press(self, text: str) -> None:
        """Press these keys."""
        self.keys += len(text)
        os.write(self._end, text.encode())

    def enter(self, text: str) -> None:
        """Type a line, and Enter."""
        self.press(text + "\n")

    def paste(self, text: str) -> None:
        """Paste a line that was copied elsewhere, and press Enter."""
        self.pastes += 1
        os.write(self._end, text.encode())
        self.press("\n")

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.press(_CTRL_C)

    async def sees(self, text: str, *, timeout_s: float = 60) -> str:
        """Wait until a text comes that was not looked at yet; all that came up to it."""
        return (await self._until(re.compile(re.escape(text)), timeout_s))[0]

    async def is_done(self, *, timeout_s: float = 120) -> tuple[int, str]:
        """Wait until the command has ended; its exit code and what it has shown."""
        shown, code = await self._until(_PROMPT, timeout_s)
        return int(code), shown

    async def runs(
        self, command: str, answers: Mapping[str, str] = ANSWERS, *, timeout_s: float = 300
    ) -> tuple[int, str]:
        """Type a command, and answer what it asks; its exit code and what it has shown."""
        self.enter(command)
        asked = re.compile("|".join([_PROMPT.pattern, *(f"({re.escape(question)})$" for question in answers)]))
        told = ""
        for _ in range(20):
            shown, found = await self._until(asked, timeout_s)
            told += shown
            if found not in answers:
                return int(found), told.removesuffix(f"<{found}> $ ")
            self.enter(answers[found])
        raise AssertionError(f"{command} asks on and on:\n{told}")

    async def _until(self, wanted: re.Pattern[str], timeout_s: float) -> tuple[str, str]:
        with anyio.move_on_after(timeout_s):
            while True:
                new = self._shown[self._read_to :]
                if found := wanted.search(new):
                    self._read_to += found.end()
                    return new[: found.end()], found[found.lastindex or 0]
                await anyio.wait_readable(self._end)
                self._shown = _CONTROL.sub("", self._shown + self._more()).replace("\r\n", "\n")
        raise AssertionError(f"it never showed {wanted.pattern!r}:\n{self._shown[self._read_to :][-3000:]}")

    def _more(self) -> str:
        try:
            return os.read(self._end, 65_536).decode(errors="replace")
        except OSError:  # the shell has ended
            raise AssertionError(f"the terminal is closed:\n{self._shown[-3000:]}") from None
