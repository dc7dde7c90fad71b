"""Every fault of ClickPesa: its API as an HTTP client meets it, its webhooks as they arrive at tuma's place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_checksum import sign
from tests.plain import PLAIN
from tests.sandbox.conftest import Tuma
from tests.sandbox.test_clickpesa import ORDER, Client

BILL = "55042914871931"


@pytest.fixture
async def client(city: Sandbox) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(verify=PLAIN, base_url=city.urls["clickpesa"], timeout=0.5) as http:
        client = Client(city, http)
        await client.login()
        yield client


@pytest.mark.parametrize(
    ("kind", "status", "taken"),
    [("error-before", 503, 0), ("error-after", 500, 1), ("throttle", 429, 0), ("slow", 200, 1)],
)
async def test_an_unwell_api_answers_and_the_record_says_what_was_taken(
    city: Sandbox, client: Client, kind: str, status: int, taken: int
) -> None:
    city.faults.next("clickpesa", kind)
    answered, _ = await client.call("POST", ORDER, {"billReference": BILL, "billAmount": 100})
    assert (answered, len(city.clickpesa.bills)) == (status, taken)


@pytest.mark.parametrize(
    ("kind", "met", "taken"),
    [
        ("timeout-before", httpx.ReadTimeout, 0),
        ("timeout-after", httpx.ReadTimeout, 1),
        ("reset-before", httpx.ReadError, 0),
        ("reset-after", httpx.ReadError, 1),
    ],
)
async def test_a_lost_answer_and_what_was_taken(
    city: Sandbox, client: Client, kind: str, met: type[Exception], taken: int
) -> None:
    city.faults.next("clickpesa", kind, 1, BILL)
    with pytest.raises(met):
        await client.call("POST", ORDER, {"billReference": BILL, "billAmount": 100})
    assert len(city.clickpesa.bills) == taken


@pytest.mark.parametrize(("kind", "status"), [("query-error", 503), ("query-throttle", 429)])
async def test_questions_have_faults_of_their_own(
    city: Sandbox, client: Client, kind: str, status: int
) -> None:
    city.faults.next("clickpesa", kind)
    await client.create(billAmount=100)
    assert (await client.call("GET", "/payments/all"))[0] == status


async def test_a_question_about_one_number_can_fail_alone(city: Sandbox, client: Client) -> None:
    city.bill(BILL, 100)
    city.faults.rate("clickpesa", "query-error", 1.0, BILL)
    assert (await client.call("GET", f"/payments/{BILL}"))[0] == 503
    assert (await client.call("GET", "/payments/1"))[0] == 404


# Webhooks


@pytest.fixture
def paid(city: Sandbox, tuma: Tuma) -> Sandbox:
    city.connect(tuma.url)
    city.bill(BILL, 100)
    return city


async def test_a_lost_webhook_never_comes_and_the_payment_is_on_record(paid: Sandbox, tuma: Tuma) -> None:
    paid.faults.next("clickpesa", "webhook-lost")
    payment = await paid.pay(BILL, 100)
    assert (tuma.calls, payment.webhook_status) == ([], None)
    assert paid.clickpesa.bills[BILL].paid == Decimal(100)


async def test_a_duplicated_webhook_comes_twice_word_for_word(paid: Sandbox, tuma: Tuma) -> None:
    paid.faults.next("clickpesa", "webhook-duplicated")
    await paid.pay(BILL, 100)
    assert len(tuma.calls) == 2
    assert tuma.calls[0].body == tuma.calls[1].body


async def test_a_late_webhook_comes_after_the_payment_returned(paid: Sandbox, tuma: Tuma) -> None:
    paid.faults.late_s = 0.05
    paid.faults.next("clickpesa", "webhook-late")
    payment = await paid.pay(BILL, 100)
    assert (tuma.calls, payment.webhook_status) == ([], None)
    await tuma.wait_for(1)
    await paid.world.until(lambda: payment.webhook_status == 200)


async def test_a_forged_webhook_comes_first_and_does_not_verify(paid: Sandbox, tuma: Tuma) -> None:
    paid.faults.next("clickpesa", "webhook-forged")
    await paid.pay(BILL, 100)
    forged, true = (json.loads(call.body) for call in tuma.calls)
    key = str(paid.clickpesa.account.checksum_key)
    assert [event["checksum"] == sign(event, key) for event in (forged, true)] == [False, True]
    assert forged["data"]["id"] != true["data"]["id"]


async def test_a_forgery_moves_no_money(paid: Sandbox, tuma: Tuma) -> None:
    tuma.status = 401
    reply = await paid.wallet.forge(BILL)
    assert reply is not None
    assert (reply.status, paid.clickpesa.bills[BILL].payments) == (401, [])


async def test_without_checksums_a_forgery_carries_none(paid: Sandbox, tuma: Tuma) -> None:
    paid.clickpesa.switch_checksum(None)
    await paid.wallet.forge(BILL, 70)
    event = json.loads(tuma.calls[0].body)
    assert "checksum" not in event
    assert event["data"]["collectedAmount"] == "70"
