"""Trying again: no longer than a message is valid, not sooner than a provider says, and one voice after an outage."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from bot.domain.calendar import to_ms
from bot.domain.message import Kind, Outcome, State
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms
from channels.base import Accepted, Outgoing
from channels.errors import ChannelError, Throttled, Unavailable
from tests.engine.conftest import job
from tests.engine.endings import DOUBT, HOLD, SENT, end, take
from tests.engine.test_worker import Scripted, settled, until, working

DAY_MS = 86_400_000


async def tick(engine: Engine, at: int) -> None:
    await Scheduler(engine.records, engine.shares, engine.settings).tick(at)


async def put(engine: Engine, message: str, **fields: object) -> None:
    p, _, local = message.partition("-")
    await engine.records.client.hset(f"tuma:{{{int(p, 16)}}}:m:{local}", mapping=fields)


def throttled(at: int) -> dict[str, str]:
    return {"r": "retry", "at": str(at), "cost": "0", "why": "throttled until its validity ended"}


@pytest.mark.parametrize("channels", [("sms",), ("sms", "email")])
async def test_a_provider_that_never_stops_throttling_ends_a_message_at_its_validity(
    engine: Engine, channels: tuple[str, ...]
) -> None:
    ways: dict[str, Any] = {"channels": channels, "mode": "first", "email": "a@example.com"}
    long = timedelta(days=400)  # so that the rung is not given up before
    accepted = await engine.shares.accept(job("100", confirm_within=long, before=(), **ways))
    message, valid = accepted.messages[0], now_ms() + 600_000
    await put(engine, message, val=valid)
    for _ in range(20):
        await end(engine, throttled(now_ms()))
        await tick(engine, now_ms() + 1)
    # Told to come back in an hour, after its end: it ends then, not now.
    await end(engine, throttled(now_ms() + 3_600_000))
    found = await engine.messages.get(message)
    assert (found.state, found.due_at and to_ms(found.due_at)) == (State.SCHEDULED, valid)
    assert (found.attempts, await tries(engine, message)) == (21, 0)
    await tick(engine, valid)
    assert await take(engine, now=valid) == []
    found = await engine.messages.get(message)
    assert (found.state, found.outcome) == (State.DONE, Outcome.EXPIRED)
    others = [m.channel for m in (await engine.shares.get(accepted.id)).messages[1:]]
    dead = [letter.id for letter in await engine.messages.dead()]
    assert (others, dead) == ((["email"], []) if len(channels) > 1 else ([], [message]))


async def tries(engine: Engine, message: str) -> int:
    p, _, local = message.partition("-")
    return int(await engine.records.client.hget(f"tuma:{{{int(p, 16)}}}:m:{local}", "t") or 0)


async def test_a_wait_that_would_outlast_a_message_leaves_one_last_try(engine: Engine) -> None:
    channel = Scripted(errors=[Unavailable("smtp 451", "later")])
    accepted = await engine.shares.accept(job("100"))
    valid = now_ms() + 7_000
    await put(engine, accepted.messages[0], t=12, val=valid)
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert len(channel.sent) == 1
    assert now_ms() < valid + 1_000


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (Unavailable("20503", "away", retry_after_s=600), 601),
        (Throttled("429", "slow", retry_after_s=600), 721),
    ],
)
async def test_a_provider_says_when_to_come_back(engine: Engine, error: ChannelError, longest: float) -> None:
    channel = Scripted(errors=[error])
    accepted = await engine.shares.accept(job("100"))
    began = now_ms()
    async with working(engine, channel):
        await until(lambda: _scheduled(engine, accepted.messages[0]))
    due = (await engine.messages.get(accepted.messages[0])).due_at
    assert due is not None
    assert 600_000 <= to_ms(due) - began <= longest * 1000 + 15_000


async def _scheduled(engine: Engine, message: str) -> bool:
    return (await engine.messages.get(message)).state is State.SCHEDULED


async def test_a_channel_that_is_throttled_as_a_whole_waits_as_a_whole(engine: Engine) -> None:
    class Timed(Scripted):
        async def send(self, outgoing: Outgoing) -> Accepted:
            times.append(time.monotonic())
            return await super().send(outgoing)

    times: list[float] = []
    channel = Timed(concurrency=1, errors=[Throttled("429", "slow", retry_after_s=1.0, whole_channel=True)])
    await engine.shares.accept_many([job() for _ in range(4)])
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert len(channel.sent) == 4
    assert times[1] - times[0] >= 1.0


async def test_after_three_days_one_message_a_channel_speaks_and_nothing_else(engine: Engine) -> None:
    plan = tuple(timedelta(hours=h) for h in (60, 48, 24, 12))
    ways: dict[str, Any] = {
        "channels": ("sms", "email", "telegram"),
        "email": "a@example.com",
        "telegram": "77",
    }
    accepted = await engine.shares.accept(job("100", due_in=timedelta(hours=70), before=plan, **ways))
    await end(engine, SENT, "email")
    await end(engine, DOUBT, "telegram")  # nobody knows, and nobody was there to decide
    await end(engine, {"r": "retry", "at": str(now_ms() + 1000), "cost": "1"})
    back = now_ms() + 3 * DAY_MS
    for p in range(engine.partitions):
        while (await engine.records.scripts.run(engine.records.scripts.due(p, back, 100, HOLD)))[0]:
            pass
    spoken = [held for name in ("sms", "email", "telegram") for held in await take(engine, name, now=back)]
    found = {m.id: m for m in (await engine.shares.get(accepted.id)).messages}
    alive = [m for m in found.values() if m.state is not State.DONE]
    assert len(spoken) == 3
    assert sorted(m.channel for m in alive) == ["email", "sms", "telegram"]
    assert {m.kind for m in alive} == {Kind.REMINDER}
    assert sorted(str(m.outcome) for m in found.values() if m not in alive) == [
        *["sent", "superseded", "superseded"]
    ]
    await tick(engine, back + 1000)
    assert [await take(engine, name, now=back + 1000) for name in ("sms", "email", "telegram")] == [
        [],
        [],
        [],
    ]
