"""Logs: one pipeline for us and the libraries, and nothing private in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from bot import log
from bot.settings import Settings

Configured = Callable[..., io.StringIO]

SECRETS = Settings(
    twilio_auth_token="5f2b0d3c9a8e47f1",
    api_keys=("first-start-key",),
    smtp_url="smtp+starttls://shule:s%40fe-word@mail.example:587",
    redis_url="rediss://:redis-pass@redis.example:6379/0",
)


@pytest.fixture
def configured() -> Iterator[Configured]:
    """Configures logging and hands out the stream; everything is as before when the test ends."""
    root = logging.getLogger()
    before = (root.level, {name: logging.getLogger(name).level for name in log.QUIET})

    def configure(settings: Settings = SECRETS) -> io.StringIO:
        stream = io.StringIO()
        log.configure(settings, stream=stream)
        return stream

    yield configure
    root.handlers = [each for each in root.handlers if not isinstance(each, log._Handler)]
    root.setLevel(before[0])
    for name, level in before[1].items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(configured: Configured, **fields: Any) -> dict[str, Any]:
    stream = configured()
    structlog.get_logger("tuma.test").info("sent", **fields)
    return lines(stream)[0]


def test_a_line_is_one_json_object_with_level_time_logger_and_fields(configured: Configured) -> None:
    line = logged(configured, channel="sms", segments=1)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "sent", "level": "info", "logger": "tuma.test", "channel": "sms", "segments": 1}


def test_libraries_that_use_the_standard_logging_come_out_the_same(configured: Configured) -> None:
    stream = configured()
    logging.getLogger("redis").warning("lost %s", "connection")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("lost connection", "warning", "redis")


def test_less_than_the_level_is_not_logged(configured: Configured) -> None:
    stream = configured(Settings(log_level="warning"))
    structlog.get_logger("tuma").info("chatter")
    logging.getLogger("redis").info("chatter")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("name", sorted(log.QUIET))
def test_loggers_that_print_addresses_are_quiet_even_at_debug(configured: Configured, name: str) -> None:
    stream = configured(Settings(log_level="debug"))
    logging.getLogger(name).info("GET https://api.example/Messages?To=%2B255754123456")
    assert stream.getvalue() == ""


def test_aiohttps_access_log_is_off_whatever_its_level(configured: Configured) -> None:
    stream = configured()
    logging.getLogger("aiohttp.access").error("GET /pay/3-abcdefghijklmnop")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "value",
    [
        "0754 123 456",
        "+255754123456",
        255754123456,
        "asha@example.com",
        b"to asha@example.com",
        ["+255754123456"],
        {"to": {"phone": "+255754123456"}},
        {"asha@example.com": 1},
        ValueError("no route to +255754123456"),
    ],
)
def test_contacts_are_masked_in_any_kind_of_value(configured: Configured, value: Any) -> None:
    text = json.dumps(logged(configured, detail=value), ensure_ascii=False)
    assert "•••" in text
    assert not any(private in text for private in ("123456", "123 456", "asha@"))


def test_contacts_are_masked_in_the_event_itself(configured: Configured) -> None:
    stream = configured()
    logging.getLogger("library").warning("bounced: asha@example.com")
    assert lines(stream)[0]["event"] == "bounced: a•••@example.com"


def test_contacts_are_masked_in_tracebacks(configured: Configured) -> None:
    stream = configured()
    try:
        raise RuntimeError("+255754123456 and 5f2b0d3c9a8e47f1")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "RuntimeError: +255•••3456 and [hidden]" in line["exception"]


@pytest.mark.parametrize(
    "secret", ["5f2b0d3c9a8e47f1", "first-start-key", "s%40fe-word", "s@fe-word", "redis-pass"]
)
def test_the_value_of_a_secret_setting_is_hidden_wherever_it_appears(
    configured: Configured, secret: str
) -> None:
    assert logged(configured, detail=f"answered 401 to {secret}!")["detail"] == "answered 401 to [hidden]!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp://user:pass@mail.example:25", "smtp://[hidden]@mail.example:25"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]"),
        ("/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe", "/bot[hidden]/getMe"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(configured: Configured, text: str, expected: str) -> None:
    assert logged(configured, detail=text)["detail"] == expected


@pytest.mark.parametrize(
    "name", ["token", "auth_token", "api_key", "password", "checksum", "callback_secret"]
)
def test_a_field_named_like_a_secret_is_hidden(configured: Configured, name: str) -> None:
    assert logged(configured, **{name: "whatever"})[name] == "[hidden]"


@pytest.mark.parametrize(
    "value", ["55042914871931", "45000", 1763938800000, 12.5, True, None, "inv-2026-00017"]
)
def test_control_numbers_amounts_and_times_stay_legible(configured: Configured, value: Any) -> None:
    assert logged(configured, detail=value)["detail"] == value


def test_fields_bound_to_the_context_are_logged(configured: Configured) -> None:
    with structlog.contextvars.bound_contextvars(partition=3):
        assert logged(configured)["partition"] == 3


def test_configuring_again_does_not_double_the_lines(configured: Configured) -> None:
    configured()
    stream = configured()
    structlog.get_logger().info("once")
    assert len(lines(stream)) == 1


def test_console_lines_are_masked_too_and_have_no_colours_in_a_file(configured: Configured) -> None:
    stream = configured(Settings(log_format="console"))
    try:
        raise RuntimeError("+255754123456")
    except RuntimeError:
        structlog.get_logger().exception("failed", to="asha@example.com")
    text = stream.getvalue()
    assert "failed" in text
    assert "a•••@example.com" in text
    assert "\x1b[" not in text
    assert "123456" not in text
