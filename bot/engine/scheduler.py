"""The scheduler: timers that have come, work of lost workers, claims left half done. Any number of them may run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from bot.engine import doubt
from bot.engine.records import Records
from bot.engine.retention import Retention
from bot.engine.scripts import Call, now_ms
from bot.engine.shares import Shares
from bot.errors import StoreUnavailable
from bot.settings import Settings
from channels.base import ChannelName

# A script holds the server up: so many timers take it some ten milliseconds.
_BATCH = 64
# And so many where all partitions are looked into at once.
_LOOK = 16
_LOOK_S = 1.0
_RECLAIM_S = 5.0
_MARGIN_MS = 1000
_log = structlog.get_logger(__name__)


class Scheduler:
    """Moves what is due."""

    def __init__(self, records: Records, shares: Shares, settings: Settings) -> None:
        self._records, self._shares, self._settings = records, shares, settings
        self._retention = Retention(records, settings.keep_days)
        self._policies = settings.in_doubt_policies()
        # Between two questions about a message its timer comes: with a short wait that must not be what takes long.
        self._look_s = min(_LOOK_S, max(settings.in_doubt_wait_ms / 10_000, 0.02))

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick_on(stop))
            # Apart from the timers and from each other: a full server refuses some of them, and tidying makes room.
            for work in (lambda: self.reclaim(now_ms()), self._shares.redrive, self._retention.turn):
                group.create_task(every(_RECLAIM_S, work, stop))

    async def _tick_on(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            wait = self._look_s
            try:
                wait = await self.tick(now_ms())
            except StoreUnavailable as error:
                _log.warning("scheduler_waits", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()

    async def tick(self, now: int) -> float:
        """Handle every timer due at `now` (ms); seconds until the next look."""
        scripts = self._records.scripts

        def due(p: int, most: int) -> Call[tuple[int, int | None]]:
            return scripts.due(p, now, most, self._policies, doubt.ASKED)

        found = await scripts.run_many([due(p, _LOOK) for p in range(self._records.partitions)])
        full = [p for p, (handled, _) in enumerate(found) if handled == _LOOK]
        while full:
            more = []
            for p in full:
                # By itself: what a server is asked in one go it does in one go, and a payment would wait behind it.
                found[p] = await scripts.run(due(p, _BATCH))
                if found[p][0] == _BATCH:
                    more.append(p)
            full = more
        nearest = min((following for _, following in found if following is not None), default=None)
        return (
            min(max((nearest - now_ms()) / 1000, 0.0), self._look_s) if nearest is not None else self._look_s
        )

    async def next_due(self) -> int | None:
        """When the next timer comes, in ms, None when none waits. Handles nothing."""
        calls = [
            self._records.scripts.due(p, now_ms(), 0, self._policies, doubt.ASKED)
            for p in range(self._records.partitions)
        ]
        found = [due for _, due in await self._records.scripts.run_many(calls) if due is not None]
        return min(found, default=None)

    async def reclaim(self, now: int) -> int:
        """Put in doubt what lost workers held, unless a callback told of it; how many messages."""
        scripts, wait = self._records.scripts, self._settings.in_doubt_wait_ms
        calls = [
            scripts.reclaim(p, now, name, idle_ms=self._idle_ms(name), wait_ms=doubt.first_ms(name, wait))
            for p in range(self._records.partitions)
            for name in ChannelName
        ]
        taken = sum(await scripts.run_many(calls))
        if taken:
            _log.warning("reclaimed", messages=taken)
        return taken

    def _idle_ms(self, name: ChannelName) -> int:
        return self._settings.lease_ms + int(self._settings.request_timeout_s(name) * 1000) + _MARGIN_MS


async def every(seconds: float, work: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Call `work` every so many seconds until `stop`; a store that is away is waited for."""
    while not stop.is_set():
        try:
            await work()
        except StoreUnavailable as error:
            _log.warning("waits_for_store", error=str(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
