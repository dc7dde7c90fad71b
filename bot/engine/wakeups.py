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
from bot.engine.store import guard
from bot.errors import StoreUnavailable

SWEEP_S = 1.0
_log = structlog.get_logger(__name__)


class Wakeups:
    """Which partitions may hold work for which channel. Everything may, at the start and after every sweep."""

    def __init__(self, records: Records, channels: Iterable[str]) -> None:
        self._records = records
        self._dirty: dict[str, dict[int, None]] = {channel: {} for channel in channels}
        self._events = {channel: asyncio.Event() for channel in self._dirty}
        self._sweep_at = dict.fromkeys(self._dirty, 0.0)

    def partitions(self, channel: str) -> list[int]:
        """Partitions that may hold work for `channel`, the longest untouched first; all of them once a sweep."""
        if time.monotonic() >= self._sweep_at[channel]:
            self._sweep(channel)
        return list(self._dirty[channel])

    def forget(self, channel: str, p: int) -> None:
        """A read of this partition begins; a word that comes while it lasts counts anew."""
        self._dirty[channel].pop(p, None)

    def mark(self, channel: str, p: int) -> None:
        """Work may wait there."""
        if channel in self._dirty:
            self._dirty[channel].setdefault(p)
            self._events[channel].set()

    async def wait(self, channel: str, busy: Collection[asyncio.Task[None]] = ()) -> None:
        """Until there may be work for `channel` or one of `busy` has ended, at most one sweep."""
        if self._dirty[channel]:
            return
        event = self._events[channel]
        event.clear()
        heard = asyncio.create_task(event.wait())
        try:
            done, _ = await asyncio.wait([heard, *busy], timeout=SWEEP_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()
        if not done:
            self._sweep(channel)

    def _sweep(self, channel: str) -> None:
        self._sweep_at[channel] = time.monotonic() + SWEEP_S
        for p in range(self._records.partitions):
            self._dirty[channel].setdefault(p)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`; a lost connection is taken up again."""
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
        with guard():
            try:
                await pubsub.ssubscribe(*names)
                # What was said while nobody listened is not said again.
                for channel in self._dirty:
                    self._sweep(channel)
                    self._events[channel].set()
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
