"""ClickPesa's API and webhooks, as a plain HTTP client and tuma's place see them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_bills import Declined
from bot.sandbox.clickpesa_checksum import canonical, sign
from bot.sandbox.clickpesa_shapes import Shapes
from bot.sandbox.wallet import Payer
from tests.plain import PLAIN
from tests.sandbox.conftest import Clock, Tuma

KEY = "CHK-test-key-1"
ORDER, CUSTOMER = "/billpay/create-order-control-number", "/billpay/create-customer-control-number"
BULK = "/billpay/bulk-create-order-control-numbers"
Answer = tuple[int, Any]


class Client:
    """A merchant's program: fetches a token, signs what it sends."""

    def __init__(self, city: Sandbox, http: httpx.AsyncClient) -> None:
        self.city, self.http, self.token = city, http, ""

    async def login(self, **changed: str) -> Answer:
        account = self.city.clickpesa.account
        headers = {"client-id": account.client_id, "api-key": account.api_key} | changed
        answer = await self.http.post("/generate-token", headers={k: v for k, v in headers.items() if v})
        self.token = answer.json().get("token", "")
        return answer.status_code, answer.json()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Answer:
        key = self.city.clickpesa.account.checksum_key
        signed = body | {"checksum": sign(body, key)} if body is not None and key else body
        headers = {"Authorization": self.token}
        answer = await self.http.request(method, path, json=signed, headers=headers, params=query)
        return answer.status_code, answer.json()

    async def create(self, **body: Any) -> str:
        status, answer = await self.call("POST", ORDER, body)
        assert status == 200
        return str(answer["billPayNumber"])


@pytest.fixture
async def client(city: Sandbox) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(verify=PLAIN, base_url=city.urls["clickpesa"]) as http:
        client = Client(city, http)
        await client.login()
        yield client


# Tokens


async def test_the_token_already_says_bearer(client: Client) -> None:
    status, body = await client.login()
    assert (status, body["success"]) == (200, True)
    assert body["token"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"client-id": ""}, 401, "Unauthorized"),
        ({"api-key": ""}, 401, "Unauthorized"),
        ({"client-id": "IDwrong"}, 403, "Invalid client details"),
        ({"api-key": "SKwrong"}, 403, "Invalid or Expired API-Key"),
    ],
)
async def test_wrong_credentials_get_no_token(
    client: Client, headers: dict[str, str], status: int, message: str
) -> None:
    assert await client.login(**headers) == (status, {"message": message})


@pytest.mark.parametrize("spoil", ["", "Bearer x", "Bearer {token}"])
async def test_a_wrong_token_is_unauthorized(client: Client, spoil: str) -> None:
    client.token = spoil.format(token=client.token)
    assert await client.call("GET", "/billpay/1") == (401, {"message": "Unauthorized"})


async def test_a_token_ends_after_an_hour(client: Client, clock: Clock) -> None:
    clock.ahead = timedelta(minutes=59)
    assert (await client.call("GET", "/billpay/1"))[0] == 404
    clock.ahead = timedelta(minutes=60)
    assert (await client.call("GET", "/billpay/1"))[0] == 401


async def test_switching_checksums_ends_tokens(city: Sandbox, client: Client) -> None:
    city.clickpesa.switch_checksum(None)
    assert (await client.call("GET", "/billpay/1"))[0] == 401


# Creating


async def test_a_number_keeps_its_reference(client: Client) -> None:
    status, body = await client.call("POST", ORDER, {"billReference": "SOMA0001", "billAmount": 12500})
    assert (status, body) == (200, {"billPayNumber": "SOMA0001"})


async def test_an_empty_create_gets_a_number_of_14_digits(client: Client) -> None:
    number = await client.create()
    assert number.isdigit()
    assert len(number) == 14


async def test_the_older_answer_echoes_the_bill(city: Sandbox, client: Client) -> None:
    city.clickpesa.shapes = Shapes(create_echo=True)
    body = {
        "billReference": "SOMA0001",
        "billAmount": 12500,
        "billPaymentMode": "EXACT",
        "billDescription": "Ada",
    }
    status, answer = await client.call("POST", ORDER, body)
    assert (status, answer) == (
        200,
        {
            "billPayNumber": "SOMA0001",
            "billDescription": "Ada",
            "billAmount": 12500,
            "billPaymentMode": "EXACT",
        },
    )


