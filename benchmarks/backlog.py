"""What a backlog costs: the same sends, payments and timer ticks with a thousand bills waiting and with a million.

Each waiting bill is a contact, a share, one SMS in its stream, its next reminder and every index. Per operation the CPU
of tuma's process and that of the server are measured apart; the ratio of the two backlogs is the figure.

`python -m benchmarks.backlog [BILLS]` prints one JSON object. `fill URL FIRST COUNT` is its own helper.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import msgspec
from redis import Redis

from benchmarks import load
from benchmarks.drain import environment, reach, sent, settings
from benchmarks.places import cpu_s, running, sink, valkey
from benchmarks.rows import row
from benchmarks.serving import CONNECTIONS, Served, api, measured, payments, run
from bot.domain.share import from_fields
from bot.engine.engine import Engine

SMALL = 1000
_OPERATIONS, _TICKS_S, _BATCH, _FILLERS = 3000, 15.0, 500, 2
_PACE = 500.0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in ms: of one operation, or of a second of a scheduler with nothing due."""

    client: float
    server: float


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """At one size of backlog. `bytes_each`: memory of the server for each waiting bill."""

    bills: int
    fill_rate: float
    bytes_each: float
    send: Cost
    payment: Cost
    tick: Cost
    served: Served


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Both sizes; the ratios are the large one's cost over the small one's."""

    small: Waiting
    large: Waiting
    ratios: dict[str, Cost]


async def _fill(url: str, first: int, count: int) -> None:
    made = settings(url, "http://127.0.0.1:9")
    engine = await Engine.open(made)
    for start in range(first, first + count, _BATCH):
        rows = range(start, min(start + _BATCH, first + count))
        jobs = [from_fields(dict(row(n)), settings=made) for n in rows]
        await engine.shares.accept_many(jobs)
    await engine.close()


def fill(url: str, count: int) -> float:
    """Queue bills in two processes; bills a second."""
    begun, share = time.perf_counter(), -(-count // _FILLERS)
    command = [sys.executable, "-m", "benchmarks.backlog", "fill", url]
    parts = [(first, min(share, count - first)) for first in range(0, count, share)]
    started = [subprocess.Popen([*command, *map(str, part)]) for part in parts]
    if any([process.wait() for process in started]):
        raise RuntimeError("the backlog could not be made")
    return count / (time.perf_counter() - begun)


def measure(bills: int, base: str) -> Waiting:
    """Everything at one size."""
    options = ("--auto-aof-rewrite-percentage", "0", "--hash-max-listpack-value", "512")
    with valkey("always", *options) as (url, server), Redis.from_url(url) as redis:
        _settle(redis)
        empty = _memory(redis)
        rate = fill(url, bills + _OPERATIONS * 3)
        _settle(redis)
        bytes_each = (_memory(redis) - empty) / (bills + _OPERATIONS * 3)
        tick = _tick(url, base, server)
        send = _send(url, base, server, redis)
        payment, served = _payments(url, base, server)
        return Waiting(
            bills=bills,
            fill_rate=round(rate),
            bytes_each=round(bytes_each),
            send=send,
            payment=payment,
            tick=tick,
            served=served,
        )


def _memory(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory_dataset"])


def _settle(redis: Redis) -> None:
    """Scripts are loaded and buffers are free."""
    time.sleep(1)
    redis.memory_purge()


def _cost(before: tuple[float, float], after: tuple[float, float], count: float) -> Cost:
    client, server = ((now - then) * 1000 / count for now, then in zip(after, before, strict=True))
    return Cost(client=round(client, 4), server=round(server, 4))


def _tick(url: str, base: str, server: int) -> Cost:
    with running("-m", "bot", "up", "--roles", "scheduler", environment=environment(url, base)) as process:
        time.sleep(5)
        before, begun = (cpu_s(process.pid), cpu_s(server)), time.perf_counter()
        time.sleep(_TICKS_S)
        return _cost(before, (cpu_s(process.pid), cpu_s(server)), time.perf_counter() - begun)


def _payments(url: str, base: str, server: int) -> tuple[Cost, Served]:
    numbers = [f"{77_042_914_870_000 + n}" for n in range(_OPERATIONS * 3)]
    with api(url, base) as (port, pid):
        run(load.closed(port, payments(numbers[:200]), CONNECTIONS))
        before = cpu_s(pid), cpu_s(server)
        run(load.closed(port, payments(numbers[200:_OPERATIONS]), CONNECTIONS))
        cost = _cost(before, (cpu_s(pid), cpu_s(server)), _OPERATIONS - 200)
        served = measured("payment webhook", port, pid, payments(numbers[_OPERATIONS:]), 200, _PACE)
        return cost, served


def _send(url: str, base: str, server: int, redis: Redis) -> Cost:
    done = sent(redis, 8)
    worker = ("-m", "bot", "up", "--roles", "worker", "--channels", "sms")
    with running(*worker, environment=environment(url, base)) as process:
        warm = reach(redis, done + 300)
        before = cpu_s(process.pid), cpu_s(server)
        now = reach(redis, warm + SMALL - 400)
        return _cost(before, (cpu_s(process.pid), cpu_s(server)), now - warm)


def compare(bills: int, base: str) -> Backlog:
    """A thousand, then so many."""
    small, large = measure(SMALL, base), measure(bills, base)
    ratios = {
        name: Cost(
            client=round(getattr(large, name).client / max(getattr(small, name).client, 1e-3), 2),
            server=round(getattr(large, name).server / max(getattr(small, name).server, 1e-3), 2),
        )
        for name in ("send", "payment", "tick")
    }
    return Backlog(small=small, large=large, ratios=ratios)


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        asyncio.run(_fill(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        with sink() as at:
            found = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, at)
        print(msgspec.json.encode(found).decode())
