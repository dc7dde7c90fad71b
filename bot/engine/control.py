"""The switches and the notice board of staff: channel pauses, and news of what happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.engine.store import guard

# Who pauses and resumes when it is tuma itself; what a person has paused it leaves to them.
OWN = "tuma"
_STAFF = "staff"
_TAKE_OVER_MS = 60_000


class Pause(msgspec.Struct, frozen=True):
    """Why a channel is paused, by whom (`telegram:<id>`, `cli`, `tuma`), since when."""

    reason: str
    by: str
    at: datetime


class NewsItem(msgspec.Struct, frozen=True, kw_only=True):
    """One notice for staff.

    `type` is paid, unmatched, number_closed, successor, no_successor, late, dead, exhausted, cost_cap, callback_failed,
    payments_unknown, channel_paused or channel_resumed.
    """

    id: str
    partition: int
    type: str
    at: datetime
    data: dict[str, Any]


class Channels:
    """Pausing and resuming channels, in every process at once."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def pause(self, channel: str, *, reason: str, by: str) -> None:
        """Hand nothing out on this channel until it is resumed; every message is kept.

        A person takes a pause of tuma's over, so that it does not end by itself.
        """
        now = now_ms()
        at = views.moment(str(now))
        assert at is not None  # noqa: S101 - a number always makes a time
        value = msgspec.json.encode(Pause(reason, by, at)).decode()
        if await self._everywhere(channel, value, by):
            await self._records.tell(
                0, "channel_paused", now, {"channel": channel, "reason": reason, "by": by}
            )
            await self._records.audit(by, "pause", channel, now)

    async def resume(self, channel: str, *, by: str) -> None:
        """Hand out again, in every process. tuma itself ends no pause that a person made."""
        now = now_ms()
        if await self._everywhere(channel, "", by):
            await self._records.tell(0, "channel_resumed", now, {"channel": channel, "by": by})
            await self._records.audit(by, "resume", channel, now)

    async def paused(self) -> dict[str, Pause]:
        """The channels that are paused now."""
        found = await self._records.client_hash(f"{keys.prefix(0)}pause")
        return {channel: msgspec.json.decode(value, type=Pause) for channel, value in found.items()}

    async def _everywhere(self, channel: str, why: str, by: str) -> bool:
        """Whether that changed anything. The first partition is the one that is looked at.

        It is paused first and resumed last: should Redis go away in between, the channel counts as paused, and is not
        silent in some partitions while everybody takes it for running.
        """
        scripts, itself = self._records.scripts, by == OWN
        first, *others = [
            scripts.pause(p, channel, why, itself=itself) for p in range(self._records.partitions)
        ]
        changed = []
        for calls in ([first], others) if why else (others, [first]):
            changed += await scripts.run_many(calls)
        return any(changed)


class News:
    """Notices for staff: each is read by one process, and again by another if that one dies before `ack`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def _key(self, p: int) -> str:
        return f"{keys.prefix(p)}news"

    async def read(self, consumer: str, limit: int = 20) -> list[NewsItem]:
        """Notices not read yet, and those whose reader was lost; empty when there are none."""
        items: list[NewsItem] = []
        for p in range(self._records.partitions):
            items += await self._read(p, consumer, limit)
        return sorted(items, key=lambda item: item.at)

    async def _read(self, p: int, consumer: str, limit: int) -> list[NewsItem]:
        key, client = self._key(p), self._records.client
        with guard():
            try:
                lost = await client.xautoclaim(key, _STAFF, consumer, _TAKE_OVER_MS, count=limit)
                fresh = await client.xreadgroup(_STAFF, consumer, {key: ">"}, count=limit)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._make_group(key)
                return await self._read(p, consumer, limit)
        rows = list(lost[1]) + [row for _, found in streams(fresh) for row in found]
        return [_item(p, entry, fields) for entry, fields in rows if fields]

    async def _make_group(self, key: str) -> None:
        try:
            await self._records.client.xgroup_create(key, _STAFF, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another process was quicker
                raise

    async def ack(self, item: NewsItem) -> None:
        """Staff have this notice."""
        with guard():
            await self._records.client.xack(self._key(item.partition), _STAFF, item.id)


def streams(reply: Any) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """XREADGROUP's answer, which is a mapping under RESP3 and a list under RESP2."""
    if isinstance(reply, dict):
        return [
            (name, rows[0] if rows and isinstance(rows[0], list) else rows) for name, rows in reply.items()
        ]
    return list(reply or [])


def _item(p: int, entry: str, fields: dict[str, str]) -> NewsItem:
    at = views.moment(fields["at"])
    assert at is not None  # noqa: S101 - every notice has a time
    return NewsItem(
        id=entry, partition=p, type=fields["type"], at=at, data=msgspec.json.decode(fields["data"])
    )
