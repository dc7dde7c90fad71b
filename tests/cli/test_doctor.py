"""`tuma doctor`: honest about what is missing, what cannot be reached, and what may be lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from bot.cli import doctor
from bot.cli.doctor import without_password
from bot.cli.rates import in_force
from bot.settings import Settings, load
from tests.cli.conftest import TWILIO, Tuma
from tests.conftest import Valkey, start_valkey


@pytest.fixture
def tuma(tuma: Tuma, redis_url: str) -> Tuma:
    tuma.env["REDIS_URL"] = redis_url
    return tuma


def checks(tuma: Tuma) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in tuma("doctor", "--json").json["checks"]}


def test_what_is_off_names_its_settings_and_where_to_get_them(tuma: Tuma) -> None:
    found = checks(tuma)
    assert (found["telegram"]["state"], found["telegram"]["missing"]) == ("off", ["TELEGRAM_BOT_TOKEN"])
    assert "@BotFather" in found["telegram"]["how"][0]
    assert found["public_url"]["missing"] == ["PUBLIC_URL"]
    assert found["callbacks"]["missing"] == ["TUMA_CALLBACK_SECRET"]


def test_a_merchant_without_a_name_is_warned_about(tuma: Tuma) -> None:
    assert checks(tuma)["merchant"]["missing"] == ["MERCHANT_NAME"]
    tuma.env["MERCHANT_NAME"] = "Shule ya Amani"
    assert "merchant" not in checks(tuma)


def test_an_https_address_without_proxies_is_warned_about(tuma: Tuma) -> None:
    assert "proxies" not in checks(tuma)
    tuma.env["PUBLIC_URL"] = "https://127.0.0.1:1"
    assert checks(tuma)["proxies"]["missing"] == ["TUMA_PROXIES"]
    tuma.env["TUMA_PROXIES"] = "1"
    assert "proxies" not in checks(tuma)


def test_being_off_is_no_failure(tuma: Tuma) -> None:
    ran = tuma("doctor")
    assert ran.code == 0
    for name in ("redis", "sms", "whatsapp", "email", "telegram", "clickpesa", "public_url", "templates"):
        assert name in ran.out


def test_a_provider_that_does_not_answer_is_a_failure(tuma: Tuma) -> None:
    tuma.env |= TWILIO
    found = checks(tuma)
    assert found["sms"]["state"] == "fail"
    assert found["email"]["state"] == "off"
    assert tuma("doctor").code == 1


def test_settings_that_cannot_be_right_are_a_failure(tuma: Tuma) -> None:
    tuma.env |= {"SMTP_URL": "smtp://127.0.0.1:9", "EMAIL_FROM": "nobody"}
    assert checks(tuma)["email"]["state"] == "fail"


def test_a_mapping_that_is_not_there_is_a_failure_of_whatsapp_alone(tuma: Tuma, tmp_path: Path) -> None:
    gone = tmp_path / "gone.toml"
    tuma.env |= TWILIO | {"WHATSAPP_TEMPLATES": "gone.toml"}
    found = checks(tuma)
    assert (found["whatsapp"]["state"], found["templates"]["state"]) == ("fail", "ok")
    assert str(gone) in found["whatsapp"]["detail"]
    [finding] = tuma("template", "check", "--json").json["findings"]
    assert (finding["file"], str(gone) in finding["message"]) == ("WHATSAPP_TEMPLATES", True)
    ran = tuma(
        "share", "--number", "55042914871931", "--amount", "45000", "--phone", "0754123456",
        "--channels", "whatsapp sms", "--dry-run", "--json",
    )  # fmt: skip
    assert (ran.code, ran.json["channels"]) == (0, ["sms"])
    gone.write_text("")
    assert "off" not in checks(tuma)["whatsapp"]["detail"]


def test_a_paused_channel_is_said(tuma: Tuma) -> None:
    tuma.env |= TWILIO
    tuma("channel", "pause", "sms", "--reason", "wrong sender")
    assert "wrong sender" in checks(tuma)["sms"]["detail"]


def test_the_rates_in_force_are_told_and_whose_figures_they_are(tuma: Tuma) -> None:
    tuma.env |= TWILIO | {"SMTP_URL": "smtp://127.0.0.1:9", "EMAIL_FROM": "bili@shule.example"}
    tuma.env |= {"TELEGRAM_BOT_TOKEN": "1:secret", "TELEGRAM_API_BASE": "http://127.0.0.1:9"}
    tuma.env |= {"SMS_RATE": "twilio:25", "TELEGRAM_RATE": "20"}
    found = checks(tuma)
    assert found["sms"]["rates"] == ["twilio: 25 segments a second (set by SMS_RATE)"]
    assert found["email"]["rates"] == ["smtp: no limit (none is known; EMAIL_RATE sets one)"]
    assert found["telegram"]["rates"] == [
        "telegram: 20 messages a second (set by TELEGRAM_RATE)",
        "one chat: no limit (none is known; TELEGRAM_RATE sets one)",
    ]
    assert "25 segments a second" in tuma("doctor").out


def test_of_a_provider_itself_the_usual_rate_is_in_force() -> None:
    settings = load(
        {"TWILIO_ACCOUNT_SID": "AC", "TWILIO_AUTH_TOKEN": "x", "TWILIO_SMS_FROM": "SHULE"}, dotenv=None
    )
    [line] = in_force("sms", settings)
    assert line == "twilio: 10 segments a second (the provider's usual figure; SMS_RATE sets another)"


async def test_redis_is_looked_at_before_anything_loads_the_libraries_of_channels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They take seconds on a busy machine, and an answer of Redis that nobody reads in time counts as none."""
    order: list[str] = []

    async def store(settings: Settings, ledger: bool) -> doctor._Store:
        order.append("redis")
        await asyncio.sleep(0)
        order.append("redis answered")
        return doctor._Store([])

    def part(name: str, found: object) -> Callable[..., Awaitable[object]]:
        async def look(settings: Settings) -> object:
            order.append(name)
            return found

        return look

    monkeypatch.setattr(doctor, "_store", store)
    monkeypatch.setattr(doctor, "_channels", part("channels", []))
    off = doctor.Check(name="off", state=doctor.State.OFF, detail="")
    monkeypatch.setattr(doctor, "_clickpesa", part("clickpesa", off))
    await doctor._examine(load({"TUMA_DATA_DIR": str(tmp_path)}, dotenv=None), ledger=False)
    assert order[:2] == ["redis", "redis answered"]
    assert {"channels", "clickpesa"} <= set(order[2:])


