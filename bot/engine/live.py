"""Telling readers of a page that their bill has changed, without asking Redis on behalf of each.

One subscription per process, begun with the first reader. Scripts that change what a page shows name the number on a
sharded channel of its partition; whoever reads that number's page is told once and reads the page again. A reader costs
one read when it comes, for what changed since its page was made, and none while it waits. When the subscription breaks,
readers are sent away; they come again by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.asyncio import RedisCluster

from bot.engine import keys
from bot.engine.pageview import Page
from bot.engine.records import Records
from bot.engine.shares import Shares
from bot.engine.store import guard_subscription
from bot.errors import StoreUnavailable

MOST_READERS = 10_000
# Of the connections that the system lets this process open, so many stay for webhooks, pages and Redis.
_KEPT_FREE = 256
# Readers of one page may be this many times as many as there is room for others: three quarters if they are alone, and
# always less than all of it.
_SHARE = 3
_UNREAD = ""  # the number of a reader whose page is being read
_log = structlog.get_logger(__name__)
# True: the bill changed. False: come again.
Word = asyncio.Future[bool]


def most_readers() -> int:
    """How many may wait at once: never so many that a payment webhook finds no free connection."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST_READERS
    return max(min(MOST_READERS, allowed - _KEPT_FREE), 1)


class Live:
    """The readers of this process."""

    def __init__(self, records: Records, shares: Shares) -> None:
        self._records, self._shares = records, shares
        self._readers: dict[tuple[int, str], set[Word]] = defaultdict(set)
        self._count, self._most = 0, most_readers()
        self._of_page: Counter[keys.Local] = Counter()
        self._subscribed = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def watch(self, token: str) -> AsyncIterator[tuple[Page, Word]]:
        """A page as it is now, and the word that it changed. Raises NotFound, StoreUnavailable (also: too many)."""
        reader = p, _ = keys.parse_token(token, self._records.partitions)
        word: Word = asyncio.get_running_loop().create_future()
        place = (p, _UNREAD)
        free = self._most - self._count
        if self._closed or free <= 0 or self._of_page[reader] >= _SHARE * free:
            raise StoreUnavailable("no room for another reader")
        self._count += 1
        self._of_page[reader] += 1
        self._readers[place].add(word)  # before the page is read: what changes meanwhile must be heard
        try:
            await self._listening()
            page = await self._shares.by_token(token)
            self._leave(place, word)
            place = (p, page.number)
            self._readers[place].add(word)
            yield page, word
        finally:
            self._count -= 1
            self._of_page[reader] -= 1
            if not self._of_page[reader]:
                del self._of_page[reader]
            self._leave(place, word)

    async def close(self) -> None:
        """Send every reader away and stop listening. May be repeated."""
        self._closed = True
        self._tell_all()
        if self._listener:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener

    def _leave(self, place: tuple[int, str], word: Word) -> None:
        self._readers[place].discard(word)
        if not self._readers[place]:
            del self._readers[place]

    def _tell_all(self) -> None:
        for words in self._readers.values():
            _say(words, changed=False)

    async def _listening(self) -> None:
        """Wait until what changes from now on is heard. Raises StoreUnavailable."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        waiting = asyncio.create_task(self._subscribed.wait())
        try:
            await asyncio.wait([waiting, self._listener], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._subscribed.is_set():
            raise StoreUnavailable("Redis does not answer")

    async def _listen(self) -> None:
        try:
            with guard_subscription():
                await self._follow()
        except StoreUnavailable as error:
            _log.warning("live_lost", error=str(error))
        finally:
            self._subscribed.clear()
            self._tell_all()

    async def _follow(self) -> None:
        names = {f"{keys.prefix(p)}live": p for p in range(self._records.partitions)}
        unconfirmed = set(names)
        pubsub: Any = self._records.client.pubsub()
        try:
            await pubsub.ssubscribe(*names)
            while True:
                heard = await self._next(pubsub)
                if heard and heard["type"] == "ssubscribe":
                    unconfirmed.discard(heard["channel"])
                    if not unconfirmed:
                        self._subscribed.set()
                elif heard and heard["type"] == "smessage":
                    self._heard(names[heard["channel"]], heard["data"])
        finally:
            with contextlib.suppress(Exception):
                await pubsub.aclose()

    def _heard(self, p: int, number: str) -> None:
        for place in ((p, number), (p, _UNREAD)):
            _say(self._readers.get(place, ()), changed=True)

    async def _next(self, pubsub: Any) -> dict[str, Any] | None:
        if isinstance(self._records.client, RedisCluster):
            heard = await pubsub.get_sharded_message(timeout=1)
        else:
            heard = await pubsub.get_message(timeout=1)
        return heard if isinstance(heard, dict) else None


def _say(words: Any, *, changed: bool) -> None:
    for word in words:
        if not word.done():
            word.set_result(changed)
