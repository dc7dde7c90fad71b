"""What a backlog costs: the same sends, payments and timer ticks with a thousand bills waiting and with a million.

Each waiting bill is a contact, a share, one SMS in its stream, its next reminder and every index. Per operation the CPU
of tuma's process and that of the server are measured apart; the ratio of the two backlogs is the figure. Then all
reminders of the larger one fall due within one minute.

`python -m benchmarks.backlog [BILLS]` prints one JSON object. `fill URL FIRST COUNT` and `remind URL` are its helpers.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import accumulate

import msgspec
from redis import Redis

from benchmarks import load
from benchmarks.drain import environment, reach, sent, settings
from benchmarks.places import cpu_s, resident_mb, running, sink, valkey
from benchmarks.rows import row
from benchmarks.serving import CONNECTIONS, Served, api, measured, payments, run
from bot.domain.calendar import EAST_AFRICA, to_ms
from bot.domain.share import from_fields
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms, put_clock_forward

SMALL = 1000
PARTITIONS = 8
_TICKS_S, _BATCH, _FILLERS = 5.0, 500, 2
# Of each operation in a round, and how many of them come before the measurement. More would leave the smaller backlog.
_OPERATIONS, _WARM, _ROUNDS = 400, 100, 3
# What they may use up, so that so many still wait at the end.
_SPENT = 2 * _OPERATIONS * _ROUNDS
_PACE, _SERVED = 500.0, 8000
# Nine in the morning on the first of the month after next: records are kept for longer than the clock is put forward.
_TODAY = datetime.now(EAST_AFRICA)
_MONTH = _TODAY.month + 1
_DUE = datetime(_TODAY.year + _MONTH // 12, _MONTH % 12 + 1, 1, 9, tzinfo=EAST_AFRICA)
_FIRST_REMINDER_MS = to_ms(_DUE - timedelta(days=3))
_BEFORE_S, _LONGEST_S = 10, 90.0
_DRAINED = 5000


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in ms: of one operation, or of a second of a scheduler with nothing due."""

    client: float
    server: float


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """At one size of backlog. `bytes_each`: all memory of the server for each waiting bill; `sends`: a second."""

    bills: int
    fill_rate: float
    bytes_each: float
    send: Cost
    sends: float
    payment: Cost
    tick: Cost


