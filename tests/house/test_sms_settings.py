"""Which SMS providers the settings name, in which order, and what they lack."""

from __future__ import annotations

import pytest

from bot.app import channel_configs
from bot.errors import ConfigError
from bot.settings import Settings, load
from channels.registry import SmsConfig

TWILIO = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_SMS_FROM": "SHULE"}
LOCAL = {"AFRICASTALKING_USERNAME": "shule", "AFRICASTALKING_API_KEY": "k"}
TOKEN = {"AFRICASTALKING_CALLBACK_TOKEN": "k" * 24}
PUBLIC = {"PUBLIC_URL": "https://bili.example"}


def settings(*parts: dict[str, str], **more: str) -> Settings:
    return load({name: value for part in (*parts, more) for name, value in part.items()}, dotenv=None)


def route(*parts: dict[str, str], **more: str) -> dict[str, int]:
    return dict(settings(*parts, **more).sms_route())


def test_unset_every_provider_that_is_set_up_is_used_twilio_first() -> None:
    assert route() == {}
    assert route(TWILIO) == {"twilio": 1}
    assert route(LOCAL) == {"africastalking": 1}
    assert list(route(LOCAL, TWILIO).items()) == [("twilio", 1), ("africastalking", 0)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("africastalking,twilio", [("africastalking", 1), ("twilio", 0)]),
        ("africastalking", [("africastalking", 1)]),
        ("twilio:3, africastalking:1", [("twilio", 3), ("africastalking", 1)]),
        ("twilio:0,africastalking:2", [("twilio", 0), ("africastalking", 2)]),
    ],
)
def test_each_can_be_first_and_weights_are_what_was_said(value: str, expected: list[tuple[str, int]]) -> None:
    assert list(route(TWILIO, LOCAL, SMS_PROVIDERS=value).items()) == expected


@pytest.mark.parametrize(
    "value", ["pigeon", "twilio,twilio", "twilio:x", "twilio:-1", "twilio:0", "twilio:99999"]
)
def test_a_list_that_cannot_be_meant_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="SMS_PROVIDERS"):
        settings(SMS_PROVIDERS=value)


@pytest.mark.parametrize("value", ["short", "with/slash-with/slash", "k" * 129])
def test_a_token_that_is_no_part_of_an_address_or_can_be_guessed_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="AFRICASTALKING_CALLBACK_TOKEN") as caught:
        settings(AFRICASTALKING_CALLBACK_TOKEN=value)
    assert value not in str(caught.value)


def test_sms_is_off_while_nobody_can_carry_it_and_says_what_the_first_lacks() -> None:
    assert settings().channels_off()["sms"] == "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_SMS_FROM"
    off = settings(SMS_PROVIDERS="africastalking").channels_off()["sms"]
    assert off == "AFRICASTALKING_USERNAME, AFRICASTALKING_API_KEY"
    assert "sms" not in settings(LOCAL).channels_off()
    assert "sms" not in settings(TWILIO).channels_off()


def test_a_provider_that_is_named_but_not_set_up_is_an_error_not_a_gap() -> None:
    with pytest.raises(ConfigError, match="africastalking, which lacks AFRICASTALKING_USERNAME"):
        channel_configs(settings(TWILIO, SMS_PROVIDERS="twilio,africastalking"))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((TWILIO, LOCAL), {"twilio": False, "africastalking": False}),
        ((TWILIO, LOCAL, PUBLIC), {"twilio": True, "africastalking": False}),
        ((TWILIO, LOCAL, PUBLIC, TOKEN), {"twilio": True, "africastalking": True}),
        (
            (TWILIO, LOCAL, PUBLIC, TOKEN, {"SMS_DELIVERY_RECEIPTS": "false"}),
            {"twilio": False, "africastalking": False},
        ),
    ],
)
def test_receipts_are_expected_where_they_can_come(
    parts: tuple[dict[str, str], ...], told: dict[str, bool]
) -> None:
    config = channel_configs(settings(*parts)).sms
    assert isinstance(config, SmsConfig)
    assert {name: provider.receipts for name, provider in config.providers.items()} == told


def test_its_secrets_are_not_shown() -> None:
    shown = repr(settings(LOCAL, TOKEN, AFRICASTALKING_API_KEY="hush-hush"))
    assert "hush-hush" not in shown
    assert "k" * 24 not in shown
