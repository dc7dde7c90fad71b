"""How fast workers drain SMS that wait, on the full product path, against the bare loop of `benchmarks.bare`.

Fence, lease, consent, template, StatusCallback and record are all on; Redis runs with fsync `always`.
`python -m benchmarks.drain [MESSAGES [ROUNDS]]` prints medians: rate, CPU per message, and both as parts of the limit.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from decimal import Decimal

import msgspec
from redis import Redis

from benchmarks.places import cpu_s, resident_mb, running, sink, valkey
from bot.domain.share import ShareJob, decode
from bot.engine.engine import Engine
from bot.settings import Settings, load

CONCURRENCY = 50
_BATCH = 500


class Drained(msgspec.Struct, frozen=True):
    """One measurement: rate in messages/s, CPU in ms per message of the senders and of the server."""

    rate: float
    cpu_ms: float
    server_cpu_ms: float = 0.0
    memory_mb: float = 0.0


def environment(redis_url: str, base: str) -> dict[str, str]:
    """Settings of a merchant with Twilio at `base`."""
    return {
        "REDIS_URL": redis_url,
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "secret",
        "TWILIO_SMS_FROM": "SHULE",
        "TWILIO_API_BASE": base,
        "MERCHANT_NAME": "Shule ya Amani",
        "PUBLIC_URL": "https://pay.example",
    }


def settings(redis_url: str, base: str) -> Settings:
    """The same for this process."""
    return load(environment(redis_url, base), dotenv=None)


def jobs(count: int, first: int = 0) -> Iterator[ShareJob]:
    """Valid jobs, each with its own number and phone."""
    defaults = settings("redis://127.0.0.1", "http://127.0.0.1")
    for n in range(first, first + count):
        yield decode(msgspec.json.encode(_body(n)), settings=defaults)


def _body(n: int) -> dict[str, object]:
    return {
        "id": f"bench-{n}",
        "bill": {"number": f"{55_042_914_870_000 + n}", "amount": str(Decimal(45000 + n % 1000))},
        "customer": {"name": f"Asha Juma {n}", "phone": f"+25575{n % 10_000_000:07}", "locale": "sw"},
        "route": {"channels": ["sms"]},
        "lane": "bulk",
    }


async def fill(redis_url: str, base: str, count: int) -> None:
    """Queue `count` messages."""
    engine = await Engine.open(settings(redis_url, base))
    made = list(jobs(count))
    for start in range(0, count, _BATCH):
        await engine.shares.accept_many(made[start : start + _BATCH])
    await engine.close()


def sent(redis: Redis, partitions: int) -> int:
    """How many messages are done and sent."""
    with redis.pipeline(transaction=False) as pipe:
        for p in range(partitions):
            pipe.hget(f"tuma:{{{p}}}:n", "o:sent")
        return sum(int(value or 0) for value in pipe.execute())


def bare(base: str, messages: int) -> Drained:
    """The limit."""
    command = [sys.executable, "-m", "benchmarks.bare", base, str(messages), str(CONCURRENCY)]
    answer = msgspec.json.decode(subprocess.run(command, check=True, capture_output=True).stdout)
    return Drained(messages / answer["seconds"], answer["cpu_s"] * 1000 / messages)


def drain(base: str, messages: int, workers: int = 1, fsync: str = "always") -> Drained:
    """Queue messages, start workers, and time them from a tenth to the last of them."""
    with ExitStack() as stack:
        url, server = stack.enter_context(valkey(fsync))
        asyncio.run(fill(url, base, messages))
        redis = stack.enter_context(Redis.from_url(url))
        started = [
            stack.enter_context(
                running(
                    "-m",
                    "bot",
                    "up",
                    "--roles",
                    "worker",
                    "--channels",
                    "sms",
                    environment=environment(url, base),
                )
            )
            for _ in range(workers)
        ]
        pids = [process.pid for process in started]
        warm = reach(redis, messages // 10)
        before = time.perf_counter(), [cpu_s(pid) for pid in [*pids, server]]
        end = reach(redis, messages)
        seconds = time.perf_counter() - before[0]
        used = [now - then for now, then in zip([cpu_s(p) for p in [*pids, server]], before[1], strict=True)]
        count = end - warm
        return Drained(
            count / seconds,
            sum(used[:-1]) * 1000 / count,
            used[-1] * 1000 / count,
            max(resident_mb(pid) for pid in pids),
        )


def reach(redis: Redis, count: int) -> int:
    deadline = time.monotonic() + 300
    while (now := sent(redis, 8)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now} of {count} messages were sent")
        time.sleep(0.01)
    return now


def paired(base: str, messages: int, rounds: int, workers: int = 1) -> list[tuple[Drained, Drained]]:
    """The limit and the workers in turn: what else the machine does meanwhile meets both."""
    return [(bare(base, messages), drain(base, messages, workers)) for _ in range(rounds)]


def _show(name: str, pairs: list[tuple[Drained, Drained]]) -> None:
    def middle(values: Iterable[float]) -> float:
        return statistics.median(values)

    limit, ours = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    print(
        f"{name:12} {middle(d.rate for d in ours):7.0f}/s of {middle(d.rate for d in limit):7.0f} "
        f"{middle(d.rate / b.rate for b, d in pairs):5.2f}; {middle(d.cpu_ms for d in ours):6.3f} ms of "
        f"{middle(d.cpu_ms for d in limit):6.3f} {middle(d.cpu_ms / b.cpu_ms for b, d in pairs):5.2f}; "
        f"server {middle(d.server_cpu_ms for d in ours):6.3f} ms; {max(d.memory_mb for d in ours):.0f} MB"
    )


if __name__ == "__main__":
    how_many, rounds = ([int(value) for value in sys.argv[1:]] + [10_000, 3][len(sys.argv) - 1 :])[:2]
    with sink() as at:
        _show("one worker", paired(at, how_many, rounds))
        _show("two workers", paired(at, how_many, rounds, workers=2))
