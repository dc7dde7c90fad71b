"""Forged webhooks change nothing at all. `pytest tests/web/test_forgery.py --forgeries 100000` sends that many."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from bot.engine.engine import Engine
from tests.web.conftest import Serve, Site, shared
from tests.web.forgeries import authentic, forgeries, signed
from tests.web.test_clickpesa import SECRET, post, received

SENDERS = 8


@pytest.fixture
def how_many(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--forgeries"))


async def content(engine: Engine) -> dict[str, str]:
    """Every record in Redis, as a digest."""
    found = {}
    async for key in engine.redis.scan_iter(count=1000):
        kind = await engine.redis.type(key)
        value: Any = await _READ[str(kind)](engine.redis, key)
        found[str(key)] = hashlib.sha256(repr(value).encode()).hexdigest()
    return found


_READ: dict[str, Any] = {
    "string": lambda redis, key: redis.get(key),
    "hash": lambda redis, key: redis.hgetall(key),
    "zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
    "list": lambda redis, key: redis.lrange(key, 0, -1),
    "set": lambda redis, key: redis.smembers(key),
    "stream": lambda redis, key: redis.xrange(key),
}


async def send(site: Site, bodies: Iterator[bytes], count: int) -> Counter[int]:
    """Send so many of them from several senders at once; how they were answered."""
    answers: Counter[int] = Counter()
    left = itertools.islice(bodies, count)

    async def sender() -> None:
        for body in left:
            async with site.stranger.post("/webhooks/clickpesa", data=body) as response:
                answers[response.status] += 1

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return answers


async def real_events(site: Site) -> list[dict[str, Any]]:
    """Real webhooks: of bills that are open, of one that is paid by it, and of a number that nobody knows."""
    numbers = [(await shared(site))["number"] for _ in range(12)]
    events = [signed(received(number), SECRET) for number in (*numbers, "424242")]
    assert (await post(site, events[0]))[1]["outcome"] == "settled"
    return events


async def test_forged_webhooks_change_nothing(serve: Serve, how_many: int) -> None:
    site = await serve(clickpesa_checksum_key=SECRET)
    events = await real_events(site)
    before = await content(site.engine)
    answers = await send(site, forgeries(events, SECRET, seed=1), how_many)
    assert await content(site.engine) == before
    assert answers.total() == how_many
    assert set(answers) == {400, 401}
    # And the real ones among them would have been believed.
    outcomes = Counter([(await post(site, event))[1]["outcome"] for event in events])
    assert outcomes == {"repeated": 1, "settled": 11, "unmatched": 1}


async def test_without_a_key_forged_webhooks_settle_nothing_and_hold_a_bill_once_a_day(
    site: Site, how_many: int
) -> None:
    numbers = [(await shared(site))["number"] for _ in range(12)]
    events = [signed(received(number), SECRET) for number in (*numbers, "424242")]
    bills = [await site.engine.bills.get(number) for number in numbers]
    before = await content(site.engine)
    await send(site, forgeries(events, SECRET, seed=2), min(how_many, 10_000))
    assert [await site.engine.bills.get(number) for number in numbers] == bills
    after = await content(site.engine)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    prefixes = {f"{{{p}}}" for p in range(site.engine.partitions)}
    assert {key.split("tuma:", 1)[1].split(":", 1)[0] for key in changed} <= prefixes
    assert {key.split(":")[2] for key in changed} <= {"hints", "a"}
    assert set(await site.engine.payments.hints_due(1000)) == set(numbers)


def test_the_forger_knows_what_is_no_forgery() -> None:
    event = signed(received("1234"), SECRET)
    assert authentic(json.dumps(event, indent=2).encode(), SECRET)
    assert not authentic(json.dumps({**event, "event": "x"}).encode(), SECRET)
