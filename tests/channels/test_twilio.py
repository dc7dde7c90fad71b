"""What goes over the wire to Twilio for SMS and WhatsApp, and what its answers become."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from channels.base import Delivery, SmsContent, WhatsAppContent
from channels.errors import ContentRejected, Misconfigured, Unavailable
from channels.http_exchange import LONGEST_WAIT_S, retry_after_s
from tests.channels.rigs import BODY, MESSAGE_ID, SmsRig, WhatsAppRig
from tests.channels.servers import ACCOUNT


@pytest.fixture
async def sms() -> AsyncIterator[SmsRig]:
    rig = SmsRig()
    await rig.start()
    yield rig
    await rig.stop()


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppRig]:
    rig = WhatsAppRig()
    await rig.start()
    yield rig
    await rig.stop()


async def test_an_sms_names_recipient_sender_text_and_callback(sms: SmsRig) -> None:
    await sms.send(validity_s=600)
    assert sms.server.accepted == [
        {
            "To": "+255754123456",
            "From": "SHULE",
            "Body": BODY,
            "ValidityPeriod": "600",
            "StatusCallback": f"https://pay.example.com/webhooks/twilio/status?m={MESSAGE_ID}&a=1",
        }
    ]


async def test_a_messaging_service_chooses_the_sender(sms: SmsRig) -> None:
    await sms.make(messaging_service_sid="MG" + "2" * 32).send(sms.outgoing())
    form = sms.server.accepted[0]
    assert form["MessagingServiceSid"] == "MG" + "2" * 32
    assert "From" not in form


async def test_without_a_public_address_no_callback_is_asked_for(sms: SmsRig) -> None:
    await sms.make(status_callback=None).send(sms.outgoing())
    assert "StatusCallback" not in sms.server.accepted[0]


@pytest.mark.parametrize(("asked", "sent"), [(0, "1"), (3, "3"), (36_000, "36000"), (10**6, "36000")])
async def test_validity_stays_within_what_twilio_takes(sms: SmsRig, asked: int, sent: str) -> None:
    await sms.send(validity_s=asked)
    assert sms.server.accepted[0]["ValidityPeriod"] == sent


async def test_the_text_arrives_as_it_was_written(sms: SmsRig) -> None:
    text = "Ng'ombe 50% & co. + é\n@ Δ 📨=?#"
    await sms.send(content=SmsContent(text))
    assert sms.server.accepted[0]["Body"].replace("\r\n", "\n") == text


@pytest.mark.parametrize(
    ("status", "delivery"),
    [("accepted", Delivery.ACCEPTED), ("queued", Delivery.QUEUED), ("sent", Delivery.SENT)],
)
async def test_the_first_status_comes_from_the_answer(sms: SmsRig, status: str, delivery: Delivery) -> None:
    sms.server.status = status
    accepted = await sms.send()
    assert (accepted.delivery, accepted.provider_id[:2]) == (delivery, "SM")


async def test_a_status_unknown_to_us_still_counts_as_accepted(sms: SmsRig) -> None:
    sms.server.status = "teleported"
    assert (await sms.send()).delivery is Delivery.ACCEPTED


async def test_a_message_that_failed_at_once_is_an_error(sms: SmsRig) -> None:
    sms.server.status = "failed"
    with pytest.raises(Unavailable):
        await sms.send()


@pytest.mark.parametrize(("told", "segments"), [("2", 2), ("0", None), ("", None)])
async def test_segments_are_unknown_until_a_sender_is_chosen(
    sms: SmsRig, told: str, segments: int | None
) -> None:
    sms.server.segments = told
    assert (await sms.send()).segments == segments


async def test_a_redirect_is_not_followed(sms: SmsRig) -> None:
    sms.server.behaviour = "redirect"
    with pytest.raises(Misconfigured, match="redirect"):
        await sms.send()


async def test_region_and_edge_of_the_environment_do_not_move_the_address(
    sms: SmsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    await sms.send()
    assert len(sms.server.accepted) == 1


async def test_a_probe_tells_of_a_trial_account(sms: SmsRig) -> None:
    probe = await sms.make().probe()
    assert (probe.ok, "trial" in probe.hints[0]) == (True, True)


async def test_a_probe_with_a_wrong_token_says_which_setting(sms: SmsRig) -> None:
    probe = await sms.make(auth_token="wrong").probe()
    assert (probe.ok, "TWILIO_AUTH_TOKEN" in probe.hints[0]) == (False, True)


@pytest.mark.parametrize("missing", [{"sms_from": None}, {"account_sid": ""}, {"auth_token": ""}])
def test_sms_without_its_settings_cannot_be_made(missing: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="TWILIO_"):
        SmsRig().make("http://127.0.0.1:9", **missing)


async def test_whatsapp_outside_the_window_uses_the_approved_template(whatsapp: WhatsAppRig) -> None:
    await whatsapp.send()
    form = whatsapp.server.accepted[0]
    assert (form["To"], form["From"]) == ("whatsapp:+255754123456", "whatsapp:+14155238886")
    assert form["ContentSid"] == "HX" + "1" * 32
    assert json.loads(form["ContentVariables"]) == {"1": "Asha", "2": "TZS 45,000", "3": "5504"}
    assert "Body" not in form


async def test_whatsapp_inside_the_window_uses_free_text(whatsapp: WhatsAppRig) -> None:
    await whatsapp.send(content=WhatsAppContent(BODY, "HX1", {"1": ""}, window_open=True))
    form = whatsapp.server.accepted[0]
    assert (form["Body"], "ContentSid" in form) == (BODY, False)


async def test_whatsapp_without_a_template_sends_nothing_outside_the_window(whatsapp: WhatsAppRig) -> None:
    with pytest.raises(ContentRejected, match="template"):
        await whatsapp.send(content=WhatsAppContent(BODY, None, {}, window_open=False))
    assert whatsapp.server.requests == []


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "a\tb", "a     b", "x" * 1601])
async def test_a_variable_that_meta_refuses_is_not_sent(whatsapp: WhatsAppRig, value: str) -> None:
    content = WhatsAppContent(BODY, "HX1", {"1": "Asha", "2": value}, window_open=False)
    with pytest.raises(ContentRejected, match="variable 2"):
        await whatsapp.send(content=content)
    assert whatsapp.server.requests == []


def test_whatsapp_without_a_sender_cannot_be_made() -> None:
    with pytest.raises(Misconfigured, match="TWILIO_WHATSAPP_FROM"):
        WhatsAppRig().make("http://127.0.0.1:9", whatsapp_from=None)


async def test_a_message_id_cannot_break_out_of_the_callback_address(sms: SmsRig) -> None:
    await sms.send(message_id="a&a=9#x")
    assert sms.server.accepted[0]["StatusCallback"].endswith("?m=a%26a%3D9%23x&a=1")


def test_a_configuration_does_not_show_its_secrets() -> None:
    config = SmsRig().config("http://127.0.0.1:9", account_sid=ACCOUNT)
    assert config.auth_token not in repr(config)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("9" * 400, LONGEST_WAIT_S),
    ],
)
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": value}) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    now = datetime.now(UTC)
    later = retry_after_s({"Retry-After": format_datetime(now + timedelta(minutes=5), usegmt=True)})
    assert later is not None
    assert 200 < later <= 300
    assert retry_after_s({"Retry-After": format_datetime(now - timedelta(days=1), usegmt=True)}) == 0.0
