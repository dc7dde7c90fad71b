from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.calendar import from_ms, reminder_times, shift, to_ms
from bot.domain.share import Reminders

DUE = datetime(2026, 12, 1, 6, tzinfo=UTC)
DAY = timedelta(days=1)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DURATIONS = st.timedeltas(timedelta(0), timedelta(days=366))


def plan(before: tuple[timedelta, ...], after: tuple[timedelta, ...], most: int = 20) -> Reminders:
    return Reminders(before_due=before, after_due=after, max=most)


def test_reminders_come_in_order_and_only_in_the_future() -> None:
    reminders = plan((DAY, 3 * DAY), (7 * DAY, DAY))
    times = reminder_times(DUE, reminders, DUE - 2 * DAY)
    assert times == [DUE - DAY, DUE + DAY, DUE + 7 * DAY]


def test_no_more_reminders_than_the_plan_allows() -> None:
    assert reminder_times(DUE, plan((DAY,), (DAY, 3 * DAY), most=2), DUE - 9 * DAY) == [DUE - DAY, DUE + DAY]
    assert reminder_times(DUE, plan((DAY,), (), most=0), DUE - 9 * DAY) == []


def test_the_same_moment_is_reminded_of_once() -> None:
    assert reminder_times(DUE, plan((DAY, timedelta(hours=24)), ()), DUE - 9 * DAY) == [DUE - DAY]


def test_whole_days_keep_the_hour_on_the_wall_where_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    due = datetime(2026, 10, 26, 9, tzinfo=berlin)  # clocks went back on the 25th
    (reminder,) = reminder_times(due, plan((3 * DAY,), ()), due - 9 * DAY, berlin)
    assert reminder.astimezone(berlin) == datetime(2026, 10, 23, 9, tzinfo=berlin)
    assert due.astimezone(UTC) - reminder == 3 * DAY + timedelta(hours=1)


def test_hours_and_seconds_are_exact_where_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    due = datetime(2026, 10, 25, 9, tzinfo=berlin)
    assert due.astimezone(UTC) - shift(due, -timedelta(hours=23), berlin) == timedelta(hours=23)


@given(TIMES, DURATIONS)
def test_where_clocks_do_not_change_every_duration_is_exact(moment: datetime, by: timedelta) -> None:
    assert shift(moment, by, ZoneInfo("Africa/Dar_es_Salaam")) == moment + by
    assert shift(moment, -by, ZoneInfo("Africa/Dar_es_Salaam")) == moment - by


@given(st.integers(min_value=0, max_value=7_000_000_000_000))
def test_milliseconds_and_back_lose_nothing(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


def test_milliseconds_are_rounded_down() -> None:
    assert to_ms(datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)) == 1999
