from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.billpay.webhook import from_listing, parse
from bot.errors import Refused

RECEIVED: dict[str, Any] = {
    "event": "PAYMENT RECEIVED",
    "data": {
        "id": "SOMA0001LCPA1B2C3",
        "status": "SUCCESS",
        "paymentReference": "7c1f0d5a9be24c",
        "orderReference": "SOMA0001",
        "collectedAmount": "12500",
        "collectedCurrency": "TZS",
        "message": "success",
        "channel": "MIXX BY YAS",
        "updatedAt": "2026-11-02T08:15:31.120Z",
        "createdAt": "2026-11-02T08:15:30.004Z",
        "customer": {
            "customerName": "Zuhura Ng'ombe",
            "customerEmail": "zuhura@example.test",
            "customerPhoneNumber": "255712000001",
        },
    },
    "checksumMethod": "canonical",
}
FAILED: dict[str, Any] = {
    "event": "PAYMENT FAILED",
    "data": {
        "id": "SOMA0001LCPD4E5F6",
        "status": "FAILED",
        "channel": "MIXX BY YAS",
        "orderReference": "SOMA0001",
        "message": "Insufficient balance",
        "updatedAt": "2026-11-02T08:20:11.000Z",
        "createdAt": "2026-11-02T08:19:58.000Z",
        "clientId": "IDTEST0001",
    },
}
OLDER: dict[str, Any] = {
    "eventType": "PAYMENT RECEIVED",
    "data": {
        "paymentId": "SOMA0001LCPA1B2C3",
        "orderReference": "SOMA0001",
        "amount": "10000.00",
        "currency": "TZS",
        "status": "SUCCESS",
        "customer": {"name": "Zuhura", "email": "z@example.test", "phone": "255712000001"},
    },
}
DEPOSIT: dict[str, Any] = {
    "event": "DEPOSIT RECEIVED",
    "data": {
        "id": "DEP1",
        "status": "SUCCESS",
        "paymentReference": "crdb-1",
        "orderReference": "DEP1",
        "depositAmount": "900000",
        "depositCurrency": "TZS",
        "channel": "CRDB COLLECTION",
    },
}
LISTED: dict[str, Any] = {**RECEIVED["data"], "status": "SETTLED", "collectedAmount": 12500}


def raw(payload: object) -> bytes:
    return json.dumps(payload).encode()


def with_data(payload: dict[str, Any], **members: Any) -> bytes:
    """The payload with members of `data` replaced; None takes one away."""
    data = {key: value for key, value in {**payload["data"], **members}.items() if value is not None}
    return raw({**payload, "data": data})


def test_the_current_shape_is_read_whole() -> None:
    event = parse(raw(RECEIVED))
    assert (event.event, event.number, event.status) == ("received", "SOMA0001", "SUCCESS")
    assert event.ids == ("SOMA0001LCPA1B2C3", "7c1f0d5a9be24c")
    assert (event.amount, event.currency, event.channel) == (Decimal(12500), "TZS", "MIXX BY YAS")
    assert (event.payer_name, event.payer_phone) == ("Zuhura Ng'ombe", "+255712000001")
    assert (event.payer_email, event.message) == ("zuhura@example.test", "success")
    assert event.created_at == datetime(2026, 11, 2, 8, 15, 30, 4000, tzinfo=UTC)
    assert event.source == "webhook"


def test_a_failed_payment_has_no_amount_and_no_payer() -> None:
    event = parse(raw(FAILED))
    assert (event.event, event.status, event.amount, event.currency) == ("failed", "FAILED", None, None)
    assert (event.payer_name, event.message) == (None, "Insufficient balance")


def test_the_older_shape_names_the_same_payment() -> None:
    event = parse(raw(OLDER))
    assert (event.event, event.number, event.amount) == ("received", "SOMA0001", Decimal("10000.00"))
    assert set(event.ids) & set(parse(raw(RECEIVED)).ids)
    assert (event.payer_name, event.payer_phone, event.payer_email) == (
        "Zuhura",
        "+255712000001",
        "z@example.test",
    )


@pytest.mark.parametrize("member", ["event", "eventType"])
@pytest.mark.parametrize(("payload", "event"), [(RECEIVED, "received"), (FAILED, "failed")])
def test_both_names_of_the_event_are_read(member: str, payload: dict[str, Any], event: str) -> None:
    assert parse(raw({member: payload["event"], "data": payload["data"]})).event == event


def test_the_mail_address_of_2024_is_read() -> None:
    assert parse(with_data(RECEIVED, customer={"email": "z@example.test"})).payer_email == "z@example.test"


def test_a_deposit_is_told_apart() -> None:
    event = parse(raw(DEPOSIT))
    assert (event.event, event.amount, event.ids) == ("deposit", Decimal(900000), ("DEP1", "crdb-1"))


@pytest.mark.parametrize("name", ["PAYOUT INITIATED", "PAYOUT REVERSED", "SOMETHING NEW"])
def test_another_event_is_other(name: str) -> None:
    assert parse(raw({**RECEIVED, "event": name})).event == "other"


@pytest.mark.parametrize("name", ["payment received", "PAYMENT_RECEIVED", " Payment  Received "])
def test_the_event_is_recognised_however_it_is_spaced(name: str) -> None:
    assert parse(raw({**RECEIVED, "event": name})).event == "received"


