"""Asking Twilio about a message in doubt, against the sandbox's Twilio and, for what it never says, a bare server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.twilio import TwilioMessage
from bot.sandbox.twilio_carrier import Pace
from channels.base import Askable, ChannelName, Delivery, SmsContent, Trace, WhatsAppContent
from channels.config import TwilioConfig
from channels.errors import (
    ChannelError,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
)
from channels.sms import Sms
from channels.whatsapp import WhatsApp
from tests.channels.rigs import BODY, SmsRig, TelegramRig, WhatsAppRig
from tests.conftest import free_port
from tests.plain import PLAIN

NUMBER = "55042914871931"
PHONE = "+255754123456"


@dataclass
class Clock:
    """The sandbox's time, which tests move."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Asked:
    """A sandbox that takes messages and carries none of them on for now, and both channels on it."""

    city: Sandbox
    sms: Sms
    whatsapp: WhatsApp
    clock: Clock
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def took(self, body: str = BODY, to: str = PHONE) -> str:
        """Let Twilio take a message whose answer tuma never heard; its SID."""
        account = self.city.accounts.twilio
        sender = "whatsapp:+255700000000" if to.startswith("whatsapp:") else "TUMA"
        url = f"{self.city.urls['twilio']}/2010-04-01/Accounts/{account.sid}/Messages.json"
        async with httpx.AsyncClient(verify=PLAIN, auth=(account.sid, account.token)) as http:
            answer = await http.post(url, data={"To": to, "From": sender, "Body": body})
        return str(answer.json()["sid"])

    def message(self, sid: str) -> TwilioMessage:
        return self.city.twilio.messages[sid]

    def trace(self, **changes: Any) -> Trace:
        values: dict[str, Any] = {
            "message_id": "0a-x.1",
            "to": PHONE,
            "text": BODY,
            "number": NUMBER,
            "handed_out_at": self.began,
        }
        return Trace(**values | changes)


@asynccontextmanager
async def listing(*messages: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Sms, Any]]:
    """An SMS channel, and the server that lists just these messages to it."""
    rig = SmsRig()
    rig.server.listed = messages
    await rig.start()
    channel = rig.make(**options)
    assert isinstance(channel, Sms)
    try:
        yield channel, rig.server
    finally:
        await rig.stop()


def listed(**changes: Any) -> dict[str, Any]:
    """A message as Twilio lists it."""
    made = format_datetime(datetime.now(UTC))
    return {"sid": "SM1", "body": BODY, "direction": "outbound-api", "date_created": made, **changes}


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    clock = Clock()
    async with Sandbox(clock=clock, pace=Pace(60, 60, 60, 60)) as city:
        account = city.accounts.twilio
        config = TwilioConfig(
            account_sid=account.sid,
            auth_token=account.token,
            sms_from=account.sms_from,
            whatsapp_from=account.whatsapp_from,
            api_base=city.urls["twilio"],
        )
        sms, whatsapp = Sms(config), WhatsApp(config)
        yield Asked(city, sms, whatsapp, clock)
        await sms.close()
        await whatsapp.close()


async def test_a_message_that_twilio_has_is_found_with_its_sid_status_and_segments(asked: Asked) -> None:
    sid = await asked.took()
    found = await asked.sms.find(asked.trace())
    assert found is not None
    assert (found.provider_id, found.delivery, found.segments) == (sid, Delivery.QUEUED, 1)


async def test_a_message_sent_through_the_channel_is_found_again(asked: Asked) -> None:
    accepted = await asked.sms.send(SmsRig().outgoing(to=PHONE, content=SmsContent(BODY)))
    found = await asked.sms.find(asked.trace())
    assert found is not None
    assert found.provider_id == accepted.provider_id


async def test_what_twilio_never_took_is_not_found(asked: Asked) -> None:
    assert await asked.sms.find(asked.trace()) is None


@pytest.mark.parametrize(
    "other",
    [
        {"to": "+255754000000"},
        {"body": BODY + " tena"},
        {"body": BODY.replace("45,000", "46,000")},
    ],
)
async def test_another_message_is_not_taken_for_it(asked: Asked, other: dict[str, str]) -> None:
    await asked.took(**other)
    assert await asked.sms.find(asked.trace()) is None


