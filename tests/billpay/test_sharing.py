"""What processes share: one token, one budget, leases. Every client here stands for a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from bot.billpay import line
from bot.billpay.budget import Urgency
from bot.billpay.errors import BudgetSpent, ClickPesaThrottled
from bot.engine.calls import SHARES, CallBudget
from bot.engine.engine import Engine
from bot.engine.scripts import put_clock_forward, put_clock_right
from bot.sandbox.city import Sandbox
from tests.billpay.conftest import client_of
from tests.billpay.servers import Server
from tests.billpay.test_numbers import order


@pytest.fixture(autouse=True)
def right_clock() -> Iterator[None]:
    yield
    put_clock_right()


def budget(engine: Engine, per_minute: int = 120, per_day: int | None = None) -> CallBudget:
    return CallBudget(engine.redis, engine.records.scripts, per_minute, per_day)


async def used(one: CallBudget, urgency: Urgency, most: int = 1000) -> int:
    """How many requests can be had at once."""
    for count in range(most):
        if await one.take(urgency):
            return count
    return most


async def test_all_processes_together_fetch_one_token(server: Server, engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(server.client(token_cache=engine.tokens)) for _ in range(6)
        ]
        await asyncio.gather(*(client.payments(f"N{n}") for n in range(4) for client in clients))
        assert server.calls["token"] == 1
        server.valid.clear()
        await asyncio.gather(*(client.payments(f"N{n}") for n in range(4) for client in clients))
    assert server.calls["token"] == 2


async def test_a_process_that_died_while_fetching_the_token_holds_nobody_up(
    server: Server, engine: Engine
) -> None:
    await engine.tokens.claim("clickpesa:IDTEST0001", "dead", 0.2)
    async with server.client(token_cache=engine.tokens) as client:
        assert await asyncio.wait_for(client.payments("N1"), 10) == []


async def test_a_token_ends_before_its_hour(city: Sandbox, engine: Engine) -> None:
    async with client_of(city, engine) as client:
        await client.payments("1")
    left = await engine.redis.pttl("tuma:token:clickpesa:" + city.clickpesa.account.client_id)
    assert 54 * 60_000 < left <= 55 * 60_000


async def test_no_minute_holds_more_requests_than_allowed(engine: Engine) -> None:
    one, other = budget(engine), budget(engine)
    assert await used(one, Urgency.NOW, 70) + await used(other, Urgency.NOW) == 120
    put_clock_forward(30_000)
    assert 29 < await other.take(Urgency.NOW) <= 31
    put_clock_forward(32_000)
    assert await used(one, Urgency.NOW) == 120


async def test_processes_that_ask_at_the_same_time_get_no_more_than_allowed(engine: Engine) -> None:
    many = [budget(engine) for _ in range(4)]
    waits = await asyncio.gather(*(each.take(Urgency.NOW) for each in many for _ in range(50)))
    assert waits.count(0.0) == 120


async def test_polling_leaves_room_for_verifying_and_both_for_creating(engine: Engine) -> None:
    one = budget(engine)
    assert await used(one, Urgency.SWEEP) == 60
    assert await used(one, Urgency.HINT) == 30
    assert await used(one, Urgency.NOW) == 30
    assert await one.take(Urgency.SWEEP) > 0


async def test_the_wait_that_is_told_is_long_enough(engine: Engine) -> None:
    one = budget(engine, per_minute=4)
    await used(one, Urgency.NOW)
    for urgency in Urgency:
        wait_s = await one.take(urgency)
        put_clock_forward(int(wait_s * 1000))
        assert await one.take(urgency) == 0
        put_clock_forward(62_000)
        await used(one, Urgency.NOW)


async def test_before_approval_a_day_has_its_own_bound_in_every_share(engine: Engine) -> None:
    one = budget(engine, per_day=100)
    assert await used(one, Urgency.SWEEP) == 50
    put_clock_forward(62_000)
    assert await used(one, Urgency.NOW) == 50
    assert await one.today() == 100
    wait_s = await one.take(Urgency.NOW)
    put_clock_forward(int(wait_s * 1000) + 1000)
    assert await one.take(Urgency.NOW) == 0
    assert await one.today() == 1


async def test_when_clickpesa_says_too_much_every_process_rests(engine: Engine) -> None:
    one, other = budget(engine), budget(engine)
    await one.rest(45)
    assert 40 < await other.take(Urgency.NOW) <= 45
    put_clock_forward(45_000)
    assert await other.take(Urgency.NOW) == 0


async def test_a_429_lets_all_rest_as_long_as_it_asks_for(city: Sandbox, engine: Engine) -> None:
    async with client_of(city, engine) as client:
        await client.payments("1")
        city.faults.retry_after_s = 7
        city.faults.next("clickpesa", "query-throttle")
        with pytest.raises(ClickPesaThrottled) as throttled:
            await client.payments("1")
    assert throttled.value.retry_after_s == 7
    assert 5 < await engine.calls.take(Urgency.NOW) <= 7


async def test_every_request_is_counted_and_the_token_too(city: Sandbox, engine: Engine) -> None:
    async with client_of(city, engine) as client:
        await client.create(order())
        await client.details(order().reference or "")
    assert await engine.calls.today() == city.clickpesa.calls.total() == 3


async def test_an_urgent_call_waits_for_its_turn_and_others_are_told_to_come_back(
    city: Sandbox, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(city, engine) as client:
        await client.payments("1")
        await engine.calls.rest(0.3)
        with pytest.raises(BudgetSpent):
            await client.payments("1", urgency=Urgency.SWEEP)
        assert await client.create(order()) == order().reference
        monkeypatch.setattr(line, "PATIENCE_S", 0.2)
        await engine.calls.rest(60)
        with pytest.raises(BudgetSpent):
            await client.details("1")
    assert city.clickpesa.calls.total() == 3  # the token, the first question and the create


def test_every_urgency_has_its_share() -> None:
    assert set(SHARES) == set(Urgency)


async def test_a_lease_is_one_owners_until_it_ends(engine: Engine) -> None:
    leases = engine.leases
    assert await leases.hold("x", "a", 10)
    assert await leases.hold("x", "a", 0.2)
    assert not await leases.hold("x", "b", 10)
    await leases.drop("x", "b")
    assert not await leases.hold("x", "b", 10)
    async with asyncio.timeout(10):
        while not await leases.hold("x", "b", 10):
            await asyncio.sleep(0.02)
    await leases.drop("x", "b")
    assert await leases.hold("x", "a", 10)
