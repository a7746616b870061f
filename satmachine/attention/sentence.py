"""Sentences that can be said in another language: plain text that remembers what it was made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Sentence(str):
    """A `message` with its `{names}` filled in by `values`; as text it is English."""

    message: str
    values: Mapping[str, object]


def sentence(message: str, **values: object) -> Sentence:
    """Say it; whoever knows another language finds the message in a catalogue, and fills it in anew."""
    made = Sentence(message.format(**values))
    made.message, made.values = message, values
    return made


def joined(parts: Sequence[Sentence]) -> Sentence:
    """Sentences one after the other, with commas between."""
    names = [f"part{number}" for number in range(len(parts))]
    return sentence(", ".join(f"{{{name}}}" for name in names), **dict(zip(names, parts, strict=True)))