async def test_a_used_reference_is_409(client: Client) -> None:
    await client.create(billReference="SOMA0001")
    assert await client.call("POST", ORDER, {"billReference": "SOMA0001"}) == (
        409,
        {"message": "Bill reference already used: Use a different reference"},
    )


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        (ORDER, {"billReference": "SOMA-1"}, "billReference"),
        (ORDER, {"billReference": "1" * 21}, "billReference"),
        (ORDER, {"billAmount": "12500"}, "billAmount"),
        (ORDER, {"billAmount": 0}, "billAmount"),
        (ORDER, {"billAmount": 1.005}, "billAmount"),
        (ORDER, {"billPaymentMode": "SOME"}, "billPaymentMode"),
        (ORDER, {"billAmount": 10, "billMaxCollectionAmount": 5}, "billMaxCollectionAmount"),
        (ORDER, {"billMaxCollectionAmount": 5, "billPaymentMode": "EXACT"}, "billMaxCollectionAmount"),
        (ORDER, {"customerName": "Neema"}, "customerName"),
        (CUSTOMER, {"customerPhone": "255713000002"}, "customerName"),
        (CUSTOMER, {"customerName": "Neema"}, "customerPhone or customerEmail"),
        (CUSTOMER, {"customerName": "Neema", "customerPhone": "+255713000002"}, "customerPhone"),
        (BULK, {}, "controlNumbers"),
        (BULK, {"controlNumbers": []}, "controlNumbers"),
        (BULK, {"controlNumbers": [{}] * 51}, "controlNumbers"),
    ],
)
async def test_a_broken_rule_is_400_and_named(
    client: Client, path: str, body: dict[str, Any], word: str
) -> None:
    status, answer = await client.call("POST", path, body)
    assert (status, list(answer)) == (400, ["message"])
    assert word in answer["message"]


async def test_bulk_says_which_items_failed(client: Client) -> None:
    await client.create(billReference="SOMA0001")
    items = [{"billAmount": 25000}, {"billReference": "SOMA0001"}, {"billReference": "SOMA0002"}]
    status, answer = await client.call("POST", BULK, {"controlNumbers": items})
    assert (status, answer["created"], answer["failed"]) == (200, 2, 1)
    assert answer["billPayNumbers"][1] == "SOMA0002"
    assert answer["errors"] == [
        {"index": 1, "reason": "Bill reference already used: Use a different reference"}
    ]


async def test_bulk_without_failures_has_no_errors(client: Client) -> None:
    path = "/billpay/bulk-create-customer-control-numbers"
    item = {"customerName": "Neema", "customerPhone": "255713000002"}
    status, answer = await client.call("POST", path, {"controlNumbers": [item] * 50})
    assert (status, answer["created"], answer["failed"], "errors" in answer) == (200, 50, 0, False)


# Details and updates


async def test_details_show_what_remains_under_the_cap(city: Sandbox, client: Client) -> None:
    body = {
        "customerName": "Neema Kileo",
        "customerEmail": "n@example.test",
        "billReference": "KILEO7",
        "billAmount": 60000,
        "billMaxCollectionAmount": 180000,
        "billDescription": "Ada ya muhula",
    }
    await client.call("POST", CUSTOMER, body)
    await city.pay("KILEO7", 60000)
    assert await client.call("GET", "/billpay/KILEO7") == (
        200,
        {
            "billPayNumber": "KILEO7",
            "billDescription": "Ada ya muhula",
            "billCustomerName": "Neema Kileo",
            "billAmount": 60000,
            "billMaxCollectionAmount": 180000,
            "billRemainingAmount": 120000,
            "billPaymentMode": "ALLOW_PARTIAL_AND_OVER_PAYMENT",
        },
    )


async def test_an_unknown_number_is_404(client: Client) -> None:
    missing = (404, {"message": "BillPay Number does not exist"})
    assert await client.call("GET", "/billpay/NONE") == missing
    assert await client.call("PATCH", "/billpay/NONE", {"billAmount": 5}) == missing
    assert (
        await client.call("PUT", "/billpay/update-status", {"billPayNumber": "NONE", "status": "ACTIVE"})
        == missing
    )


async def test_a_patch_changes_the_bill(client: Client) -> None:
    await client.create(billReference="SOMA0001", billAmount=100, billMaxCollectionAmount=300)
    status, body = await client.call(
        "PATCH", "/billpay/SOMA0001", {"billAmount": 50.5, "billPaymentMode": "EXACT"}
    )
    assert status == 200
    assert body == {
        "billPayNumber": "SOMA0001",
        "billStatus": "ACTIVE",
        "billAmount": 50.5,
        "billPaymentMode": "EXACT",
    }


async def test_what_was_paid_before_an_amount_was_said_is_not_taken_off_it(
    city: Sandbox, client: Client
) -> None:
    names = {"customerName": "Neema", "customerPhone": "255713000002"}
    await client.call("POST", CUSTOMER, {"billReference": "KILEO7", "billAmount": 100, **names})
    bill = city.clickpesa.bills["KILEO7"]
    await city.wallet.pay("KILEO7", 70, notify=False)
    assert bill.owed == 30
    await client.call("PATCH", "/billpay/KILEO7", {"billAmount": 60})
    assert bill.owed == 60
    await client.call("PATCH", "/billpay/KILEO7", {"billDescription": "Lunch"})
    await city.wallet.pay("KILEO7", 25, notify=False)
    assert bill.owed == 35


