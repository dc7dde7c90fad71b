"""How long a request to a provider may take: a setting that reaches every channel, and whoever waits for the lost."""

from __future__ import annotations

import pytest

from bot.app import open_channels
from bot.errors import ConfigError
from bot.settings import TIMEOUTS, Settings, load
from channels.base import REQUEST_TIMEOUT_S, ChannelName

ON = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "t" * 32,
    "TWILIO_SMS_FROM": "SHULE",
    "TWILIO_WHATSAPP_FROM": "+255754000001",
    "SMTP_URL": "smtp://127.0.0.1:25",
    "EMAIL_FROM": "bili@shule.example",
    "TELEGRAM_BOT_TOKEN": "1:token",
}


def settings_of(timeouts: str) -> Settings:
    return load({**ON, "TUMA_REQUEST_TIMEOUTS": timeouts}, dotenv=None)


async def test_each_channel_has_the_timeout_that_was_set_for_it() -> None:
    settings = settings_of("sms:3, whatsapp:4.5,email:5,telegram:6")
    async with open_channels(settings) as channels:
        found = {name.value: channel.request_timeout_s for name, channel in channels.items()}
    assert found == {"sms": 3, "whatsapp": 4.5, "email": 5, "telegram": 6}


async def test_the_second_sms_provider_has_the_timeout_of_sms() -> None:
    settings = load(
        {"AFRICASTALKING_USERNAME": "u", "AFRICASTALKING_API_KEY": "k", "TUMA_REQUEST_TIMEOUTS": "sms:3"},
        dotenv=None,
    )
    async with open_channels(settings) as channels:
        assert channels[ChannelName.SMS].request_timeout_s == 3


def test_the_defaults_are_those_of_the_channels() -> None:
    assert dict(TIMEOUTS) == REQUEST_TIMEOUT_S


async def test_a_channel_that_is_not_named_keeps_its_own() -> None:
    async with open_channels(settings_of("email:5")) as channels:
        assert channels[ChannelName.SMS].request_timeout_s == REQUEST_TIMEOUT_S[ChannelName.SMS]


@pytest.mark.parametrize("text", ["fax:3", "sms", "sms:", "sms:0", "sms:0.5", "sms:301", "sms:-1", "sms:nan"])
def test_a_timeout_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^TUMA_REQUEST_TIMEOUTS: expected .*such as email:30"):
        settings_of(text)
