"""A setting that is wrong stops tuma at its start, by name, with what would be right, and never with its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.message import Kind
from bot.errors import ConfigError
from bot.settings import KINDS, load

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("TUMA_LEASE_MS", "x", "expected a whole number of 1 or more"),
        ("TUMA_LEASE_MS", "0", "expected a whole number of 1 or more"),
        ("TUMA_LEASE_MS", "1.5", "expected a whole number of 1 or more"),
        ("TUMA_IN_DOUBT", "fax:hold", "channel:policy or channel.kind:policy"),
        ("TUMA_IN_DOUBT", "sms:maybe", "policy resend, hold or blind"),
        ("TUMA_IN_DOUBT", "sms.greeting:hold", "channel.kind:policy"),
        ("TUMA_IN_DOUBT", "sms.:hold", "channel.kind:policy"),
        ("TUMA_REGION", "Tanzania", "in two capital letters"),
        ("TUMA_REGION", "tz", "in two capital letters"),
        ("TUMA_REGION", "XX", "a region that numbers phones"),
        ("TUMA_REGION", "255", "in two capital letters"),
        ("PUBLIC_URL", "https://lipa.example/tuma", "without a path"),
        ("PUBLIC_URL", "https://lipa.example?x=1", "without a path"),
        ("PUBLIC_URL", "https://", "without a path"),
        ("PUBLIC_URL", "https://lipa.example:port", "without a path"),
        ("PUBLIC_URL", "lipa.example", "without a path"),
        ("TUMA_API_KEYS", "long-enough-for-a-key,short-one", "16 characters or more"),
        ("TUMA_CALLBACK_SECRET", SECRET.removeprefix("whsec_"), "expected whsec_"),
        ("TUMA_CALLBACK_SECRET", "whsec_###", "expected whsec_"),
        ("TUMA_CALLBACK_SECRET", "whsec_c2hvcnQ=", "expected whsec_"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(name: str, value: str, right: str) -> None:
    with pytest.raises(ConfigError, match=right) as caught:
        load({name: value}, dotenv=None)
    assert str(caught.value).startswith(f"{name}: ")
    assert "short-one" not in str(caught.value)


def test_values_that_are_right_are_taken() -> None:
    settings = load(
        {
            "TUMA_LEASE_MS": "1",
            "TUMA_REGION": "KE",
            "PUBLIC_URL": "https://lipa.example:8443/",
            "TUMA_API_KEYS": "long-enough-for-a-key, another-that-is-long",
            "TUMA_CALLBACK_SECRET": SECRET,
        },
        dotenv=None,
    )
    assert (settings.lease_ms, settings.region) == (1, "KE")
    assert settings.public_url == "https://lipa.example:8443"
    assert len(settings.api_keys) == 2
    assert settings.callback_secret == SECRET


@pytest.mark.parametrize("home", ["", "/"])
def test_without_a_home_data_needs_a_folder(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"^TUMA_DATA_DIR: "):
        load({}, dotenv=None)
    assert load({"TUMA_DATA_DIR": "/srv/tuma"}, dotenv=None).data_dir == Path("/srv/tuma")
    assert load({"REDIS_URL": "redis://127.0.0.1"}, dotenv=None).redis_url == "redis://127.0.0.1"


@pytest.mark.parametrize("broken", ["MERCHANT NAME=Shule", "MERCHANT_NAME='Shule", "MERCHANT_NAME"])
def test_a_broken_line_of_the_file_is_named(tmp_path: Path, broken: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# settings\nTUMA_LOCALE=en\n\n{broken}\nTUMA_REGION=KE\n")
    with pytest.raises(ConfigError, match=r"\.env, line 4: expected NAME=value") as caught:
        load({}, dotenv=file)
    assert "Shule" not in str(caught.value)


def test_a_file_gives_way_to_the_environment(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\ufeffTUMA_LOCALE=en\nexport MERCHANT_NAME='Shule Uhuru' # ours\nOTHER\n")
    settings = load({"TUMA_LOCALE": "sw"}, dotenv=file)
    assert (settings.locale, settings.merchant_name) == ("sw", "Shule Uhuru")


def test_policies_of_a_doubt_are_those_of_the_kind_then_of_the_channel() -> None:
    usual = load({}, dotenv=None).in_doubt_policies()
    assert {usual[f"telegram.{kind}"] for kind in ("instructions", "reminder", "bill_changed")} == {"hold"}
    assert (usual["telegram.receipt"], usual["telegram.payment_failed"]) == ("resend", "resend")
    assert {usual[f"{channel}.reminder"] for channel in ("sms", "whatsapp", "email")} == {"resend"}
    given = load(
        {"TUMA_IN_DOUBT": "sms:hold, telegram.receipt:hold,email.reminder:blind"}, dotenv=None
    ).in_doubt_policies()
    assert (given["sms.instructions"], given["sms.receipt"]) == ("hold", "resend")
    assert (given["telegram.receipt"], given["email.reminder"]) == ("hold", "blind")
    assert (given["email.instructions"], given["telegram.reminder"]) == ("resend", "hold")


def test_every_kind_of_message_has_a_policy() -> None:
    assert set(KINDS) == set(Kind)
