"""How long urgent SMS and receipts wait behind a campaign: one real worker, the full product path, a sink at C speed.

`python -m benchmarks.lanes [BACKLOG [COUNT]]` queues so much bulk and lets a worker process drain it. Meanwhile urgent
messages are handed in one by one, then their bills are paid, so that receipts follow. A wait is from the call that
makes a message to the time at which its record says that it was handed out. `extra` is the median behind the campaign
less the median on an empty queue. Prints one JSON object, times in ms.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime

import msgspec
from redis import Redis

from benchmarks.drain import environment, fill, jobs, sent, settings
from benchmarks.places import running, sink, valkey
from bot.domain.bill import PaymentEvent
from bot.domain.message import Kind, Lane
from bot.domain.share import ShareJob
from bot.engine.engine import Engine

_FIRST = 5_000_000  # numbers of the urgent ones, apart from the campaign's
_PAUSE_S, _LOOK_S, _LONGEST_S = 0.02, 0.002, 30.0


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """Waits of one kind of message."""

    median: float
    p95: float
    most: float


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    """The whole measurement. `waiting`: bulk that was still there at its end; `bulk_rate`: sent a second meanwhile."""

    backlog: int
    waiting: int
    bulk_rate: float
    urgent_alone: Waits
    receipts_alone: Waits
    urgent: Waits
    receipts: Waits
    urgent_extra: float
    receipts_extra: float


def measure(backlog: int, count: int) -> Lanes:
    """Measure `count` urgent messages and as many receipts, alone and behind `backlog` bulk messages."""
    with ExitStack() as stack:
        base = stack.enter_context(sink())
        url, _ = stack.enter_context(valkey())
        redis = stack.enter_context(Redis.from_url(url))
        with _worker(url, base):
            alone = asyncio.run(_both(url, base, _FIRST, count))
        asyncio.run(fill(url, base, backlog))
        stack.enter_context(_worker(url, base))
        before = _until_it_sends(redis)
        began = time.monotonic()
        behind = asyncio.run(_both(url, base, _FIRST + count, count))
        bulk = sent(redis, 8) - before - 2 * count
        took = time.monotonic() - began
        waiting = sum(int(redis.xlen(f"tuma:{{{p}}}:q:sms:b")) for p in range(8))
    return Lanes(
        backlog=backlog,
        waiting=waiting,
        bulk_rate=round(bulk / took),
        urgent_alone=alone[0],
        receipts_alone=alone[1],
        urgent=behind[0],
        receipts=behind[1],
        urgent_extra=round(behind[0].median - alone[0].median, 1),
        receipts_extra=round(behind[1].median - alone[1].median, 1),
    )


def _worker(url: str, base: str) -> AbstractContextManager[object]:
    command = ("-m", "bot", "up", "--roles", "worker", "--channels", "sms")
    return running(*command, environment=environment(url, base))


def _until_it_sends(redis: Redis) -> int:
    before, deadline = sent(redis, 8), time.monotonic() + _LONGEST_S
    while (now := sent(redis, 8)) < before + 500:
        if time.monotonic() > deadline:
            raise TimeoutError("the worker did not start")
        time.sleep(0.05)
    return now


async def _both(url: str, base: str, first: int, count: int) -> tuple[Waits, Waits]:
    """Waits of urgent instructions, and of the receipts for them."""
    engine = await Engine.open(settings(url, base))
    try:
        made = list(_urgent(first, count))
        await _share(engine, next(_urgent(first + _FIRST, 1)))  # the first one wakes everything up
        instructions = [await _share(engine, job) for job in made]
        receipts = [await _pay(engine, job) for job in made]
        return _waits(instructions), _waits(receipts)
    finally:
        await engine.close()


def _urgent(first: int, count: int) -> Iterator[ShareJob]:
    return (msgspec.structs.replace(job, lane=Lane.URGENT) for job in jobs(count, first))


async def _share(engine: Engine, job: ShareJob) -> float:
    began = time.time()
    await engine.shares.accept(job)
    return await _handed_out(engine, job.id, Kind.INSTRUCTIONS) - began * 1000


async def _pay(engine: Engine, job: ShareJob) -> float:
    number = job.bill.number or ""
    event = PaymentEvent(
        event="received",
        ids=(f"{number}-paid",),
        number=number,
        status="SUCCESS",
        amount=job.bill.amount,
        currency=job.bill.currency,
        created_at=datetime.now(UTC),
    )
    began = time.time()
    await engine.payments.settle(event)
    return await _handed_out(engine, job.id, Kind.RECEIPT) - began * 1000


async def _handed_out(engine: Engine, share: str, kind: Kind) -> float:
    """When the share's message of this kind was handed out, in ms since 1970."""
    deadline = time.monotonic() + _LONGEST_S
    message = next(m for m in (await engine.shares.get(share)).messages if m.kind is kind)
    p, _, local = message.id.partition("-")
    while (at := await engine.records.client.hget(f"tuma:{{{int(p, 16)}}}:m:{local}", "hat")) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("a message was not handed out")
        await asyncio.sleep(_LOOK_S)
    await asyncio.sleep(_PAUSE_S)
    return float(at)


def _waits(found: list[float]) -> Waits:
    ordered = sorted(found)
    p95 = ordered[min(round(len(ordered) * 0.95), len(ordered) - 1)]
    return Waits(median=round(statistics.median(found), 1), p95=round(p95, 1), most=round(max(found), 1))


if __name__ == "__main__":
    how_many, count = ([int(value) for value in sys.argv[1:]] + [100_000, 200][len(sys.argv) - 1 :])[:2]
    print(msgspec.json.encode(measure(how_many, count)).decode())
