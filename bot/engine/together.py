"""What many tasks ask for at the same time, asked in one round trip.

While some batches are under way the next one gathers, so a process that is idle answers at once, and one that is busy
pays for a round trip, a system call and an fsync once for many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from bot.errors import StoreFull, StoreUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# One gathers while others are under way. One that takes long, as on a connection whose server is gone, holds nobody up.
_AT_ONCE = 2
_LONG_S = 0.25


class Together(Generic[Item, Answer]):
    """Calls `work` with what gathered, at most `most` items, and gives each caller its own answer.

    `work` answers in the order of the items. Should it raise, its items are asked one by one, so that one caller's
    mistake, or a server that is full, is told to whom it concerns; they must bear being asked again. Only when the
    store is away all are told so at once.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], most: int = 64) -> None:
        self._work, self._most = work, most
        self._gathered: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Answer:
        """The answer to one item. Raises what `work` raises for it. A caller that gives up takes nothing back."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._gathered.append((item, answer))
        if len(self._gathered) == 1:
            # Whatever else is ready to ask in this round of the loop comes along.
            loop.call_soon(self._begin)
        return await answer

    def _begin(self) -> None:
        while self._gathered and self._under_way < _AT_ONCE:
            batch, self._gathered = self._gathered[: self._most], self._gathered[self._most :]
            self._under_way += 1
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        answering = asyncio.ensure_future(self._answer(batch))
        try:
            await asyncio.wait([answering], timeout=_LONG_S)
        finally:
            self._under_way -= 1
            self._begin()
        await answering

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._work([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            away = isinstance(error, StoreUnavailable) and not isinstance(error, StoreFull)
            if len(batch) > 1 and not away:
                for one in batch:
                    await self._answer([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
