"""Quiet hours, and channels that come back by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.bill import BillKind
from bot.domain.calendar import EAST_AFRICA, from_ms, quiet_until, to_ms
from bot.domain.message import Lane, Outcome, State
from bot.engine import keys
from bot.engine.engine import Engine
from bot.engine.healing import Healer
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import Call, now_ms
from bot.errors import StoreUnavailable
from channels.base import ChannelName, Delivery, Probe, StatusUpdate
from channels.errors import Unavailable
from tests.engine.conftest import job, paid
from tests.engine.endings import REFUSED, SENT, end
from tests.engine.test_worker import Scripted, until

HOUR = 3_600_000
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


BERLIN, NEW_YORK, LORD_HOWE = (
    ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
)


@given(TIMES, st.times(), st.times(), st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]))
def test_quiet_hours_end_where_clocks_change(now: datetime, start: time, end: time, zone: ZoneInfo) -> None:
    until = quiet_until(now, (start, end), zone)
    if until is not None:
        assert now < until <= now + timedelta(hours=25)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        # Clocks go forward at 01:00 UTC: 02:30 does not come, so the night ends when 03:30 says that it has passed.
        (datetime(2026, 3, 29, 0, 10, tzinfo=UTC), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        # Clocks go back at 01:00 UTC: 02:30 comes twice.
        (datetime(2026, 10, 25, 0, 10, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 1, 10, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    ],
)
def test_a_night_that_ends_while_clocks_change_ends_once_it_can(now: datetime, end: datetime) -> None:
    assert quiet_until(now, (time(22), time(2, 30)), BERLIN) == end


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


async def wait_for(engine: Engine, at: int) -> None:
    await Scheduler(engine.records, engine.shares, engine.settings).tick(at)


async def due(engine: Engine, message: str) -> int | None:
    found = await engine.messages.get(message)
    return to_ms(found.due_at) if found.state is State.SCHEDULED and found.due_at else None


async def test_a_retry_that_matures_in_the_night_waits_until_morning(engine: Engine) -> None:
    now, morning = now_ms(), now_ms() + 5 * HOUR
    accepted = await engine.shares.accept(job("100"))
    await end(engine, {"r": "retry", "at": str(now + 60_000), "cost": "1"})
    await wait_for(engine, now + 61_000)
    assert await hand_out(engine, "100", morning, now=now + 61_000) == []
    assert await due(engine, accepted.messages[0]) == morning


async def test_that_a_payment_failed_just_now_is_told_at_night_but_not_by_a_retry(engine: Engine) -> None:
    await engine.shares.accept(job("100", before=()))
    await end(engine, SENT)
    await engine.payments.settle(paid("100", id="p1", status="FAILED"))
    morning = now_ms() + 3 * HOUR
    assert await hand_out(engine, "100", morning, now_ms() + 11 * 60_000) == []
    assert await due_kinds(engine, "100", morning) == ["payment_failed"]


async def test_that_a_payment_failed_is_no_news_by_the_morning_and_no_dead_letter(engine: Engine) -> None:
    await engine.shares.accept(job("100", before=()))
    await end(engine, SENT)
    await engine.payments.settle(paid("100", id="p1", status="FAILED"))
    assert await hand_out(engine, "100", now_ms() + 8 * HOUR, now_ms() + HOUR) == []
    stats = await engine.ledger.stats()
    assert (stats.done["canceled"], stats.dead, stats.scheduled) == (1, 0, 0)


async def test_that_a_payment_failed_is_not_told_to_who_has_paid_since_nor_hours_later(
    engine: Engine,
) -> None:
    # It came after the receipt for a part, by a retry or a replay: who reads that may pay again.
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER, before=()))
    await end(engine, SENT)
    await engine.payments.settle(paid("100", id="p1", status="FAILED"))
    await end(engine, REFUSED)
    [letter] = await engine.messages.dead()
    scripts, (p, local) = engine.records.scripts, keys.parse_message_id(letter.id, engine.partitions)
    late = scripts.replay(p, now_ms() + 7 * HOUR, now_ms() + 99 * HOUR, "one", [local])
    again = await engine.messages.replay(letter.id, by="cli")
    await engine.payments.settle(paid("100", "1000", id="p2"))
    await end(engine, SENT)
    assert (await engine.messages.get(again)).outcome == Outcome.CANCELED
    await engine.records.client.hdel(f"{keys.prefix(p)}m:{local}", "re")
    assert await scripts.run(late) == [["closed", "no news any more"]]


async def test_a_channel_of_which_some_partitions_are_still_paused_is_not_taken_for_running(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A resume that Redis broke off left a part of all bills silent for good.
    healer = Healer(engine.channels, {ChannelName.SMS: Scripted()}, first_s=0)
    await engine.channels.pause("sms", reason="x", by="tuma")
    scripts = engine.records.scripts
    run_many = scripts.run_many

    async def half(calls: Sequence[Call[Any]]) -> list[Any]:
        monkeypatch.setattr(scripts, "run_many", run_many)
        await run_many(calls[: len(calls) // 2])
        raise StoreUnavailable("gone")

    await healer.look()
    monkeypatch.setattr(scripts, "run_many", half)
    with pytest.raises(StoreUnavailable):
        await healer.look()
    for _ in range(3):
        await healer.look()
    left = [await engine.records.client.hlen(f"{keys.prefix(p)}pause") for p in range(engine.partitions)]
    assert left == [0] * engine.partitions


async def test_that_money_went_back_is_told_in_the_morning(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER, before=()))
    await end(engine, SENT)
    await engine.payments.settle(paid("100", id="p1"))
    await end(engine, SENT)
    await engine.payments.settle(paid("100", id="p1", status="REVERSED"))
    assert await hand_out(engine, "100", now_ms() + HOUR) == []
    assert await due_kinds(engine, "100", now_ms() + HOUR) == ["correction"]


async def due_kinds(engine: Engine, number: str, at: int) -> list[str]:
    """What goes out when that time has come and it is day."""
    scripts, p = engine.records.scripts, engine.records.partition(number)
    await scripts.run(scripts.due(p, at, 100, {}))
    return await hand_out(engine, number, None, at)


async def test_what_only_a_rate_held_up_is_not_kept_from_who_waits_for_it(engine: Engine) -> None:
    now, morning = now_ms(), now_ms() + 5 * HOUR
    await engine.shares.accept(job("100"))
    await end(engine, {"r": "retry", "at": str(now + 1000), "cost": "0"})
    await wait_for(engine, now + 2000)
    assert await hand_out(engine, "100", morning, now=now + 2000) == ["instructions"]


async def test_a_rung_that_matures_in_the_night_waits_until_morning(engine: Engine) -> None:
    evening, morning = now_ms(), now_ms() + 8 * HOUR
    ways = {"channels": ("whatsapp", "sms"), "mode": "first", "confirm_within": timedelta(hours=3)}
    accepted = await engine.shares.accept(job("100", **ways))  # type: ignore[arg-type]
    await end(engine, {**SENT, "ok": "0"}, "whatsapp")
    await wait_for(engine, evening + 4 * HOUR)
    _, rung = (await engine.shares.get(accepted.id)).messages
    assert rung.channel == "sms"
    assert await hand_out(engine, "100", morning, now=evening + 4 * HOUR + 1000) == []
    assert await due(engine, rung.id) == morning
    await wait_for(engine, morning)
    assert await hand_out(engine, "100", None, now=morning) == ["instructions"]


async def test_another_try_of_what_did_not_arrive_waits_until_morning(engine: Engine) -> None:
    now, morning = now_ms(), now_ms() + 8 * HOUR
    await engine.shares.accept(job("100"))
    [held] = await end(engine, SENT)
    lost = Unavailable("30008", "no reason", retry_after_s=900)
    message = f"{int(held['p']):x}-{held['id']}"
    assert await engine.messages.delivery(StatusUpdate(message, "SM1", Delivery.UNDELIVERED, lost))
    await wait_for(engine, now + 1_000_000)
    assert await hand_out(engine, "100", morning, now=now + 1_000_000) == []


@pytest.mark.parametrize("minutes", [2, 90])
async def test_a_share_that_is_scheduled_into_the_night_goes_out_in_the_morning(
    engine: Engine, minutes: int
) -> None:
    now, morning = now_ms(), now_ms() + 8 * HOUR
    accepted = await engine.shares.accept(job("100", send_at=from_ms(now + minutes * 60_000)))
    at = now + minutes * 60_000 + 1000
    await wait_for(engine, at)
    assert await hand_out(engine, "100", morning, now=at) == []
    assert await due(engine, accepted.messages[0]) == morning


async def test_what_is_no_longer_valid_in_the_morning_is_not_sent_late(engine: Engine) -> None:
    plan = {"due_in": timedelta(hours=1), "before": (timedelta(minutes=50), timedelta(minutes=40))}
    accepted = await engine.shares.accept(job("100", **plan))  # type: ignore[arg-type]
    morning = now_ms() + 8 * HOUR
    await end(engine, SENT)
    await wait_for(engine, now_ms() + 11 * 60_000)
    assert await hand_out(engine, "100", morning, now=now_ms() + 11 * 60_000) == []
    await wait_for(engine, morning)
    assert await hand_out(engine, "100", None, now=morning) == ["reminder"]
    outcomes = [m.outcome for m in (await engine.shares.get(accepted.id)).messages]
    assert outcomes == [Outcome.SENT, Outcome.SUPERSEDED, None]


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


async def test_staff_who_pause_what_tuma_had_paused_end_it_themselves(engine: Engine) -> None:
    channel = Sick(healthy=True)
    healer = Healer(engine.channels, {ChannelName.SMS: channel}, first_s=0.0)
    await engine.channels.pause("sms", reason="20003", by="tuma")
    await engine.channels.pause("sms", reason="wrong texts", by="cli")
    await engine.channels.pause("sms", reason="20003", by="tuma")
    for _ in range(3):
        await healer.look()
    found = (await engine.channels.paused())["sms"]
    assert (found.by, found.reason) == ("cli", "wrong texts")
    await engine.channels.resume("sms", by="cli")
    assert await engine.channels.paused() == {}


async def test_a_probe_that_passes_ends_no_pause_that_staff_made_meanwhile(engine: Engine) -> None:
    await engine.channels.pause("sms", reason="20003", by="tuma")
    await engine.channels.pause("sms", reason="wrong texts", by="telegram:7")
    await engine.channels.resume("sms", by="tuma")
    assert "sms" in await engine.channels.paused()


async def _probed(channel: Sick, times: int) -> bool:
    return channel.probes >= times


async def _resumed(engine: Engine) -> bool:
    return "sms" not in await engine.channels.paused()
