"""One question after the other. What a flag answers is not asked; every answer is tested, and asked for again if it
fails."""

from __future__ import annotations

from collections.abc import Callable

import typer

from satmachine.cli.kit.requests import at_a_terminal

#: Takes an answer and says what was found; a ValueError says what is wrong with it.
Test = Callable[[str], str]

_TRIES = 20


def well(_answer: str) -> str:
    """No test."""
    return ""


def ask(
    question: str,
    *,
    flag: str,
    given: str | None,
    default: str | None = None,
    test: Test = well,
    hidden: bool = False,
) -> str:
    """The answer, tested. Raises BadParameter if a flag's value fails, or if it is missing and nobody can be asked."""
    if given is not None or not at_a_terminal():
        return _from_flag(flag, given if given is not None else default, test)
    for _ in range(_TRIES):
        answer = str(typer.prompt(question, default=default, err=True, hide_input=hidden)).strip()
        try:
            told = test(answer)
        except ValueError as error:
            typer.secho(f"  {error}", fg=typer.colors.RED, err=True)
            continue
        if told:
            typer.secho(f"  {told}", fg=typer.colors.GREEN, err=True)
        return answer
    raise typer.Abort


def _from_flag(flag: str, answer: str | None, test: Test) -> str:
    if answer is None:
        raise typer.BadParameter(f"give it with {flag}, or run this on a terminal, which asks for it")
    try:
        told = test(answer)
    except ValueError as error:
        raise typer.BadParameter(f"{flag} {answer if 'key' not in flag else ''}: {error}") from None
    if told:
        typer.echo(f"{flag}: {told}", err=True)
    return answer
