"""Events for producers' `callback_url`: a list per number, so that they arrive in order, and when each is due."""

from __future__ import annotations

from typing import Any

import msgspec

from bot.domain.money import plain
from bot.engine import keys, views
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.engine.store import guard

# While one process delivers, the number is not due for others.
_LEASE_MS = 60_000
MAX_ATTEMPTS = 16


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest undelivered event of one number. `body` is the JSON text to post."""

    id: str
    number: str
    url: str
    body: str
    attempt: int


class _Stored(msgspec.Struct):
    id: str
    type: str
    at: str
    url: str
    data: dict[str, Any]


class Events:
    """The outbound events of all partitions."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def take(self, limit: int) -> list[Event]:
        """Events due now, at most one a number; each is this caller's for a minute."""
        taken: list[Event] = []
        for p in range(self._records.partitions):
            if len(taken) < limit:
                taken += await self._take(p, limit - len(taken))
        return taken

    async def _take(self, p: int, limit: int) -> list[Event]:
        due, now, scripts = f"{keys.prefix(p)}cbdue", now_ms(), self._records.scripts
        with guard():
            numbers = await self._records.client.zrangebyscore(due, "-inf", now, start=0, num=limit)
        heads = await scripts.run_many([scripts.event_next(p, now, n, _LEASE_MS) for n in numbers])
        return [_event(number, *head) for number, head in zip(numbers, heads, strict=True) if head]

    async def delivered(self, event: Event) -> None:
        """The producer has it; the number's next event is due at once."""
        p, scripts = self._records.partition(event.number), self._records.scripts
        await scripts.run(scripts.event_next(p, now_ms(), event.number, 0, delivered=event.id))

    async def retry(self, event: Event, after_s: float, reason: str) -> None:
        """It did not arrive: again after a while, or never when too often; the events behind it wait."""
        if event.attempt >= MAX_ATTEMPTS:
            await self._give_up(event, reason)
            return
        p = self._records.partition(event.number)
        with guard():
            await self._records.client.zadd(
                f"{keys.prefix(p)}cbdue", {event.number: now_ms() + int(after_s * 1000)}
            )

    async def _give_up(self, event: Event, reason: str) -> None:
        p = self._records.partition(event.number)
        data = {"number": event.number, "event": event.id, "reason": reason}
        await self._records.tell(p, "callback_failed", now_ms(), data)
        await self.delivered(event)


def _event(number: str, head: str, attempt: int) -> Event:
    stored = msgspec.json.decode(head, type=_Stored)
    when = views.moment(stored.at)
    body = {"type": stored.type, "timestamp": when, "data": _amounts(stored.data)}
    return Event(
        id=stored.id, number=number, url=stored.url, body=msgspec.json.encode(body).decode(), attempt=attempt
    )


def _amounts(data: dict[str, Any]) -> dict[str, Any]:
    """Minor units inside, decimal text outside."""
    currency = data.get("currency", "TZS")
    return {
        (name.removesuffix("_minor")): plain(int(value), currency) if name.endswith("_minor") else value
        for name, value in data.items()
    }
