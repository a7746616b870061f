"""A command that a message names runs as it stands (SPEC section 10): each is parsed by the real command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import typer
import typer.main

from satmachine.cli.main import app
from tests.cli.suggested import suggested, texts, unseen, words_of

ALL = suggested()
#: typer's own copy of click says that something is wrong by this exception.
WRONG: Any = (typer.BadParameter.__mro__[1], AssertionError)
ROOT: Any = typer.main.get_command(app)


def parsed(words: Sequence[str]) -> Any:
    """The command that these words call, with what it needs. Exits where it does not exist, or lacks something."""
    command, context = ROOT, ROOT.make_context("satmachine", list(words))
    while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        name, command, left = command.resolve_command(context, rest)
        context = command.make_context(name, left, parent=context)
    assert not hasattr(command, "resolve_command") or command.invoke_without_command, words
    return command


def test_no_command_escapes_the_search() -> None:
    assert unseen() == []
    assert len(ALL) > 300


def test_every_command_exists_with_its_options_and_all_that_it_needs() -> None:
    wrong = {}
    for one in ALL:
        try:
            parsed(one.words)
        except WRONG as error:
            wrong[f"{one.place}: {one.text}"] = str(error)
    assert wrong == {}


@pytest.mark.parametrize(
    "command", ["settlements frobnicate 1", "settlements show", "audit --frob", "status more", "settlements"]
)
def test_what_is_no_command_is_seen(command: str) -> None:
    with pytest.raises(WRONG):
        parsed(words_of(f"satmachine {command}"))


def test_a_command_within_a_sentence_stands_in_backticks() -> None:
    """So a screen knows what it may not break, and a person what to copy."""
    bare = [place for place, text in texts() if re.search(r"[a-z]: satmachine [a-z]", text)]
    assert bare == []
