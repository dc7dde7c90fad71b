"""Looking at every record of a partition, and at what it waits in: what the counters cannot tell.

A message that is queued stands in a stream, one that is scheduled has a timer, and the other way round; a bill's money
is what its terms and its credit have. Each record is looked at in one moment, so nothing that moves meanwhile is
taken for a fault.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Sequence

from bot.engine import keys
from bot.engine.records import Records
from bot.engine.store import guard
from channels.base import ChannelName

_STEP = 200


class Inspection:
    """What does not agree in a data set."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def find(self, p: int) -> list[str]:
        """What does not agree in partition `p`. Cost: a scan of it. Raises StoreUnavailable."""
        found: list[str] = []
        for kind, names in (
            ("m", self._named(p, "m:")),
            ("a", self._named(p, "a:")),
            ("q", self._entries(p)),
            ("d", self._members(p, "dead")),
            ("u", self._members(p, "um")),
        ):
            async for batch in _batches(names):
                call = self._records.scripts.inspect(p, kind, batch)
                answer: list[str] = await self._records.scripts.run(call)
                found += answer
        return list(dict.fromkeys(found))  # a scan may name a key twice

    async def _named(self, p: int, kind: str) -> AsyncIterator[str]:
        start = f"{keys.prefix(p)}{kind}"
        with guard():
            async for key in self._records.client.scan_iter(match=keys.pattern(start), count=1000):
                yield key.removeprefix(start)

    async def _members(self, p: int, index: str) -> AsyncIterator[str]:
        with guard():
            async for member, _ in self._records.client.zscan_iter(f"{keys.prefix(p)}{index}", count=1000):
                yield member

    async def _entries(self, p: int) -> AsyncIterator[str]:
        for channel, lane in itertools.product(ChannelName, "ub"):
            start = "-"
            while rows := await self._range(f"{keys.prefix(p)}q:{channel}:{lane}", start):
                for entry, _ in rows:
                    yield f"{channel}:{lane}:{entry}"
                start = f"({rows[-1][0]}"

    async def _range(self, stream: str, start: str) -> Sequence[tuple[str, object]]:
        with guard():
            rows: Sequence[tuple[str, object]] = await self._records.client.xrange(stream, start, count=_STEP)
        return rows


async def _batches(names: AsyncIterator[str]) -> AsyncIterator[Sequence[str]]:
    batch: list[str] = []
    async for name in names:
        batch.append(name)
        if len(batch) == _STEP:
            yield batch
            batch = []
    if batch:
        yield batch


def shown(found: Iterable[str], most: int) -> list[str]:
    """The first few, and how many more there are."""
    every = list(found)
    rest = len(every) - most
    return every[:most] + ([f"and {rest} more"] if rest > 0 else [])
