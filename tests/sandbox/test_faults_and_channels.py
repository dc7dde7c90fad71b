"""What tuma's own channels make of every fault: the decision must fit what the provider did with the message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bot.sandbox.city import Sandbox
from channels import registry
from channels.base import (
    Channel,
    ChannelName,
    EmailContent,
    Outgoing,
    SmsContent,
    TelegramContent,
    lease_clock,
)
from channels.config import SmtpConfig, TelegramConfig, TwilioConfig
from channels.errors import (
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
    Uncertain,
)

CHAT = 700_123_456
TO = {"sms": "+255754000001", "telegram": str(CHAT), "email": "asha@example.com"}
CONTENT: dict[str, Any] = {
    "sms": SmsContent("Habari"),
    "telegram": TelegramContent("Habari", ()),
    "email": EmailContent("Ada", "Habari", "<p>Habari</p>", None, None),
}
PROVIDER = {"sms": "twilio", "telegram": "telegram", "email": "smtp"}
Make = Callable[[str], Channel]


@pytest.fixture
async def make(city: Sandbox) -> AsyncIterator[Make]:
    """Opens a channel on the sandbox; short of time, because some faults are silence."""
    twilio, made = city.accounts.twilio, []
    city.telegram.chats.begin(CHAT)
    configs: dict[str, Any] = {
        "sms": TwilioConfig(
            account_sid=twilio.sid,
            auth_token=twilio.token,
            sms_from="TUMA",
            api_base=city.urls["twilio"],
            timeout_s=0.5,
        ),
        "telegram": TelegramConfig(
            token=city.accounts.telegram.token, api_base=city.urls["telegram"], timeout_s=0.5
        ),
        "email": SmtpConfig(
            url=city.mail.login_url(city.urls["smtp"]), sender="bili@shule.test", pool=1, timeout_s=0.5
        ),
    }

    def make(name: str) -> Channel:
        made.append(registry.OPTIONS[ChannelName(name)](configs[name]))
        return made[-1]

    yield make
    for channel in made:
        await channel.close()


async def send(channel: Channel, message: str = "1-abc.1") -> None:
    name = str(channel.name)
    deadline = lease_clock() + 30
    await channel.send(
        Outgoing(
            message_id=message,
            attempt=1,
            to=TO[name],
            content=CONTENT[name],
            deadline=deadline,
            validity_s=600,
        )
    )


@pytest.mark.parametrize(
    ("channel", "kind", "decision", "taken"),
    [
        ("sms", "timeout-before", Uncertain, 0),
        ("sms", "timeout-after", Uncertain, 1),
        ("sms", "reset-before", Uncertain, 0),
        ("sms", "reset-after", Uncertain, 1),
        ("sms", "error-before", Uncertain, 0),
        ("sms", "error-after", Uncertain, 1),
        ("sms", "throttle", Throttled, 0),
        ("sms", "throttle-bare", Throttled, 0),
        ("telegram", "timeout-after", Uncertain, 1),
        ("telegram", "reset-after", Uncertain, 1),
        ("telegram", "error-after", Uncertain, 1),
        ("telegram", "html-before", Uncertain, 0),
        ("telegram", "html-after", Uncertain, 1),
        ("telegram", "throttle", Throttled, 0),
        ("telegram", "forbidden", (RecipientOptedOut, RecipientInvalid), 0),
        ("email", "connect-4xx", Unavailable, 0),
        ("email", "connect-5xx", Misconfigured, 0),
        ("email", "connect-drop", Unavailable, 0),
        ("email", "ehlo-4xx", Unavailable, 0),
        ("email", "mail-4xx", Unavailable, 0),
        ("email", "mail-5xx", Misconfigured, 0),
        ("email", "rcpt-4xx", Unavailable, 0),
        ("email", "rcpt-5xx", RecipientInvalid, 0),
        ("email", "data-4xx", Unavailable, 0),
        ("email", "dot-4xx", Unavailable, 0),
        ("email", "dot-5xx", ContentRejected, 0),
        ("email", "drop-before", Uncertain, 0),
        ("email", "drop-after", Uncertain, 1),
        ("email", "timeout-after", Uncertain, 1),
    ],
)
async def test_a_decision_fits_the_fault(
    city: Sandbox, make: Make, channel: str, kind: str, decision: Any, taken: int
) -> None:
    city.faults.next(PROVIDER[channel], kind)
    with pytest.raises(decision):
        await send(make(channel))
    assert city.world.verdict().accepted == taken


async def test_a_migrated_chat_is_followed_at_once(city: Sandbox, make: Make) -> None:
    city.faults.next("telegram", "migrated")
    await send(make("telegram"))
    assert len(city.world.accepted("telegram", str(CHAT))) == 1


@pytest.mark.parametrize("kind", ["data-4xx", "data-5xx", "dot-4xx", "rcpt-4xx"])
async def test_a_refused_mail_does_not_spoil_the_next_on_its_connection(
    city: Sandbox, make: Make, kind: str
) -> None:
    channel = make("email")
    city.faults.next("smtp", kind)
    with pytest.raises((Unavailable, ContentRejected)):
        await send(channel, "1-abc.1")
    await send(channel, "1-abc.2")
    assert [each.message for each in city.world.verdict().taken] == ["1-abc.2"]


async def test_a_message_in_doubt_is_found_by_its_own_id(city: Sandbox, make: Make) -> None:
    city.faults.next("smtp", "drop-after")
    channel = make("email")
    with pytest.raises(Uncertain):
        await send(channel)
    await send(channel)
    [taken] = city.world.verdict().twice
    assert (taken.message, taken.times) == ("1-abc.1", 2)
