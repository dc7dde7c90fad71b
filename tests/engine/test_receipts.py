"""Delivery reports that name a provider's ids alone, and what reports say of the providers when there are several."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from bot.engine.engine import Engine
from bot.errors import NotFound
from channels.base import Delivery, StatusUpdate
from channels.errors import ChannelError, Misconfigured, RecipientInvalid, Unavailable
from channels.sms_health import Seen, Watch, field_of, minute_of
from tests.engine.conftest import job, settings_for

AT = "africastalking"


@pytest.fixture
async def several(redis_url: str) -> AsyncIterator[Engine]:
    """An engine with two SMS providers."""
    settings = settings_for(redis_url, africastalking_username="shule", africastalking_api_key="secret")
    opened = await Engine.open(settings)
    yield opened
    await opened.close()


async def message(engine: Engine, channel: str = "sms") -> str:
    """A message of a share just accepted; its id."""
    accepted = await engine.shares.accept(job(channels=(channel,)))
    return accepted.messages[0]


def report(
    delivery: Delivery, error: ChannelError | None = None, provider_id: str = "ATXid_1"
) -> StatusUpdate:
    return StatusUpdate(None, provider_id, delivery, error)


async def delivery_of(engine: Engine, message_id: str) -> str | None:
    return (await engine.messages.get(message_id)).delivery


async def counted(engine: Engine, provider: str, seen: Seen) -> int:
    now = minute_of(time.time())
    return sum(
        counts.get(field_of(provider, seen), 0) for counts in await engine.sms_board.read([now, now - 1])
    )


async def test_a_report_finds_its_message_by_the_providers_id(engine: Engine) -> None:
    id = await message(engine)
    await engine.receipts.remember(AT, "ATXid_1", id)
    assert await engine.receipts.reported(AT, report(Delivery.DELIVERED))
    assert await delivery_of(engine, id) == "delivered"


async def test_a_report_that_is_faster_than_the_answer_waits_for_it(engine: Engine) -> None:
    id = await message(engine)
    assert not await engine.receipts.reported(AT, report(Delivery.SENT))
    assert not await engine.receipts.reported(AT, report(Delivery.DELIVERED))
    await engine.receipts.remember(AT, "ATXid_1", id)
    assert await delivery_of(engine, id) == "delivered"


async def test_an_early_failure_keeps_its_meaning(engine: Engine) -> None:
    id = await message(engine)
    error = RecipientInvalid("africastalking UserDoesNotExist", "the number does not exist")
    await engine.receipts.reported(AT, report(Delivery.UNDELIVERED, error))
    await engine.receipts.remember(AT, "ATXid_1", id)
    view = await engine.messages.get(id)
    assert (view.delivery, view.error) == ("undelivered", str(error))


async def test_an_early_failure_is_worth_as_many_tries_as_a_late_one(engine: Engine) -> None:
    id = await message(engine)
    error = Unavailable("africastalking DeliveryFailure", "no reason", retry_after_s=300, most_retries=1)
    await engine.receipts.reported(AT, report(Delivery.UNDELIVERED, error))
    await engine.receipts.remember(AT, "ATXid_1", id)
    assert (await engine.messages.get(id)).error == str(error)


async def test_the_same_id_of_another_provider_is_another_message(engine: Engine) -> None:
    await engine.receipts.remember("other", "ATXid_1", await message(engine))
    assert not await engine.receipts.reported(AT, report(Delivery.DELIVERED))


async def test_a_report_of_a_message_that_is_gone_changes_nothing(engine: Engine) -> None:
    await engine.receipts.remember(AT, "ATXid_1", "0-aaaaaaaaaaaaaaaa.1")
    with pytest.raises(NotFound):
        await engine.receipts.reported(AT, report(Delivery.DELIVERED))


@pytest.mark.single
async def test_nothing_of_this_is_kept_for_ever(engine: Engine) -> None:
    await engine.receipts.reported(AT, report(Delivery.SENT))
    await engine.receipts.remember(AT, "ATXid_2", await message(engine))
    await engine.sms_board.add(minute_of(time.time()), {"a:fault": 1})
    for pattern in ("tuma:receipt:*", "tuma:early:*", "tuma:sms:*"):
        [key] = await engine.records.client.keys(pattern)
        assert await engine.records.client.ttl(key) > 0


async def test_strangers_reports_do_not_pile_up(engine: Engine) -> None:
    for _ in range(30):
        await engine.receipts.reported(AT, report(Delivery.SENT))
    assert await engine.records.client.llen("tuma:early:africastalking:ATXid_1") == 10


async def test_an_arrival_counts_for_its_provider(several: Engine) -> None:
    id = await message(several)
    for delivery in (Delivery.SENT, Delivery.DELIVERED, Delivery.DELIVERED):
        await several.receipts.arrived("twilio", StatusUpdate(id, "SM1", delivery))
    assert await counted(several, "twilio", Seen.ARRIVED) == 1
    assert await counted(several, AT, Seen.ARRIVED) == 0


async def test_a_wrong_number_is_no_fault_of_the_provider(several: Engine) -> None:
    id = await message(several)
    error = RecipientInvalid("30006", "landline")
    await several.receipts.arrived("twilio", StatusUpdate(id, "SM1", Delivery.UNDELIVERED, error))
    assert await counted(several, "twilio", Seen.ARRIVED) == 1
    assert await counted(several, "twilio", Seen.FAULT) == 0


async def test_blame_of_one_account_counts_against_it_and_stops_no_other(several: Engine) -> None:
    id = await message(several)
    error = Misconfigured("30007", "filtered")
    await several.receipts.arrived("twilio", StatusUpdate(id, "SM1", Delivery.UNDELIVERED, error))
    assert await several.channels.paused() == {}
    assert await counted(several, "twilio", Seen.FAULT) == 20


async def test_with_one_provider_blame_of_its_account_stops_sms(engine: Engine) -> None:
    id = await message(engine)
    error = Misconfigured("30007", "filtered")
    await engine.receipts.arrived("twilio", StatusUpdate(id, "SM1", Delivery.UNDELIVERED, error))
    assert list(await engine.channels.paused()) == ["sms"]


async def test_whatsapp_says_nothing_of_the_sms_providers(several: Engine) -> None:
    id = await message(several, "whatsapp")
    await several.receipts.arrived("twilio", StatusUpdate(id, "SM1", Delivery.DELIVERED))
    assert await counted(several, "twilio", Seen.ARRIVED) == 0
    assert await delivery_of(several, id) == "delivered"


async def test_the_board_tells_every_process_what_each_saw(several: Engine) -> None:
    one, other = Watch(several.sms_board), Watch(several.sms_board)
    one.note("twilio", Seen.FAULT, 30)
    await one.refresh()
    other.note("twilio", Seen.FAULT, 30)
    await other.refresh()
    await one.refresh()
    assert one.health("twilio", receipts=True) == other.health("twilio", receipts=True) < 0.1
    assert one.health(AT, receipts=True) == 1
