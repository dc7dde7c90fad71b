"""Quiet hours, and channels that come back by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.bill import BillKind
from bot.domain.calendar import EAST_AFRICA, quiet_until, to_ms
from bot.domain.message import Lane, State
from bot.engine.engine import Engine
from bot.engine.healing import Healer
from bot.engine.scripts import now_ms
from channels.base import ChannelName, Probe
from tests.engine.conftest import job, paid
from tests.engine.test_worker import Scripted, until

NIGHT = (time(21), time(7))
TIMES = st.integers(0, 366 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


@pytest.mark.parametrize(
    ("local", "end"),
    [("20:59", None), ("21:00", "07:00"), ("02:00", "07:00"), ("06:59", "07:00"), ("07:00", None)],
)
def test_a_night_ends_in_the_morning(local: str, end: str | None) -> None:
    at = datetime.combine(date(2026, 11, 23), time.fromisoformat(local), EAST_AFRICA)
    until = quiet_until(at.astimezone(UTC), NIGHT, EAST_AFRICA)
    assert (until.astimezone(EAST_AFRICA).strftime("%H:%M") if until else None) == end


@given(TIMES, st.times(), st.times())
def test_quiet_hours_end_within_a_day_and_outside_themselves(now: datetime, start: time, end: time) -> None:
    until = quiet_until(now, (start, end), EAST_AFRICA)
    if until is not None:
        assert now < until <= now + timedelta(days=1)
        assert start == end or quiet_until(until, (start, end), EAST_AFRICA) is None


async def hand_out(engine: Engine, number: str, quiet: int | None, now: int | None = None) -> list[str]:
    scripts, p = engine.records.scripts, engine.records.partition(number)
    held, _ = await scripts.run(scripts.hand_out(p, now or now_ms(), "sms", "test", (10, 10), quiet))
    return [h.message["k"] for h in held]


async def test_at_night_bulk_waits_until_morning_and_receipts_do_not(engine: Engine) -> None:
    morning = now_ms() + 3_600_000
    accepted = await engine.shares.accept(job("100", lane=Lane.BULK, kind=BillKind.CUSTOMER))
    await engine.payments.settle(paid("100", "20000"))
    assert await hand_out(engine, "100", morning) == ["receipt"]
    waiting = await engine.messages.get(accepted.messages[0])
    assert (waiting.state, waiting.due_at and to_ms(waiting.due_at)) == (State.SCHEDULED, morning)


async def test_somebody_who_waits_gets_the_number_at_night_but_not_its_retry(engine: Engine) -> None:
    morning = now_ms() + 3_600_000
    await engine.shares.accept(job("100"))
    assert await hand_out(engine, "100", morning) == ["instructions"]
    await engine.shares.accept(job("200"))
    assert await hand_out(engine, "200", morning, now=now_ms() + 700_000) == []


@dataclass
class Sick(Scripted):
    healthy: bool = False
    probes: int = 0

    async def probe(self) -> Probe:
        self.probes += 1
        return Probe(ok=self.healthy, detail="scripted")


async def test_a_channel_that_tuma_paused_is_resumed_when_its_probe_passes(engine: Engine) -> None:
    channel, stop = Sick(), asyncio.Event()
    await engine.channels.pause("sms", reason="20003", by="tuma")
    healing = asyncio.create_task(Healer(engine.channels, {ChannelName.SMS: channel}, first_s=0.02).run(stop))
    await until(lambda: _probed(channel, 2))
    assert "sms" in await engine.channels.paused()
    channel.healthy = True
    await until(lambda: _resumed(engine))
    stop.set()
    await healing


async def test_a_pause_of_staff_is_theirs_to_end(engine: Engine) -> None:
    channel = Sick(healthy=True)
    healer = Healer(engine.channels, {ChannelName.SMS: channel}, first_s=0.0)
    await engine.channels.pause("sms", reason="holiday", by="cli:asha")
    for _ in range(3):
        await healer.look()
    assert "sms" in await engine.channels.paused()
    assert channel.probes == 0


async def _probed(channel: Sick, times: int) -> bool:
    return channel.probes >= times


async def _resumed(engine: Engine) -> bool:
    return "sms" not in await engine.channels.paused()
