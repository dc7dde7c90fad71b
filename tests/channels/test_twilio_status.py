"""Twilio's webhooks: the signature as an independent signer makes it, and what callbacks say."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from channels.base import Delivery
from channels.errors import RecipientInvalid, Unavailable
from channels.twilio_status import parse_inbound, parse_status, verify

TOKEN = "12345"
URL = "https://pay.example.com/webhooks/twilio/status?m=0a-x.1&a=2"
FORM = {"MessageSid": "SM1", "MessageStatus": "sent", "ErrorCode": "", "Body": " a  b ", "Zü": "é"}


def sign(url: str, form: Any, token: str = TOKEN) -> str:
    """The algorithm as Twilio documents it, written without the SDK."""
    pairs = sorted(set(form.items()))
    text = url + "".join(name + value for name, value in pairs)
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def test_the_documented_example_verifies() -> None:
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert verify(url, form, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "12345")


def test_a_form_with_blank_and_odd_values_verifies() -> None:
    assert verify(URL, FORM, sign(URL, FORM), TOKEN)


def test_a_repeated_field_verifies() -> None:
    form = MultiDict([("MediaUrl", "b"), ("MediaUrl", "a"), ("MessageSid", "SM1")])
    assert verify(URL, form, sign(URL, form), TOKEN)


@pytest.mark.parametrize(
    "forged",
    [
        {**FORM, "MessageStatus": "failed"},
        {key: value for key, value in FORM.items() if key != "Body"},
        {**FORM, "Extra": "1"},
        {**FORM, "Body": "a  b"},
        {},
    ],
)
def test_a_changed_form_does_not_verify(forged: dict[str, str]) -> None:
    assert not verify(URL, forged, sign(URL, FORM), TOKEN)


@pytest.mark.parametrize("url", [URL + "1", URL.replace("https", "http"), URL.replace("pay.", "evil.")])
def test_another_address_does_not_verify(url: str) -> None:
    assert not verify(url, FORM, sign(URL, FORM), TOKEN)


def test_a_default_port_makes_no_difference() -> None:
    with_port = URL.replace("example.com", "example.com:443")
    assert verify(URL, FORM, sign(with_port, FORM), TOKEN)
    assert verify(with_port, FORM, sign(URL, FORM), TOKEN)


def test_an_empty_token_or_signature_never_verifies() -> None:
    assert not verify(URL, FORM, sign(URL, FORM, ""), "")
    assert not verify(URL, FORM, "", TOKEN)


def test_a_body_hash_in_the_address_does_not_open_a_way_around_the_form() -> None:
    url = URL + "&bodySHA256=" + "0" * 64
    assert not verify(url, {}, sign(url, {}), TOKEN)


@pytest.mark.parametrize("url", ["https://h:x/", "https://h:99999/", "http://[", "", "/no/host", "\udcff"])
def test_a_broken_address_does_not_raise(url: str) -> None:
    assert not verify(url, FORM, "x" * 28, TOKEN)


@given(st.text(), st.dictionaries(st.text(), st.one_of(st.text(), st.binary(), st.none())), st.text())
def test_nothing_makes_the_check_raise_or_pass(url: str, form: dict[str, Any], signature: str) -> None:
    assert verify(url, form, signature, TOKEN) is False


def test_a_status_names_our_message_and_its_own() -> None:
    update = parse_status({"m": "0a-x.1", "a": "2"}, {"MessageSid": "SM1", "MessageStatus": "delivered"})
    assert (update.message_id, update.provider_id) == ("0a-x.1", "SM1")
    assert (update.delivery, update.error, update.attempt) == (Delivery.DELIVERED, None, 2)


@pytest.mark.parametrize("attempt", ["", "x", "-1", "9" * 40])
def test_an_attempt_that_is_none_is_left_out(attempt: str) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    assert parse_status({"m": "0a-x.1", "a": attempt}, form).attempt is None


@pytest.mark.parametrize("delivery", list(Delivery))
def test_every_status_is_read(delivery: Delivery) -> None:
    assert parse_status({}, {"SmsSid": "SM1", "SmsStatus": delivery.value}).delivery is delivery


def test_a_failure_carries_its_decision() -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "63024"}
    assert type(parse_status({}, form).error) is RecipientInvalid


@pytest.mark.parametrize("code", ["", "nonsense", "9" * 5000, "-1"])
def test_a_failure_without_a_readable_code_may_be_tried_again(code: str) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": code}
    assert type(parse_status({}, form).error) is Unavailable


def test_a_warning_on_a_delivered_message_is_no_failure() -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "ErrorCode": "30018"}
    assert parse_status({}, form).error is None


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"MessageSid": "SM1"},
        {"MessageStatus": "sent"},
        {"MessageSid": "SM1", "MessageStatus": "received"},
    ],
)
def test_what_is_no_status_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a message status"):
        parse_status({}, form)


def test_an_inbound_sms_is_read() -> None:
    inbound = parse_inbound(
        {"MessageSid": "SM2", "From": "+255754123456", "Body": " ACHA ", "OptOutType": "stop"}
    )
    assert (inbound.kind, inbound.sender, inbound.text) == ("sms", "+255754123456", "ACHA")
    assert (inbound.message_sid, inbound.opt_out_type) == ("SM2", "STOP")


def test_an_inbound_whatsapp_button_counts_as_text() -> None:
    inbound = parse_inbound({"MessageSid": "SM2", "From": "whatsapp:+255754123456", "ButtonText": "Acha"})
    assert (inbound.kind, inbound.sender, inbound.text) == ("whatsapp", "+255754123456", "Acha")
    assert inbound.opt_out_type is None


def test_a_whatsapp_user_without_a_number_has_no_sender() -> None:
    inbound = parse_inbound({"MessageSid": "SM2", "From": "whatsapp:US.13491208655302741918", "Body": "x"})
    assert (inbound.kind, inbound.sender) == ("whatsapp", None)


def test_an_inbound_message_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="not a message"):
        parse_inbound({"From": "+255754123456"})
