"""Kills, freezes and outages, as planned, and what each frozen process held at that moment."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from redis.exceptions import RedisError

from bot.engine.store import Client, connect
from tests.chaos.machines import Machine, Machines
from tests.chaos.plan import CHANNELS, PROCESSES, Strike
from tests.chaos.stores import Store

_LOOK_S, _SETTLE_S = 0.1, 0.05
_MOST = 1000


class Struck(msgspec.Struct, frozen=True):
    """A strike that was made: at which time, for how long, and for a freeze the public ids of the messages held.

    `promoted_s`: until a replica led in the place of a primary that was killed.
    """

    at: datetime
    what: str
    whom: str
    lasted_s: float = 0.0
    held: tuple[str, ...] = ()
    promoted_s: float = 0.0


@dataclass(slots=True)
class Reaper:
    """Strikes. `server_lock` keeps an outage from hiding what a frozen process holds."""

    machines: Machines
    server: Store
    struck: list[Struck] = field(default_factory=list)
    server_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, strikes: list[Strike], began: float) -> None:
        """Make every strike at its time; `began` is on the monotonic clock. Returns when the last one is over."""
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                group.create_task(self._strike(strike, began))

    async def _strike(self, strike: Strike, began: float) -> None:
        await asyncio.sleep(max(began + strike.at_s - time.monotonic(), 0))
        match strike.what:
            case "kill":
                await self._kill(self.machines.all[strike.whom])
            case "freeze":
                await self._freeze(self.machines.all[strike.whom], strike.lasts_s)
            case "migrate":
                await self._server(strike, self.server.migrate())
            case _:
                await self._server(strike, self.server.outage(strike.lasts_s))

    async def _kill(self, machine: Machine) -> None:
        while not await machine.kill():
            await asyncio.sleep(_LOOK_S)
        self.struck.append(Struck(_now(), "kill", machine.name))

    async def _freeze(self, machine: Machine, lasts_s: float) -> None:
        async with self.server_lock:
            while machine.pid is None:
                await asyncio.sleep(_LOOK_S)
            at, pid, began = _now(), machine.pid, time.monotonic()
            machine.signal(signal.SIGSTOP)
            await asyncio.sleep(_SETTLE_S)  # until Redis has done what the process asked of it last
            works = PROCESSES[machine.name][0] == "worker"
            held = await _held_by(self.server, pid) if works else ()
        await asyncio.sleep(max(began + lasts_s - time.monotonic(), 0))
        if machine.pid == pid:
            machine.signal(signal.SIGCONT)
        self.struck.append(Struck(at, "freeze", machine.name, time.monotonic() - began, held))

    async def _server(self, strike: Strike, work: Coroutine[Any, Any, float]) -> None:
        async with self.server_lock:
            at, began = _now(), time.monotonic()
            promoted_s = await work
        lasted_s = time.monotonic() - began
        self.struck.append(Struck(at, strike.what, "server", lasted_s, promoted_s=promoted_s))


async def _held_by(store: Store, pid: int) -> tuple[str, ...]:
    """The messages that the process `pid` was handed out and has not recorded."""
    client = connect(store.url)
    try:
        while True:
            try:
                return await _pending(client, store.partitions, f"-{pid}-")
            except RedisError:
                await asyncio.sleep(_LOOK_S)
    finally:
        await client.aclose()


async def _pending(client: Client, partitions: int, mark: str) -> tuple[str, ...]:
    places = [(p, f"tuma:{{{p}}}:q:{ch}:{ln}") for p in range(partitions) for ch in CHANNELS for ln in "ub"]
    pipe: Any = client.pipeline()
    for _, stream in places:
        pipe.xpending_range(stream, "w", "-", "+", _MOST)
    found = await pipe.execute(raise_on_error=False)  # a stream that was never read has no group
    entries = [
        (p, stream, row["message_id"])
        for (p, stream), rows in zip(places, found, strict=True)
        if isinstance(rows, list)
        for row in rows
        if mark in row["consumer"]
    ]
    pipe = client.pipeline()
    for _, stream, entry in entries:
        pipe.xrange(stream, entry, entry)
    rows = await pipe.execute() if entries else []
    return tuple(f"{p:x}-{row[0][1]['m']}" for (p, _, _), row in zip(entries, rows, strict=True) if row)


def _now() -> datetime:
    return datetime.now(UTC)
