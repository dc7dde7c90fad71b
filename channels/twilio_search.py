"""Which of the messages that Twilio lists is the one in doubt, if any.

Promises never to name a message that another one owns, that came in, or that is older than the hand-out. A body is
compared as a whole where it is known as sent; where Twilio itself made it of a template, or nobody knows it any more,
the control number in it decides, unless another message with that number may be meant, or the body shows another number
of the same person: a description may name an earlier bill. Pure: asks nobody.

Source: Twilio message resource, https://www.twilio.com/docs/messaging/api/message-resource (`direction`,
`date_created` in RFC 2822), and its list operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from channels.base import Trace

# Our clock against Twilio's, whose times have no fractions of a second.
CLOCK_MARGIN = timedelta(seconds=10)
_OUTGOING = "outbound-api"


class Listed(msgspec.Struct, frozen=True):
    """A message as the list shows it."""

    sid: str
    status: str = "queued"
    body: str | None = None
    direction: str | None = None
    date_created: str | None = None
    num_segments: str | int | None = None
    error_code: int | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of the list."""

    messages: list[Listed]


def since(trace: Trace) -> datetime:
    """The earliest time, in UTC, at which Twilio can have created this message."""
    return trace.handed_out_at.astimezone(UTC) - CLOCK_MARGIN


def search(listed: Iterable[Listed], trace: Trace, *, templated: bool) -> Listed | None:
    """The newest message that can be the one in doubt. `templated`: Twilio may have made its text of a template."""
    candidates = _newest_first(each for each in listed if _plausible(each, trace))
    for says in _bodies(trace, templated=templated):
        if (match := next((each for each in candidates if says(each.body or "")), None)) is not None:
            return match
    return None


def _plausible(message: Listed, trace: Trace) -> bool:
    created = _created(message)
    return (
        message.direction == _OUTGOING
        and message.sid not in trace.exclude
        and created is not None
        and created >= since(trace)
    )


def _newest_first(messages: Iterable[Listed]) -> list[Listed]:
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(messages, key=lambda message: _created(message) or oldest, reverse=True)


def _created(message: Listed) -> datetime | None:
    try:
        created = parsedate_to_datetime(message.date_created or "")
    except ValueError:
        return None
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def _bodies(trace: Trace, *, templated: bool) -> list[Callable[[str], bool]]:
    """What a body must be, the surest sign first."""
    signs: list[Callable[[str], bool]] = []
    if trace.text is not None:
        text = _lines(trace.text)
        signs.append(lambda body: _lines(body) == text)
    if trace.likely:
        likely = {_lines(each) for each in trace.likely}
        signs.append(lambda body: _lines(body) in likely)
    if trace.alone and (trace.text is None or templated):
        number, others = _number(trace.number), [_number(other) for other in trace.others]
        signs.append(
            lambda body: bool(number.search(body)) and not any(other.search(body) for other in others)
        )
    return signs


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _number(number: str) -> re.Pattern[str]:
    """The number as a word of its own, also in groups: a short one may be part of a longer one."""
    grouped = "[ \u00a0-]?".join(map(re.escape, number))
    return re.compile(rf"(?<![0-9A-Za-z]){grouped}(?![0-9A-Za-z])")
