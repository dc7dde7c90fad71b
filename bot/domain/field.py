"""The single fields of a share job: each parsed, normalised and within its limits, or noted as a problem.

A reader function takes what the producer wrote and always gives a value of the right type back, so that
reading goes on to the end; when anything was noted, that value is never used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

from bot.domain import contact, money, shape
from bot.domain.address import names_private
from bot.domain.bill import BillKind
from bot.domain.form import BillForm
from bot.errors import Problem

LOCALES = ("sw", "en")


class Defaults(Protocol):
    """What the merchant's settings decide where a job is silent."""

    @property
    def region(self) -> str:
        """Region in which phone numbers without a country code are read."""
        ...

    @property
    def locale(self) -> str:
        """Language of customers whose own is not known."""
        ...

    @property
    def zone(self) -> tzinfo:
        """Time zone of times without an offset in rows."""
        ...

    @property
    def callback_private(self) -> bool:
        """Whether events may go to private addresses."""
        ...


class Reader:
    """What a job is checked against, and the problems found so far."""

    __slots__ = ("problems", "settings")

    def __init__(self, settings: Defaults, problems: list[Problem]) -> None:
        self.settings = settings
        self.problems = problems

    def fail(self, field: str, message: str, given: object = None, expected: str | None = None) -> None:
        """Note a problem, unless this very field is known to be wrong already."""
        if not any(problem.field == field for problem in self.problems):
            shown = shape.shown(field, given)
            self.problems.append(Problem(field=field, message=message, given=shown, expected=expected))

    def within(self, field: str) -> bool:
        """Whether something inside `field`, an object or a list, is known to be wrong."""
        return any(problem.field.startswith((f"{field}.", f"{field}[")) for problem in self.problems)


_ID = re.compile(r"[^\s]{1,128}")
_NUMBER = re.compile(r"[A-Za-z0-9]{1,20}", re.ASCII)
_EXPONENT = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+[0-9]+", re.ASCII)
_TEMPLATE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_DATA_NAME = re.compile(r"[^\s.{}\[\]][^.{}\[\]]{0,63}")

# Controls, line and paragraph separators, direction overrides (they let a text pretend to be another),
# surrogates.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_UNFIT_IN_DATA = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def share_id(value: str | None, reader: Reader) -> str:
    """The producer's own id: 1 to 128 printable characters without spaces; required."""
    expected = "1 to 128 printable characters without spaces"
    if value is None:
        reader.fail("id", "is missing", expected=expected)
        return ""
    if _EXPONENT.fullmatch(value):
        reader.fail("id", "was mangled by a spreadsheet; format its column as text", value, expected)
    elif not (_ID.fullmatch(value) and value.isprintable()):
        reader.fail("id", "is not a usable id", value, expected)
    return value


def text(value: str | None, field: str, limit: int, reader: Reader) -> str | None:
    """Words for people, on one line, trimmed; None if not given."""
    if value is None:
        return None
    value = value.strip()
    if not value:
        reader.fail(field, "is empty", expected="some text, or leave it out")
    elif len(value) > limit:
        reader.fail(field, f"has {len(value)} characters", expected=f"at most {limit} characters")
    elif _UNFIT.search(value):
        reader.fail(
            field, "holds line breaks or invisible control characters", expected="plain text on one line"
        )
    return value


def number(form: BillForm, reader: Reader) -> str | None:
    """The control number as it was written: 1 to 20 letters and digits; None if one is to be created."""
    expected = "a control number of 1 to 20 letters and digits"
    number = form.number
    if number is None:
        if form.create is None:
            reader.fail("bill.number", "is missing", expected=expected)
    elif form.create is not None:
        reader.fail("bill.create", "stands beside bill.number", form.create.value, "one of the two")
    elif contact.mangled(number):
        reader.fail(
            "bill.number", "was mangled by a spreadsheet; format its column as text", number, expected
        )
    elif not _NUMBER.fullmatch(number):
        reader.fail("bill.number", "is not a control number", number, expected)
    return number


def kind(form: BillForm, reader: Reader) -> BillKind:
    """The kind of the number: what is to be created, else what is said, else `order`, the careful choice."""
    if form.create is not None and form.kind not in (None, form.create):
        reader.fail("bill.kind", "contradicts bill.create", form.kind, f"{form.create}, or leave it out")
    return form.create or form.kind or BillKind.ORDER


def currency(value: str | None, reader: Reader, place: str = "bill.") -> str:
    """An ISO 4217 code in capitals; TZS if not given."""
    if value is None or value == "TZS":
        return "TZS"
    code = value.strip().upper()
    try:
        money.digits(code)
    except ValueError as error:
        reader.fail(f"{place}currency", str(error), value, "a code such as TZS")
        return "TZS"
    return code


def amount(value: str | int | None, currency: str, reader: Reader, place: str = "bill.") -> Decimal:
    """A positive amount with no more decimals than `currency` has; required."""
    expected = "a positive amount such as 45000 or 12.50"
    if value is None:
        reader.fail(f"{place}amount", "is missing", expected=expected)
        return Decimal(1)
    try:
        amount = money.parse_amount(value.strip() if isinstance(value, str) else value)
        money.check_written(amount, currency)
    except ValueError as error:
        reader.fail(f"{place}amount", str(error), value, expected)
        return Decimal(1)
    return amount


