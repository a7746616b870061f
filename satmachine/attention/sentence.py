"""Sentences that can be translated: plain text that remembers its message and its values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Sentence(str):
    """A `message` with its `{names}` filled in by `values`; as text it is English."""

    message: str
    values: Mapping[str, object]


def sentence(message: str, **values: object) -> Sentence:
    """Make a sentence in English; to translate it, the message is looked up in a catalogue and filled in again."""
    made = Sentence(message.format(**values))
    made.message, made.values = message, values
    return made


def joined(parts: Sequence[Sentence]) -> Sentence:
    """Sentences one after the other, separated by commas."""
    names = [f"part{number}" for number in range(len(parts))]
    return sentence(", ".join(f"{{{name}}}" for name in names), **dict(zip(names, parts, strict=True)))
