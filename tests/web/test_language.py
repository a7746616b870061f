"""Everything that the pages say is in the catalogue of every other language, and is filled in alike."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from satmachine.attention import words as reasons
from satmachine.attention.sentence import sentence
from satmachine.models import LegStatus, LegType
from satmachine.web.language import LANGUAGES, Words, negotiate
from satmachine.web.views.operators import SALE_STATES

PACKAGE = Path(__file__).parents[2] / "satmachine"
_IN_TEMPLATES = re.compile(r"""(?:\b_|say)\(\s*(?:"([^"]+)"|'([^']+)')""")
_COUNTED = re.compile(r'count\("([^"]+)", "([^"]+)"')
_SAYING = {"say", "sentence", "count"}


def _of_templates() -> Iterator[str]:
    for path in (PACKAGE / "web" / "templates").glob("*.html"):
        text = path.read_text("utf-8")
        for found in _IN_TEMPLATES.finditer(text):
            yield found[1] or found[2]
        for found in _COUNTED.finditer(text):
            yield from found.groups()


def _of_code() -> Iterator[str]:
    for folder in ("web", "attention"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in _SAYING:
                    given = node.args if getattr(node.func, "attr", "") == "count" else node.args[:1]
                    yield from (one.value for one in given if isinstance(one, ast.Constant) and type(one.value) is str)


def _of_lists() -> Iterator[str]:
    yield from (words for words, _ in reasons.HOLDS.values())
    yield from reasons.RETAINED.values()
    yield from reasons.CAUSES.values()
    yield from SALE_STATES
    yield from map(str, (*LegStatus, *LegType))


MESSAGES = sorted({*_of_templates(), *_of_code(), *_of_lists()})


def _catalogue(language: str) -> dict[str, str]:
    text = (resources.files("satmachine.web") / "locale" / f"{language}.po").read_text("utf-8")
    return {str(message.id): str(message.string) for message in read_po(io.StringIO(text)) if message.id}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_every_message_is_in_the_catalogue(language: str) -> None:
    known = _catalogue(language)
    missing = [message for message in MESSAGES if not known.get(message)]
    assert missing == [], f"say it in satmachine/web/locale/{language}.po, too"
    assert len(MESSAGES) > 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_is_filled_in_with_the_same_values(language: str) -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

    known = _catalogue(language)
    assert [message for message, said in known.items() if names(message) != names(said)] == []


def test_a_sentence_is_told_in_the_viewers_language_and_what_others_said_is_left_as_it_is() -> None:
    said = sentence("The wallet of {machine} does not answer: {error}", machine="m1", error="connection refused {x}")
    assert said == "The wallet of m1 does not answer: connection refused {x}"
    from datetime import UTC

    assert Words("es", UTC).tell(said) == "La billetera de m1 no responde: connection refused {x}"
    assert Words("en", UTC).tell(said) == said
    assert Words("es", UTC).tell("") == ""
    assert Words("en", UTC).tell(sentence("{sale}: {sats} sats", sale=1234, sats=1234567)) == "1234: 1,234,567 sats"


@pytest.mark.parametrize(
    ("chosen", "accepted", "found"),
    [
        (None, "", ("en", "en")),
        (None, "fr, es;q=0.8", ("es", "es_419")),
        (None, "es-ES,es;q=0.9", ("es", "es_ES")),
        ("es", "en-US,en;q=0.9", ("es", "es_419")),
        ("es", "en, es-GT", ("es", "es_GT")),
        ("en", "es-GT", ("en", "en")),
        (None, "es-XX,en-../../etc/passwd", ("es", "es_419")),
    ],
)
def test_numbers_are_written_as_where_the_viewer_is(chosen: str | None, accepted: str, found: tuple[str, str]) -> None:
    assert negotiate(chosen, accepted) == found
