"""Waking workers: a sharded channel per partition says which channel has work; a slow sweep covers a lost word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
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

    def partitions(self, channel: str) -> list[int]:
        """Partitions that may hold work for `channel`, the longest untouched first."""
        return list(self._dirty[channel])

    def clean(self, channel: str, p: int) -> None:
        """Nothing waits there any more; call it with what was known before the read began."""
        self._dirty[channel].pop(p, None)

    def rotate(self, channel: str, p: int) -> None:
        """More waits there: it takes its turn behind the others."""
        self._dirty[channel].pop(p, None)
        self._dirty[channel][p] = None

    def mark(self, channel: str, p: int) -> None:
        """Work may wait there."""
        if channel in self._dirty:
            self._dirty[channel].setdefault(p)
            self._events[channel].set()

    async def wait(self, channel: str) -> None:
        """Until there may be work for `channel`, at most one sweep."""
        event = self._events[channel]
        event.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_S):
                await event.wait()
                return
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
