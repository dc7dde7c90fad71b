"""Africa's Talking's side, as a plain HTTP client sees it: the form its SDKs send, the answers they parse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from bot.sandbox.africastalking import PRICE, Reports
from bot.sandbox.city import Sandbox
from tests.plain import PLAIN
from tests.sandbox.conftest import Tuma

PHONE = "+255754000001"


@pytest.fixture
async def http(city: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    city.africastalking.usual = Reports((("Sent", "", 0), ("Success", "", 0)))
    headers = {"apiKey": city.accounts.africastalking.api_key, "Accept": "application/json"}
    async with httpx.AsyncClient(
        verify=PLAIN, base_url=city.urls["africastalking"], headers=headers
    ) as client:
        yield client


async def post(http: httpx.AsyncClient, **form: str) -> httpx.Response:
    values = {"username": "tuma", "to": PHONE, "message": "Habari Asha", "from": "TUMA", "bulkSMSMode": "1"}
    return await http.post("/version1/messaging", data=values | form)


async def recipient(http: httpx.AsyncClient, **form: str) -> dict[str, Any]:
    """The only row of an answer."""
    answer = await post(http, **form)
    assert answer.status_code == 201
    [row] = answer.json()["SMSMessageData"]["Recipients"]
    return dict(row)


async def test_a_message_is_queued_with_its_id_cost_and_parts(city: Sandbox, http: httpx.AsyncClient) -> None:
    answer = (await post(http)).json()["SMSMessageData"]
    [row] = answer["Recipients"]
    assert answer["Message"] == "Sent to 1/1 Total Cost: TZS 22.0000"
    assert row.pop("messageId").startswith("ATXid_")
    assert row == {
        "statusCode": 102,
        "number": PHONE,
        "status": "Success",
        "cost": "TZS 22.0000",
        "messageParts": 1,
    }


async def test_the_phone_shows_the_message_and_the_record_has_it_once(
    city: Sandbox, http: httpx.AsyncClient
) -> None:
    await post(http, message="Lipa TZS 45,000 kwa 55042914871931")
    await city.world.until(lambda: bool(city.world.screen("sms", PHONE)))
    [message] = city.world.accepted("sms", PHONE)
    assert (message.provider, message.numbers) == ("africastalking", ["55042914871931"])


async def test_several_recipients_have_a_row_each(city: Sandbox, http: httpx.AsyncClient) -> None:
    data = (await post(http, to=f"{PHONE}, 0754, +255754000002")).json()["SMSMessageData"]
    assert data["Message"] == "Sent to 2/3 Total Cost: TZS 44.0000"
    assert [row["statusCode"] for row in data["Recipients"]] == [102, 403, 102]


async def test_without_the_queue_the_answer_says_sent(http: httpx.AsyncClient) -> None:
    assert (await recipient(http, enqueue="0"))["statusCode"] == 101


async def test_a_refused_recipient_costs_nothing_and_has_no_id(
    city: Sandbox, http: httpx.AsyncClient
) -> None:
    before = city.africastalking.balance
    city.africastalking.refusals[PHONE] = 407
    row = await recipient(http)
    assert row == {
        "statusCode": 407,
        "number": PHONE,
        "status": "CouldNotRoute",
        "cost": "0",
        "messageId": "None",
    }
    assert (city.africastalking.balance, city.world.accepted()) == (before, [])


async def test_an_unregistered_sender_has_no_recipients(http: httpx.AsyncClient) -> None:
    data = (await post(http, **{"from": "OTHER"})).json()["SMSMessageData"]
    assert data == {"Message": "InvalidSenderId", "Recipients": []}


async def test_an_empty_account_sends_nothing(city: Sandbox, http: httpx.AsyncClient) -> None:
    city.africastalking.balance = PRICE - 1
    assert (await recipient(http))["status"] == "InsufficientBalance"


@pytest.mark.parametrize(("headers", "form"), [({"apiKey": "wrong"}, {}), ({}, {"username": "other"})])
async def test_wrong_credentials_are_401_in_plain_text(
    http: httpx.AsyncClient, headers: dict[str, str], form: dict[str, str]
) -> None:
    http.headers.update(headers)
    answer = await post(http, **form)
    assert (answer.status_code, answer.text) == (401, "The supplied authentication is invalid")


async def test_a_form_without_a_message_is_400(http: httpx.AsyncClient) -> None:
    assert (await post(http, message="")).status_code == 400


async def test_the_balance_goes_down_by_what_was_sent(city: Sandbox, http: httpx.AsyncClient) -> None:
    await post(http, message="a" * 200)
    answer = await http.get("/version1/user", params={"username": "tuma"})
    currency, amount = answer.json()["UserData"]["balance"].split()
    assert (currency, Decimal(amount)) == ("TZS", Decimal(250_000) - 2 * PRICE)
    assert (await http.get("/version1/user", params={"username": "x"})).status_code == 401


async def test_the_inbox_is_empty(http: httpx.AsyncClient) -> None:
    answer = await http.get("/version1/messaging", params={"username": "tuma"})
    assert answer.json() == {"SMSMessageData": {"Messages": []}}


async def test_reports_go_to_the_secret_address_with_its_own_id(
    city: Sandbox, http: httpx.AsyncClient, tuma: Tuma
) -> None:
    city.connect(tuma.url)
    row = await recipient(http)
    calls = await tuma.wait_for(2)
    token = city.accounts.africastalking.callback_token
    assert {call.path for call in calls} == {f"/webhooks/africastalking/{token}/delivery"}
    assert [call.form["status"] for call in calls] == ["Sent", "Success"]
    assert dict(calls[1].form) == {
        "id": row["messageId"],
        "status": "Success",
        "phoneNumber": PHONE,
        "networkCode": "64004",
        "retryCount": "0",
    }


async def test_a_fate_ends_otherwise(city: Sandbox, http: httpx.AsyncClient, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.africastalking.fates[PHONE] = Reports((("Failed", "UserDoesNotExist", 0),))
    await post(http)
    [call] = await tuma.wait_for(1)
    assert (call.form["status"], call.form["failureReason"]) == ("Failed", "UserDoesNotExist")
    assert city.world.screen("sms", PHONE) == []


async def test_who_stops_messages_is_told_of_and_gets_none(
    city: Sandbox, http: httpx.AsyncClient, tuma: Tuma
) -> None:
    city.connect(tuma.url)
    await city.africastalking.opt_out(PHONE)
    [call] = await tuma.wait_for(1)
    assert call.path.endswith("/optout")
    assert dict(call.form) == {"senderId": "TUMA", "phoneNumber": PHONE}
    assert (await recipient(http))["status"] == "UserInBlacklist"


@pytest.mark.parametrize(("mode", "status"), [("failing", 503), ("throttling", 429)])
async def test_an_unwell_provider_takes_nothing(
    city: Sandbox, http: httpx.AsyncClient, mode: str, status: int
) -> None:
    city.faults.set("africastalking", mode)
    answer = await post(http)
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (mode == "throttling")
    assert (await http.get("/version1/user", params={"username": "tuma"})).status_code == status
    assert city.world.accepted() == []


@pytest.mark.parametrize(
    ("kind", "taken"),
    [("error-before", 0), ("error-after", 1), ("reset-before", 0), ("reset-after", 1), ("throttle-bare", 0)],
)
async def test_a_fault_strikes_before_or_after_the_message_is_taken(
    city: Sandbox, http: httpx.AsyncClient, kind: str, taken: int
) -> None:
    city.faults.next("africastalking", kind)
    try:
        assert (await post(http)).status_code >= 429
    except httpx.TransportError:
        assert kind.startswith("reset")
    assert len(city.world.accepted()) == taken


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("callback-lost", ["Success"]),
        ("callback-duplicated", ["Sent", "Sent", "Success"]),
        ("undelivered", ["Sent", "Failed"]),
    ],
)
async def test_reports_get_lost_doubled_or_bad(
    city: Sandbox, http: httpx.AsyncClient, tuma: Tuma, kind: str, statuses: list[str]
) -> None:
    city.connect(tuma.url)
    city.faults.next("africastalking", kind)
    await post(http)
    calls = await tuma.wait_for(len(statuses))
    assert [call.form["status"] for call in calls] == statuses


async def test_a_report_can_be_faster_than_the_answer(
    city: Sandbox, http: httpx.AsyncClient, tuma: Tuma
) -> None:
    city.connect(tuma.url)
    city.faults.next("africastalking", "callback-early")
    await post(http)
    assert tuma.calls
