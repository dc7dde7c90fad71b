"""Twilio's webhooks: signed over the public address, statuses applied, keywords obeyed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from tests.web.conftest import PUBLIC_URL, Serve, Site, redis_keys, shared

TOKEN = "secret"
SENDER = "+255754123456"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def sign(path: str, form: dict[str, str], *, token: str = TOKEN, base: str = PUBLIC_URL) -> str:
    return str(RequestValidator(token).compute_signature(base + path, form))


async def post(site: Site, path: str, form: dict[str, str], **signing: Any) -> int:
    """Post as Twilio does; the status of the answer."""
    headers = {**FORM, "X-Twilio-Signature": sign(path, form, **signing)}
    async with site.stranger.post(path, data=urlencode(form), headers=headers) as response:
        return response.status


def message(text: str, sender: str = f"whatsapp:{SENDER}", **more: str) -> dict[str, str]:
    return {
        "MessageSid": "SM" + "1" * 32,
        "From": sender,
        "To": "whatsapp:+255700000001",
        "Body": text,
        **more,
    }


async def test_a_status_reaches_the_message_named_in_the_address(site: Site) -> None:
    answer = await shared(site)
    path = f"/webhooks/twilio/status?m={answer['messages'][0]}&a=1"
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "delivered", "ErrorCode": ""}
    assert await post(site, path, form) == 204
    assert (await site.engine.messages.get(answer["messages"][0])).delivery == "delivered"


async def test_a_status_of_an_unknown_message_is_taken_and_forgotten(site: Site) -> None:
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "sent"}
    for query in ("", "?m=nothing", "?m=0-aaaaaaaaaaaaaaaa.1&a=1"):
        assert await post(site, f"/webhooks/twilio/status{query}", form) == 204


async def test_a_status_that_is_none_is_400(site: Site) -> None:
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "exploded"}
    assert await post(site, "/webhooks/twilio/status", form) == 400


@pytest.mark.parametrize(
    "signing",
    [{"token": "other"}, {"base": "https://evil.example"}, {"base": PUBLIC_URL.replace("https", "http")}],
)
@pytest.mark.parametrize("path", ["/webhooks/twilio/status", "/webhooks/twilio/inbound"])
async def test_a_wrong_signature_is_403_and_changes_nothing(
    site: Site, path: str, signing: dict[str, str]
) -> None:
    assert await post(site, path, message("STOP"), **signing) == 403
    assert not await redis_keys(site, "*k:phone:*")


async def test_a_changed_query_is_403(site: Site) -> None:
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "sent"}
    headers = {**FORM, "X-Twilio-Signature": sign("/webhooks/twilio/status?m=1", form)}
    path = "/webhooks/twilio/status?m=2"
    async with site.stranger.post(path, data=urlencode(form), headers=headers) as response:
        assert response.status == 403


async def test_the_address_is_checked_as_it_came(site: Site) -> None:
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "sent"}
    path = "/webhooks/twilio/status?m=a%2Fb&x=%7e&y=a+b"
    assert await _raw_post(site, path, form) == 204


async def _raw_post(site: Site, path: str, form: dict[str, str]) -> int:
    from yarl import URL

    headers = {**FORM, "X-Twilio-Signature": sign(path, form)}
    url = URL(f"http://127.0.0.1:{site.port}{path}", encoded=True)
    async with site.stranger.post(url, data=urlencode(form), headers=headers) as response:
        return response.status


async def test_without_a_public_address_or_token_everything_is_403(serve: Serve) -> None:
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "sent"}
    for changes in ({"public_url": None}, {"twilio_auth_token": None}):
        site = await serve(**changes)
        assert await post(site, "/webhooks/twilio/status", form, token="") == 403
        assert await post(site, "/webhooks/twilio/status", form) == 403


async def test_any_message_opens_the_window(site: Site) -> None:
    assert await post(site, "/webhooks/twilio/inbound", message("habari", MediaUrl0="")) == 200
    contact = await site.engine.contacts.show(SENDER)
    assert contact.last_inbound_at is not None
    assert contact.suppressed == []


@pytest.mark.parametrize("text", ["STOP", "stop", " Acha! ", "ACHENI.", "unsubscribe"])
async def test_a_word_that_stops_opts_out_of_that_channel(site: Site, text: str) -> None:
    await post(site, "/webhooks/twilio/inbound", message(text))
    [suppression] = (await site.engine.contacts.show(SENDER)).suppressed
    assert suppression.channel == "whatsapp"
    assert "keyword" in (suppression.proof or "")
    assert SENDER not in (suppression.proof or "")


@pytest.mark.parametrize("text", ["don't stop", "acha mzaha", "stopped", "", "👍"])
async def test_other_words_stop_nothing(site: Site, text: str) -> None:
    await post(site, "/webhooks/twilio/inbound", message(text))
    assert (await site.engine.contacts.show(SENDER)).suppressed == []


@pytest.mark.parametrize("text", ["START", "anza"])
async def test_a_word_that_starts_opts_in_again(site: Site, text: str) -> None:
    await post(site, "/webhooks/twilio/inbound", message("ACHA"))
    await post(site, "/webhooks/twilio/inbound", message(text))
    assert (await site.engine.contacts.show(SENDER)).suppressed == []


async def test_twilios_own_opt_out_counts_whatever_the_words(site: Site) -> None:
    await post(site, "/webhooks/twilio/inbound", message("sitaki tena", sender=SENDER, OptOutType="STOP"))
    [suppression] = (await site.engine.contacts.show(SENDER)).suppressed
    assert suppression.channel == "sms"


async def test_a_sender_who_hides_the_number_is_answered_and_left_alone(site: Site) -> None:
    assert await post(site, "/webhooks/twilio/inbound", message("STOP", sender="whatsapp:US.1349")) == 200


async def test_stopping_on_whatsapp_cancels_what_waits_there(site: Site) -> None:
    answer = await shared(site, route={"mode": "all", "channels": ["whatsapp", "sms"]})
    [phone] = [key.rpartition(":")[2] for key in await redis_keys(site, "*k:phone:*")]
    await post(site, "/webhooks/twilio/inbound", message("ACHA", sender=f"whatsapp:{phone}"))
    views = [await site.engine.messages.get(one) for one in answer["messages"]]
    assert {view.channel: view.outcome for view in views} == {"whatsapp": "suppressed", "sms": None}
