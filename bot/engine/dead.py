"""Finding dead letters: newest first over all partitions, by filter, page by page.

Each partition has its own index, so pages are merged: what is newest of all comes first, and no page holds fewer
than there are. A place in that order is also where a long run can be taken up again: what dies later stands before
it, so a run never meets its own failures.

Cost: without a filter that of the pages up to the one asked for; with one, of all dead letters (of one partition when
a number or share is named), read in batches that never block the server.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from bot.domain.dead import DeadFilter, DeadLetter, DeadPage
from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.store import guard
from bot.errors import Problem, Refused

_BATCH = 500
_PLACE = re.compile(r"([0-9]{1,16})_([0-9a-f]{1,4}-[A-Za-z0-9_-]{16}\.[0-9]{1,6})", re.ASCII)


class Place(NamedTuple):
    """Where a dead letter stands; the greater is the newer."""

    at: int
    partition: int
    local: str

    def __str__(self) -> str:
        return f"{self.at}_{keys.message_id(self.partition, self.local)}"


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter on record: its place, and the fields of its message."""

    place: Place
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Dead letters that match, of `looked` that were looked at down to the place `end`."""

    found: list[Found]
    looked: int
    end: Place


@dataclass(frozen=True, slots=True)
class _Scope:
    """What of a filter the index alone can tell: the partitions to look in, and how the names there begin."""

    partitions: Sequence[int]
    start: str = ""


class DeadLetters:
    """The dead letters of all partitions. Nothing here changes one."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def place(self, text: str) -> Place:
        """A place as `next` gave it. Raises Refused."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise Refused(
                Problem(field="after", message="is no place in the list", expected="`next` of an answer")
            )
        return Place(int(match[1]), *keys.parse_message_id(match[2], self._records.partitions))

    async def page(self, only: DeadFilter, *, limit: int, offset: int) -> DeadPage:
        """Some of them, and how many there are in all."""
        everything = only == DeadFilter()
        picked: list[Found] = []
        seen = 0
        async with aclosing(self.matching(only, most=min(offset + limit, _BATCH))) as batches:
            async for batch in batches:
                picked += batch.found[max(offset - seen, 0) : max(offset + limit - seen, 0)]
                seen += len(batch.found)
                if everything and seen >= offset + limit:
                    break
        total = await self._size() if everything else seen
        return DeadPage(total=total, letters=await self._letters(picked))

    async def matching(
        self, only: DeadFilter, *, after: Place | None = None, most: int = _BATCH
    ) -> AsyncGenerator[Batch, None]:
        """All that match, newest first, from `after` on; `most` is how many are looked for a partition at once."""
        scope = await self._scope(only)
        async with aclosing(self._places(scope, after, max(most, 1))) as rounds:
            async for places in rounds:
                for at in range(0, len(places), _BATCH):
                    part = places[at : at + _BATCH]
                    found = [one for one in await self._read(part) if _meant(only, one.fields)]
                    yield Batch(found, len(part), part[-1])

    async def _scope(self, only: DeadFilter) -> _Scope:
        parts: set[int] = set(range(self._records.partitions))
        start = ""
        if only.number is not None:
            parts = {self._records.partition(only.number)}
        if only.share is not None:
            claim = await self._records.claim(only.share)
            parts &= {self._records.partition(claim["num"])} if claim else set()
            start = f"{claim['sid']}." if claim else ""
        return _Scope(sorted(parts), start)

    async def _places(
        self, scope: _Scope, after: Place | None, most: int
    ) -> AsyncGenerator[list[Place], None]:
        """In order. A partition that gave all it was asked for may have more: nothing older than that is safe yet."""
        below = after
        while scope.partitions:
            rows = await self._below(scope.partitions, below, most)
            horizon = max((found[-1] for found, more in rows if more), default=None)
            places = sorted((place for found, _ in rows for place in found), reverse=True)
            safe = places if horizon is None else [place for place in places if place >= horizon]
            yield [place for place in safe if place.local.startswith(scope.start)]
            if horizon is None:
                return
            below = safe[-1]

    async def _below(
        self, partitions: Sequence[int], below: Place | None, most: int
    ) -> list[tuple[list[Place], bool]]:
        """Per partition the next places below one, newest first, and whether there may be more."""
        top = f"({below.at}" if below else "+inf"
        with guard():
            pipe = self._records.client.pipeline()
            for p in partitions:
                index = f"{keys.prefix(p)}dead"
                pipe.zrevrangebyscore(index, top, "-inf", start=0, num=most, withscores=True)
                # Many can die in one millisecond; those that stand beside `below` come by name.
                pipe.zrevrangebyscore(index, below.at if below else "(0", below.at if below else 0)
            replies = await pipe.execute()
        rows = []
        for n, p in enumerate(partitions):
            older = [Place(int(score), p, local) for local, score in replies[2 * n]]
            ties = [Place(below.at, p, local) for local in replies[2 * n + 1]] if below else []
            rows.append(([tie for tie in ties if below and tie < below] + older, len(older) == most))
        return rows

    async def _read(self, places: Sequence[Place]) -> list[Found]:
        """Their messages. What has no record any more is past its retention, and leaves the index."""
        names = [f"{keys.prefix(place.partition)}m:{place.local}" for place in places]
        records = await self._records.hashes(names)
        gone = [place for place, fields in zip(places, records, strict=True) if not fields]
        await self._forget(gone)
        return [Found(place, fields) for place, fields in zip(places, records, strict=True) if fields]

    async def _letters(self, picked: Sequence[Found]) -> list[DeadLetter]:
        places = [(f.place.partition, f.place.local.rpartition(".")[0]) for f in picked]
        shares = await self._records.shares(places)
        await self._forget([f.place for f, share in zip(picked, shares, strict=True) if not share])
        return [
            views.dead_letter(f.place.partition, f.place.local, f.fields, share, f.place.at)
            for f, share in zip(picked, shares, strict=True)
            if share
        ]

    async def _forget(self, gone: Sequence[Place]) -> None:
        if not gone:
            return
        with guard():
            pipe = self._records.client.pipeline()
            for place in gone:
                pipe.zrem(f"{keys.prefix(place.partition)}dead", place.local)
            await pipe.execute()

    async def _size(self) -> int:
        with guard():
            pipe = self._records.client.pipeline()
            for p in range(self._records.partitions):
                pipe.zcard(f"{keys.prefix(p)}dead")
            return sum(await pipe.execute())


def _meant(only: DeadFilter, fields: Mapping[str, str]) -> bool:
    """Whether a message matches what the index could not tell."""
    if only.channel not in (None, fields["ch"]) or only.kind not in (None, fields["k"]):
        return False
    if only.number not in (None, fields["num"]):
        return False
    words = (fields.get(name, "") for name in ("dw", "why", "err"))
    return only.reason is None or only.reason.casefold() in "\n".join(words).casefold()
