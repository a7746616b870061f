"""Text of others, made harmless for who reads it: a terminal, a page, a spreadsheet. Pure.

Whatever somebody has typed or signed, or an altered database holds, steers no terminal, turns no line around, and is no
formula. What is harmless stays as it is.
"""

from __future__ import annotations

import re

#: Narrow no-break space: groups digits, never breaks a line.
THIN = "\u202f"

#: How a cell begins that spreadsheets run (also in full width); a number with a sign is none.
_FORMULA_STARTS = ("=", "+", "-", "@", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def printable(text: str) -> str:
    """What would steer a terminal, or the direction of writing, is shown as an escape; line breaks stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in f"\n{THIN}" else char.encode("unicode_escape").decode() for char in text
    )


def one_line(text: str) -> str:
    """The same, on one line, with one blank between words."""
    return printable(" ".join(text.split()))


def cell(text: str) -> str:
    """For a CSV: the same, and no spreadsheet takes it for a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(shown) else shown