@pytest.mark.parametrize(
    "body", [{}, {"billStatus": "PAID"}, {"billAmount": 0}, {"billDescription": "x" * 501}]
)
async def test_a_bad_patch_is_400(client: Client, body: dict[str, Any]) -> None:
    await client.create(billReference="SOMA0001")
    assert (await client.call("PATCH", "/billpay/SOMA0001", body))[0] == 400


async def test_the_old_status_call_still_works(client: Client) -> None:
    await client.create(billReference="SOMA0001")
    body = {"billPayNumber": "SOMA0001", "status": "INACTIVE"}
    assert await client.call("PUT", "/billpay/update-status", body) == (200, body)
    assert await client.call("PUT", "/billpay/update-status", {"status": "ACTIVE"}) == (
        400,
        {"message": "billPayNumber is required"},
    )


# Checksums


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (
            '{"billReference":"SOMA0001","billAmount":12500,"billPaymentMode":"EXACT",'
            '"billDescription":"Ada ya Januari"}',
            "37edc1539130795d4636005d05e4e0824f0dab8d8e27753e6c576cb6b6b091e4",
        ),
        (
            '{"z":null,"a":100.0,"b":100.50,"c":1e21,"d":1e-7,"e":123456789012,"f":true,"g":-0.0,'
            '"list":[{"y":2,"x":1},[3,null,"é"],1.10]}',
            "a02b53dc8c35cbf6e47aa26f395f6adfbf3667ff285c8ebb3eda783a6afd3ef1",
        ),
        (
            '{"controlNumbers":[{"customerPhone":"255713000002","customerName":"José Mwakyembe","billAmount":25000},'
            '{"customerName":"Asha <Ally> & Wana / 2","customerEmail":"asha@example.test",'
            '"billReference":"SOMA0002"}]}',
            "ba0e18ee13c7df82d63cf3967b5c3e01b687c67242f624882196c242f496ff4c",
        ),
    ],
)
def test_checksums_match_known_ones(wire: str, expected: str) -> None:
    assert sign(json.loads(wire), KEY) == expected


def test_checksum_members_do_not_count() -> None:
    assert sign({"a": 1, "checksum": "x", "checksumMethod": "canonical"}, KEY) == sign({"a": 1}, KEY)


def test_numbers_are_printed_as_javascript_does() -> None:
    values = [0.000001, 1.5e-7, 2.0**60, 1e20, 12345678901234567890, -0.5]
    assert (
        canonical(values)
        == "[0.000001,1.5e-7,1152921504606847000,100000000000000000000,12345678901234567000,-0.5]"
    )


@pytest.mark.parametrize("body", [{"billAmount": 5}, {"billAmount": 5, "checksum": "0" * 64}])
async def test_a_missing_or_wrong_checksum_is_refused(client: Client, body: dict[str, Any]) -> None:
    answer = await client.http.post(ORDER, json=body, headers={"Authorization": client.token})
    assert (answer.status_code, answer.json()) == (400, {"message": "Invalid checksum"})


async def test_without_a_key_no_checksum_is_asked_for(city: Sandbox, client: Client) -> None:
    city.clickpesa.switch_checksum(None)
    await client.login()
    assert (await client.call("POST", ORDER, {"billAmount": 5}))[0] == 200


# Payments


