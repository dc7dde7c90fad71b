"""How long the sandbox lets a new connection wait, measured all the time from outside.

On a machine that is too busy a request may stand in the sandbox's accept queue long after tuma gave it up; it is taken
then, and nobody could have called it back. A knock that came before and was answered no earlier is the proof of that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp

_EVERY_S, _LONGEST_S = 0.5, 180.0
# Two requests that came together are not answered at the very same moment.
_NEAR = timedelta(seconds=2)


@dataclass(slots=True)
class Probe:
    """Knocks at one server: when each came, and when it was answered."""

    url: str
    knocks: list[tuple[datetime, datetime]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def knocking(self) -> AsyncIterator[None]:
        """Knock inside the block; knocks that are not answered by its end count as answered then."""
        timeout = aiohttp.ClientTimeout(total=_LONGEST_S)
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            going = asyncio.create_task(self._go_on(http))
            try:
                yield
            finally:
                going.cancel()
                await asyncio.gather(going, return_exceptions=True)

    async def _go_on(self, http: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._knock(http))
                await asyncio.sleep(_EVERY_S)

    async def _knock(self, http: aiohttp.ClientSession) -> None:
        came = datetime.now(UTC)
        try:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with http.get(f"{self.url}/knock") as answer:
                    await answer.read()
        finally:
            self.knocks.append((came, datetime.now(UTC)))

    def held(self, since: datetime, until: datetime) -> bool:
        """Whether who came by `since` was kept waiting until about `until`."""
        return any(came <= since and answered >= until - _NEAR for came, answered in self.knocks)

    @property
    def longest_s(self) -> float:
        """The longest wait."""
        return max(((answered - came).total_seconds() for came, answered in self.knocks), default=0.0)
