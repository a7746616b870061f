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

SOURCE = Path(__file__).parents[2] / "satmachine"

_HOLE = "\x00"
_TICKED = re.compile(r"`(satmachine [^`]+)`", re.DOTALL)
_EXAMPLE = re.compile(r"^ {4,}(satmachine .+)$", re.MULTILINE)
_NAMED = re.compile(r"(?<![\w./-])satmachine(?= [a-z])(?! (?:web\]|seal key|top-up|mark))")
#: What people fill in themselves, where the text says with what.
_FILLED_IN = re.compile(r"\b(?:[A-Z][A-Z_]+|\.\.\.?)(?=$|[\s,])|\.\.\.?$")


@dataclass(frozen=True, slots=True)
class Suggested:
    """A command as words, and where it stands."""

    words: tuple[str, ...]
    place: str
    text: str


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of every text in the source; what an f-string fills in is a hole with its name."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            place = f"{path.relative_to(SOURCE.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                yield place, "".join(_part(value) for value in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                yield place, node.value
    for path in sorted(SOURCE.rglob("templates/*.html")):
        yield str(path.relative_to(SOURCE.parent)), path.read_text(encoding="utf-8")


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.FormattedValue)
    return "{" + ast.unparse(value.value).replace("{", "").replace("}", "") + "}"


def suggested() -> list[Suggested]:
    """All of them."""
    found = []
    for place, text in texts():
        commands = [match[1] for match in _TICKED.finditer(text)]
        commands += [match[1] for match in _EXAMPLE.finditer(text)]
        if _NAMED.match(text) and not commands:
            commands = [text]
        found += [Suggested(tuple(words_of(command)), place, command) for command in commands]
    return found


def unseen() -> list[str]:
    """Texts that name a command in a form that is not looked at."""
    missed = []
    for place, text in texts():
        rest = _EXAMPLE.sub("", _TICKED.sub("", text))
        if not _NAMED.match(text) and _NAMED.search(rest):
            missed.append(f"{place}: {rest[max(0, _NAMED.search(rest).start() - 20) :][:90]!r}")  # type: ignore[union-attr]
    return missed


def words_of(command: str) -> list[str]:
    """As a shell would split it, up to a pipe or a redirection, with everything filled in."""
    text = re.sub(r"\{([^{}]*)\}", lambda hole: _stand_in(hole[1]), " ".join(command.split()))
    words = shlex.split(re.split(r" [|>]{1,2} | && ", text)[0])
    return [_stand_in(word.lower()) if _FILLED_IN.fullmatch(word) else word for word in words[1:]]


def _stand_in(name: str) -> str:
    name = name.lower()
    if "machine" in name or name in ("who", "where"):
        return "machine-1"
    if "hash" in name:
        return "ab" * 32
    return "maria" if "person" in name else "1"
