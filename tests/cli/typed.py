"""A command that the program has printed, typed as it stands by somebody who answers yes to everything."""

from __future__ import annotations

import re
import shlex
from unittest import mock

import anyio
from typer.testing import CliRunner

from satmachine.cli.kit import requests
from satmachine.cli.main import app
from satmachine.orders import Unreadable
from satmachine.store.intent_rows import open_orders
from testkit.sale_desk import Desk

#: They leave with what they have found.
VERDICTS = ("satmachine alerts list", "satmachine audit", "satmachine doctor", "satmachine status")
_NAMED = re.compile(r"`(satmachine [^`]+)`")


def commands_in(text: str) -> list[str]:
    """The commands between backticks."""
    return _NAMED.findall(text)


def typed(desk: Desk, command: str) -> str:
    """Type it, and answer yes (which is also the reason); where it is refused, do first what it says, then type it
    again. What it has ordered is carried out as the daemon does. All that it has said."""
    for _ in range(3):
        words = shlex.split(command)
        assert words[0] == "satmachine", command
        # As where the daemon does not run: it takes up the order later.
        with (
            mock.patch.object(requests, "at_a_terminal", return_value=True),
            mock.patch.object(requests, "WAIT_S", 0.0),
            mock.patch.object(requests, "WAIT_WITHDRAWN_S", 0.0),
        ):
            left = CliRunner().invoke(app, ["--config", str(desk.path), *words[1:]], input="y\n" * 9)
        if left.exit_code == 0 or (command.startswith(VERDICTS) and left.exit_code in (1, 4)):
            return left.output if left.exit_code else _carried_out(desk, left.output)
        first = commands_in(left.output)
        assert first, f"{command} says nothing of what to do first:\n{left.output}{left.exception!r}"
        for one in first:
            typed(desk, one)
    raise AssertionError(f"{command}:\n{left.output}")


def _carried_out(desk: Desk, said: str) -> str:
    for asked in open_orders(desk.conn):
        assert not isinstance(asked.order, Unreadable)
        if type(asked.order) not in desk.actions:
            continue  # another part of the daemon does it
        ended = anyio.run(desk.actions[type(asked.order)], asked, asked.order)
        assert ended.status == "done", ended.result
        said += ended.result
    return said
