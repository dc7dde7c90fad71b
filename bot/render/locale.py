"""Money, dates and control numbers as people of one language read them.

Formats only; it converts time zones but never currencies. Babel is imported at the first use, and what it
formats is kept, because a campaign repeats few amounts and dates many times.

Source: Unicode CLDR, through Babel.
"""

from __future__ import annotations

from datetime import date as Day
from datetime import datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from babel import Locale

# A bill due at midnight, or at the day's last minute, is due on a day; any other time is meant.
_WHOLE_DAY = {time(0, 0), time(23, 59)}


@lru_cache(maxsize=8192)
def money(locale: str, amount: Decimal, currency: str) -> str:
    """Format as "TZS 45,000": ISO code, a plain space, major units; decimals only where there are any."""
    from babel.numbers import format_decimal, get_currency_precision

    whole = amount == amount.to_integral_value()
    written = -int(amount.normalize().as_tuple().exponent)
    places = 0 if whole else max(get_currency_precision(currency), written)
    pattern = "#,##0" + ("." + "0" * places if places else "")
    number = format_decimal(amount, pattern, _locale(locale))
    return f"{currency} {_plain_spaces(number)}"


def date(locale: str, moment: datetime, zone: str) -> str:
    """Format as "1 Des 2026" in `zone`, short enough for an SMS."""
    return _day(locale, moment.astimezone(ZoneInfo(zone)).date(), "d MMM y")


def long_date(locale: str, moment: datetime, zone: str) -> str:
    """Format as "Jumanne, 1 Desemba 2026, 09:00" in `zone`; without the time when a whole day is meant."""
    local = moment.astimezone(ZoneInfo(zone))
    day = _day(locale, local.date(), "EEEE, d MMMM y")
    clock = local.time().replace(second=0, microsecond=0)
    return day if clock in _WHOLE_DAY else f"{day}, {clock:%H:%M}"


def group(number: str) -> str:
    """A control number in groups of four for eyes, such as "5504 2914 8719 31"; never for copying."""
    return " ".join([number[start : start + 4] for start in range(0, len(number), 4)])


@lru_cache(maxsize=1024)
def _day(locale: str, day: Day, pattern: str) -> str:
    from babel.dates import format_date

    return _plain_spaces(format_date(day, pattern, _locale(locale)))


@lru_cache(maxsize=64)
def _locale(name: str) -> Locale:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return Locale.parse("en")


def _plain_spaces(text: str) -> str:
    # CLDR separates with no-break spaces, which would take an SMS out of its alphabet.
    return text.replace("\u202f", " ").replace("\xa0", " ")
