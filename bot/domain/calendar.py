"""When reminders are due, and time as Redis keeps it: whole milliseconds since 1970, UTC.

Days are days of the customer's calendar: a reminder three days before a bill that is due at nine in the
morning comes at nine in the morning, also where clocks change in between. Hours, minutes and seconds are
exact.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

EAST_AFRICA = ZoneInfo("Africa/Dar_es_Salaam")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Plan(Protocol):
    """A reminder plan, as `bot.domain.share.Reminders` holds it."""

    @property
    def before_due(self) -> tuple[timedelta, ...]:
        """How long before the due time."""
        ...

    @property
    def after_due(self) -> tuple[timedelta, ...]:
        """How long after the due time."""
        ...

    @property
    def max(self) -> int:
        """How many at most."""
        ...


def reminder_times(
    due_at: datetime, reminders: Plan, now: datetime, zone: tzinfo = EAST_AFRICA
) -> list[datetime]:
    """The reminder times after `now`, in UTC, sorted, each once, at most `reminders.max`.

    `due_at` and `now` are aware; `zone` is the one whose wall clock whole days follow.
    """
    times = _moments(due_at, reminders.before_due, reminders.after_due, zone)
    return [moment for moment in times if moment > now][: reminders.max]


@lru_cache(maxsize=1024)  # the bills of a campaign are due at a few times
def _moments(
    due_at: datetime, before: tuple[timedelta, ...], after: tuple[timedelta, ...], zone: tzinfo
) -> tuple[datetime, ...]:
    return tuple(sorted({shift(due_at, by, zone) for by in (*(-by for by in before), *after)}))


def shift(moment: datetime, by: timedelta, zone: tzinfo) -> datetime:
    """`moment` moved by whole days on the wall clock of `zone`, then by the exact rest; in UTC."""
    sign = -1 if by < timedelta(0) else 1
    days, rest = divmod(abs(by), timedelta(days=1))
    local = moment.astimezone(zone)
    # Arithmetic on an aware datetime keeps its wall clock; converting to UTC resolves what the clocks
    # skipped.
    return (local + sign * timedelta(days=days)).astimezone(UTC) + sign * rest


def quiet_until(now: datetime, hours: tuple[time, time], zone: tzinfo) -> datetime | None:
    """When the quiet hours that `now` falls into end, in UTC; None outside them.

    `hours` are the first and the last time of day on the wall clock of `zone`; they may span midnight.
    """
    start, end = hours
    local = now.astimezone(zone)
    clock = local.time()
    inside = start <= clock < end if start < end else clock >= start or clock < end
    if not inside:
        return None
    day = local.date() + timedelta(days=1 if clock >= end else 0)
    # Where clocks go back, an end within the hour that comes twice may have been once already.
    ends = (datetime.combine(day, end.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
    return next(moment for moment in ends if moment > now)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware time, rounded down."""
    return (moment - _EPOCH) // _MS


def from_ms(ms: int) -> datetime:
    """The aware UTC time of `ms` milliseconds since 1970."""
    return _EPOCH + ms * _MS
