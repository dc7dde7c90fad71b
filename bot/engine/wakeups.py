"""Waking workers: a sharded channel per partition says which channel has work; a slow sweep covers a lost word."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable
from typing import Any

import structlog
from redis.asyncio import RedisCluster

from bot.engine import keys
from bot.engine.records import Records
from bot.engine.store import guard_subscription
from bot.errors import StoreUnavailable

SWEEP_S = 1.0
URGENT, BULK = "u", "b"
_log = structlog.get_logger(__name__)


def wake_word(channel: str, lane: str) -> str:
    """What is said when something waits in a lane, as lua/_lib.lua says it."""
    return f"{channel} {BULK}" if lane == BULK else channel


class Wakeups:
    """Which partitions may hold work for which channel and lane. Everything may, at the start and after every sweep."""

    def __init__(self, records: Records, channels: Iterable[str]) -> None:
        self._records = records
        self._sweep_at = dict.fromkeys(channels, 0.0)
        self._dirty: dict[str, dict[int, None]] = {
            wake_word(channel, lane): {} for channel in self._sweep_at for lane in (URGENT, BULK)
        }
        self._events = {word: asyncio.Event() for word in self._dirty}
        self._ended = False

    def partitions(self, channel: str) -> tuple[list[int], list[int]]:
        """Partitions that may hold urgent work and bulk, the longest untouched first; all of them once a sweep."""
        if time.monotonic() >= self._sweep_at[channel]:
            self._sweep(channel)
        return list(self._dirty[channel]), list(self._dirty[wake_word(channel, BULK)])

    def forget(self, channel: str, lane: str, p: int) -> None:
        """A read of this lane begins; a word that comes while it lasts counts anew."""
        self._dirty[wake_word(channel, lane)].pop(p, None)

    def mark(self, word: str, p: int) -> None:
        """Work may wait there."""
        if word in self._dirty:
            self._dirty[word].setdefault(p)
            self._events[word].set()

    async def wait(
        self, channel: str, lanes: str, most_s: float = SWEEP_S, busy: Collection[asyncio.Task[None]] = ()
    ) -> None:
        """Until there may be work in `lanes` or one of `busy` has ended; at most `most_s`, or to the next sweep."""
        words = [wake_word(channel, lane) for lane in lanes]
        if self._ended or any(self._dirty[word] for word in words):
            return
        for word in words:
            self._events[word].clear()
        most_s = min(most_s, max(self._sweep_at[channel] - time.monotonic(), 0.0))
        heard = [asyncio.create_task(self._events[word].wait()) for word in words]
        if not heard and not busy:
            await asyncio.sleep(most_s)
            return
        try:
            await asyncio.wait([*heard, *busy], timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in heard:
                task.cancel()

    def _sweep(self, channel: str) -> None:
        self._sweep_at[channel] = time.monotonic() + SWEEP_S
        for lane in (URGENT, BULK):
            for p in range(self._records.partitions):
                self._dirty[wake_word(channel, lane)].setdefault(p)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`, which ends every wait at once; a lost connection is taken up again."""
        listening = asyncio.create_task(self._keep_listening(stop))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([listening, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ended = True
            self._sweep_at = dict.fromkeys(self._sweep_at, 0.0)  # what is said from now on is not heard
            for event in self._events.values():
                event.set()
            stopped.cancel()
            # Should the cancellation be swallowed (see `worker.Finisher`), it sees `stop` half a second later.
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _keep_listening(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._listen(stop)
            except StoreUnavailable as error:
                _log.warning("wakeups_lost", error=str(error))
                await asyncio.sleep(1)

    async def _listen(self, stop: asyncio.Event) -> None:
        names = {f"{keys.prefix(p)}wake": p for p in range(self._records.partitions)}
        client = self._records.client
        pubsub: Any = client.pubsub()
        with guard_subscription():
            try:
                await pubsub.ssubscribe(*names)
                # What was said while nobody listened is not said again.
                for channel in self._sweep_at:
                    self._sweep(channel)
                for event in self._events.values():
                    event.set()
                while not stop.is_set():
                    heard = await self._next(pubsub, cluster=isinstance(client, RedisCluster))
                    if heard and heard["type"] == "smessage":
                        self.mark(heard["data"], names[heard["channel"]])
            finally:
                with contextlib.suppress(Exception):
                    await pubsub.aclose()

    async def _next(self, pubsub: Any, *, cluster: bool) -> dict[str, Any] | None:
        if cluster:
            heard = await pubsub.get_sharded_message(ignore_subscribe_messages=True, timeout=0.5)
        else:
            heard = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.5)
        return heard if isinstance(heard, dict) else None