async def test_a_payment_sends_a_signed_webhook(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.bill("55042914871931", 45000)
    payment = await city.pay("55042914871931", 45000, "M-PESA", Payer("Zuhura Émile Ng'ombe", "255712000001"))
    [call] = tuma.calls
    event = json.loads(call.body)
    assert (call.path, event["event"], event["checksumMethod"]) == (
        "/webhooks/clickpesa",
        "PAYMENT RECEIVED",
        "canonical",
    )
    assert event["data"] | {"createdAt": "", "updatedAt": ""} == {
        "id": payment.id,
        "status": "SUCCESS",
        "paymentReference": payment.reference,
        "orderReference": "55042914871931",
        "collectedAmount": "45000",
        "collectedCurrency": "TZS",
        "message": "Payment received",
        "channel": "M-PESA",
        "createdAt": "",
        "updatedAt": "",
        "customer": {"customerName": "Zuhura Émile Ng'ombe", "customerPhoneNumber": "255712000001"},
    }
    text = json.dumps({"data": event["data"], "event": event["event"]}, sort_keys=True, separators=(",", ":"))
    raw = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    key = str(city.clickpesa.account.checksum_key)
    assert event["checksum"] == hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()
    assert payment.webhook_status == 200


async def test_a_failed_attempt_names_no_amount_and_no_customer(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.bill("55042914871931", 45000)
    await city.fail("55042914871931")
    event = json.loads(tuma.calls[0].body)
    assert (event["event"], event["data"]["message"]) == ("PAYMENT FAILED", "Insufficient balance")
    assert event["data"].keys() == {
        "id",
        "status",
        "channel",
        "orderReference",
        "message",
        "updatedAt",
        "createdAt",
        "clientId",
    }
    assert city.clickpesa.bills["55042914871931"].status == "ACTIVE"


async def test_without_a_key_webhooks_are_not_signed(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url)
    city.clickpesa.switch_checksum(None)
    city.bill("55042914871931", 45000)
    await city.pay("55042914871931", "100.50")
    event = json.loads(tuma.calls[0].body)
    assert event.keys() == {"event", "data"}
    assert event["data"]["collectedAmount"] == "100.50"


async def test_an_order_number_closes_at_its_first_payment(city: Sandbox) -> None:
    city.bill("55042914871931", 45000)
    await city.pay("55042914871931", 20000)
    with pytest.raises(Declined, match="takes no payments any more"):
        await city.pay("55042914871931", 25000)


async def test_a_customer_number_stays_open_until_its_cap(city: Sandbox) -> None:
    city.bill("55042914871931", 45000, kind="customer").cap = Decimal(60000)
    await city.pay("55042914871931", 45000)
    with pytest.raises(Declined, match="at most 15000"):
        await city.pay("55042914871931", 20000)
    await city.pay("55042914871931", 15000)
    assert city.clickpesa.bills["55042914871931"].status == "INACTIVE"


async def test_an_exact_bill_takes_nothing_else(city: Sandbox) -> None:
    city.bill("55042914871931", 45000, exact=True)
    with pytest.raises(Declined, match="only exactly 45000"):
        await city.pay("55042914871931", 44000)


async def test_a_number_that_nobody_knows_cannot_be_paid(city: Sandbox) -> None:
    with pytest.raises(Declined, match="no bill"):
        await city.pay("1234567890", 100)


async def test_payments_are_found_by_number(city: Sandbox, client: Client) -> None:
    city.bill("55042914871931", 45000, kind="customer")
    missing = (404, {"message": "Invalid or missing payment: 55042914871931"})
    assert await client.call("GET", "/payments/55042914871931") == missing
    await city.pay("55042914871931", 20000)
    await city.pay("55042914871931", "100.5", notify=False)
    status, found = await client.call("GET", "/payments/55042914871931")
    assert (status, [each["collectedAmount"] for each in found]) == (200, [20000, 100.5])
    assert found[0]["orderReference"] == "55042914871931"


async def test_a_restated_payment_tells_its_status_when_asked(city: Sandbox, client: Client) -> None:
    city.bill("55042914871931", 45000)
    city.wallet.restate(await city.pay("55042914871931", 45000), "SETTLED")
    _, [found] = await client.call("GET", "/payments/55042914871931")
    assert found["status"] == "SETTLED"


async def test_all_payments_are_paged_and_filtered(city: Sandbox, client: Client) -> None:
    city.bill("11111111111111", 500, kind="customer")
    for amount in (1, 2, 3):
        await city.pay("11111111111111", amount)
    await city.fail("11111111111111")
    status, answer = await client.call("GET", "/payments/all", orderBy="ASC", skip="1", limit="2")
    assert (status, answer["totalCount"]) == (200, 4)
    assert [each["collectedAmount"] for each in answer["data"]] == [2, 3]
    _, failed = await client.call("GET", "/payments/all", status="FAILED")
    assert failed["totalCount"] == 1
    _, future = await client.call("GET", "/payments/all", startDate="2999-01-01")
    assert future == {"data": [], "totalCount": 0}


@pytest.mark.parametrize(
    "query", [{"limit": "x"}, {"startDate": "1 Nov"}, {"orderBy": "UP"}, {"sortBy": "colour"}]
)
async def test_a_bad_listing_is_400(client: Client, query: dict[str, str]) -> None:
    assert (await client.call("GET", "/payments/all", None, **query))[0] == 400


# Faults and limits


@pytest.mark.parametrize(("mode", "status"), [("failing", 503), ("throttling", 429)])
async def test_an_unwell_clickpesa_says_so(city: Sandbox, client: Client, mode: str, status: int) -> None:
    city.faults.set("clickpesa", mode)
    answered, body = await client.call("GET", "/payments/all")
    assert (answered, list(body)) == (status, ["message"])


async def test_the_rate_limit_can_be_switched_on(city: Sandbox, client: Client) -> None:
    city.clickpesa.per_minute = 2
    statuses = [(await client.call("GET", "/payments/all"))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