async def test_a_message_that_another_one_owns_is_never_adopted(asked: Asked) -> None:
    theirs, ours = await asked.took(), await asked.took()
    found = await asked.sms.find(asked.trace(exclude=frozenset({ours})))
    assert found is not None
    assert found.provider_id == theirs
    assert await asked.sms.find(asked.trace(exclude=frozenset({ours, theirs}))) is None


async def test_a_message_older_than_the_hand_out_is_not_it(asked: Asked) -> None:
    asked.clock.ahead = timedelta(minutes=-1)
    await asked.took()
    assert await asked.sms.find(asked.trace()) is None


async def test_a_clock_that_lags_a_little_hides_nothing(asked: Asked) -> None:
    asked.clock.ahead = timedelta(seconds=-5)
    sid = await asked.took()
    found = await asked.sms.find(asked.trace())
    assert found is not None
    assert found.provider_id == sid


async def test_of_several_the_newest_is_it(asked: Asked) -> None:
    sids = []
    for seconds in (0, 20, 10):
        asked.clock.ahead = timedelta(seconds=seconds)
        sids.append(await asked.took())
    found = await asked.sms.find(asked.trace())
    assert found is not None
    assert found.provider_id == sids[1]


@pytest.mark.parametrize("body", [f"Lipa kwa {NUMBER}.", "Lipa 5504 2914 8719 31 leo", f"{NUMBER}"])
async def test_where_nobody_knows_the_text_the_number_in_it_decides(asked: Asked, body: str) -> None:
    sid = await asked.took(body)
    found = await asked.sms.find(asked.trace(text=None))
    assert found is not None
    assert found.provider_id == sid


@pytest.mark.parametrize("body", [f"Lipa kwa 9{NUMBER}", f"Lipa kwa {NUMBER}0", "Lipa kwa 5504291487193"])
async def test_a_number_inside_a_longer_one_is_another_number(asked: Asked, body: str) -> None:
    await asked.took(body)
    assert await asked.sms.find(asked.trace(text=None)) is None


async def test_where_nobody_knows_the_text_the_likely_one_beats_the_number(asked: Asked) -> None:
    likely = await asked.took(BODY)
    asked.clock.ahead = timedelta(seconds=20)
    newer = await asked.took(f"Umelipa {NUMBER}")
    found = await asked.sms.find(asked.trace(text=None, likely=("Habari", BODY)))
    assert found is not None
    assert found.provider_id == likely
    found = await asked.sms.find(asked.trace(text=None, likely=("Habari",)))
    assert found is not None
    assert found.provider_id == newer


async def test_where_another_message_with_the_number_may_be_meant_the_number_decides_nothing(
    asked: Asked,
) -> None:
    await asked.took(f"Umelipa {NUMBER}")
    await asked.took(f"Umelipa {NUMBER}", to=f"whatsapp:{PHONE}")
    assert await asked.sms.find(asked.trace(text=None, likely=(BODY,), alone=False)) is None
    assert await asked.whatsapp.find(asked.trace(alone=False)) is None
    sid = await asked.took()
    found = await asked.sms.find(asked.trace(text=None, likely=(BODY,), alone=False))
    assert found is not None
    assert found.provider_id == sid


@pytest.mark.parametrize(
    ("code", "error"),
    [(30006, RecipientInvalid), (30003, Unavailable), (21610, RecipientOptedOut), (None, Unavailable)],
)
async def test_what_has_failed_since_is_found_with_what_that_means(
    asked: Asked, code: int | None, error: type[ChannelError]
) -> None:
    async with listing(listed(status="undelivered", error_code=code)) as (channel, _):
        found = await channel.find(asked.trace())
    assert found is not None
    assert isinstance(found.error, error)


@pytest.mark.parametrize("status", ["failed", "canceled", "undelivered", "delivered"])
async def test_a_message_that_has_ended_is_found_with_how_it_ended(asked: Asked, status: str) -> None:
    asked.message(await asked.took()).shown.status = status
    found = await asked.sms.find(asked.trace())
    assert found is not None
    assert found.delivery == status


async def test_a_body_with_another_number_of_the_same_person_may_be_about_that_one(asked: Asked) -> None:
    """A description may name an earlier bill."""
    other = "55042914871948"
    await asked.took(f"Pay to {other} (rest of {NUMBER}).")
    found = await asked.sms.find(asked.trace(text=None))
    assert found is not None
    assert await asked.sms.find(asked.trace(text=None, others=frozenset({other}))) is None
    mine = await asked.took(f"Pay to {NUMBER}.")
    found = await asked.sms.find(asked.trace(text=None, others=frozenset({other})))
    assert found is not None
    assert found.provider_id == mine


