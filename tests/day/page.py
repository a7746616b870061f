"""What a page tells people to type, read from the page itself."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def section(page: str, heading: str) -> str:
    """The text below a heading of a page, up to the next heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{2,6}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading!r}"
    return found[2]


def commands(page: str, heading: str) -> list[str]:
    """The lines of a section's code blocks, without the comments behind them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", section(page, heading), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"(^|\s+)# .*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def named(page: str, heading: str) -> list[str]:
    """The commands between backticks in a section's text, in their order."""
    return re.findall(r"`(satmachine [^`]+)`", re.sub(r"^```.*?^```", "", section(page, heading), flags=re.M | re.S))
