"""Which messages a list request means: filters by From and DateSent, newest first (To is an index).

`DateSent` is empty until a message was sent, so filtering by it misses what is still queued, as Twilio's does.
Dates are GMT, a day or a second. Source: Twilio list-messages operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.sandbox.twilio import TwilioMessage

_DAY = timedelta(days=1)


def matching(messages: Iterable[TwilioMessage], query: Mapping[str, str]) -> list[TwilioMessage]:
    """The messages that pass every filter of `query`, newest first."""
    sender = query.get("From")
    found = [each for each in messages if sender in (None, each.sender) and _in_time(each.sent, query)]
    found.reverse()
    return found


def _in_time(sent: datetime | None, query: Mapping[str, str]) -> bool:
    on, before, after = query.get("DateSent"), query.get("DateSent<"), query.get("DateSent>")
    if not (on or before or after):
        return True
    if sent is None:
        return False
    if on and not _within(sent, on):
        return False
    if before and sent > _end(before):
        return False
    return not (after and sent < _read(after))


def _within(sent: datetime, text: str) -> bool:
    start = _read(text).replace(hour=0, minute=0, second=0)
    return start <= sent < start + _DAY


def _end(text: str) -> datetime:
    """A bare day counts to its end."""
    return _read(text) + (_DAY - timedelta(microseconds=1) if len(text) == 10 else timedelta(0))


def _read(text: str) -> datetime:
    """A GMT day or instant; one that cannot be read excludes nothing before it."""
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return datetime.min.replace(tzinfo=UTC)