def test_the_books_are_added_up(tuma: Tuma) -> None:
    ran = tuma("doctor", "--ledger", "--json")
    assert ran.json["ledger"]["ok"] is True
    assert {check["name"]: check["state"] for check in ran.json["checks"]}["ledger"] == "ok"
    assert "the books add up" in tuma("doctor", "--ledger").out


def test_an_absent_redis_is_one_failure_among_others(tuma: Tuma) -> None:
    tuma.env["REDIS_URL"] = "redis://127.0.0.1:9"
    found = checks(tuma)
    assert found["redis"]["state"] == "fail"
    assert found["templates"]["state"] == "ok"


def test_a_server_that_syncs_every_write_is_well(tuma: Tuma) -> None:
    assert checks(tuma)["redis"]["state"] == "ok"


@pytest.fixture
def loose(tmp_path: Path) -> Iterator[Valkey]:
    """A server that keeps nothing on disk and throws away what does not fit."""
    server = start_valkey(
        tmp_path, "--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"
    )
    yield server
    server.process.kill()
    server.process.wait()


def test_a_server_that_loses_bills_is_a_failure(tuma: Tuma, loose: Valkey) -> None:
    tuma.env["REDIS_URL"] = loose.url
    found = checks(tuma)["redis"]
    assert found["state"] == "fail"
    assert "appendonly is no" in found["detail"]
    assert "allkeys-lru" in found["detail"]


@pytest.fixture
def lazy(tmp_path: Path) -> Iterator[Valkey]:
    """A server that syncs once a second."""
    server = start_valkey(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec")
    yield server
    server.process.kill()
    server.process.wait()


def test_a_server_that_syncs_once_a_second_is_warned_about(tuma: Tuma, lazy: Valkey) -> None:
    tuma.env["REDIS_URL"] = lazy.url
    found = checks(tuma)["redis"]
    assert (found["state"], "last second" in found["detail"]) == ("warn", True)


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def public(tuma: Tuma) -> Iterator[Tuma]:
    """A tuma that is reached at its public address."""
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    tuma.env["PUBLIC_URL"] = f"http://127.0.0.1:{server.server_port}"
    yield tuma
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_public_address_is_tried(public: Tuma) -> None:
    assert checks(public)["public_url"]["state"] == "ok"


def test_a_public_address_that_does_not_answer_is_warned_about(tuma: Tuma) -> None:
    tuma.env["PUBLIC_URL"] = "http://127.0.0.1:9"
    found = checks(tuma)["public_url"]
    assert (found["state"], "does not answer" in found["detail"]) == ("warn", True)


def test_a_wrong_template_is_a_failure(tuma: Tuma, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "default" / "sw"
    folder.mkdir(parents=True)
    (folder / "instructions.sms.txt").write_text("{{ numbre }}")
    tuma.env["TUMA_TEMPLATES"] = str(tmp_path / "own")
    assert checks(tuma)["templates"]["state"] == "fail"


def test_the_address_of_redis_is_told_without_its_password(tuma: Tuma) -> None:
    tuma.env["REDIS_URL"] = tuma.env["REDIS_URL"].replace("redis://", "redis://default:@")
    found = checks(tuma)["redis"]
    assert found["url"] == tuma.env["REDIS_URL"].replace("default:@", "")


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("rediss+cluster://user:p%40ss@host:6379/2", "rediss+cluster://host:6379/2"),
        ("redis://host/0?password=secret&timeout=5", "redis://host/0?timeout=5"),
        ("unix:///var/lib/valkey.sock?db=0", "unix:///var/lib/valkey.sock?db=0"),
    ],
)
def test_no_address_of_redis_shows_a_password(url: str, bare: str) -> None:
    assert without_password(url) == bare
