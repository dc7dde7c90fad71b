"""Waiting that ends at once when the process is told to stop, and waiting longer each time something fails."""

from __future__ import annotations

import asyncio
import random
import traceback
from contextlib import suppress


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait `seconds`, or until `stop`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


class Patience:
    """Pauses between failures: 0.5 s, then twice as long each time up to 30 s, with jitter."""

    _FIRST_S, _MOST_S = 0.5, 30.0

    def __init__(self) -> None:
        self._next_s = self._FIRST_S

    def reset(self) -> None:
        """It works again."""
        self._next_s = self._FIRST_S

    async def wait(self, stop: asyncio.Event, at_least_s: float = 0.0) -> None:
        """One pause; `at_least_s` is what the other side asked for."""
        pause = max(self._next_s, at_least_s)
        self._next_s = min(self._next_s * 2, self._MOST_S)
        await rest(stop, pause * random.uniform(1.0, 1.2))


def where(error: BaseException) -> str:
    """File and line of an error, without its text, which may hold what a customer wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
