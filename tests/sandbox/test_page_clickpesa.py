"""Paying and telling by the page's HTTP side, and everything in which ClickPesa may be otherwise than documented."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import httpx
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_bills import Declined
from bot.sandbox.clickpesa_checksum import canonical
from bot.sandbox.clickpesa_shapes import Shapes
from bot.sandbox.wallet import Payer
from tests.plain import PLAIN
from tests.sandbox.conftest import Clock, Tuma
from tests.sandbox.test_clickpesa import Client
from tests.sandbox.test_page import BILL


@pytest.fixture
async def page(city: Sandbox, tuma: Tuma) -> AsyncIterator[httpx.AsyncClient]:
    city.connect(tuma.url)
    async with httpx.AsyncClient(verify=PLAIN, base_url=city.urls["page"]) as http:
        yield http


@pytest.fixture
async def client(city: Sandbox) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(verify=PLAIN, base_url=city.urls["clickpesa"]) as http:
        made = Client(city, http)
        await made.login()
        yield made


async def ask(page: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await page.post(f"/api/{path}", json=body)).json()
    return answer


def told(tuma: Tuma) -> list[dict[str, Any]]:
    """The webhooks that came."""
    return [json.loads(call.body) for call in tuma.calls]


async def test_any_number_is_paid_from_any_wallet_by_anybody(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    city.bill(BILL, 45000)
    asked = {"wallet": "HALOPESA", "name": "Babu", "phone": "+255713000009"}
    answer = await ask(page, "pay", number=BILL, amount="45,000", **asked)
    assert (answer["ok"], answer["status"], answer["webhook_status"]) == (True, "SUCCESS", 200)
    [event] = told(tuma)
    assert event["data"]["channel"] == "HALOPESA"
    assert event["data"]["customer"] == {"customerName": "Babu", "customerPhoneNumber": "255713000009"}


async def test_a_payment_whose_webhook_is_lost_is_only_on_the_list(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    city.bill(BILL, 45000)
    assert (await ask(page, "pay", number=BILL, amount=45000, lost=True))["webhook_status"] is None
    assert (len(city.clickpesa.payments()), tuma.calls) == (1, [])


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("pay", {"number": BILL, "amount": 1, "wallet": "GOLD"}, "unknown wallet"),
        ("pay", {"number": BILL, "amount": 1, "phone": "0713"}, "12 digits"),
        ("pay", {"number": "1", "amount": 1}, "there is no bill"),
        ("pay", {"number": BILL}, "amount is missing"),
        ("payment", {"payment": "x"}, "there is no payment x"),
        ("clickpesa", {"webhook": "1999"}, "2026, 2025, 2024"),
        ("clickpesa", {"colour": "red"}, "unknown: colour"),
        ("clickpesa", {"escaped": "perhaps"}, "bool"),
        ("clickpesa", {"retry_s": [-1]}, "seconds"),
        ("clickpesa", {"per_day": 0}, "whole number"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(
    city: Sandbox, page: httpx.AsyncClient, path: str, body: dict[str, Any], error: str
) -> None:
    city.bill(BILL, 45000)
    assert error in (await ask(page, path, **body))["error"]
    assert city.clickpesa.shapes == Shapes()


async def test_an_offline_reference_is_told_to_the_merchant_alone(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma, client: Client
) -> None:
    city.wallet.webhook_url = f"{tuma.url}/application"
    city.bill(BILL, 45000)
    await ask(page, "pay", number="4321000917", amount=7000)
    await ask(page, "pay", number=BILL, amount=45000)
    assert [call.path for call in tuma.calls] == ["/webhooks/clickpesa", "/application"]
    assert told(tuma)[0]["data"]["orderReference"] == "4321000917"
    assert (await client.call("GET", "/payments/4321000917"))[0] == 404
    city.wallet.webhook_url = None
    await ask(page, "deposit", amount=900)
    event = told(tuma)[2]
    assert (event["event"], event["data"]["depositAmount"]) == ("DEPOSIT RECEIVED", "900")
    assert event["data"]["orderReference"] == event["data"]["id"]


async def test_without_an_application_address_the_merchants_is_told(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.wallet.webhook_url = None
    city.bill(BILL, 45000)
    await city.pay(BILL, 45000)
    assert [call.path for call in tuma.calls] == ["/webhooks/clickpesa"]


async def test_an_offline_reference_begins_with_the_merchants_number(city: Sandbox) -> None:
    with pytest.raises(Declined, match="4321 and digits"):
        await city.wallet.pay_offline("99990001", 1)


async def test_a_payment_moves_on_and_is_told_again(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    city.bill(BILL, 45000)
    payment = (await ask(page, "pay", number=BILL, amount=45000))["payment"]
    await ask(page, "payment", payment=payment, status="SETTLED")
    assert len(tuma.calls) == 1
    await ask(page, "clickpesa", settled_event=True)
    await ask(page, "payment", payment=payment, status="SETTLED")
    await ask(page, "payment", payment=payment, status="REVERSED", tell=True)
    assert [event["data"]["status"] for event in told(tuma)] == ["SUCCESS", "SETTLED", "REVERSED"]


async def test_webhooks_are_tried_again_as_often_as_asked_for(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    await ask(page, "clickpesa", retry_s=[0, 0.01, 0])
    city.bill(BILL, 45000)
    tuma.status = 503
    await ask(page, "pay", number=BILL, amount=45000)
    await city.at_rest()
    assert len(tuma.calls) == 4
    assert city.clickpesa.bills[BILL].payments[0].webhook_status == 503


async def test_a_webhook_that_is_taken_in_the_end_is_not_tried_again(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    await ask(page, "clickpesa", retry_s=[0.05] * 20)
    city.bill(BILL, 45000)
    tuma.status = 503
    await ask(page, "pay", number=BILL, amount=45000)
    tuma.status = 200
    await city.at_rest()
    calls = len(tuma.calls)
    assert calls < 21
    assert city.clickpesa.bills[BILL].payments[0].webhook_status == 200


@pytest.mark.parametrize(
    ("year", "members"),
    [
        ("2026", {"id", "collectedAmount", "paymentReference"}),
        ("2025", {"paymentId", "amount", "currency"}),
        ("2024", {"id", "collectedAmount", "paymentReference"}),
    ],
)
async def test_webhooks_have_the_shape_of_the_year_asked_for(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma, year: str, members: set[str]
) -> None:
    await ask(page, "clickpesa", webhook=year)
    city.bill(BILL, 45000)
    await city.fail(BILL)
    await city.pay(BILL, 45000, payer=Payer(email="a@example.test"))
    failed, paid = told(tuma)
    assert ("eventType" in failed, "eventType" in paid) == (year != "2026", year == "2024")
    assert members <= paid["data"].keys()
    assert ("customerEmail" in paid["data"]["customer"]) is (year == "2026")


async def test_a_checksum_may_be_over_escaped_text(
    city: Sandbox, page: httpx.AsyncClient, tuma: Tuma
) -> None:
    await ask(page, "clickpesa", escaped=True)
    city.bill(BILL, 45000)
    await city.pay(BILL, 45000, payer=Payer("Zuhura Émile"))
    [event] = told(tuma)
    content = {name: value for name, value in event.items() if name not in {"checksum", "checksumMethod"}}
    text = canonical(content).replace("É", "\\u00c9").encode()
    key = str(city.clickpesa.account.checksum_key).encode()
    assert event["checksum"] == hmac.new(key, text, hashlib.sha256).hexdigest()


async def test_what_no_text_says_can_be_chosen(
    city: Sandbox, client: Client, page: httpx.AsyncClient
) -> None:
    number = await client.create(billAmount=5000)
    assert (await client.call("GET", f"/payments/{number}"))[0] == 404
    chosen = {"unpaid_empty": True, "paid_order_active": True, "failed_closes": True, "patch_whole": False}
    await ask(page, "clickpesa", **chosen)
    assert await client.call("GET", f"/payments/{number}") == (200, [])
    assert await client.call("PATCH", f"/billpay/{number}", {"billAmount": 6000}) == (
        200,
        {"billPayNumber": number, "billAmount": 6000},
    )
    await city.pay(number, 6000)
    assert city.clickpesa.bills[number].status == "ACTIVE"
    with pytest.raises(Declined):
        await city.pay(number, 6000)
    other = await client.create(billAmount=5000)
    await city.fail(other)
    with pytest.raises(Declined):
        await city.pay(other, Decimal(5000))


async def test_a_day_may_have_its_bound_and_midnight_is_that_of_dar_es_salaam(
    page: httpx.AsyncClient, client: Client, clock: Clock, city: Sandbox
) -> None:
    await ask(page, "clickpesa", per_day=2)
    statuses = [(await client.call("GET", "/payments/all"))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    now = datetime.now(timezone(timedelta(hours=3)))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    clock.ahead = midnight - now + timedelta(seconds=2)
    await client.login()
    assert (await client.call("GET", "/payments/all"))[0] == 200
