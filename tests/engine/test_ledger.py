"""`tuma doctor --ledger` names whatever does not add up, and nothing else, also while everything is at work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bot.engine import inbox
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from tests.engine.conftest import job, paid
from tests.engine.endings import DOUBT, REFUSED, give, take
from tests.engine.test_worker import Scripted, settled, until, working

Spoil = Callable[[Any, str, dict[str, str]], Awaitable[object]]


async def _lives(engine: Engine) -> tuple[str, dict[str, str]]:
    """One message in each state, a settled bill and an open one, on one partition: its prefix, and ids by state."""
    numbers = [f"7{n:03}" for n in range(100)]
    p = engine.records.partition(numbers[0])
    numbers = [n for n in numbers if engine.records.partition(n) == p][:6]
    ids: dict[str, str] = {}
    retry = {"r": "retry", "at": str(now_ms() + 3_600_000), "cost": "1"}
    for state, number, result in zip(
        ("scheduled", "in_doubt", "dead", "handed_out", "queued"),
        numbers,
        (retry, {**DOUBT, "at": str(now_ms() + 3_600_000)}, REFUSED, None, None),
        strict=False,
    ):
        accepted = await engine.shares.accept(job(number))
        ids[state] = accepted.messages[0].partition("-")[2]
        held = await take(engine) if state != "queued" else []
        if result is not None:
            await give(engine, held, result)
    await engine.shares.accept(job(numbers[5], channels=("email",), email="asha@example.com"))
    await engine.payments.settle(paid(numbers[5]))
    ids["open"], ids["settled"] = numbers[4], numbers[5]
    return f"tuma:{{{p}}}:", ids


def counter(name: str) -> Spoil:
    return lambda client, prefix, ids: client.hincrby(f"{prefix}n", name, 1)


def field(state: str, **fields: str) -> Spoil:
    return lambda client, prefix, ids: client.hset(f"{prefix}m:{ids[state]}", mapping=fields)


async def _entry(client: Any, prefix: str, ids: dict[str, str], state: str) -> tuple[str, str]:
    return f"{prefix}q:sms:u", await client.hget(f"{prefix}m:{ids[state]}", "e")


async def no_entry(client: Any, prefix: str, ids: dict[str, str]) -> None:
    await client.xdel(*await _entry(client, prefix, ids, "queued"))


async def not_held(client: Any, prefix: str, ids: dict[str, str]) -> None:
    stream, entry = await _entry(client, prefix, ids, "handed_out")
    await client.xack(stream, "w", entry)


SPOILT: dict[str, tuple[Spoil, str]] = {
    **{
        f"counter {name}": (counter(name), said)
        for name, said in {
            "created": "created, but",
            "scheduled": "scheduled: counters say",
            "queued": "queued: counters say",
            "handed_out": "handed_out: counters say",
            "in_doubt": "in_doubt: counters say",
            "done": "have an outcome",
            "o:canceled": "have an outcome",
            "open": "open: counters say",
        }.items()
    },
    "a record's state": (field("queued", st="done"), "done without an outcome"),
    "a record's state, unknown": (field("queued", st="lost"), "unknown state lost"),
    "a record's stream entry": (field("queued", e="1-1"), "queued, but in no stream"),
    "a record that is gone": (
        lambda client, prefix, ids: client.delete(f"{prefix}m:{ids['queued']}"),
        "a stream entry that no message waits in",
    ),
    "a share that is gone": (
        lambda client, prefix, ids: client.delete(f"{prefix}s:{ids['queued'].rpartition('.')[0]}"),
        "its share is gone",
    ),
    "a stream entry that is gone": (no_entry, "queued, but in no stream"),
    "a stream entry too many": (
        lambda client, prefix, ids: client.xadd(f"{prefix}q:sms:b", {"m": "nobody.1"}),
        "a stream entry that no message waits in",
    ),
    "an entry nobody holds": (not_held, "handed out, but nobody holds it"),
    "a retry's timer": (
        lambda client, prefix, ids: client.zrem(f"{prefix}timers", f"m:{ids['scheduled']}"),
        "scheduled, but has no timer",
    ),
    "a doubt's timer": (
        lambda client, prefix, ids: client.zrem(f"{prefix}timers", f"d:{ids['in_doubt']}"),
        "in doubt, but has no timer",
    ),
    "a dead letter's share": (
        lambda client, prefix, ids: client.hdel(f"{prefix}s:{ids['dead'].rpartition('.')[0]}", "d:1"),
        "a dead letter that its share does not know",
    ),
    "a payment for staff": (
        lambda client, prefix, ids: client.zadd(f"{prefix}um", {"pay_gone": 1}),
        "a payment for staff that is gone",
    ),
    "a bill's money": (
        lambda client, prefix, ids: client.hincrby(f"{prefix}a:{ids['settled']}", "credit", 5),
        "its terms and credit have",
    ),
    "a bill's state": (
        lambda client, prefix, ids: client.hset(f"{prefix}a:{ids['settled']}", "st", "open"),
        "open, but 0 is owed",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
async def test_whatever_does_not_add_up_is_named(engine: Engine, what: str) -> None:
    spoil, said = SPOILT[what]
    prefix, ids = await _lives(engine)
    assert (await engine.ledger.check()).differences == []
    await spoil(engine.records.client, prefix, ids)
    report = await engine.ledger.check()
    assert not report.ok
    assert any(said in text for text in report.differences), report.differences


async def test_nothing_is_named_while_everything_is_at_work(engine: Engine) -> None:
    channel = Scripted()

    async def produce(name: int) -> None:
        for n in range(40):
            number = f"{name}{n:03}"
            await engine.shares.accept(job(number))
            await engine.payments.settle(paid(number))

    async with working(engine, channel):
        producing = asyncio.gather(*(produce(name) for name in range(1, 5)))
        checks = 0
        while not producing.done():
            assert (await engine.ledger.check()).differences == []
            checks += 1
        await producing
        await until(lambda: settled(engine))
    assert checks > 1
    report = await engine.ledger.check()
    assert (report.differences, report.moving) == ([], [])


async def test_what_nobody_took_from_the_inbox_stands_beside(engine: Engine) -> None:
    await inbox.add(engine.records, "{}")
    assert (await engine.ledger.check()).stats.inbox == 1


async def test_a_long_list_is_cut(engine: Engine) -> None:
    for n in range(40):
        await engine.records.client.xadd("tuma:{0}:q:sms:b", {"m": f"nobody.{n}"})
    differences = (await engine.ledger.check()).differences
    assert (len(differences), differences[-1]) == (21, "partition 0: and 20 more")
