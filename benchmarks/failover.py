"""What a failover loses: `python -m benchmarks.failover [--rounds 3]` kills primaries under producers and counts.

Each round is a primary with a replica and a Sentinel (Valkey, fsync `always`), and producers that share a bill when the
one before was answered. The primary is killed (SIGKILL); what was answered and the promoted replica does not have
is lost. Once with a replica waited for, once with TUMA_REPLICAS=0. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.engine.engine import Engine
from bot.errors import StoreUnavailable
from tests.conftest import Valkey
from tests.engine.conftest import job, settings_for
from tests.store.servers import Servers, ask, kill, servers, wait_until, watched

_PRODUCERS, _BEFORE = 32, 900
_BEHIND = 10


@dataclass
class Round:
    """One failover: answered shares, those of them that are lost, and seconds until the replica was promoted."""

    answered: list[str] = field(default_factory=list)
    lost: int = 0
    promoted_s: float = 0.0


async def failover(many: Servers, replicas: int | None) -> Round:
    """Kill a primary under load."""
    group, found = watched(many), Round()
    engine = await Engine.open(settings_for(group.url, replicas=replicas, replica_wait_ms=1000))
    enough = asyncio.Event()

    async def produce(name: int) -> None:
        for n in range(100_000):
            number = f"{name:02}{n:05}"
            try:
                await engine.shares.accept(job(number, id=f"inv-{number}"))
            except StoreUnavailable:
                return
            found.answered.append(number)
            if len(found.answered) >= _BEFORE:
                enough.set()

    producers = [asyncio.create_task(produce(name)) for name in range(_PRODUCERS)]
    await enough.wait()
    await asyncio.to_thread(kill, group.primary)
    killed = time.monotonic()
    await asyncio.to_thread(wait_until, lambda: ask(group.replica, "ROLE")[0] == "master", 30)
    found.promoted_s = time.monotonic() - killed
    await asyncio.gather(*producers)
    found.lost = _missing(engine, group.replica, found.answered)
    await engine.close()
    return found


async def cut_off(many: Servers) -> Round:
    """Shares answered with TUMA_REPLICAS=0 while the replica was cut off, and the primary lost then."""
    primary = many.primary()
    replica, found = many.replica(primary), Round()
    engine = await Engine.open(settings_for(primary.url, replicas=0))
    replica.process.send_signal(signal.SIGSTOP)
    ask(primary, "CLIENT", "KILL", "TYPE", "replica")
    for n in range(_BEHIND):
        await engine.shares.accept(job(f"2{n}"))
        found.answered.append(f"2{n}")
    kill(primary)
    replica.process.send_signal(signal.SIGCONT)
    ask(replica, "REPLICAOF", "NO", "ONE")
    found.lost = _missing(engine, replica, found.answered)
    await engine.close()
    return found


def _missing(engine: Engine, server: Valkey, answered: Sequence[str]) -> int:
    there = set(ask(server, "KEYS", "tuma:*:a:*"))
    return sum(f"tuma:{{{engine.records.partition(n)}}}:a:{n}" not in there for n in answered)


async def main(rounds: int) -> None:
    """Measure everything and print it."""
    for name, replicas in (("a replica is waited for", None), ("TUMA_REPLICAS=0", 0)):
        found = []
        for _ in range(rounds):
            with servers() as many:
                found.append(await failover(many, replicas))
        _say(name, found)
    with servers() as many:
        _say("TUMA_REPLICAS=0, the replica cut off", [await cut_off(many)])


def _say(name: str, found: Sequence[Round]) -> None:
    row = {
        "case": name,
        "failovers": len(found),
        "answered": sum(len(each.answered) for each in found),
        "lost": sum(each.lost for each in found),
        "promoted_s": [round(each.promoted_s, 1) for each in found if each.promoted_s],
    }
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a failover loses, counted.")
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(main(parser.parse_args().rounds))
