"""Every command that a text of the program names: found in the source, so that none escapes.

Three forms count: between backticks, a text that is a command and nothing else, and an example of a docstring. What
is filled in is stood in for: `{machine_id}` by a machine's id, `ID` by a number.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer.main

from satmachine.cli.main import app

SOURCE = Path(__file__).parents[2] / "satmachine"

_NOUNS = "|".join(sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
_COMMAND = rf"satmachine(?: --?[a-z-]+ [^ `]+)* (?:{_NOUNS})\b"
#: Between backticks; on a line of its own, alone or behind a shell's words; behind a colon; as code on a page.
_FORMS = (
    re.compile(rf"`({_COMMAND}[^`]*)`"),
    re.compile(rf"^[ #]*(?:sudo )?(?:[A-Za-z/_ .=-]+/[^ ]+ )?({_COMMAND}.*)$", re.MULTILINE),
    re.compile(rf": +(?:sudo )?({_COMMAND}.*)$", re.MULTILINE),
    re.compile(rf"<code[^>]*>({_COMMAND}[^<]*)</code>"),
)
_NAMED = re.compile(_COMMAND)
#: What people fill in themselves, where the text says with what.
_FILLED_IN = re.compile(r"\b(?:[A-Z][A-Z_]+|\.\.\.?)(?=$|[\s,])|\.\.\.?$")


@dataclass(frozen=True, slots=True)
class Suggested:
    """A command as words, and where it stands."""

    words: tuple[str, ...]
    place: str
    text: str


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of every text in the source that is shown to people; what an f-string fills in is a hole with its
    name. A docstring is shown where it is the help of a command."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        is_command = "cli" in path.relative_to(SOURCE).parts
        inner |= {id(doc) for node in ast.walk(tree) if (doc := _docstring(node, is_command)) is not None}
        for node in ast.walk(tree):
            place = f"{path.relative_to(SOURCE.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                yield place, "".join(_part(value) for value in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                yield place, node.value
    for path in sorted(SOURCE.rglob("templates/*.html")):
        yield str(path.relative_to(SOURCE.parent)), path.read_text(encoding="utf-8")


def _docstring(node: ast.AST, is_command: bool) -> ast.expr | None:
    """The docstring of something, if nobody is shown it."""
    shown = is_command and isinstance(node, ast.FunctionDef)
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or shown:
        return None
    first = node.body[0] if node.body else None
    return first.value if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.FormattedValue)
    return "{" + ast.unparse(value.value).replace("{", "").replace("}", "") + "}"


def suggested() -> list[Suggested]:
    """All of them."""
    return [
        Suggested(tuple(words_of(command)), place, command) for place, text in texts() for command in _commands(text)[0]
    ]


def unseen() -> list[str]:
    """Texts that name a command in a form that is not looked at."""
    rests = ((place, _commands(text)[1]) for place, text in texts())
    return [f"{place}: {rest[found.start() :][:90]!r}" for place, rest in rests if (found := _NAMED.search(rest))]


def _commands(text: str) -> tuple[list[str], str]:
    """The commands of a text, and what is left of it."""
    found: list[str] = []
    for form in _FORMS:
        found += [match[1] for match in form.finditer(text)]
        text = form.sub("", text)
    return found, text


def words_of(command: str) -> list[str]:
    """As a shell would split it, up to a pipe or a redirection, with everything filled in."""
    text = re.sub(r"\{([^{}]*)\}", lambda hole: _stand_in(hole[1]), " ".join(command.split()))
    words = shlex.split(re.split(r" [|>]{1,2} | && ", text)[0])
    return [_stand_in(word.lower()) if _FILLED_IN.fullmatch(word) else word for word in words[1:]]


#: What a name stands for where it is no machine's, no hash and no number.
_STAND_INS = {
    "verb": "reverse",
    "row['status']": "held",
    "entry.kind": "count",
    "more": "",
    "sqlite": "sqlite",
    "tuning.postgresql": "postgresql",
}


def _stand_in(name: str) -> str:
    name = name.lower()
    if name in _STAND_INS:
        return _STAND_INS[name]
    if "machine" in name or name in ("who", "where"):
        return "machine-1"
    if "hash" in name:
        return "ab" * 32
    return "maria" if "person" in name else "1"
