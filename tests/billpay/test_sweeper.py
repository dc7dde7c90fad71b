"""Lost webhooks are found: a real engine, and the sandbox's ClickPesa whose list is swept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.billpay import sweeper as sweeping
from bot.billpay.client import ClickPesa
from bot.billpay.errors import ClickPesaAway
from bot.billpay.sweeper import State, Sweeper
from bot.domain.bill import BillKind
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms, put_clock_forward, put_clock_right
from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_bills import Bill
from tests.billpay.conftest import Clock, client_of
from tests.engine.conftest import job, settings_for


@pytest.fixture(autouse=True)
def right_clock() -> Iterator[None]:
    yield
    put_clock_right()


@pytest.fixture
async def client(city: Sandbox) -> AsyncIterator[ClickPesa]:
    # Without the shared budget: what that does stands in test_sharing.
    async with client_of(city) as made:
        yield made


def sweeper(client: ClickPesa, engine: Engine, every_s: float = 0.05) -> Sweeper:
    return Sweeper(client, engine.payments, engine.sweeps, engine.leases, every_s=every_s)


def ahead(clock: Clock, by: timedelta) -> None:
    """Let time pass for both sides."""
    clock.ahead += by
    put_clock_forward(int(by.total_seconds() * 1000))


def noon(clock: Clock) -> None:
    """Let it be noon, UTC, for both sides: in the first hour of a day the list is begun anew."""
    now = datetime.fromtimestamp(now_ms() / 1000, UTC)
    ahead(clock, (now + timedelta(days=1)).replace(hour=12, minute=0) - now)


async def bill(engine: Engine, city: Sandbox, number: str = "70012345670001", kind: str = "order") -> str:
    await engine.shares.accept(job(number, kind=BillKind(kind)))
    city.bill(number, 45000, kind=kind)
    return number


async def status(engine: Engine, number: str) -> str:
    return (await engine.bills.get(number)).status


async def state(engine: Engine) -> State:
    saved = await engine.sweeps.load()
    assert saved is not None
    return msgspec.json.decode(saved, type=State)


async def age(engine: Engine) -> timedelta:
    """How old what is known is."""
    known = await engine.sweeps.known_until()
    assert known is not None
    return engine.sweeps.now() - known


async def test_a_payment_whose_webhook_was_lost_is_settled(
    city: Sandbox, engine: Engine, client: ClickPesa
) -> None:
    number = await bill(engine, city)
    await city.pay(number, 45000, notify=False)
    looks = sweeper(client, engine)
    await looks.turn()
    assert await status(engine, number) == "settled"
    assert looks.found == 1
    assert await age(engine) < timedelta(seconds=40)


async def test_looking_again_changes_nothing_and_costs_one_request(
    city: Sandbox, engine: Engine, client: ClickPesa
) -> None:
    number = await bill(engine, city)
    await city.pay(number, 45000, notify=False)
    looks = sweeper(client, engine)
    await looks.turn()
    before = await engine.bills.get(number)
    calls = city.clickpesa.calls["GET /payments/all"]
    await looks.turn()
    await sweeper(client, engine).turn()  # another process has the lease no more than this one
    assert await engine.bills.get(number) == before
    assert city.clickpesa.calls["GET /payments/all"] == calls + 1


async def test_a_long_list_is_read_in_pages_and_then_only_at_its_end(
    city: Sandbox, clock: Clock, engine: Engine, client: ClickPesa, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon(clock)
    monkeypatch.setattr(sweeping, "PAGE", 10)
    monkeypatch.setattr(sweeping, "OVERLAP", 5)
    number = await bill(engine, city, kind="customer")
    for _ in range(42):
        await city.pay(number, 1000, notify=False)
    looks = sweeper(client, engine)
    await looks.turn()
    assert (await engine.bills.get(number)).paid == "42000"
    assert city.clickpesa.calls["GET /payments/all"] == 5
    await city.pay(number, 1000, notify=False)
    await looks.turn()
    assert (await engine.bills.get(number)).paid == "43000"
    assert city.clickpesa.calls["GET /payments/all"] == 6


async def test_a_server_that_gives_shorter_pages_is_read_to_the_end(
    city: Sandbox, engine: Engine, client: ClickPesa
) -> None:
    city.clickpesa.most_listed = 3
    number = await bill(engine, city, kind="customer")
    for _ in range(10):
        await city.pay(number, 1000, notify=False)
    looks = sweeper(client, engine)
    for _ in range(2):
        await looks.turn()
        assert (await engine.bills.get(number)).paid == "10000"
    assert (await state(engine)).skip == 10


@pytest.mark.parametrize("word", ["PENDING", "PROCESSING", "ON-HOLD", "SOMETHING-NEW"])
async def test_the_watermark_never_passes_a_payment_that_is_not_final(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock, word: str
) -> None:
    first, second = await bill(engine, city), await bill(engine, city, "70012345670002")
    payment = await city.pay(first, 45000, notify=False)
    city.wallet.restate(payment, word)
    await city.pay(second, 45000, notify=False)
    looks = sweeper(client, engine)
    await looks.turn()
    assert [await status(engine, first), await status(engine, second)] == ["open", "settled"]
    ahead(clock, timedelta(minutes=20))
    await looks.turn()
    known = await engine.sweeps.known_until()
    assert known is not None
    assert known < payment.created
    city.wallet.restate(payment, "SETTLED")
    await looks.turn()
    assert await status(engine, first) == "settled"
    assert await age(engine) < timedelta(seconds=40)


async def test_a_payment_that_is_stuck_is_followed_by_itself(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock
) -> None:
    number = await bill(engine, city)
    payment = await city.pay(number, 45000, notify=False)
    city.wallet.restate(payment, "PENDING")
    looks = sweeper(client, engine)
    await looks.turn()
    ahead(clock, timedelta(minutes=31))
    await looks.turn()
    assert await age(engine) < timedelta(seconds=40)
    assert list((await state(engine)).followed) == [number]
    city.wallet.restate(payment, "SUCCESS")
    ahead(clock, timedelta(minutes=16))
    await looks.turn()
    assert await status(engine, number) == "settled"
    assert not (await state(engine)).followed


async def test_what_stays_stuck_is_not_followed_for_ever(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock
) -> None:
    number = await bill(engine, city)
    city.wallet.restate(await city.pay(number, 45000, notify=False), "PENDING")
    looks = sweeper(client, engine)
    await looks.turn()
    ahead(clock, timedelta(minutes=31))
    await looks.turn()
    ahead(clock, sweeping.FOLLOW_FOR + timedelta(hours=1))
    await looks.turn()
    assert not (await state(engine)).followed


async def test_a_list_that_shifted_is_read_again(
    city: Sandbox, engine: Engine, client: ClickPesa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "OVERLAP", 1)
    late, number = await bill(engine, city), await bill(engine, city, "70012345670002", "customer")
    payment = await city.pay(late, 45000, notify=False)
    payments = city.clickpesa.bills[late].payments
    payments.clear()
    for _ in range(5):
        await city.pay(number, 1000, notify=False)
    looks = sweeper(client, engine)
    await looks.turn()
    assert await status(engine, late) == "open"
    payments.append(payment)  # it is listed late, before all others
    await looks.turn()
    assert await status(engine, late) == "settled"


async def test_every_day_the_list_begins_later_and_is_read_with_overlap(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock
) -> None:
    number = await bill(engine, city)
    looks = sweeper(client, engine)
    await looks.turn()
    begun = (await state(engine)).start
    ahead(clock, timedelta(days=2))
    payment = await city.pay(number, 45000, notify=False)
    city.wallet.restate(payment, "SETTLED")
    await looks.turn()
    assert (await state(engine)).start >= begun + timedelta(days=2)
    assert (await state(engine)).skip == 0
    city.wallet.restate(payment, "REVERSED")
    await looks.turn()
    assert [each.status for each in await engine.payments.unmatched()] == ["REVERSED"]


async def test_payments_from_long_before_the_first_look_are_left_alone(
    city: Sandbox, engine: Engine, client: ClickPesa
) -> None:
    old = await city.pay(_unshared(city), 45000, notify=False)
    old.created = datetime.now(UTC) - timedelta(hours=5)
    new = await city.pay(_unshared(city, "70012345670009"), 45000, notify=False)
    await sweeper(client, engine).turn()
    assert [each.number for each in await engine.payments.unmatched()] == [new.number]


def _unshared(city: Sandbox, number: str = "70012345670008") -> str:
    made: Bill = city.bill(number, Decimal(45000))
    return made.number


async def test_only_one_process_sweeps_and_another_goes_on_when_it_stops(
    city: Sandbox, engine: Engine, client: ClickPesa
) -> None:
    one, other, stop = sweeper(client, engine), sweeper(client, engine), asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(10):
        while await engine.sweeps.known_until() is None:
            await asyncio.sleep(0.01)
        assert not await other.turn()
        stop.set()
        await running
    assert await other.turn()


async def test_while_clickpesa_is_away_the_watermark_stays_and_then_all_is_found(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock
) -> None:
    number = await bill(engine, city)
    looks = sweeper(client, engine)
    await looks.turn()
    city.faults.set("clickpesa", "failing")
    await city.pay(number, 45000, notify=False)
    ahead(clock, timedelta(minutes=15))
    with pytest.raises(ClickPesaAway):
        await looks.turn()
    assert await age(engine) > timedelta(minutes=15)
    city.faults.set("clickpesa", "ok")
    await looks.turn()
    assert await status(engine, number) == "settled"


async def paid_over_three_pages(city: Sandbox, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> str:
    """A number whose ten payments of 1,000 stand on pages of four."""
    monkeypatch.setattr(sweeping, "PAGE", 4)
    monkeypatch.setattr(sweeping, "OVERLAP", 0)
    number = await bill(engine, city, kind="customer")
    for _ in range(10):
        await city.pay(number, 1000, notify=False)
    return number


async def test_what_was_read_before_an_error_is_not_read_again(
    city: Sandbox, engine: Engine, client: ClickPesa, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await paid_over_three_pages(city, engine, monkeypatch)
    calls: list[int] = []
    ask = client.payments_page

    async def failing(**query: object) -> object:
        calls.append(int(str(query["skip"])))
        if len(calls) == 3:
            raise ClickPesaAway("gone")
        return await ask(**query)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "payments_page", failing)
    looks = sweeper(client, engine)
    with pytest.raises(ClickPesaAway):
        await looks.turn()
    assert await engine.sweeps.known_until() is None
    await looks.turn()
    assert calls == [0, 4, 8, 8]
    assert (await engine.bills.get(number)).paid == "10000"


async def test_a_look_that_is_killed_is_taken_up_where_it_was(
    city: Sandbox, engine: Engine, client: ClickPesa, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await paid_over_three_pages(city, engine, monkeypatch)
    calls: list[int] = []
    third = asyncio.Event()
    ask = client.payments_page

    async def hanging(**query: object) -> object:
        calls.append(int(str(query["skip"])))
        if len(calls) == 3:
            third.set()
            await asyncio.Event().wait()
        return await ask(**query)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "payments_page", hanging)
    looks = sweeper(client, engine)
    killed = asyncio.create_task(looks.turn())
    await third.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    following = sweeper(client, engine)
    following._owner = looks._owner  # the lease of the killed one has ended
    await following.turn()
    assert calls == [0, 4, 8, 8]
    assert (await engine.bills.get(number)).paid == "10000"
    assert await engine.sweeps.known_until() is not None


async def handed_out(engine: Engine, number: str, within_s: int | None) -> list[str]:
    """The kinds of messages that a worker would get now."""
    p, now = engine.records.partition(number), now_ms()
    scripts = engine.records.scripts
    await scripts.run(scripts.due(p, now, 100, {}))
    known_from = None if within_s is None else now - within_s * 1000
    held, _ = await scripts.run(scripts.hand_out(p, now, "sms", "test", (10, 10), None, known_from))
    return [each.message["k"] for each in held]


async def test_reminders_wait_while_payments_may_be_unknown_and_nothing_else_does(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock
) -> None:
    number = await bill(engine, city)
    looks = sweeper(client, engine)
    assert await handed_out(engine, number, 600) == ["instructions"]
    ahead(clock, timedelta(days=7, minutes=1))
    assert await handed_out(engine, number, 600) == []
    ahead(clock, timedelta(minutes=1))
    await looks.turn()
    assert await handed_out(engine, number, 600) == []
    ahead(clock, timedelta(minutes=2))
    assert await handed_out(engine, number, 600) == ["reminder"]


async def test_without_credentials_no_reminder_waits(engine: Engine, city: Sandbox, clock: Clock) -> None:
    number = await bill(engine, city)
    assert engine.settings.payments_known_within_s is None
    assert await handed_out(engine, number, None) == ["instructions"]
    ahead(clock, timedelta(days=7, minutes=1))
    assert await handed_out(engine, number, None) == ["reminder"]


async def test_who_paid_without_a_webhook_is_not_reminded(
    city: Sandbox, engine: Engine, client: ClickPesa, clock: Clock
) -> None:
    number = await bill(engine, city)
    await handed_out(engine, number, 600)
    ahead(clock, timedelta(days=7))
    await city.pay(number, 45000, notify=False)
    ahead(clock, timedelta(minutes=1))
    assert await handed_out(engine, number, 600) == []
    await sweeper(client, engine).turn()
    ahead(clock, timedelta(minutes=5))
    assert await handed_out(engine, number, 600) == ["receipt"]


async def test_staff_are_told_once_when_reminders_begin_to_wait(
    city: Sandbox, redis_url: str, client: ClickPesa, clock: Clock
) -> None:
    engine = await Engine.open(
        settings_for(
            redis_url, clickpesa_client_id="ID", clickpesa_api_key="key", clickpesa_known_within_s=600
        )
    )
    try:
        looks, stop = sweeper(client, engine), asyncio.Event()
        await looks.turn()
        city.faults.set("clickpesa", "throttling")
        city.faults.retry_after_s = 1
        for wait, told in ((timedelta(minutes=5), 0), (timedelta(minutes=6), 1), (timedelta(minutes=6), 1)):
            ahead(clock, wait)
            await looks._turn_or_tell()
            assert await told_staff(engine) == ["payments_unknown"] * told
        city.faults.set("clickpesa", "ok")
        await looks.turn()
        city.faults.set("clickpesa", "throttling")
        ahead(clock, timedelta(minutes=11))
        running = asyncio.create_task(looks.run(stop))
        async with asyncio.timeout(10):
            while len(await told_staff(engine)) < 2:
                await asyncio.sleep(0.02)
        stop.set()
        await running
    finally:
        await engine.close()


async def told_staff(engine: Engine) -> list[str]:
    """What kinds of news there are."""
    redis: Any = engine.redis
    return [fields["type"] for _, fields in await redis.xrange("tuma:{0}:news")]
