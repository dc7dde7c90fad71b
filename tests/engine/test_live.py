"""Readers of a page: told when it changes, and cheap until then."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bot.engine import keys
from bot.engine.engine import Engine
from bot.engine.live import MOST_READERS, Word, most_readers
from bot.errors import NotFound, StoreUnavailable
from tests.engine.conftest import job, paid

SOON_S = 10


async def shared(engine: Engine, number: str, **changes: Any) -> str:
    """Accept a share; the token of its page."""
    accepted = await engine.shares.accept(job(number, **changes))
    return accepted.token


async def page_reads(engine: Engine) -> int:
    """How often scripts were called since the server started."""
    stats = await engine.redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def told(word: Word) -> bool:
    async with asyncio.timeout(SOON_S):
        return await asyncio.shield(word)


async def test_a_reader_is_told_of_a_payment(engine: Engine) -> None:
    token = await shared(engine, "5501")
    async with engine.live.watch(token) as (page, word):
        assert page.amount == 45000
        await engine.payments.settle(paid("5501"))
        assert await told(word)


async def test_a_reader_is_told_of_a_stop(engine: Engine) -> None:
    token = await shared(engine, "5502")
    async with engine.live.watch(token) as (_, word):
        await engine.bills.stop("5502", by="test")
        assert await told(word)


async def test_a_reader_is_told_when_a_payment_must_be_checked_and_when_it_was(engine: Engine) -> None:
    token = await shared(engine, "5503", kind="customer", bill_mode="exact")
    async with engine.live.watch(token) as (_, word):
        kept = await engine.payments.settle(paid("5503", "1"))
        assert await told(word)
    async with engine.live.watch(token) as (page, word):
        assert page.status == "held"
        await engine.payments.dismiss(kept.payment, by="test")
        assert await told(word)


async def test_a_reader_is_told_when_a_settled_number_has_a_new_bill(engine: Engine) -> None:
    token = await shared(engine, "5504", kind="customer")
    await engine.payments.settle(paid("5504"))
    async with engine.live.watch(token) as (_, word):
        await shared(engine, "5504", kind="customer", term="2", additional_contact=True)
        assert await told(word)


async def test_nobody_is_told_of_another_number(engine: Engine) -> None:
    token = await shared(engine, "5505")
    others = [f"66{n:02}" for n in range(12)]  # some of them in the same partition
    there = [await shared(engine, number) for number in others]
    assert keys.parse_token(token, engine.partitions).partition in {int(each.split("-")[0]) for each in there}
    async with engine.live.watch(token) as (_, word):
        for number, other in zip(others, there, strict=True):
            async with engine.live.watch(other) as (_, heard):
                await engine.payments.settle(paid(number))
                assert await told(heard)
        assert not word.done()


async def test_the_version_says_what_changed_before_somebody_watched(engine: Engine) -> None:
    token = await shared(engine, "5506", kind="customer")
    before = (await engine.shares.by_token(token)).version
    assert (await engine.shares.by_token(token)).version == before
    await engine.payments.settle(paid("5506", "1000"))
    async with engine.live.watch(token) as (page, _):
        assert page.version != before


@pytest.mark.single
async def test_a_thousand_readers_cost_one_read_when_they_come_and_none_while_they_wait(
    engine: Engine,
) -> None:
    tokens = [await shared(engine, f"77{n:03}") for n in range(100)]
    async with AsyncExitStack() as stack:
        async with engine.live.watch(tokens[0]):
            before = await page_reads(engine)
        watched = [await stack.enter_async_context(engine.live.watch(token)) for token in tokens * 10]
        came = await page_reads(engine)
        assert came - before == 1000
        for n in range(100):
            await engine.payments.settle(paid(f"77{n:03}"))
        for _, word in watched:
            assert await told(word)
        # One call for each payment; telling a thousand readers asked Redis nothing.
        assert await page_reads(engine) - came == 100


async def test_an_unknown_page_has_no_readers(engine: Engine) -> None:
    with pytest.raises(NotFound):
        async with engine.live.watch(keys.token(0, keys.fresh_sid())):
            raise AssertionError("nothing is there")
    assert not engine.live._readers


@pytest.mark.single
async def test_when_the_subscription_breaks_readers_are_sent_away_and_can_come_again(engine: Engine) -> None:
    token = await shared(engine, "5507")
    async with engine.live.watch(token) as (_, word):
        await engine.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert await told(word) is False
    async with asyncio.timeout(SOON_S), engine.live.watch(token) as (_, word):
        await engine.payments.settle(paid("5507"))
        assert await told(word)


async def test_closing_sends_readers_away_and_takes_no_more(engine: Engine) -> None:
    token = await shared(engine, "5508")
    async with engine.live.watch(token) as (_, word):
        await engine.live.close()
        assert await told(word) is False
    with pytest.raises(StoreUnavailable):
        async with engine.live.watch(token):
            raise AssertionError("closed")


def test_readers_leave_connections_for_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, readers in ((1024, 768), (65_536, 10_000), (resource.RLIM_INFINITY, 10_000), (100, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, allowed=allowed: (allowed, allowed))
        assert most_readers() == readers


async def test_one_page_never_takes_the_last_places(engine: Engine) -> None:
    crowded, other = await shared(engine, "5521"), await shared(engine, "5522")
    engine.live._most = 40
    async with AsyncExitStack() as readers:
        for _ in range(30):
            await readers.enter_async_context(engine.live.watch(crowded))
        with pytest.raises(StoreUnavailable, match="no room"):
            await readers.enter_async_context(engine.live.watch(crowded))
        await readers.enter_async_context(engine.live.watch(other))
    async with engine.live.watch(crowded):
        assert list(engine.live._of_page.values()) == [1]
    assert not engine.live._of_page


async def test_a_thousand_readers_of_one_page_have_room(engine: Engine) -> None:
    token = await shared(engine, "5523")
    engine.live._most = MOST_READERS
    async with AsyncExitStack() as readers:
        watched = [await readers.enter_async_context(engine.live.watch(token)) for _ in range(1000)]
        await engine.payments.settle(paid("5523"))
        for _, word in watched:
            assert await told(word)