class Rewrite(msgspec.Struct, frozen=True, kw_only=True):
    """Payments at `at` a second while the append-only file is written anew: how long that and its fork took."""

    at: float
    p50_ms: float
    p99_ms: float
    seconds: float
    fork_ms: float


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """Reminders that fall due within a minute.

    `late_s`: from the last due time until the last one was queued; `sends`: a second with all of them waiting; and the
    memory of the scheduler before the first was due and at most.
    """

    reminders: int
    early: int
    lost: int
    late_s: float
    sends: float
    memory_mb: float
    most_mb: float


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Both sizes; the ratios are the large one's cost over the small one's. The rest is of the large one."""

    small: Waiting
    large: Waiting
    ratios: dict[str, Cost]
    served: Served
    rewrite: Rewrite
    minute: Minute


def _row(n: int) -> dict[str, object]:
    """A row whose first reminder falls somewhere in a minute that is the same for all."""
    made = row(n)
    due_at = (_DUE + timedelta(seconds=n % 60)).isoformat()
    return {**made, "bill": {**msgspec.convert(made["bill"], dict[str, object]), "due_at": due_at}}


async def _fill(url: str, first: int, count: int) -> None:
    made = settings(url, "http://127.0.0.1:9")
    engine = await Engine.open(made)
    for start in range(first, first + count, _BATCH):
        rows = range(start, min(start + _BATCH, first + count))
        jobs = [from_fields(_row(n), settings=made) for n in rows]
        await engine.shares.accept_many(jobs)
    await engine.close()


async def _remind(url: str) -> None:
    """A scheduler in whose time the minute begins shortly; prints its clock's lead in ms, and ends by SIGTERM."""
    made = settings(url, "http://127.0.0.1:9")
    engine = await Engine.open(made)
    lead = _FIRST_REMINDER_MS - _BEFORE_S * 1000 - now_ms()
    put_clock_forward(lead)
    print(lead, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Scheduler(engine.records, engine.shares, made).run(stop)
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


class _Place:
    """One server with a backlog, and how it is used."""

    def __init__(self, url: str, server: int, redis: Redis, base: str) -> None:
        self.url, self.server, self.redis, self.base = url, server, redis, base
        self._paid = 0

    def numbers(self, count: int) -> list[str]:
        """Control numbers that nobody paid yet."""
        first, self._paid = self._paid, self._paid + count
        return [f"{77_042_914_870_000 + n}" for n in range(first, self._paid)]

    def cost(self, pid: int, count: float, work: Callable[[], object]) -> Cost:
        """What work costs the process and the server, of `count` operations one."""
        before = cpu_s(pid), cpu_s(self.server)
        work()
        after = cpu_s(pid), cpu_s(self.server)
        client, server = ((now - then) * 1000 / count for now, then in zip(after, before, strict=True))
        return Cost(client=client, server=server)

    def tick(self) -> Cost:
        """A second of a scheduler with nothing due."""
        scheduler = ("-m", "bot", "up", "--roles", "scheduler")
        with running(*scheduler, environment=environment(self.url, self.base)) as process:
            time.sleep(_TICKS_S)
            return _median(
                [self.cost(process.pid, _TICKS_S, lambda: time.sleep(_TICKS_S)) for _ in range(_ROUNDS)]
            )

    def pay(self) -> Cost:
        """One payment webhook."""
        requests = payments(self.numbers(_OPERATIONS))
        with api(self.url, self.base) as (port, pid):
            run(load.closed(port, requests[:_WARM], CONNECTIONS))
            rest = requests[_WARM:]
            return self.cost(pid, len(rest), lambda: run(load.closed(port, rest, CONNECTIONS)))

    def send(self, count: int = _OPERATIONS) -> tuple[Cost, float]:
        """One SMS, and how many a second."""
        worker = ("-m", "bot", "up", "--roles", "worker", "--channels", "sms")
        done = sent(self.redis, PARTITIONS)
        with running(*worker, environment=environment(self.url, self.base)) as process:
            warm = reach(self.redis, done + _WARM)
            begun = time.perf_counter()
            before = cpu_s(process.pid), cpu_s(self.server)
            now = reach(self.redis, done + count)
            after, seconds = (cpu_s(process.pid), cpu_s(self.server)), time.perf_counter() - begun
        client, server = ((b - a) * 1000 / (now - warm) for b, a in zip(after, before, strict=True))
        return Cost(client=client, server=server), (now - warm) / seconds

    def memory(self) -> int:
        """Bytes of the server, when scripts are loaded and buffers are free."""
        time.sleep(1)
        self.redis.memory_purge()
        return int(self.redis.info("memory")["used_memory"])

    def counted(self, name: str) -> int:
        """A counter over all partitions."""
        with self.redis.pipeline(transaction=False) as pipe:
            for p in range(PARTITIONS):
                pipe.hget(f"tuma:{{{p}}}:n", name)
            return sum(int(value or 0) for value in pipe.execute())

    def size(self, bills: int, rate: float, bytes_each: float) -> Waiting:
        """What each operation costs now: the median of some rounds, each with processes of its own."""
        tick, rounds = self.tick(), [(self.send(), self.pay()) for _ in range(_ROUNDS)]
        return Waiting(
            bills=bills,
            fill_rate=round(rate),
            bytes_each=round(bytes_each),
            send=_median([send for (send, _), _ in rounds]),
            sends=round(statistics.median(rate for (_, rate), _ in rounds)),
            payment=_median([pay for _, pay in rounds]),
            tick=tick,
        )

    def serve(self) -> Served:
        """Payments as fast as they go, and at a steady pace."""
        with api(self.url, self.base) as (port, pid):
            run(load.closed(port, payments(self.numbers(_WARM)), CONNECTIONS))
            return measured("payment webhook", port, pid, payments(self.numbers(_SERVED)), 200, _PACE)

    def rewrite(self) -> Rewrite:
        """Payments at that pace while the append-only file is written anew."""
        answers, going = load.Answers(), True
        with api(self.url, self.base) as (port, _):
            run(load.closed(port, payments(self.numbers(_WARM)), CONNECTIONS))
            begun = time.perf_counter()
            self.redis.bgrewriteaof()
            while going:
                requests = payments(self.numbers(int(_PACE)))
                answers.latencies_ms += run(load.paced(port, requests, _PACE, CONNECTIONS)).latencies_ms
                going = bool(self.redis.info("persistence")["aof_rewrite_in_progress"])
        return Rewrite(
            at=_PACE,
            p50_ms=round(answers.percentile(0.5), 2),
            p99_ms=round(answers.percentile(0.99), 2),
            seconds=round(time.perf_counter() - begun, 1),
            fork_ms=self.redis.info("stats")["latest_fork_usec"] / 1000,
        )

    def minute(self, bills: int) -> Minute:
        """All reminders of so many bills but the paid ones fall due: watched until queued, then sent for a while."""
        made, unpaid = self.counted("created"), range(self._paid, bills)
        falls = Counter(n % 60 for n in unpaid)
        due_by = list(accumulate(falls[second] for second in range(60)))
        command = [sys.executable, "-m", "benchmarks.backlog", "remind", self.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            begins_s = (_FIRST_REMINDER_MS - int(process.stdout.readline())) / 1000
            time.sleep(_BEFORE_S / 2)
            memory = most = resident_mb(process.pid)
            early, queued, grown = 0, 0, time.time()
            while queued < len(unpaid) and time.time() - grown < _LONGEST_S:
                before, queued = queued, self.counted("created") - made
                second = int(time.time() - begins_s) if time.time() >= begins_s else -1
                due = due_by[min(second, 59)] if second >= 0 else 0
                early, most = max(early, queued - due), max(most, resident_mb(process.pid))
                grown = time.time() if queued > before else grown
                time.sleep(0.1)
            late = time.time() - begins_s - 59
            _, rate = self.send(min(_DRAINED, queued))
            process.terminate()
        return Minute(
            reminders=len(unpaid),
            early=early,
            lost=len(unpaid) - queued,
            late_s=round(late, 1),
            sends=round(rate),
            memory_mb=round(memory, 1),
            most_mb=round(most, 1),
        )


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        client=round(statistics.median(cost.client for cost in costs), 4),
        server=round(statistics.median(cost.server for cost in costs), 4),
    )


def compare(bills: int, base: str) -> Backlog:
    """A thousand, then so many."""
    options = ("--auto-aof-rewrite-percentage", "0", "--hash-max-listpack-value", "512")
    sizes = []
    for size in (SMALL, bills):
        with valkey("always", *options) as (url, server), Redis.from_url(url) as redis:
            place = _Place(url, server, redis, base)
            empty = place.memory()
            # What is measured comes after this: a disk that others use, too, would make it take an hour.
            redis.config_set("appendfsync", "everysec")
            rate = fill(url, size + _SPENT)
            redis.config_set("appendfsync", "always")
            sizes.append(place.size(size, rate, (place.memory() - empty) / (size + _SPENT)))
            if size != bills:
                continue
            served, rewrite = place.serve(), place.rewrite()
            minute = place.minute(size + _SPENT)
    small, large = sizes
    ratios = {
        name: Cost(
            client=round(getattr(large, name).client / max(getattr(small, name).client, 1e-3), 2),
            server=round(getattr(large, name).server / max(getattr(small, name).server, 1e-3), 2),
        )
        for name in ("send", "payment", "tick")
    }
    return Backlog(small=small, large=large, ratios=ratios, served=served, rewrite=rewrite, minute=minute)


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        asyncio.run(_fill(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    elif sys.argv[1:2] == ["remind"]:
        asyncio.run(_remind(sys.argv[2]))
    else:
        with sink() as at:
            found = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, at)
        print(msgspec.json.encode(found).decode())