@pytest.mark.parametrize("name", ["billPayNumber", "controlNumber", "billReference"])
def test_the_control_number_is_found_under_other_names(name: str) -> None:
    assert parse(with_data(RECEIVED, orderReference=None, **{name: "SOMA0009"})).number == "SOMA0009"
    assert parse(with_data(RECEIVED, **{name: "SOMA0009"})).number == "SOMA0001"


@pytest.mark.parametrize("amount", ["12500", "12500.00", 12500, 12500.0])
def test_amounts_are_text_or_numbers(amount: object) -> None:
    assert parse(with_data(RECEIVED, collectedAmount=amount)).amount == 12500


@pytest.mark.parametrize(
    "amount", ["", "abc", "-5", "NaN", "Infinity", "1_000", "12500.005", "9" * 13, [], {}, True]
)
def test_a_payment_whose_amount_cannot_be_counted_is_passed_on_without_one(amount: object) -> None:
    event = parse(with_data(RECEIVED, collectedAmount=amount))
    assert (event.amount, event.ids[0]) == (None, "SOMA0001LCPA1B2C3")


def test_an_unknown_currency_leaves_no_amount_to_count() -> None:
    event = parse(with_data(RECEIVED, collectedCurrency="BEADS"))
    assert (event.amount, event.currency) == (None, "BEADS")


def test_unknown_members_are_kept() -> None:
    event = parse(with_data(RECEIVED, loyaltyPoints=7))
    assert json.loads(event.raw)["data"]["loyaltyPoints"] == 7


def test_unknown_statuses_are_kept_in_capitals() -> None:
    assert parse(with_data(RECEIVED, status="on-hold")).status == "ON-HOLD"


@pytest.mark.parametrize(("payload", "status"), [(RECEIVED, "SUCCESS"), (FAILED, "FAILED")])
def test_a_missing_status_is_what_the_event_says(payload: dict[str, Any], status: str) -> None:
    assert parse(with_data(payload, status=None)).status == status


def test_a_failed_event_never_counts_money_whatever_its_status() -> None:
    assert parse(with_data(FAILED, status="SUCCESS")).status == "FAILED"


def test_a_payer_phone_beside_the_customer_is_read() -> None:
    event = parse(with_data(RECEIVED, customer=None, paymentPhoneNumber="255712000001"))
    assert event.payer_phone == "+255712000001"


def test_texts_are_fit_for_one_line() -> None:
    event = parse(with_data(RECEIVED, message="a\r\nb\u202e\ud800c", customer={"customerName": 7}))
    assert (event.message, event.payer_name) == ("a b c", "7")


def test_times_that_cannot_be_read_are_left_out() -> None:
    event = parse(with_data(RECEIVED, createdAt="yesterday", updatedAt="2026-11-02T08:15:31"))
    assert (event.created_at, event.updated_at) == (None, datetime(2026, 11, 2, 8, 15, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"", "$"),
        (b"[]", "$"),
        (b"\xff", "$"),
        (b"[" * 100_000, "$"),
        (b'{"event": "PAYMENT RECEIVED", "event": "PAYMENT FAILED", "data": {}}', "$"),
        (raw({"data": RECEIVED["data"]}), "event"),
        (raw({"event": {}, "data": RECEIVED["data"]}), "event"),
        (raw({"event": "PAYMENT RECEIVED"}), "data"),
        (raw({"event": "PAYMENT RECEIVED", "data": []}), "data"),
        (raw({"event": "PAYMENT RECEIVED", "data": {"orderReference": "1"}}), "data.id"),
        (raw({"event": "PAYMENT RECEIVED", "data": {"id": "1"}}), "data.orderReference"),
        (with_data(RECEIVED, orderReference="x" * 129), "data.orderReference"),
    ],
)
def test_what_is_no_understandable_event_is_refused(payload: bytes, field: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(payload)
    assert [problem.field for problem in refused.value.problems] == [field]


def test_a_listed_payment_is_the_same_payment_with_a_later_status() -> None:
    event = from_listing(LISTED)
    assert (event.event, event.status, event.source) == ("received", "SETTLED", "list")
    assert (event.ids, event.amount) == (parse(raw(RECEIVED)).ids, Decimal(12500))
    assert json.loads(event.raw) == LISTED


def test_a_listed_failure_is_a_failure() -> None:
    assert from_listing({**LISTED, "status": "FAILED"}).event == "failed"


def test_a_listed_payment_without_a_reference_belongs_to_what_was_asked_for() -> None:
    item = {key: value for key, value in LISTED.items() if key != "orderReference"}
    assert from_listing(item, "SOMA0001").number == "SOMA0001"
    assert from_listing(LISTED, "OTHER").number == "SOMA0001"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*RECEIVED["data"], "paymentId", "amount", "currency"]), JSON)
def test_any_value_anywhere_is_read_or_refused(member: str, value: object) -> None:
    payload = {**RECEIVED, "data": {**RECEIVED["data"], member: value}}
    try:
        event = parse(raw(payload))
    except Refused:
        assert member == "orderReference"
    else:
        assert event.ids
        assert event.number == "SOMA0001" or member == "orderReference"
