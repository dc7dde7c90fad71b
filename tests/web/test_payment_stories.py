"""Payments as ClickPesa may tell of them: every documented shape, again and again, in any order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bot.billpay.webhook import from_listing
from tests.web.conftest import Serve, Site, a_share, shared
from tests.web.test_clickpesa import SECRET, post, signed

AT = {"createdAt": "2026-11-02T08:15:30.004Z", "updatedAt": "2026-11-02T08:15:31.120Z"}
PERSON = {"customerName": "Zuhura Ng'ombe", "customerPhoneNumber": "255712000001"}


def current(number: str, status: str = "SUCCESS", event: str = "PAYMENT RECEIVED") -> dict[str, Any]:
    """The shape of August 2026."""
    data = {
        "id": f"{number}LCPA1B2C3",
        "status": status,
        "paymentReference": "7c1f0d5a9be24c",
        "orderReference": number,
        "collectedAmount": "45000",
        "collectedCurrency": "TZS",
        "message": "success",
        "channel": "MIXX BY YAS",
        "customer": PERSON,
        "clientId": "IDTEST0001",
        "loyalty": {"points": [1, 2]},
        **AT,
    }
    return {"event": event, "data": data}


def of_2025(number: str) -> dict[str, Any]:
    data = {
        "paymentId": f"{number}LCPA1B2C3",
        "orderReference": number,
        "amount": "45000.00",
        "currency": "TZS",
        "status": "SUCCESS",
        "customer": {"name": "Zuhura", "email": "z@example.test", "phone": "255712000001"},
        **AT,
    }
    return {"event": "PAYMENT RECEIVED", "data": data}


def of_2024(number: str) -> dict[str, Any]:
    told = current(number)
    return {"eventType": told["event"], "data": {**told["data"], "customer": {"email": "z@example.test"}}}


def failed(number: str) -> dict[str, Any]:
    data = {
        "id": f"{number}LCPA1B2C3",
        "status": "FAILED",
        "channel": "MIXX BY YAS",
        "orderReference": number,
        "message": "Insufficient balance",
        "clientId": "IDTEST0001",
        **AT,
    }
    return {"event": "PAYMENT FAILED", "data": data}


def listed(number: str, status: str = "SETTLED") -> dict[str, Any]:
    return {**current(number)["data"], "status": status, "collectedAmount": 45000}


SHAPES = {"2026": current, "2025": of_2025, "2024": of_2024}


@pytest.fixture
async def keyed(serve: Serve) -> Site:
    return await serve(clickpesa_checksum_key=SECRET)


async def told(site: Site, event: dict[str, Any]) -> str:
    status, answer = await post(site, signed(event))
    assert status == 200
    return str(answer["outcome"])


async def receipts(site: Site, number: str) -> int:
    found = [await site.engine.shares.get(share) for share in (await site.engine.bills.get(number)).shares]
    return sum(each.kind == "receipt" for share in found for each in share.messages)


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_settles_the_bill(keyed: Site, shape: str) -> None:
    number = (await shared(keyed))["number"]
    assert await told(keyed, SHAPES[shape](number)) == "settled"
    assert (await keyed.engine.bills.get(number)).paid == "45000"


@pytest.mark.parametrize("seed", range(8))
async def test_in_any_order_and_however_often_a_payment_counts_once(keyed: Site, seed: int) -> None:
    number = (await shared(keyed))["number"]
    tellings: list[Any] = [
        *(shape(number) for shape in SHAPES.values()),
        *(current(number, word) for word in ("PENDING", "PROCESSING", "ON-HOLD", "SETTLED", "NEW-WORD")),
        current(number, "SUCCESS", "PAYMENT SOMETHING"),
        failed(number),
        listed(number),
        listed(number, "SUCCESS"),
    ] * 2
    random.Random(seed).shuffle(tellings)
    for telling in tellings:
        if "data" in telling:
            await told(keyed, telling)
        else:
            await keyed.engine.payments.settle(from_listing(telling))
    bill = await keyed.engine.bills.get(number)
    assert (bill.status, bill.paid, len(bill.payments)) == ("settled", "45000", 1)
    assert bill.payments[0].status == "SETTLED"
    assert await receipts(keyed, number) == 1
    assert await keyed.engine.payments.unmatched() == []


@pytest.mark.parametrize("word", ["PENDING", "PROCESSING", "ON-HOLD", "NEW-WORD", ""])
async def test_what_is_not_paid_yet_leaves_the_bill_open(keyed: Site, word: str) -> None:
    number = (await shared(keyed))["number"]
    event = current(number, word) if word else current(number, "SUCCESS", "PAYMENT SOMETHING")
    assert await told(keyed, event) == "noted"
    assert (await keyed.engine.bills.get(number)).status == "open"


@pytest.mark.parametrize("word", ["REFUNDED", "REVERSED"])
@pytest.mark.parametrize("seed", range(4))
async def test_money_that_went_back_is_known_to_have_gone_back_in_any_order(
    keyed: Site, word: str, seed: int
) -> None:
    number = (await shared(keyed))["number"]
    tellings = [current(number), current(number, "SETTLED"), current(number, word), current(number, word)]
    random.Random(seed).shuffle(tellings)
    for telling in tellings:
        await told(keyed, telling)
    [payment] = (await keyed.engine.bills.get(number)).payments
    assert payment.status == word


async def test_a_customer_number_paid_twice_has_two_payments(keyed: Site) -> None:
    share = a_share()
    share["bill"]["kind"] = "customer"
    share["bill"]["amount"] = "90000"
    number = (await shared(keyed, bill=share["bill"]))["number"]
    second = current(number)
    second["data"] |= {"id": f"{number}LCPD4E5F6", "paymentReference": "0a0a0a0a"}
    assert [await told(keyed, event) for event in (current(number), second)] == ["partial", "settled"]


async def test_a_deposit_on_the_merchants_own_number_is_kept_for_staff(keyed: Site) -> None:
    data = {
        "id": "DEP1",
        "status": "SUCCESS",
        "paymentReference": "crdb-1",
        "orderReference": "DEP1",
        "depositAmount": "900000",
        "depositCurrency": "TZS",
        "channel": "CRDB COLLECTION",
    }
    assert await told(keyed, {"event": "DEPOSIT RECEIVED", "data": data}) == "unmatched"
    assert [each.amount for each in await keyed.engine.payments.unmatched()] == ["900000"]


async def share_of(site: Site, number: str) -> str:
    bill = {**a_share()["bill"], "number": number}
    return str((await shared(site, bill=bill))["number"])


@pytest.mark.parametrize(
    ("bill", "reference"), [("4321000917", "4321000917"), ("000917", "4321000917"), ("4321000917", "000917")]
)
async def test_an_offline_reference_finds_its_bill_with_or_without_the_prefix(
    serve: Serve, bill: str, reference: str
) -> None:
    site = await serve(clickpesa_checksum_key=SECRET, clickpesa_offline_prefix="4321")
    await share_of(site, bill)
    assert await told(site, current(reference)) == "settled"
    assert await told(site, current(reference, "SETTLED")) == "advanced"
    assert (await site.engine.bills.get(bill)).paid == "45000"


async def test_without_the_rule_an_offline_reference_is_kept_for_staff(keyed: Site) -> None:
    await share_of(keyed, "000917")
    assert await told(keyed, current("4321000917")) == "unmatched"


async def test_a_reference_that_fits_no_bill_is_kept_under_its_own_name(serve: Serve) -> None:
    site = await serve(clickpesa_checksum_key=SECRET, clickpesa_offline_prefix="4321")
    await share_of(site, "000917")
    for reference in ("4321000918", "4321", "9"):
        event = current(reference)
        assert await told(site, event) == "unmatched"
    assert {each.number for each in await site.engine.payments.unmatched()} == {"4321000918", "4321", "9"}


async def test_a_payment_kept_before_its_bill_came_is_not_counted_a_second_time(serve: Serve) -> None:
    site = await serve(clickpesa_checksum_key=SECRET, clickpesa_offline_prefix="4321")
    assert await told(site, current("4321000917")) == "unmatched"
    await share_of(site, "000917")
    assert await told(site, current("4321000917", "SETTLED")) != "settled"
    assert (await site.engine.bills.get("000917")).paid == "0"
    assert len(await site.engine.payments.unmatched()) == 1