@pytest.mark.parametrize(
    "changes",
    [{"direction": "inbound"}, {"date_created": None}, {"date_created": "yesterday"}, {"body": None}],
)
async def test_what_came_in_or_has_no_date_or_text_is_not_it(asked: Asked, changes: dict[str, Any]) -> None:
    async with listing(listed(**changes)) as (channel, _):
        assert await channel.find(asked.trace()) is None


async def test_a_message_deep_below_newer_ones_is_found_by_its_day(asked: Asked) -> None:
    sid = await asked.took()
    asked.message(sid).sent = asked.clock()
    for _ in range(100):
        await asked.took("Habari")
    found = await asked.sms.find(asked.trace())
    assert found is not None
    assert found.provider_id == sid


async def test_the_day_asked_for_is_the_day_in_utc(asked: Asked) -> None:
    just_after_midnight = datetime(2026, 11, 6, 1, 30, tzinfo=timezone(timedelta(hours=3)))
    async with listing() as (channel, server):
        await channel.find(asked.trace(handed_out_at=just_after_midnight))
        recent, dated = (request.query for request in server.requests)
    assert (recent["To"], dated["To"]) == (PHONE, PHONE)
    assert "DateSent>" not in recent
    assert dated["DateSent>"] == "2026-11-05"


async def test_a_message_found_among_the_recent_is_asked_for_once(asked: Asked) -> None:
    async with listing(listed()) as (channel, server):
        assert await channel.find(asked.trace()) is not None
    assert len(server.requests) == 1


def test_a_time_without_a_zone_is_no_time_to_ask_about() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Trace("0a-x.1", PHONE, BODY, NUMBER, datetime.now(UTC).replace(tzinfo=None))


async def test_whatsapp_inside_the_window_is_found_by_its_text(asked: Asked) -> None:
    sid = await asked.took(to=f"whatsapp:{PHONE}")
    found = await asked.whatsapp.find(asked.trace())
    assert found is not None
    assert found.provider_id == sid
    assert await asked.sms.find(asked.trace()) is None


async def test_whatsapp_of_a_template_is_found_by_the_number_in_twilios_text(asked: Asked) -> None:
    content = WhatsAppContent(BODY, "HX" + "1" * 32, {"1": "Asha", "2": NUMBER}, window_open=False)
    accepted = await asked.whatsapp.send(WhatsAppRig().outgoing(to=PHONE, content=content))
    found = await asked.whatsapp.find(asked.trace())
    assert found is not None
    assert found.provider_id == accepted.provider_id


async def test_the_same_text_beats_a_newer_message_with_the_number(asked: Asked) -> None:
    same = await asked.took(to=f"whatsapp:{PHONE}")
    asked.clock.ahead = timedelta(seconds=20)
    await asked.took(f"Umelipa {NUMBER}", to=f"whatsapp:{PHONE}")
    found = await asked.whatsapp.find(asked.trace())
    assert found is not None
    assert found.provider_id == same


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("silent", Unavailable),
        ("reset", Unavailable),
        ("server_error", Unavailable),
        ("html_error", Unavailable),
        ("unreadable_list", Unavailable),
        ("throttled", Throttled),
        ("bad_credentials", Misconfigured),
    ],
)
async def test_not_being_able_to_ask_is_no_answer(
    asked: Asked, behaviour: str, error: type[Exception]
) -> None:
    async with listing(timeout_s=0.6 if behaviour == "silent" else 5.0) as (channel, server):
        server.behaviour = behaviour
        with pytest.raises(error):
            await channel.find(asked.trace())


async def test_a_twilio_that_is_not_there_cannot_be_asked(asked: Asked) -> None:
    channel = SmsRig().make(f"http://127.0.0.1:{free_port()}")
    assert isinstance(channel, Askable)
    with pytest.raises(Unavailable):
        await channel.find(asked.trace())
    await channel.close()


async def test_who_can_be_asked_says_so() -> None:
    askable = {
        rig.name: isinstance(rig.make("http://127.0.0.1:9"), Askable) for rig in (SmsRig(), WhatsAppRig())
    }
    assert askable == {ChannelName.SMS: True, ChannelName.WHATSAPP: True}
    assert not isinstance(TelegramRig().make("http://127.0.0.1:9"), Askable)
