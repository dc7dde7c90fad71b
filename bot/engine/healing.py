"""Resuming what tuma paused by itself: a paused channel is probed now and then, and goes on when the probe passes.

A pause that staff made is theirs to end. A channel that fails again soon after it was resumed is probed less and less
often, so that a fault which no probe can see (an empty balance, a withdrawn template) costs one message an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from bot.engine.control import OWN, Channels
from bot.engine.scheduler import every
from channels.base import Channel, ChannelName
from channels.errors import ChannelError

FIRST_S = 60.0
MOST_S = 3600.0
_LOOK_S = 5.0
_log = structlog.get_logger(__name__)


class Healer:
    """Probes the channels of one process. `clock` is monotonic, in seconds."""

    def __init__(
        self, control: Channels, channels: Mapping[ChannelName, Channel], first_s: float = FIRST_S
    ) -> None:
        self._control, self._channels, self._first_s = control, channels, first_s
        self._waits: dict[str, float] = {}
        self._next: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Look every few seconds until `stop`."""
        await every(min(_LOOK_S, self._first_s), self.look, stop)

    async def look(self) -> None:
        """Probe what is paused and due; resume what passes. Raises StoreUnavailable."""
        now = time.monotonic()
        paused = {name for name, pause in (await self._control.paused()).items() if pause.by == OWN}
        for name, channel in self._channels.items():
            if name not in paused:
                self._forget(name, now)
            elif name not in self._next:
                self._next[name] = now + self._waits.get(name, self._first_s)
            elif now >= self._next[name]:
                await self._probe(channel, now)

    async def _probe(self, channel: Channel, now: float) -> None:
        name = channel.name
        wait = min(self._waits.get(name, self._first_s) * 2, MOST_S)
        self._waits[name], self._next[name] = wait, now + wait
        try:
            probe = await channel.probe()
        except ChannelError as error:
            _log.info("channel_still_down", channel=name, detail=str(error))
            return
        if probe.ok:
            _log.info("channel_resumes", channel=name)
            await self._control.resume(name, by=OWN)

    def _forget(self, name: str, now: float) -> None:
        """A channel that has worked for longer than its last wait starts again from the first wait."""
        if name in self._waits and now >= self._next.get(name, now) + self._waits[name]:
            del self._waits[name]
        if name in self._next and name not in self._waits:
            del self._next[name]
