"""Many tasks' calls in one round trip: each gets its own answer, and nobody another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bot.engine.together import Together
from bot.errors import StoreFull, StoreUnavailable


class Work:
    """Doubles numbers; 13 is its mistake, and it does as it is told about the store."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.away: StoreUnavailable | None = None
        self.slow = asyncio.Event()
        self.slow.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.slow.wait()
        if self.away and len(items) > 1:
            raise self.away
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


async def test_what_is_asked_at_once_goes_together_and_each_gets_its_own_answer() -> None:
    work = Work()
    together = Together[int, int](work)
    assert await asyncio.gather(*map(together, range(10))) == [2 * n for n in range(10)]
    assert work.batches == [list(range(10))]


async def test_one_that_is_alone_does_not_wait_for_company() -> None:
    work = Work()
    together = Together[int, int](work)
    assert [await together(1), await together(2)] == [2, 4]
    assert work.batches == [[1], [2]]


async def test_while_two_are_under_way_the_next_gathers_and_none_is_larger_than_allowed() -> None:
    work = Work()
    together = Together[int, int](work, most=3)
    work.slow.clear()
    asked = [asyncio.create_task(together(n)) for n in range(12)]
    await asyncio.sleep(0.01)
    assert work.batches == [[0, 1, 2], [3, 4, 5]]
    work.slow.set()
    assert await asyncio.gather(*asked) == [2 * n for n in range(12)]
    assert max(map(len, work.batches)) == 3


async def test_one_that_hangs_holds_nobody_up() -> None:
    work = Work()
    together = Together[int, int](work)
    work.slow.clear()
    hanging = [asyncio.create_task(together(n)) for n in (1, 2)]
    await asyncio.sleep(0)
    hanging.append(asyncio.create_task(together(3)))
    await asyncio.sleep(0.01)
    hanging.append(asyncio.create_task(together(4)))
    async with asyncio.timeout(20):
        while [4] not in work.batches:
            await asyncio.sleep(0.01)
    work.slow.set()
    assert await asyncio.gather(*hanging) == [2, 4, 6, 8]


async def test_a_mistake_is_told_to_whoever_made_it() -> None:
    together = Together[int, int](Work())
    answers = await asyncio.gather(*map(together, (1, 13, 2)), return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 4)
    assert isinstance(answers[1], ValueError)


async def test_that_the_store_is_away_is_told_to_all_without_asking_again() -> None:
    work = Work()
    work.away = StoreUnavailable("away")
    together = Together[int, int](work)
    answers = await asyncio.gather(*map(together, (1, 2, 3)), return_exceptions=True)
    assert answers == [work.away] * 3
    assert work.batches == [[1, 2, 3]]


async def test_of_a_full_store_each_is_asked_alone() -> None:
    work = Work()
    work.away = StoreFull("full")
    together = Together[int, int](work)
    assert await asyncio.gather(*map(together, (1, 2, 3))) == [2, 4, 6]
    assert work.batches == [[1, 2, 3], [1], [2], [3]]


async def test_who_gives_up_takes_nobody_along() -> None:
    work = Work()
    together = Together[int, int](work)
    work.slow.clear()
    first, second = asyncio.create_task(together(1)), asyncio.create_task(together(2))
    await asyncio.sleep(0.01)
    first.cancel()
    work.slow.set()
    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first
