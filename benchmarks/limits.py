"""How well worker processes keep one rate together: real workers, the full product path, a sink at C speed.

Bulk SMS waits in plenty; the sink's own count says how many arrived. `python -m benchmarks.limits [SECONDS [RATE
[WORKERS]]]` prints one JSON object. `most_in_a_minute` is the highest count of any 60 s within the run, over what the
rate allows in 60 s; `used` what arrived in all over what it allowed. The measured time begins when all workers run.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import ExitStack
from urllib.request import urlopen

import msgspec
from redis import Redis

from benchmarks.drain import environment, fill
from benchmarks.places import running, sink, valkey

_LOOK_S = 0.05
_START_S = 6.0
_WINDOW_S = 60.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. Rates in segments a second; `calls` are scripts a second of all workers."""

    workers: int
    rate: float
    seconds: float
    arrived: int
    used: float
    most_in_a_minute: float | None
    calls: float


def keep(seconds: float, rate: float, workers: int) -> Kept:
    """Let so many workers send at `rate` together, and count for so long."""
    with ExitStack() as stack:
        base = stack.enter_context(sink())
        url, _ = stack.enter_context(valkey())
        asyncio.run(fill(url, base, round(rate * (seconds + _START_S + 10))))
        settings = {**environment(url, base), "SMS_RATE": f"{rate:g}"}
        command = ("-m", "bot", "up", "--roles", "worker", "--channels", "sms")
        for _ in range(workers):
            stack.enter_context(running(*command, environment=settings))
        redis = stack.enter_context(Redis.from_url(url))
        _until_all_work(redis, workers)
        before = _scripts(redis)
        samples = list(_samples(base, seconds))
        calls = _scripts(redis) - before
    took, arrived = samples[-1][0] - samples[0][0], samples[-1][1] - samples[0][1]
    return Kept(
        workers=workers,
        rate=rate,
        seconds=round(took, 2),
        arrived=arrived,
        used=round(arrived / (rate * took), 4),
        most_in_a_minute=_most(samples, rate),
        calls=round(calls / took, 1),
    )


def _until_all_work(redis: Redis, workers: int) -> None:
    """Wait until every worker has subscribed to its wake-ups, and a little for the first burst to be over."""
    deadline = time.monotonic() + 60
    while len([c for c in redis.client_list() if int(c.get("ssub", 0)) > 0]) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError("the workers did not start")
        time.sleep(0.1)
    time.sleep(_START_S)


def _samples(base: str, seconds: float) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    end = time.monotonic() + seconds
    while not found or found[-1][0] < end:
        found.append((time.monotonic(), _taken(base) - len(found)))
        time.sleep(_LOOK_S)
    return found


def _taken(base: str) -> int:
    """Requests the sink has answered; looking is one of them. Source: nginx stub_status."""
    with urlopen(f"{base}/taken") as answer:
        match = re.search(r"^ \d+ \d+ (\d+)", answer.read().decode(), re.MULTILINE)
    if match is None:
        raise ValueError("the sink's answer was not understood")
    return int(match[1])


def _most(samples: list[tuple[float, int]], rate: float) -> float | None:
    """The highest count of any 60 s; each window is as long as the samples allow, and at least that."""
    most, first = None, 0
    for at, count in samples:
        while first + 1 < len(samples) and at - samples[first + 1][0] >= _WINDOW_S:
            first += 1
        span = at - samples[first][0]
        if span >= _WINDOW_S:
            ratio = (count - samples[first][1]) / (rate * span)
            most = ratio if most is None else max(most, ratio)
    return None if most is None else round(most, 4)


def _scripts(redis: Redis) -> int:
    stats = redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


if __name__ == "__main__":
    how_long, rate, workers = (
        [float(value) for value in sys.argv[1:]] + [90.0, 100.0, 4.0][len(sys.argv) - 1 :]
    )[:3]
    print(msgspec.json.encode(keep(how_long, rate, int(workers))).decode())
