"""How deep JSON is nested. Pure.

Deeper nesting than this is nonsense, and would exhaust one reader or another (SQLite's, Python's).
"""

from __future__ import annotations

MAX_DEPTH = 32


def is_too_deep(text: str, value: object) -> bool:
    """Whether `value`, decoded from `text`, is nested deeper than MAX_DEPTH levels, a plain value counting as one."""
    # Too few brackets for that depth is the usual case, and quick to see.
    return text.count("{") + text.count("[") >= MAX_DEPTH and _depth(value) > MAX_DEPTH


def _depth(value: object) -> int:
    """Level by level, so that no input can exhaust the stack."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [child for item in level for child in _children(item)]
    return depth


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
