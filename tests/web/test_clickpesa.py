"""ClickPesa's webhook: believed when signed, a hint when nothing can be checked, refused otherwise."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from bot.billpay import checksum
from tests.web.conftest import Lonely, Serve, Site, shared

SECRET = "CHK-test-key-1"
_serial = itertools.count(1)


def received(number: str, amount: str = "45000", **data: Any) -> dict[str, Any]:
    """A payment event as ClickPesa sends it."""
    n = next(_serial)
    payment = {
        "id": f"{number}LCP{n}",
        "status": "SUCCESS",
        "paymentReference": f"ref{n}",
        "orderReference": number,
        "collectedAmount": amount,
        "collectedCurrency": "TZS",
        "createdAt": "2026-11-02T08:15:30.004Z",
        "customer": {"customerName": "Zuhura Ng'ombe", "customerPhoneNumber": "255712000001"},
    }
    return {"event": "PAYMENT RECEIVED", "data": {**payment, **data}}


def signed(event: dict[str, Any], key: str = SECRET) -> dict[str, Any]:
    return {**event, "checksum": checksum.sign(event, key), "checksumMethod": "canonical"}


async def post(site: Site, event: Any) -> tuple[int, dict[str, Any]]:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    async with site.stranger.post("/webhooks/clickpesa", data=body) as response:
        return response.status, await response.json()


@pytest.fixture
async def keyed(serve: Serve) -> Site:
    """A server that knows the checksum key."""
    return await serve(clickpesa_checksum_key=SECRET)


async def test_a_signed_payment_settles_the_bill_before_it_is_answered(keyed: Site) -> None:
    answer = await shared(keyed)
    status, result = await post(keyed, signed(received(answer["number"])))
    assert (status, result["outcome"]) == (200, "settled")
    assert (await keyed.engine.bills.get(answer["number"])).status == "settled"


async def test_the_same_payment_again_is_200_and_counts_once(keyed: Site) -> None:
    answer = await shared(keyed)
    event = signed(received(answer["number"]))
    assert (await post(keyed, event))[1]["outcome"] == "settled"
    assert await post(keyed, event) == (200, {"outcome": "repeated", **_rest(await post(keyed, event))})
    assert (await keyed.engine.bills.get(answer["number"])).paid == "45000"


def _rest(reply: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in reply[1].items() if name != "outcome"}


async def test_a_payment_of_an_unknown_number_is_200_and_kept(keyed: Site) -> None:
    status, result = await post(keyed, signed(received("99988877")))
    assert (status, result["outcome"]) == (200, "unmatched")
    assert [payment.number for payment in await keyed.engine.payments.unmatched()] == ["99988877"]


async def test_an_unsigned_payment_is_401_and_changes_nothing(keyed: Site) -> None:
    answer = await shared(keyed)
    assert (await post(keyed, received(answer["number"])))[0] == 401
    assert (await keyed.engine.bills.get(answer["number"])).paid == "0"


@pytest.mark.parametrize("broken", ["another key", "changed amount", "legacy", "short", "added field"])
async def test_a_wrong_checksum_is_401_and_changes_nothing(keyed: Site, broken: str) -> None:
    answer = await shared(keyed)
    event = signed(received(answer["number"]), "other" if broken == "another key" else SECRET)
    if broken == "changed amount":
        event["data"]["collectedAmount"] = "46000"
    if broken == "legacy":
        event["checksumMethod"] = "legacy"
    if broken == "short":
        event["checksum"] = event["checksum"][:63]
    if broken == "added field":
        event["data"]["more"] = 1
    status, problem = await post(keyed, event)
    assert (status, problem["type"]) == (401, "/docs#wrong-checksum")
    assert (await keyed.engine.bills.get(answer["number"])).payments == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"hello", b"\xff\xfe"])
async def test_what_is_no_json_is_400(keyed: Site, body: bytes) -> None:
    assert (await post(keyed, body))[0] == 400


@pytest.mark.parametrize(
    "event",
    [{}, {"event": "PAYMENT RECEIVED"}, {"event": "PAYMENT RECEIVED", "data": {"id": "x"}}, {"data": []}],
)
async def test_a_signed_body_that_names_no_payment_is_400_and_says_what_is_missing(
    keyed: Site, event: dict[str, Any]
) -> None:
    status, problem = await post(keyed, signed(event))
    assert status == 400
    assert problem["errors"]


async def test_a_failed_attempt_is_noted_and_the_bill_stays_open(keyed: Site) -> None:
    answer = await shared(keyed)
    failed = {
        "id": "F1",
        "status": "FAILED",
        "orderReference": answer["number"],
        "message": "Insufficient balance",
    }
    status, result = await post(keyed, signed({"event": "PAYMENT FAILED", "data": failed}))
    assert (status, result["outcome"]) == (200, "failed")
    assert result["messages"] == 1  # the customer is told, and that is no receipt
    assert "receipts" not in result
    assert (await keyed.engine.bills.get(answer["number"])).status == "open"


async def test_without_a_key_a_payment_is_only_a_hint(site: Site) -> None:
    answer = await shared(site)
    assert await post(site, received(answer["number"])) == (200, {"outcome": "noted"})
    assert (await site.engine.bills.get(answer["number"])).status == "open"
    assert await site.engine.payments.hints_due(10) == [answer["number"]]


async def test_a_hint_about_an_unknown_number_is_200_and_asks_nobody(site: Site) -> None:
    assert (await post(site, received("424242")))[0] == 200
    assert await site.engine.payments.hints_due(10) == []


async def test_when_redis_is_away_it_is_503_so_that_clickpesa_says_it_again(lonely: Lonely) -> None:
    site, server = lonely
    server.process.kill()
    async with site.stranger.post("/webhooks/clickpesa", json=received("1234")) as response:
        assert response.status == 503


async def test_a_body_without_end_is_413(keyed: Site) -> None:
    async with keyed.stranger.post("/webhooks/clickpesa", data=b" " * 300_000) as response:
        assert response.status == 413


async def test_forgeries_are_counted(keyed: Site) -> None:
    await post(keyed, received("1234"))
    async with keyed.stranger.get("/metrics") as response:
        assert 'tuma_webhooks_total{outcome="unverified",sender="clickpesa"} 1.0' in await response.text()
