"""What is printed is typed as it is printed, on a real terminal; only what stands for something is filled in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import anyio

from tests.day import page
from tests.day.operator import Operator
from tests.day.page import ROOT
from tests.day.terminal import ANSWERS, Terminal

#: `systemctl reload satmachine` reaches the daemon of this test; there is no systemd here.
_SYSTEMCTL = """#!/bin/sh
test "$*" = "reload satmachine" && kill -HUP "$(cat "$DAEMON_PID")"
"""


class Follower:
    """The operator's own terminal, where `satmachine` and `systemctl` are found."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self._pid = operator.system.folder / "daemon.pid"
        programs = operator.system.folder / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "systemctl").write_text(_SYSTEMCTL)
        (programs / "systemctl").chmod(0o755)
        environ = {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SATMACHINE_CONFIG": str(operator.config),
            "DAEMON_PID": str(self._pid),
        }
        self._terminal = Terminal(operator.system.folder, environ)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Follower:
        await self._stack.enter_async_context(self._terminal)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def types(self, command: str, answers: Mapping[str, str] = ANSWERS, *, code: int | None = 0) -> str:
        """Type it, and answer what it asks: yes, and why. What it has shown; `code` None: however it leaves."""
        if command in ("systemctl start satmachine", "systemctl restart satmachine", "satmachine run"):
            await self._starts()
            return ""
        daemon = self.operator.system.daemon
        self._pid.write_text("" if daemon is None else str(daemon.pid))
        left_with, shown = await self._terminal.runs(command, answers)
        assert "Traceback" not in shown, shown
        assert code is None or left_with == code, f"{command} left with {left_with}:\n{shown}"
        return shown

    async def _starts(self) -> None:
        """What systemd would do."""
        system = self.operator.system
        if system.daemon is not None:
            await system.stop_daemon()
        began = system.log_path.stat().st_size
        system.start_daemon()
        for _ in range(300):
            if b"satmachine runs" in system.log_path.read_bytes()[began:]:
                return
            await anyio.sleep(0.1)
        raise AssertionError(system.log_tail())


class Situation:
    """A heading of docs/corrections.md: every command below it, in a block or named in a sentence, is played once."""

    def __init__(self, follower: Follower, heading: str) -> None:
        self.follower = follower
        self.operator = follower.operator
        self._all = page.commands(_PAGE, heading) + page.named(_PAGE, heading)
        self._left = [*self._all]

    async def plays(self, start: str, filled: Mapping[str, str], *, code: int = 0) -> str:
        """Type the section's next command that begins so; what it has shown."""
        return await self.follower.types(self.followed(start, filled), code=code)

    def followed(self, start: str, filled: Mapping[str, str]) -> str:
        """The next command that begins so (or the first, once all were played), with what stands in it for something
        else filled in."""
        found = [one for one in (*self._left, *self._all) if one.removeprefix("satmachine ").startswith(start)]
        assert found, f"{_PAGE} has no such command (any more): {start}\n" + "\n".join(self._all)
        command = found[0]
        if command in self._left:
            self._left.remove(command)
        for name, meant in filled.items():
            command = re.sub(rf"(?<![\w@.]){re.escape(name)}(?![\w@.])", meant, command)
        return command

    def leaves_out(self, start: str) -> None:
        """A command that is for another case than this one."""
        self.followed(start, {})

    def ends(self) -> None:
        """Nothing is left that nobody has played."""
        assert not self._left, f"{_PAGE} says more than is played: {self._left}"


_PAGE = "docs/corrections.md"
