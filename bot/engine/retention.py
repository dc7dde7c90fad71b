"""Keeping Redis as small as the live work: what outlived its record goes, a little at every turn.

Records end by themselves (their TTL is set when they are done). This takes care of what cannot have one: members of
indexes, and consumers of streams that no process uses any more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from redis.exceptions import ResponseError

from bot.engine import keys, library
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.engine.store import guard
from channels.base import ChannelName

_DAY_MS = 86_400_000
_UNDECIDED_KEPT_MS = 400 * _DAY_MS  # at least, as in lua/_lib.lua
IDS_KEPT_MS = 400 * _DAY_MS
CONSUMER_GONE_MS = 3_600_000
_STEP = 200
IDS_STEP = 16  # hashes of ids a turn: a few hundred of them


class Retention:
    """One partition a turn, round and round."""

    def __init__(
        self,
        records: Records,
        keep_days: int = library.KEEP_DAYS,
        consumer_gone_ms: int = CONSUMER_GONE_MS,
        ids_step: int = IDS_STEP,
    ) -> None:
        self._records, self._keep_ms = records, keep_days * _DAY_MS
        self._consumer_gone_ms, self._ids_step = consumer_gone_ms, ids_step
        self._turns = itertools.cycle(range(records.partitions))
        self._cursors: dict[str, int] = {}

    async def turn(self) -> None:
        """Tidy the next partition. Raises StoreUnavailable."""
        p = next(self._turns)
        prefix, client, now = keys.prefix(p), self._records.client, now_ms()
        with guard():
            await client.zremrangebyscore(f"{prefix}um", "-inf", now - max(_UNDECIDED_KEPT_MS, self._keep_ms))
            await client.zremrangebyscore(f"{prefix}pt", "-inf", now - self._keep_ms)
        await self._names(p)
        await self._ids(p)
        await self._dead(p)
        # Without ClickPesa's credentials nobody answers a hint.
        await self._tidy(f"{prefix}hints", lambda number: f"a:{number}", p)
        for channel, lane in itertools.product(ChannelName, "ub"):
            await self._consumers(f"{prefix}q:{channel}:{lane}")

    async def _names(self, p: int) -> None:
        """Names whose bill is gone."""
        index, client = f"{keys.prefix(p)}called", self._records.client
        start = self._cursors.get(index, 0)
        with guard():
            names = await client.lrange(index, start, start + _STEP - 1)
        places = [f"{keys.prefix(p)}a:{name.rpartition(chr(31))[2]}" for name in names]
        found = await self._records.hashes(places)
        gone = [name for name, fields in zip(names, found, strict=True) if not fields]
        self._cursors[index] = start + len(names) - len(gone) if len(names) == _STEP else 0
        with guard():
            for name in gone:
                # Bills go about in the order in which they came, so it is soon found.
                await client.lrem(index, 1, name)

    async def _ids(self, p: int) -> None:
        """Ids that were used so long ago that nobody repeats them."""
        client, first = self._records.client, (now_ms() - IDS_KEPT_MS) // _DAY_MS
        start = self._cursors.get(f"ids {p}", 0)
        self._cursors[f"ids {p}"] = (start + self._ids_step) % keys.IDS
        places = [keys.ids_in(p, n) for n in range(start, start + self._ids_step)]
        for place, kept in zip(places, await self._records.hashes(places), strict=True):
            gone = [name for name, text in kept.items() if int(text.split(" ")[1]) < first]
            if gone:
                with guard():
                    await client.hdel(place, *gone)

    async def _dead(self, p: int) -> None:
        """Dead letters past their retention, which ends with their share and never while a bill is unpaid."""
        await self._tidy(f"{keys.prefix(p)}dead", lambda local: f"m:{local}", p)

    async def _tidy(self, index: str, record: Callable[[str], str], p: int) -> None:
        """Members of an index whose record is gone, a step of the index at a time."""
        client = self._records.client
        with guard():
            cursor, rows = await client.zscan(index, self._cursors.get(index, 0), count=_STEP)
        self._cursors[index] = int(cursor)
        members = [member for member, _ in rows]
        found = await self._records.hashes([keys.prefix(p) + record(member) for member in members])
        gone = [member for member, fields in zip(members, found, strict=True) if not fields]
        if gone:
            with guard():
                await client.zrem(index, *gone)

    async def _consumers(self, stream: str) -> None:
        """Consumers long idle, but never one with work pending: deleting it would drop that work."""
        try:
            with guard():
                consumers = await self._records.client.xinfo_consumers(stream, keys.GROUP)
        except ResponseError:  # no such stream or group yet
            return
        for consumer in consumers:
            if not consumer["pending"] and consumer["idle"] >= self._consumer_gone_ms:
                with guard():
                    await self._records.client.xgroup_delconsumer(stream, keys.GROUP, consumer["name"])
