"""The Twilio side, as Twilio's own SDK and a plain HTTP client see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from bot.sandbox.city import Sandbox
from bot.sandbox.twilio import reference
from bot.sandbox.twilio_carrier import Fate
from tests.plain import PLAIN
from tests.sandbox.conftest import Clock, Tuma

# The SDK's own asynchronous client makes aiohttp say so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]

PHONE = "+255754000001"
CONTENT = "HX" + "1" * 32


@pytest.fixture
async def client(city: Sandbox) -> AsyncIterator[Client]:
    account = city.accounts.twilio
    async with AsyncTwilioHttpClient() as http:
        client = Client(account.sid, account.token, http_client=http)
        client.api.base_url = city.urls["twilio"]
        yield client


async def sent(client: Client, city: Sandbox, **wanted: Any) -> Any:
    """Create a message and wait until it is at its end."""
    made = await client.messages.create_async(**{"to": PHONE, "from_": "TUMA", "body": "Habari"} | wanted)
    ends = {"delivered", "read", "undelivered", "failed"}
    whatsapp = made.to.startswith("whatsapp:")
    await city.world.until(
        lambda: city.twilio.messages[made.sid].shown.status in (ends - {"delivered"} if whatsapp else ends)
    )
    return await client.messages(made.sid).fetch_async()


async def refusal(city: Sandbox, **form: str) -> tuple[int, dict[str, Any]]:
    """The answer to a create request of exactly `form`."""
    account = city.accounts.twilio
    url = f"{city.urls['twilio']}/2010-04-01/Accounts/{account.sid}/Messages.json"
    async with httpx.AsyncClient(verify=PLAIN, auth=(account.sid, account.token)) as http:
        answer = await http.post(url, data=form)
    return answer.status_code, answer.json()


async def test_the_sdk_creates_an_sms_that_is_queued(city: Sandbox, client: Client) -> None:
    made = await client.messages.create_async(
        to=PHONE, from_="TUMA", body="Lipa TZS 45,000 kwa 55042914871931"
    )
    assert (made.status, made.num_segments, made.direction) == ("queued", "1", "outbound-api")
    assert made.sid is not None
    assert made.sid.startswith("SM")
    assert len(made.sid) == 34
    assert made.date_created is not None
    assert made.date_created.tzinfo is UTC


async def test_a_messaging_service_accepts_first_and_counts_segments_later(
    city: Sandbox, client: Client
) -> None:
    service = city.accounts.twilio.service
    made = await client.messages.create_async(to=PHONE, messaging_service_sid=service, body="Habari")
    assert (made.status, made.num_segments, made.messaging_service_sid) == ("accepted", "0", service)
    await city.world.until(lambda: bool(city.world.screen("sms", PHONE)))
    fetched = await client.messages(str(made.sid)).fetch_async()
    assert (fetched.status, fetched.num_segments, fetched.from_) == ("delivered", "1", "TUMA")


async def test_the_phone_shows_a_delivered_sms(city: Sandbox, client: Client) -> None:
    await sent(client, city, body="Habari Asha")
    assert [each.text for each in city.world.screen("sms", PHONE)] == ["Habari Asha"]


async def test_status_callbacks_come_in_order_signed_over_the_whole_url(
    city: Sandbox, client: Client, tuma: Tuma
) -> None:
    url = f"{tuma.url}/webhooks/twilio/status?m=3-abc_DEF%2F1.2&a=1"
    await sent(client, city, status_callback=url)
    calls = await tuma.wait_for(2)
    assert [call.form["MessageStatus"] for call in calls] == ["sent", "delivered"]
    validator = RequestValidator(city.accounts.twilio.token)
    assert all(validator.validate(url, call.form, call.headers["X-Twilio-Signature"]) for call in calls)
    assert {call.url for call in calls} == {url}


async def test_a_messaging_service_also_calls_back_when_it_queued(
    city: Sandbox, client: Client, tuma: Tuma
) -> None:
    await sent(
        client,
        city,
        from_="",
        messaging_service_sid=city.accounts.twilio.service,
        status_callback=tuma.url + "/s",
    )
    statuses = [call.form["MessageStatus"] for call in await tuma.wait_for(3)]
    assert statuses == ["queued", "sent", "delivered"]


async def test_a_callback_that_meets_an_error_is_not_repeated(
    city: Sandbox, client: Client, tuma: Tuma
) -> None:
    tuma.status = 500
    fetched = await sent(client, city, status_callback=tuma.url + "/s")
    callbacks = city.twilio.messages[fetched.sid].callbacks
    await city.world.until(lambda: len(callbacks) == 2)
    assert callbacks == [("sent", 500), ("delivered", 500)]
    assert len(tuma.calls) == 2


async def test_the_callback_query_is_the_record_reference(city: Sandbox, client: Client, tuma: Tuma) -> None:
    await sent(client, city, status_callback=tuma.url + "/s?m=1-x.1&a=2")
    assert [reference(each) for each in city.world.accepted("sms", PHONE)] == [{"m": "1-x.1", "a": "2"}]


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"From": "TUMA", "Body": "x"}, 400, 21604),
        ({"To": "0754", "From": "TUMA", "Body": "x"}, 400, 21211),
        ({"To": PHONE, "Body": "x"}, 400, 21603),
        ({"To": PHONE, "From": "TUMA"}, 400, 21602),
        ({"To": PHONE, "From": "TUMA", "Body": "x" * 1601}, 400, 21617),
        ({"To": PHONE, "From": "12345678901234", "Body": "x"}, 400, 21212),
        ({"To": PHONE, "From": PHONE, "Body": "x"}, 400, 21211),
        ({"To": PHONE, "MessagingServiceSid": "MG1", "Body": "x"}, 400, 21701),
        ({"To": PHONE, "From": "TUMA", "Body": "x", "StatusCallback": "http://my_host/x"}, 400, 21609),
        ({"To": PHONE, "From": "TUMA", "Body": "x", "StatusCallback": "not a url"}, 400, 21609),
        ({"To": PHONE, "From": "TUMA", "Body": "x", "ValidityPeriod": "36001"}, 400, 21624),
        ({"To": PHONE, "From": "TUMA", "ContentVariables": "{}"}, 400, 21654),
        ({"To": PHONE, "From": "TUMA", "ContentSid": "HX1"}, 400, 21655),
        ({"To": PHONE, "From": "TUMA", "ContentSid": CONTENT, "ContentVariables": "{"}, 400, 21656),
        ({"To": "whatsapp:" + PHONE, "From": "TUMA", "Body": "x"}, 400, 63007),
        ({"To": PHONE, "From": "TUMA", "Body": "x", "ScheduleType": "fixed"}, 400, 35118),
    ],
)
async def test_a_wrong_request_meets_twilios_own_code(
    city: Sandbox, form: dict[str, str], status: int, code: int
) -> None:
    answered, body = await refusal(city, **form)
    assert (answered, body["code"], body["status"]) == (status, code, status)
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert city.world.accepted() == []


async def test_wrong_credentials_are_20003(city: Sandbox, client: Client) -> None:
    client.auth = (city.accounts.twilio.sid, "wrong")
    with pytest.raises(TwilioRestException) as refused:
        await client.messages.create_async(to=PHONE, from_="TUMA", body="x")
    assert (refused.value.status, refused.value.code) == (401, 20003)


async def test_another_account_is_20003(city: Sandbox, client: Client) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await client.api.accounts("AC" + "0" * 32).fetch_async()
    assert refused.value.code == 20003


async def test_the_account_can_be_probed(city: Sandbox, client: Client) -> None:
    account = await client.api.accounts(city.accounts.twilio.sid).fetch_async()
    assert (account.sid, account.status) == (city.accounts.twilio.sid, "active")


async def test_an_unknown_message_is_20404(client: Client) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await client.messages("SM" + "0" * 32).fetch_async()
    assert (refused.value.status, refused.value.code) == (404, 20404)


async def test_the_list_is_newest_first_filtered_and_paged(city: Sandbox, client: Client) -> None:
    for body in ("one", "two", "three"):
        await sent(client, city, body=body)
    await sent(client, city, to="+255754000002", body="other")
    found = await client.messages.list_async(to=PHONE, page_size=2)
    assert [each.body for each in found] == ["three", "two", "one"]
    assert len(await client.messages.list_async(page_size=1, limit=10)) == 4


async def test_the_list_knows_when_messages_were_sent(city: Sandbox, client: Client) -> None:
    await sent(client, city)
    now = datetime.now(UTC)
    assert len(await client.messages.list_async(date_sent_after=now - timedelta(minutes=1))) == 1
    assert await client.messages.list_async(date_sent_after=now + timedelta(minutes=1)) == []
    assert len(await client.messages.list_async(date_sent=now)) == 1
    assert await client.messages.list_async(date_sent_before=now - timedelta(days=1)) == []


async def test_a_message_not_yet_sent_is_missed_by_the_date_filter_only(
    city: Sandbox, client: Client
) -> None:
    city.carrier.pace.sent = 60
    await client.messages.create_async(to=PHONE, from_="TUMA", body="x")
    assert (
        await client.messages.list_async(to=PHONE, date_sent_after=datetime.now(UTC) - timedelta(hours=1))
        == []
    )
    assert len(await client.messages.list_async(to=PHONE)) == 1


async def test_a_fate_ends_a_message_with_its_code(city: Sandbox, client: Client, tuma: Tuma) -> None:
    city.carrier.fates[PHONE] = Fate(30005)
    fetched = await sent(client, city, status_callback=tuma.url + "/s")
    assert (fetched.status, fetched.error_code) == ("undelivered", 30005)
    assert (await tuma.wait_for(2))[-1].form["ErrorCode"] == "30005"
    assert city.world.screen("sms", PHONE) == []


async def test_a_refusal_is_answered_at_once(city: Sandbox, client: Client) -> None:
    city.twilio.refusals[PHONE] = 21610
    with pytest.raises(TwilioRestException) as refused:
        await client.messages.create_async(to=PHONE, from_="TUMA", body="x")
    assert refused.value.code == 21610


# WhatsApp


def whatsapp(city: Sandbox, **more: str) -> dict[str, str]:
    return {"to": "whatsapp:" + PHONE, "from_": "whatsapp:" + city.accounts.twilio.whatsapp_from, **more}


async def test_free_text_outside_the_window_fails_later_with_63016(city: Sandbox, client: Client) -> None:
    fetched = await sent(client, city, **whatsapp(city))
    assert (fetched.status, fetched.error_code) == ("undelivered", 63016)


async def test_a_customer_who_writes_opens_the_window_for_a_day(
    city: Sandbox, client: Client, tuma: Tuma, clock: Clock
) -> None:
    city.connect(tuma.url)
    await city.carrier.write(PHONE, "Habari, naomba namba", name="Asha")
    assert (await sent(client, city, **whatsapp(city))).status == "read"
    clock.ahead = timedelta(hours=25)
    assert (await sent(client, city, **whatsapp(city))).error_code == 63016


async def test_what_a_customer_writes_arrives_signed(city: Sandbox, tuma: Tuma) -> None:
    city.connect(tuma.url)
    reply = await city.carrier.write(PHONE, "ACHA", name="Asha")
    call = tuma.calls[0]
    assert (reply.status, call.path) == (200, "/webhooks/twilio/inbound")
    assert (call.form["From"], call.form["WaId"], call.form["Body"]) == (
        "whatsapp:" + PHONE,
        PHONE[1:],
        "ACHA",
    )
    assert RequestValidator(city.accounts.twilio.token).validate(
        call.url, call.form, call.headers["X-Twilio-Signature"]
    )


@pytest.mark.parametrize("channel", ["whatsapp", "sms"])
@pytest.mark.parametrize(
    "answer", ["<Message>A &amp; B</Message>", "<Message><Body>A &amp; B</Body></Message>"]
)
async def test_what_the_webhook_answers_is_on_the_phone(
    city: Sandbox, tuma: Tuma, channel: str, answer: str
) -> None:
    city.connect(tuma.url)
    tuma.answer = f'<?xml version="1.0"?><Response>{answer}</Response>'
    await city.carrier.write(PHONE, "CHECK 1", channel=channel)
    asked, said = city.world.screen(channel, PHONE)
    assert (asked.outgoing, said.outgoing, said.text, said.sender) == (False, True, "A & B", asked.sender)


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, "<Response/>"), (200, ""), (200, "no TwiML"), (500, "<Response><Message>x</Message></Response>")],
)
async def test_nothing_is_on_the_phone_without_a_message_verb(
    city: Sandbox, tuma: Tuma, status: int, answer: str
) -> None:
    city.connect(tuma.url)
    tuma.status, tuma.answer = status, answer
    await city.carrier.write(PHONE, "Habari")
    assert [each.outgoing for each in city.world.screen("whatsapp", PHONE)] == [False]


async def test_a_template_goes_out_at_any_time_with_its_variables(city: Sandbox, client: Client) -> None:
    city.twilio.templates[CONTENT] = "Habari {{1}}, lipa {{2}}."
    wanted = whatsapp(city, body="", content_sid=CONTENT, content_variables='{"1":"Asha","2":"TZS 45,000"}')
    assert (await sent(client, city, **wanted)).status == "read"
    assert city.world.screen("whatsapp", PHONE)[0].text == "Habari Asha, lipa TZS 45,000."


async def test_a_template_with_an_empty_variable_is_63013(city: Sandbox, client: Client) -> None:
    wanted = whatsapp(city, body="", content_sid=CONTENT, content_variables='{"1":""}')
    assert (await sent(client, city, **wanted)).error_code == 63013


async def test_somebody_without_whatsapp_is_63024(city: Sandbox, client: Client, tuma: Tuma) -> None:
    city.world.person("Juma", phone=PHONE, whatsapp=False)
    wanted = whatsapp(city, content_sid=CONTENT, body="", status_callback=tuma.url + "/s")
    assert (await sent(client, city, **wanted)).error_code == 63024
    last = (await tuma.wait_for(2))[-1].form
    assert (last["MessageStatus"], last["ChannelStatusMessage"]) == (
        "undelivered",
        "Invalid message recipient",
    )


# Faults


async def test_a_throttling_twilio_says_20429_and_when_to_come_back(city: Sandbox) -> None:
    city.faults.set("twilio", "throttling")
    account = city.accounts.twilio
    url = f"{city.urls['twilio']}/2010-04-01/Accounts/{account.sid}/Messages.json"
    async with httpx.AsyncClient(verify=PLAIN, auth=(account.sid, account.token)) as http:
        answer = await http.post(url, data={"To": PHONE, "From": "TUMA", "Body": "x"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, 20429, "1")


async def test_a_failing_twilio_takes_nothing(city: Sandbox) -> None:
    city.faults.set("twilio", "failing")
    status, body = await refusal(city, To=PHONE, From="TUMA", Body="x")
    assert (status, body["code"]) == (503, 20503)
    assert city.world.accepted() == []


async def test_a_slow_twilio_takes_it_in_the_end(city: Sandbox) -> None:
    city.faults.set("twilio", "slow")
    status, _ = await refusal(city, To=PHONE, From="TUMA", Body="x")
    assert status == 201


async def test_a_scheduled_message_can_be_canceled(city: Sandbox, client: Client) -> None:
    made = await client.messages.create_async(
        to=PHONE,
        messaging_service_sid=city.accounts.twilio.service,
        body="x",
        schedule_type="fixed",
        send_at=datetime.now(UTC) + timedelta(hours=1),
    )
    assert made.status == "scheduled"
    assert (await client.messages(str(made.sid)).update_async(status="canceled")).status == "canceled"