def address(value: str | int | None, field: str, parse: Callable[[str], str], reader: Reader) -> str | None:
    """What `parse` of `bot.domain.contact` makes of an address; None if not given."""
    if value is None:
        return None
    try:
        return parse(str(value))
    except contact.BadContact as error:
        reader.problems.append(error.problem(field, str(value)))
        return None


def locale(value: str | None, reader: Reader) -> str:
    """A language that tuma speaks: `en` for en-GB, the merchant's own for one that is not spoken here."""
    if value is None:
        return reader.settings.locale
    language = re.split("[-_]", value.strip().lower())[0]
    if not re.fullmatch("[a-z]{2,8}", language):
        reader.fail("customer.locale", "is not a language", value, "sw or en")
    return language if language in LOCALES else reader.settings.locale


def durations(texts: Sequence[str], field: str, reader: Reader) -> tuple[timedelta, ...]:
    """At most 20 durations of at most a year each."""
    if len(texts) > 20:
        reader.fail(field, f"has {len(texts)} entries", expected="at most 20")
    found = tuple(read_duration(text, f"{field}[{index}]", reader) for index, text in enumerate(texts))
    if any(duration > timedelta(days=366) for duration in found):
        reader.fail(field, "reaches further than a year", " ".join(texts)[:60], "at most P366D")
    return found


def read_duration(text: str, field: str, reader: Reader) -> timedelta:
    """A duration, see `duration`."""
    try:
        return duration(text)
    except ValueError as error:
        reader.fail(field, str(error), text, "an ISO 8601 duration such as P3D or PT10M")
        return timedelta(minutes=10)


_DURATION = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,4})W)?(?:([0-9]{1,4})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,6})H)?(?:([0-9]{1,7})M)?(?:([0-9]{1,9}(?:\.[0-9]{1,3})?)S)?)?",
    re.ASCII,
)


@lru_cache(maxsize=1024)
def duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds. Raises ValueError with the reason."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("is not a duration (months and years have no fixed length)")
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def time(text: str | None, field: str, reader: Reader) -> datetime | None:
    """A time, see `moment`; None if not given."""
    if text is None:
        return None
    try:
        return moment(text.strip())
    except ValueError as error:
        reader.fail(field, str(error), text, "a time with its offset such as 2026-12-01T09:00:00+03:00")
        return None


_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
)


@lru_cache(maxsize=4096)
def moment(text: str) -> datetime:
    """An RFC 3339 time from 2000 to 2199, in UTC; seconds may be left out.

    Raises ValueError with the reason.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("is not a time")
    if match[1] is None:
        raise ValueError("has no offset from UTC")
    try:
        found = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time that exists") from None
    if not 2000 <= found.year < 2200:
        raise ValueError("is not in this age")
    return found


def template(value: str | None, reader: Reader) -> str:
    """The name of a template set; `default` if not given."""
    if value is None:
        return "default"
    if not _TEMPLATE.fullmatch(value):
        reader.fail(
            "template",
            "is not the name of a template set",
            value,
            "small letters, digits, - and _, such as default",
        )
    return value


def callback(value: str | None, reader: Reader) -> str | None:
    """An http or https address with a host that names no private address; what it resolves to shows at delivery."""
    expected = "an address such as https://example.com/hook"
    if value is None:
        return None
    if reason := _callback_fault(value):
        reader.fail("callback_url", reason, value, expected)
    elif not reader.settings.callback_private and names_private(urlsplit(value).hostname or ""):
        expected = "a public one, or TUMA_CALLBACK_PRIVATE=true in tuma's settings"
        reader.fail("callback_url", "is an address in a private network", value, expected)
    return value


@lru_cache(maxsize=1024)
def _callback_fault(url: str) -> str | None:
    if len(url) > 2048 or not url.isascii() or re.search(r"[\s\x00-\x20\x7f<>\"\\^`{|}]", url):
        return "is not a URL"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or port == 0:
        return "is not an http or https address with a host"
    return "holds a user name or password" if "@" in parts.netloc else None


def data(values: dict[str, Any] | None, reader: Reader) -> dict[str, Any]:
    """Up to 50 values for templates, with names that a template can write."""
    if not values:
        return {}
    if len(values) > 50:
        reader.fail("data", f"has {len(values)} fields", expected="at most 50 fields")
    for name, value in values.items():
        _check_datum(name, value, reader)
    return values


def _check_datum(name: str, value: object, reader: Reader) -> None:
    if not _DATA_NAME.fullmatch(name) or _UNFIT.search(name):
        reader.fail(
            "data", "has a field with an unusable name", expected="1 to 64 characters without . { } [ ]"
        )
    elif isinstance(value, str):
        if len(value) > 2000:
            reader.fail(f"data.{name}", f"has {len(value)} characters", expected="at most 2000 characters")
        elif _UNFIT_IN_DATA.search(value):
            reader.fail(f"data.{name}", "holds control characters", expected="plain text")
