"""Every fault of Twilio, as Twilio's own SDK meets it, and what is on record afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from twilio.base.exceptions import (  # type: ignore[import-untyped]
    TwilioException,
    TwilioRestException,
)
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from bot.sandbox.city import Sandbox
from tests.plain import PLAIN
from tests.sandbox.conftest import Tuma

pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]

PHONE = "+255754000001"


@pytest.fixture
async def client(city: Sandbox) -> AsyncIterator[Client]:
    account = city.accounts.twilio
    async with AsyncTwilioHttpClient() as http:
        client = Client(account.sid, account.token, http_client=http)
        client.api.base_url = city.urls["twilio"]
        yield client


async def create(client: Client, **more: Any) -> Any:
    """One create request; the SDK has no timeout of its own."""
    wanted = {"to": PHONE, "from_": "TUMA", "body": "Habari"} | more
    async with asyncio.timeout(0.5):
        return await client.messages.create_async(**wanted)


async def statuses(city: Sandbox, client: Client, tuma: Tuma, count: int) -> list[str]:
    """The statuses that tuma is told of one message."""
    await create(client, status_callback=tuma.url + "/s?m=1-x.1")
    await tuma.wait_for(count)
    await city.at_rest()
    return [call.form["MessageStatus"] for call in tuma.calls]


@pytest.mark.parametrize(
    ("kind", "met", "taken"),
    [
        ("timeout-before", TimeoutError, 0),
        ("timeout-after", TimeoutError, 1),
        ("reset-before", aiohttp.ClientConnectionError, 0),
        ("reset-after", aiohttp.ClientConnectionError, 1),
        ("error-before", TwilioRestException, 0),
        ("error-after", TwilioRestException, 1),
        ("throttle", TwilioRestException, 0),
        ("throttle-bare", TwilioRestException, 0),
    ],
)
async def test_a_fault_meets_the_sdk_and_the_record_says_what_was_taken(
    city: Sandbox, client: Client, kind: str, met: type[Exception], taken: int
) -> None:
    city.faults.next("twilio", kind)
    with pytest.raises(met):
        await create(client)
    assert len(city.world.accepted("sms", PHONE)) == taken
    assert (await create(client)).status == "queued"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("error-before", 503, 20503), ("error-after", 500, 20500), ("throttle", 429, 20429)],
)
async def test_an_error_is_in_twilios_words(
    city: Sandbox, client: Client, kind: str, status: int, code: int
) -> None:
    city.faults.next("twilio", kind)
    with pytest.raises(TwilioRestException) as refused:
        await create(client)
    assert (refused.value.status, refused.value.code) == (status, code)


@pytest.mark.parametrize(("kind", "wait"), [("throttle", "1"), ("throttle-bare", None)])
async def test_a_429_says_when_to_come_back_or_does_not(city: Sandbox, kind: str, wait: str | None) -> None:
    city.faults.next("twilio", kind)
    account = city.accounts.twilio
    url = f"{city.urls['twilio']}/2010-04-01/Accounts/{account.sid}/Messages.json"
    async with httpx.AsyncClient(verify=PLAIN, auth=(account.sid, account.token)) as http:
        answer = await http.post(url, data={"To": PHONE, "From": "TUMA", "Body": "x"})
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, wait)


async def test_a_connection_is_reset_and_not_closed(city: Sandbox) -> None:
    city.faults.next("twilio", "reset-before")
    account = city.accounts.twilio
    url = f"{city.urls['twilio']}/2010-04-01/Accounts/{account.sid}/Messages.json"
    async with httpx.AsyncClient(verify=PLAIN, auth=(account.sid, account.token)) as http:
        with pytest.raises(httpx.ReadError):
            await http.post(url, data={"To": PHONE, "From": "TUMA", "Body": "x"})


async def test_silence_ends_with_a_reset_in_the_end(city: Sandbox, client: Client) -> None:
    city.faults.silence_s = 0.05
    city.faults.next("twilio", "timeout-after")
    with pytest.raises(aiohttp.ClientConnectionError):
        await create(client)
    assert len(city.world.accepted("sms", PHONE)) == 1


async def test_a_refused_request_is_refused_and_not_lost(city: Sandbox, client: Client) -> None:
    city.faults.next("twilio", "timeout-after")
    with pytest.raises(TwilioRestException) as refused:
        await create(client, to="0754")
    assert refused.value.code == 21211


async def test_a_slow_answer_comes(city: Sandbox, client: Client) -> None:
    city.faults.next("twilio", "slow")
    assert (await create(client)).status == "queued"


async def test_one_contact_is_out_of_luck(city: Sandbox, client: Client) -> None:
    city.faults.rate("twilio", "error-before", 1.0, PHONE)
    assert (await create(client, to="+255754000002")).status == "queued"
    with pytest.raises(TwilioRestException):
        await create(client)


@pytest.mark.parametrize(
    ("kind", "met"),
    [
        ("query-timeout", TimeoutError),
        ("query-error", TwilioException),
        ("query-throttle", TwilioException),
        ("query-reset", aiohttp.ClientConnectionError),
    ],
)
async def test_questions_have_faults_of_their_own(
    city: Sandbox, client: Client, kind: str, met: type[Exception]
) -> None:
    city.faults.rate("twilio", kind, 1.0, PHONE)
    await create(client)
    with pytest.raises(met):
        async with asyncio.timeout(0.5):
            await client.messages.list_async(to=PHONE)
    assert len(await client.messages.list_async(to="+255754000002")) == 0


# Callbacks


async def test_a_lost_callback_never_comes(city: Sandbox, client: Client, tuma: Tuma) -> None:
    city.faults.next("twilio", "callback-lost")
    assert await statuses(city, client, tuma, 1) == ["delivered"]


async def test_a_duplicated_callback_comes_twice(city: Sandbox, client: Client, tuma: Tuma) -> None:
    city.faults.next("twilio", "callback-duplicated")
    assert await statuses(city, client, tuma, 3) == ["sent", "sent", "delivered"]


async def test_a_reordered_callback_comes_after_the_next(city: Sandbox, client: Client, tuma: Tuma) -> None:
    city.faults.next("twilio", "callback-reordered")
    assert await statuses(city, client, tuma, 2) == ["delivered", "sent"]


async def test_a_last_callback_that_is_reordered_still_comes(
    city: Sandbox, client: Client, tuma: Tuma
) -> None:
    city.faults.rate("twilio", "callback-reordered", 1.0)
    assert await statuses(city, client, tuma, 2) == ["delivered", "sent"]


async def test_an_early_callback_is_there_before_the_answer(
    city: Sandbox, client: Client, tuma: Tuma
) -> None:
    city.carrier.pace.sent = city.carrier.pace.delivered = 60
    city.faults.next("twilio", "callback-early")
    made = await create(client, status_callback=tuma.url + "/s")
    assert [call.form["MessageSid"] for call in tuma.calls] == [made.sid]
    assert made.status == "queued"


async def test_a_phone_that_is_off_is_told_by_callback(city: Sandbox, client: Client, tuma: Tuma) -> None:
    city.faults.next("twilio", "undelivered")
    assert await statuses(city, client, tuma, 2) == ["sent", "undelivered"]
    assert tuma.calls[-1].form["ErrorCode"] == "30003"


async def test_a_message_whose_answer_was_lost_still_calls_back(
    city: Sandbox, client: Client, tuma: Tuma
) -> None:
    city.faults.next("twilio", "timeout-after")
    with pytest.raises(TimeoutError):
        await create(client, status_callback=tuma.url + "/s?m=1-x.1")
    assert len(await tuma.wait_for(2)) == 2
