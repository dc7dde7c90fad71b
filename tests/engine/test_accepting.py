"""A share is taken in two trips to one server; whatever comes between them is seen all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from bot.engine import keys
from bot.engine.engine import Engine
from bot.errors import Refused
from tests.engine.conftest import job, settings_for
from tests.engine.gate import Gate, gate

pytestmark = pytest.mark.single


@pytest.fixture
async def way(redis_url: str) -> AsyncIterator[Gate]:
    async with gate(redis_url) as made:
        yield made


@pytest.fixture
async def through(way: Gate) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(way.url))
    await opened.shares.accept(job())  # connects
    yield opened
    await opened.close()


async def _open_claims(engine: Engine) -> int:
    places = [f"{keys.prefix(p)}open" for p in range(engine.partitions)]
    return sum([await engine.records.client.hlen(place) for place in places])


async def test_it_is_two_trips(way: Gate, through: Engine, engine: Engine) -> None:
    async def never() -> None:
        raise AssertionError("a third")

    way.arm(2, never)
    accepted = await through.shares.accept(job())
    assert not accepted.repeated
    assert not way.passed
    assert await _open_claims(engine) == 0
    assert (await engine.ledger.check()).differences == []


@pytest.mark.parametrize("nth", range(2))
async def test_a_stop_that_comes_between_holds(way: Gate, through: Engine, engine: Engine, nth: int) -> None:
    j = job(channels=("sms", "whatsapp"))
    phone = j.customer.phone or ""

    async def stop() -> None:
        await engine.contacts.opt_out("sms", phone, proof="STOP")

    way.arm(nth, stop)
    accepted = await through.shares.accept(j)
    assert accepted.channels == (["sms", "whatsapp"] if nth else ["whatsapp"])
    shown = {m.channel: m.outcome or m.state for m in (await engine.shares.get(j.id)).messages}
    assert shown == ({"sms": "suppressed"} if nth else {}) | {"whatsapp": "queued"}
    assert await engine.contacts.numbers_of(phone) == [j.bill.number]
    assert await _open_claims(engine) == 0


async def test_a_chat_that_is_linked_between_is_told_as_well(
    way: Gate, through: Engine, engine: Engine
) -> None:
    first = job(channels=("sms", "telegram"))
    phone = first.customer.phone
    made = await engine.shares.accept(first)
    p, sid = keys.parse_token(made.token, engine.partitions)
    secret = (await engine.records.share(p, sid))["lt"]

    async def link() -> None:
        await engine.contacts.link(keys.link_payload(p, sid, secret), "777")

    second = job(channels=("sms", "telegram"), phone=phone)
    way.arm(1, link)
    accepted = await through.shares.accept(second)
    assert accepted.channels == ["sms"]
    channels = {m.channel for m in (await engine.shares.get(second.id)).messages}
    assert channels == {"sms", "telegram"}
    assert await _open_claims(engine) == 0


async def test_a_share_that_is_refused_is_not_put_under_whoever_it_named(
    through: Engine, engine: Engine
) -> None:
    taken = await engine.shares.accept(job())
    other = job(taken.number)
    with pytest.raises(Refused):
        await through.shares.accept(other)
    assert await engine.contacts.numbers_of(other.customer.phone or "") == []
    assert await _open_claims(engine) == 0


async def test_what_could_not_be_put_under_its_contact_stays_open_and_is_done_later(
    way: Gate, through: Engine, engine: Engine
) -> None:
    j, client = job(), engine.records.client
    contact = engine.contacts.key("phone", j.customer.phone or "")

    async def spoil() -> None:
        await client.set(contact, "no hash")

    way.arm(1, spoil)
    with pytest.raises(ResponseError):
        await through.shares.accept(j)
    assert await _open_claims(engine) == 1
    await client.delete(contact)
    assert (await through.shares.accept(j)).repeated
    assert await engine.contacts.numbers_of(j.customer.phone or "") == [j.bill.number]
    assert await _open_claims(engine) == 0
