"""What a person is told or asked between tables, as lines that end at words; for what needs no tables, and no rich."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

from satmachine.cli.kit.values import grouped

#: A command in backticks; one without them.
QUOTED = re.compile(r"`[^`\n]*`")
_COMMAND = re.compile(r"\b(?:sudo|satmachine|systemctl|timedatectl|ch(?:own|mod)|rm|kill) ")
#: Characters that no text contains, and that rich and textwrap treat as letters, stand for blanks where no line may
#: end: in a command, and within a number.
_HELD = re.compile(rf"{QUOTED.pattern}|\u202f")
TO_LETTERS = str.maketrans({" ": "\ue000", "\u202f": "\ue001"})
TO_BLANKS = str.maketrans({"\ue000": " ", "\ue001": "\u202f"})


def may_wrap(text: str, width: int) -> bool:
    """Whether a text may be broken at words: its commands are in backticks, each short enough for a line. Otherwise the
    terminal itself continues it at its edge, so that a command can be copied."""
    quoted = QUOTED.findall(text)
    return all(len(one) < width for one in quoted) and not _COMMAND.search(QUOTED.sub("", text))


def on_stderr(text: str, *, before: str = "") -> str:
    """What is asked or refused: on a terminal its amounts are grouped, and its lines end at words."""
    return wrapped(grouped(text), before=before) if sys.stderr.isatty() else text


def wrapped(text: str, *, before: str = "", width: int | None = None) -> str:
    """The text in lines of at most `width` characters (without it, the terminal's), what is copied from it unbroken.

    `before`: what stands before it on its first line, and is not part of the answer.
    """
    width = width or shutil.get_terminal_size().columns
    lines = []
    for number, line in enumerate(text.split("\n")):
        first = before if not number else ""
        lines.append(_line(line, first, width) if may_wrap(line, width) else line)
    return "\n".join(lines)


def _line(line: str, before: str, width: int) -> str:
    held = _HELD.sub(lambda found: found[0].translate(TO_LETTERS), line)
    indent = line[: len(line) - len(line.lstrip())]
    further = indent + "  " * line.lstrip().startswith("- ")
    parts = textwrap.wrap(
        before + held,
        width,
        subsequent_indent=further,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts).removeprefix(before).translate(TO_BLANKS)
