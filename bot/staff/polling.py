"""Fetching updates by long polling, so that none is lost and none is handled by two processes at once.

One process at a time fetches, by a lease in Redis. A batch is confirmed to Telegram only after all of it was
handled; what was handled already is skipped when it comes again. Chats are served side by side, each in its order.
When Redis is away nothing is confirmed: updates wait at Telegram, for up to its 24 hours.

aiogram's own polling confirms a batch before its handlers ran, which is why it is not used.

Source: Telegram Bot API, getUpdates (`offset` confirms, 409 for a second poller, updates kept 24 hours).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.methods import GetUpdates
from aiogram.types import Update

from bot.errors import StoreUnavailable
from bot.staff.memory import LEASE_S, Memory
from bot.staff.waiting import Patience, rest, where

_log = structlog.get_logger("tuma.staff")
_LONG_POLL_S = 20
_AT_ONCE = 16


class Poller:
    """Fetches updates and hands each to `feed`, which raises StoreUnavailable if it must come again."""

    def __init__(
        self,
        bot: Bot,
        memory: Memory,
        allowed: list[str],
        feed: Callable[[Update], Awaitable[None]],
        who: str,
    ) -> None:
        self._bot, self._memory, self._allowed = bot, memory, allowed
        self._feed, self._who = feed, who
        self._offset: int | None = None
        self._leading = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch and handle until `stop`; then finish what was fetched and let another process lead."""
        heart = asyncio.create_task(self._beat(stop))
        patience = Patience()
        try:
            while not stop.is_set():
                await self._step(stop, patience)
        finally:
            heart.cancel()
            with suppress(asyncio.CancelledError):
                await heart
            with suppress(StoreUnavailable):
                await self._memory.step_down(self._who)

    async def _step(self, stop: asyncio.Event, patience: Patience) -> None:
        if not self._leading.is_set():
            await self._leading.wait()
            return None
        try:
            updates = await self._fetch(stop)
            await self._handle(updates)
        except StoreUnavailable as error:
            _log.warning("updates_wait", error=str(error))
            return await patience.wait(stop)
        except AiogramError as error:
            _log.warning("telegram_away", error=type(error).__name__)
            return await patience.wait(stop, getattr(error, "retry_after", 0))
        except Exception as error:
            _log.error("polling_failed", error=type(error).__name__, where=where(error))
            return await patience.wait(stop)
        patience.reset()
        return None

    async def _beat(self, stop: asyncio.Event) -> None:
        """Keep the lease, or wait for it; at the end let go whoever waits for it here."""
        while not stop.is_set():
            if await self._lead():
                self._leading.set()
            else:
                self._leading.clear()
            await rest(stop, LEASE_S / 4)
        self._leading.set()

    async def _lead(self) -> bool:
        try:
            return await self._memory.lead(self._who)
        except Exception as error:
            _log.warning("poller_lease", error=type(error).__name__)
            return False

    async def _fetch(self, stop: asyncio.Event) -> list[Update]:
        """One long poll, given up at once when `stop` is set."""
        method = GetUpdates(offset=self._offset, timeout=_LONG_POLL_S, allowed_updates=self._allowed)
        call = asyncio.ensure_future(self._bot(method, request_timeout=_LONG_POLL_S + 10))
        ending = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({call, ending}, return_when=asyncio.FIRST_COMPLETED)
            return await call if call.done() else []
        finally:
            for task in (call, ending):
                task.cancel()
            await asyncio.gather(call, ending, return_exceptions=True)

    async def _handle(self, updates: Sequence[Update]) -> None:
        """Handle a batch, then let the next fetch confirm it."""
        if not updates:
            return
        chats: dict[int, list[Update]] = defaultdict(list)
        for update in updates:
            chats[_chat(update)].append(update)
        results = await asyncio.gather(
            *(self._serve(batch) for batch in chats.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        self._offset = max(update.update_id for update in updates) + 1

    async def _serve(self, batch: Sequence[Update]) -> None:
        async with self._room:
            for update in batch:
                await self._feed(update)


def _chat(update: Update) -> int:
    """Whose update this is; updates of one person are handled in their order."""
    if update.message is not None:
        return update.message.chat.id
    if update.callback_query is not None:
        return update.callback_query.from_user.id
    return update.my_chat_member.chat.id if update.my_chat_member is not None else 0
