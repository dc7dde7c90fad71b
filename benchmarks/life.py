"""What the whole life of a bill costs, from which docs/capacity.md computes.

One share with reminders, its instruction by SMS, Twilio's `sent` and `delivered`, the payment, the receipt by SMS, and
`sent` and `delivered` again: two messages. Everything is real but Twilio, which is a sink. One process of each role,
Redis with fsync `always`; the append-only file is never rewritten, so that it shows all that was written.

`python -m benchmarks.life [BILLS]` prints one JSON object.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
from redis import Redis

from benchmarks import load
from benchmarks.drain import environment, reach, sent
from benchmarks.places import cpu_s, running, sink, valkey
from benchmarks.rows import row
from benchmarks.serving import CONNECTIONS, api, callbacks, payments, run, shares

MESSAGES = 2
_AMOUNT = "45000"
_LONGEST_DAYS = 400
SHORT_DAYS = 40
"""The least TUMA_KEEP_DAYS."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """For one bill: ms of CPU by process; bytes of memory while it waits, and when all is done; bytes written to disk.

    `byte_days` is what one finished bill keeps in memory, each record's bytes times the days it is kept: so many bytes
    are in use in the long run for each bill that is finished a day. `short_byte_days` is that with `TUMA_KEEP_DAYS` at
    its least: ids stay their 400 days and contacts their 800.
    """

    bills: int
    seconds: float
    api_ms: float
    worker_ms: float
    server_ms: float
    waiting_bytes: int
    kept_bytes: int
    byte_days: int
    short_byte_days: int
    written_bytes: int


def measure(bills: int) -> Life:
    """Let so many bills live. Raises RuntimeError when an answer was not what it should be."""
    with ExitStack() as stack:
        base = stack.enter_context(sink())
        url, server = stack.enter_context(valkey("always", "--auto-aof-rewrite-percentage", "0"))
        redis = stack.enter_context(Redis.from_url(url, decode_responses=True))
        port, api_pid = stack.enter_context(api(url, base))
        command = ("-m", "bot", "up", "--roles", "worker", "--channels", "sms")
        worker = stack.enter_context(running(*command, environment=environment(url, base)))
        # First one bill alone, so that scripts, connections and templates are there.
        _live(redis, port, [10_000_000])
        pids = (api_pid, worker.pid, server)
        empty, written, begun = _memory(redis), _written(redis), time.perf_counter()
        before = [cpu_s(pid) for pid in pids]
        waiting = _live(redis, port, range(bills))
        used = [(cpu_s(pid) - then) * 1000 / bills for pid, then in zip(pids, before, strict=True)]
        return Life(
            bills=bills,
            seconds=round(time.perf_counter() - begun, 1),
            api_ms=round(used[0], 3),
            worker_ms=round(used[1], 3),
            server_ms=round(used[2], 3),
            waiting_bytes=round((waiting - empty) / bills),
            kept_bytes=round((_memory(redis) - empty) / bills),
            byte_days=round(_byte_days(redis, _LONGEST_DAYS) / (bills + 1)),
            short_byte_days=round(_byte_days(redis, SHORT_DAYS) / (bills + 1)),
            written_bytes=round((_written(redis) - written) / bills),
        )


def _live(redis: Redis, port: int, numbers: Sequence[int]) -> int:
    """From share to receipt; the memory in use while all wait for their payment."""
    done, told = sent(redis, 8), set(_reports(redis))
    _post(port, shares(len(numbers), numbers[0]), 202)
    reach(redis, done + len(numbers))
    _post(port, [one for one in _reports(redis) if one not in told], 204)
    waiting, told = _memory(redis), set(_reports(redis))
    _post(port, payments([_number(n) for n in numbers], _AMOUNT), 200)
    reach(redis, done + MESSAGES * len(numbers))
    _post(port, [one for one in _reports(redis) if one not in told], 204)
    return waiting


def _number(n: int) -> str:
    bill: Any = row(n)["bill"]
    return str(bill["number"])


def _reports(redis: Redis) -> list[bytes]:
    return [*callbacks(redis, "sent"), *callbacks(redis, "delivered")]


def _post(port: int, requests: list[bytes], expected: int) -> None:
    found = run(load.closed(port, requests, CONNECTIONS)).statuses
    if set(found) != {expected}:
        raise RuntimeError(f"not every answer was {expected}: {dict(found)}")


def _memory(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory_dataset"])


def _byte_days(redis: Redis, kept_days: int) -> float:
    """What has no end is an index over what has: counted as kept as long as payments, or ids, are."""
    names = list(redis.scan_iter("tuma:*", count=1000))
    total = 0.0
    for start in range(0, len(names), 1000):
        with redis.pipeline(transaction=False) as pipe:
            for name in names[start : start + 1000]:
                pipe.memory_usage(name, samples=0)
                pipe.ttl(name)
            answers = pipe.execute()
        for name, size, ttl in zip(names[start : start + 1000], answers[::2], answers[1::2], strict=True):
            days = ttl / 86_400 if ttl > 0 else _LONGEST_DAYS
            apart = ":ids:" in name or ":k:" in name
            total += size * (days if apart else min(days, kept_days))
    return total


def _written(redis: Redis) -> int:
    return int(redis.info("persistence")["aof_current_size"])


if __name__ == "__main__":
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(msgspec.json.encode(measure(how_many)).decode())
