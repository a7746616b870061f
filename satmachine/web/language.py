"""The viewer's language, numbers and time zone.

Messages are written in English in the code and the templates; `locale/<language>.po` has the translations; for another
language, add another file. Numbers and times are written as the viewer's language writes them (Babel).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources

from babel import Locale, UnknownLocaleError, dates, numbers
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from satmachine.attention.sentence import Sentence
from satmachine.money import minor_digits, minor_to_fiat

#: The languages, English first: it is the language of the code.
LANGUAGES = ("en", "es")
_ACCEPTED = 20


#: How numbers are written if the browser names no country: Spanish as in the Americas (1,234.56).
_REGIONS = {"es": "es_419"}


def negotiate(chosen: str | None, accept_language: str) -> tuple[str, str]:
    """(language, locale) for somebody: the language of the configuration, else the first one the browser asks for that
    we have; numbers as in the country that the browser names with it."""
    wanted = [part.partition(";")[0].strip() for part in accept_language.split(",")[:_ACCEPTED]]
    asked = next((tag[:2].lower() for tag in wanted if tag[:2].lower() in LANGUAGES), LANGUAGES[0])
    language = str(chosen) if chosen in LANGUAGES else asked
    regional = (tag for tag in wanted if tag[:2].lower() == language and _is_locale(tag))
    return language, next((tag.replace("-", "_") for tag in regional), _REGIONS.get(language, language))


def _is_locale(tag: str) -> bool:
    """Whether it names a country (or a part of the world) that is known."""
    try:
        return Locale.parse(tag, sep="-").territory is not None
    except (ValueError, UnknownLocaleError):
        return False


@dataclass(frozen=True, slots=True)
class Words:
    """How things are said to one viewer. Amounts are sats, or minor units with their currency; times Unix seconds."""

    language: str
    tz: tzinfo
    region: str = ""

    @property
    def locale(self) -> Locale:
        return _locale(self.region or self.language)

    def say(self, message: str, **values: object) -> str:
        """A message in the viewer's language, with `{names}` filled in."""
        text = _catalogue(self.language).gettext(message) if message else ""
        return text.format(**values) if values else text

    def count(self, one: str, many: str, count: int) -> str:
        """A message with a number in it; each of the languages has one form for 1 and one for the rest."""
        return self.say(one if count == 1 else many, count=self.number(count))

    def tell(self, sentence: str) -> str:
        """A sentence of the program in the viewer's language, if the catalogue has it: what machines and wallets
        themselves have said stays as it is."""
        if not isinstance(sentence, Sentence):
            return self.say(sentence)
        told = {name: self._told(name, value) for name, value in sentence.values.items()}
        return _catalogue(self.language).gettext(sentence.message).format(**told)

    def _told(self, name: str, value: object) -> object:
        """A value within a sentence: other sentences are told too, and sats are written like everywhere."""
        if isinstance(value, str):
            return self.tell(value)
        return self.number(value) if name.endswith("sats") and isinstance(value, int) else value

    def number(self, value: int | Decimal) -> str:
        return _grouped(f"{value:,}", str(self.locale))

    def sats(self, amount_sats: int | None) -> str:
        return "" if amount_sats is None else f"{self.number(amount_sats)} sats"

    def fiat(self, amount_minor: int | None, currency: str) -> str:
        """With all its decimals, and the code of the currency after it: signs like $ belong to many currencies."""
        if amount_minor is None:
            return ""
        digits = minor_digits(currency)
        return f"{_grouped(f'{minor_to_fiat(amount_minor, currency):,.{digits}f}', str(self.locale))} {currency}"

    def pct(self, fraction: Decimal | float) -> str:
        return numbers.format_percent(fraction, "#,##0.##%", self.locale)

    def time(self, at: int | None) -> str:
        """Only date and time of day; the page says once in which time zone."""
        if at is None:
            return ""
        return _time(at - at % 60, str(self.locale), self.tz)

    def day(self, day: date) -> str:
        return dates.format_date(day, "EEE d MMM y", self.locale)

    def short(self, day: date) -> str:
        """A day without its year."""
        return dates.format_skeleton("MMMd", datetime.combine(day, time()), locale=self.locale)

    def date(self, at: int) -> str:
        """The day of a moment, short."""
        return self.short(datetime.fromtimestamp(at, self.tz).date())

    def clock(self, at: int) -> str:
        """The time of day of a moment."""
        return f"{datetime.fromtimestamp(at, self.tz):%H:%M}"

    def month(self, year: int, month: int) -> str:
        return dates.format_date(date(year, month, 1), "LLLL y", self.locale)

    def ago(self, at: int | None, now: int) -> str:
        """How long ago, roughly."""
        if at is None:
            return self.say("never")
        if at > now - 60:
            return self.say("just now") if at < now + 60 else self.time(at)
        return dates.format_timedelta(at - now, add_direction=True, locale=self.locale, threshold=1.2)

    def zone(self) -> str:
        return str(getattr(self.tz, "key", "UTC"))


def _grouped(plain: str, language: str) -> str:
    """A number with "," between thousands and "." before decimals, as the language writes it."""
    return plain.translate(_separators(language))


@cache
def _separators(language: str) -> dict[int, str]:
    locale = _locale(language)
    return str.maketrans({",": numbers.get_group_symbol(locale), ".": numbers.get_decimal_symbol(locale)})


@lru_cache(maxsize=16_384)
def _time(at: int, language: str, tz: tzinfo) -> str:
    return dates.format_datetime(datetime.fromtimestamp(at, UTC), "d MMM y, HH:mm", tzinfo=tz, locale=_locale(language))


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language)


@cache
def _catalogue(language: str) -> NullTranslations:
    """The messages of a language, compiled when they are first needed."""
    source = resources.files("satmachine.web") / "locale" / f"{language}.po"
    if not source.is_file():
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.StringIO(source.read_text("utf-8")), locale=language))
    compiled.seek(0)
    return GNUTranslations(compiled)
