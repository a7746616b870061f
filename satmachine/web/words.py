"""The viewer's language, numbers and time zone.

Messages are written in English in the code and the templates; `locale/<language>.po` has the others, and another
language is another file. Numbers and times are written as the viewer's language writes them (Babel).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources

from babel import Locale, dates, numbers
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from satmachine.money import minor_digits, minor_to_fiat

#: The languages that there are, English first: it is what the code speaks.
LANGUAGES = ("en", "es")
_ACCEPTED = 20


def negotiate(chosen: str | None, accept_language: str) -> str:
    """The language for somebody: what the configuration says, else the first one the browser asks for that we have."""
    if chosen in LANGUAGES:
        return str(chosen)
    wanted = [part.partition(";")[0].strip().lower() for part in accept_language.split(",")[:_ACCEPTED]]
    return next((tag[:2] for tag in wanted if tag[:2] in LANGUAGES), LANGUAGES[0])


@dataclass(frozen=True, slots=True)
class Words:
    """How things are said to one viewer. Amounts are sats, or minor units with their currency; times Unix seconds."""

    language: str
    tz: tzinfo

    @property
    def locale(self) -> Locale:
        return _locale(self.language)

    def say(self, message: str, **values: object) -> str:
        """A message in the viewer's language, with `{names}` filled in."""
        text = _catalogue(self.language).gettext(message)
        return text.format(**values) if values else text

    def number(self, value: int | Decimal) -> str:
        return _grouped(f"{value:,}", self.language)

    def sats(self, amount_sats: int | None) -> str:
        return "" if amount_sats is None else f"{self.number(amount_sats)} sats"

    def fiat(self, amount_minor: int | None, currency: str) -> str:
        """With all its decimals, and the code of the currency behind it: signs like $ are of many."""
        if amount_minor is None:
            return ""
        digits = minor_digits(currency)
        return f"{_grouped(f'{minor_to_fiat(amount_minor, currency):,.{digits}f}', self.language)} {currency}"

    def pct(self, fraction: Decimal | float) -> str:
        return numbers.format_percent(fraction, "#,##0.##%", self.locale)

    def time(self, at: int | None) -> str:
        """Date, time of day and nothing more; the page says once which zone they are in."""
        if at is None:
            return ""
        return _time(at - at % 60, self.language, self.tz)

    def day(self, day: date) -> str:
        return dates.format_date(day, "EEE d MMM y", self.locale)

    def month(self, year: int, month: int) -> str:
        return dates.format_date(date(year, month, 1), "LLLL y", self.locale)

    def ago(self, at: int | None, now: int) -> str:
        """How long ago, roughly."""
        if at is None:
            return self.say("never")
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
    """The messages of a language, compiled when they are first asked for."""
    source = resources.files("satmachine.web") / "locale" / f"{language}.po"
    if not source.is_file():
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.StringIO(source.read_text("utf-8")), locale=language))
    compiled.seek(0)
    return GNUTranslations(compiled)
