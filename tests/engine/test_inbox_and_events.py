"""The inbox stream, unproven webhooks, outbound events and staff news on a real server."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from bot.domain.bill import BillKind
from bot.engine.engine import Engine
from bot.engine.inbox import Inbox
from bot.errors import NotFound
from tests.engine.conftest import job, paid
from tests.engine.test_worker import Scripted, settled, until, working

JOB = '{"id": "x-1", "bill": {"number": "55042914871931", "amount": "45000"}, "customer": {"phone": "0754 123 456"}}'


@pytest.fixture
async def inbox(engine: Engine) -> Inbox:
    made = Inbox(engine.records, engine.shares, engine.settings, "test")
    await made._group()
    return made


async def test_an_entry_of_any_program_becomes_a_share_and_is_acknowledged(
    engine: Engine, inbox: Inbox
) -> None:
    await engine.records.client.xadd("tuma:inbox", {"job": JOB})
    await inbox._turn()
    assert (await engine.shares.get("x-1")).number == "55042914871931"
    assert await engine.records.client.xlen("tuma:inbox") == 0


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"job": "{"}, "$"),
        ({"work": JOB}, "job"),
        ({"job": JOB.replace("0754 123 456", "12")}, "customer.phone"),
        ({"job": JOB.replace('"amount": "45000"', '"amount": "1e5"')}, "bill.amount"),
        ({"job": b'{"id": "\xff"}'}, "job"),
    ],
)
async def test_a_bad_entry_is_rejected_with_the_field_and_kept(
    engine: Engine, inbox: Inbox, fields: dict[str, object], where: str
) -> None:
    entry = await engine.records.client.xadd("tuma:inbox", fields)
    await inbox._turn()
    [(_, rejected)] = await engine.records.client.xrange("tuma:rejected")
    assert rejected["entry"] == entry
    problem = json.loads(rejected["error"])
    assert (problem["status"], problem["errors"][0]["field"]) == (422, where)
    assert await engine.records.client.xlen("tuma:inbox") == 0


async def test_a_conflict_in_the_inbox_is_rejected_as_such(engine: Engine, inbox: Inbox) -> None:
    for amount in ("45000", "46000"):
        await engine.records.client.xadd("tuma:inbox", {"job": JOB.replace("45000", amount)})
        await inbox._turn()
    [(_, rejected)] = await engine.records.client.xrange("tuma:rejected")
    assert json.loads(rejected["error"])["status"] == 409


async def test_an_entry_whose_reader_died_is_taken_over(engine: Engine, inbox: Inbox) -> None:
    client = engine.records.client
    await client.xadd("tuma:inbox", {"job": JOB})
    await client.xreadgroup("w", "dead", {"tuma:inbox": ">"})
    [(entry, fields)] = await client.xrange("tuma:inbox")
    await inbox._turn()
    with pytest.raises(NotFound):
        await engine.shares.get("x-1")
    # What XAUTOCLAIM hands over once the dead reader has been idle long enough.
    await inbox.take([("tuma:inbox", entry, fields)])
    assert (await engine.shares.get("x-1")).id == "x-1"


async def test_a_hint_holds_reminders_once_a_day_and_is_asked_about_once(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    assert [await engine.payments.hint("100") for _ in range(3)] == [True, True, True]
    assert await engine.payments.hints_due(10) == ["100"]
    channel = Scripted()
    async with working(engine, channel, schedule=False):
        await until(lambda: _postponed(engine))
    assert channel.sent == []
    await engine.payments.hint_done("100")
    assert await engine.payments.hints_due(10) == []
    await engine.payments.hint("100")
    key = f"tuma:{{{engine.records.partition('100')}}}:a:100"
    assert await engine.records.client.hget(key, "hold") is None


async def _postponed(engine: Engine) -> bool:
    return (await engine.ledger.stats()).scheduled == 1


async def test_a_hint_for_an_unknown_or_paid_number_is_ignored(engine: Engine) -> None:
    assert not await engine.payments.hint("404")
    await engine.shares.accept(job("100"))
    await engine.payments.settle(paid("100"))
    assert not await engine.payments.hint("100")


async def test_events_reach_the_producer_in_order_per_number(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", callback_url="https://shop.example/hook"))
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
        await engine.payments.settle(paid("100"))
        await until(lambda: settled(engine))
    types = []
    while events := await engine.events.take(10):
        [event] = events
        types.append(json.loads(event.body)["type"])
        await engine.events.delivered(event)
    assert types == ["message.sent", "payment.received", "message.sent"]
    assert (await engine.shares.get(accepted.id)).state == "paid"


async def test_an_event_carries_decimal_amounts_and_is_retried_with_its_id(engine: Engine) -> None:
    await engine.shares.accept(job("100", callback_url="https://shop.example/hook"))
    await engine.payments.settle(paid("100"))
    [event] = await engine.events.take(10)
    assert await engine.events.take(10) == []
    await engine.events.retry(event, 0, "HTTP 500")
    [again] = await engine.events.take(10)
    assert (again.id, again.attempt) == (event.id, 2)
    data = json.loads(again.body)["data"]
    assert (data["amount"], data["balance"], data["currency"], data["number"]) == ("45000", "0", "TZS", "100")


async def test_news_is_read_once_by_staff_and_again_if_not_acknowledged(engine: Engine) -> None:
    await engine.payments.settle(paid("100"))
    [item] = await engine.news.read("a")
    assert (item.type, item.data["why"]) == ("unmatched", "unknown number")
    assert await engine.news.read("b") == []
    await engine.news.ack(item)


async def test_two_starts_with_other_partitions_are_refused(engine: Engine) -> None:
    from bot.errors import ConfigError

    with pytest.raises(ConfigError, match="has 4 partitions"):
        await Engine.open(msgspec_replace(engine.settings, partitions=8))
    again = await Engine.open(msgspec_replace(engine.settings, partitions=None))
    assert again.partitions == 4
    await again.close()


def msgspec_replace(settings: object, **changes: object):  # type: ignore[no-untyped-def]
    import dataclasses

    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


async def test_many_intakes_of_one_job_make_one_share(engine: Engine) -> None:
    inboxes = [Inbox(engine.records, engine.shares, engine.settings, f"c{n}") for n in range(4)]
    await inboxes[0]._group()
    for _ in range(40):
        await engine.records.client.xadd("tuma:inbox", {"job": JOB})
    await asyncio.gather(*(inbox._turn() for inbox in inboxes))
    assert (await engine.ledger.stats()).created == 1
    assert await engine.records.client.xlen("tuma:rejected") == 0


def test_a_job_survives_its_stored_form() -> None:
    from bot.domain.share import ShareJob

    made = job("100")
    assert msgspec.json.decode(msgspec.json.encode(made), type=ShareJob) == made
