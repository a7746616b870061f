"""A command that a message names runs as it stands (SPEC section 10): each is parsed by the real command line."""

from __future__ import annotations

import click
import pytest
import typer.main

from satmachine.cli.main import app
from tests.cli.suggested import Suggested, suggested, unseen

ALL = suggested()
ROOT = typer.main.get_command(app)


def test_no_command_escapes_the_search() -> None:
    assert unseen() == []
    assert len(ALL) > 150


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.place} {one.text}"[:120])
def test_it_is_a_command_with_options_that_exist_and_all_that_it_needs(one: Suggested) -> None:
    context = ROOT.make_context("satmachine", list(one.words))
    command: click.Command = ROOT
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest and command.invoke_without_command:
            break
        name, found, left = command.resolve_command(context, rest)
        assert found is not None, rest
        context = found.make_context(name, left, parent=context)
        command = found
