"""A replay of a few bills: what it shows, what it costs, whom it never reaches, and that time is only borrowed."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.domain.share import from_fields
from bot.engine.scripts import now_ms
from bot.render.library import templates_dir
from bot.replay import Options, Report, Row, replay
from bot.sandbox.approval import EXAMPLE, approve
from bot.sandbox.profiles import find
from bot.settings import Settings, load
from tests.conftest import free_port

DUE = (datetime.now(UTC) + timedelta(days=21)).replace(hour=9, minute=0).isoformat(timespec="seconds")
ALL = ["whatsapp", "sms", "email", "telegram"]


def settings(**env: str) -> Settings:
    """A merchant who has set up nothing but a name."""
    return load({"MERCHANT_NAME": "Shule ya Amani", **env}, dotenv=None)


def row(number: int, channels: list[str], **more: Any) -> Row:
    """A bill due in some weeks."""
    job = {
        "id": f"r{number}",
        "bill": {
            "number": f"550429148700{number:02}",
            "amount": "45000",
            "due_at": DUE,
        },
        "customer": {
            "name": "Asha Juma",
            "phone": f"+2557540000{number:02}",
            "email": f"asha{number}@example.com",
            "telegram": f"7000000{number:02}",
        },
        "route": {"mode": "all", "channels": channels},
    }
    private = settings(TUMA_CALLBACK_PRIVATE="true")
    return Row(number, from_fields(job | more, settings=private, one=False))


def options(profile: str = "calm", **more: Any) -> Options:
    known: dict[str, Any] = {"profile": find(profile), "seed": 1, "paying": 0.0}
    return Options(**known | more)


async def one(rows: list[Row], chosen: Options, merchant: Settings | None = None) -> Report:
    return await replay(rows, merchant or settings(), chosen)


async def test_every_text_cost_and_outcome_from_the_first_message_to_the_last_reminder() -> None:
    report = await one([row(1, ALL)], options(sms_price=Decimal("22.5"), whatsapp_price=Decimal(10)))
    [shown], summary = report.rows, report.summary
    kinds = {(each.channel, each.kind) for each in shown.messages}
    assert kinds == {(channel, kind) for channel in ALL for kind in ("instructions", "reminder")}
    assert all(each.outcome == "sent" and each.accepted == 1 for each in shown.messages)
    assert all("550429148700" in (each.text or "") for each in shown.messages)
    assert all("Shule ya Amani" in (each.text or "") for each in shown.messages if each.channel == "sms")
    assert (shown.cost, summary.cost) == ("195", "195")  # 6 segments and 6 WhatsApp messages
    assert (summary.segments, summary.taken, summary.ledger, summary.clean) == (6, 24, "ok", True)
    assert 27 < summary.days < 35
    days = [each.at.date() for each in shown.messages if each.at]
    assert days == sorted(days)


async def test_who_pays_gets_a_receipt_and_no_reminder_after_it() -> None:
    report = await one([row(n, ["sms"]) for n in range(1, 9)], options(paying=1.0))
    assert [shown.paid for shown in report.rows] == ["45000"] * 8
    assert {[each.kind for each in shown.messages][-1] for shown in report.rows} == {"receipt"}
    assert len({len(shown.messages) for shown in report.rows}) > 1  # some pay at once, some late
    assert (report.summary.after_payment, report.summary.receipts_wrong, report.summary.payments) == (0, 0, 8)


async def test_a_storm_breaks_no_promise() -> None:
    report = await one([row(n, ALL) for n in range(1, 13)], options("storm", paying=0.5, seed=3))
    summary = report.summary
    assert sum(sum(kinds.values()) for kinds in summary.faults.values()) > 50
    assert (summary.lost, summary.twice, summary.after_payment, summary.receipts_wrong) == (0, 0, 0, 0)
    assert (summary.ledger, summary.stuck, summary.clean) == ("ok", None, True)


async def test_time_is_put_right_again() -> None:
    await one([row(1, ["email"])], options())
    assert abs(now_ms() - time.time() * 1000) < 5_000


async def test_the_merchants_own_texts_hours_and_channels_hold(tmp_path: Path) -> None:
    folder = tmp_path / "default" / "sw"
    folder.mkdir(parents=True)
    (folder / "instructions.sms.txt").write_text("{{ merchant }}: lipa {{ number }} sasa")
    merchant = settings(
        TUMA_TEMPLATES=str(tmp_path),
        TUMA_QUIET_HOURS="00:01-23:00",
        TWILIO_ACCOUNT_SID="AC1",
        TWILIO_AUTH_TOKEN="t",
        TWILIO_SMS_FROM="SHULE",
        PUBLIC_URL="https://pay.shule.example",
    )
    report = await one([row(1, ["sms", "email"])], options(), merchant)
    [shown] = report.rows
    assert shown.messages[0].text == "Shule ya Amani: lipa 55042914870001 sasa"
    assert ([each.channel for each in shown.skipped], shown.channels) == (["email"], ["sms"])
    hours = [each.at.astimezone(merchant.zone).hour for each in shown.messages if each.at]
    assert set(hours) <= {23, 0}


async def test_links_keep_the_merchants_address_and_callbacks_still_arrive() -> None:
    merchant = settings(PUBLIC_URL="https://pay.shule.example")
    report = await one([row(1, ["email", "sms"])], options(), merchant)
    mail = next(each for each in report.rows[0].messages if each.channel == "email")
    assert "https://pay.shule.example/pay/" in (mail.text or "")
    assert {each.delivery for each in report.rows[0].messages if each.channel == "sms"} == {"delivered"}


async def test_the_merchants_own_whatsapp_templates_are_shown_in_words(tmp_path: Path) -> None:
    mapping = tmp_path / "whatsapp.toml"
    approve(templates_dir() / EXAMPLE, mapping)
    own = re.sub(r'"HX[0-9a-f]{2}', '"HXff', mapping.read_text())
    mapping.write_text(own.replace('body = """', 'body = """SHULE. '))
    report = await one([row(1, ["whatsapp"])], options(), settings(WHATSAPP_TEMPLATES=str(mapping)))
    assert all((each.text or "").startswith("SHULE. ") for each in report.rows[0].messages)


@pytest.fixture
async def producer() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A system of the merchant's that wants to hear of events."""
    from aiohttp import web

    from bot.sandbox.serving import LocalServer

    heard: list[bytes] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/events", hear)
    server = LocalServer(app, "127.0.0.1", free_port())
    yield await server.start() + "/events", heard
    await server.stop()


async def test_the_merchants_own_system_hears_nothing(producer: tuple[str, list[bytes]]) -> None:
    url, heard = producer
    merchant = replace(settings(), callback_private=True)
    await one([row(1, ["sms"], callback_url=url)], options(paying=1.0), merchant)
    assert heard == []


async def test_a_bill_that_cannot_be_taken_is_told() -> None:
    twice = row(2, ["sms"])
    other = msgspec.structs.replace(twice.job, id="other", digest="d")
    other = msgspec.structs.replace(
        other,
        bill=msgspec.structs.replace(other.bill, amount=Decimal(5)),
        customer=row(3, ["sms"]).job.customer,
    )
    report = await one([twice, Row(3, other)], options())
    assert [shown.ok for shown in report.rows] == [True, False]
    assert report.rows[1].errors
    assert (report.summary.accepted, report.summary.refused) == (1, 1)


async def test_a_channel_that_refuses_us_is_paused_and_goes_on() -> None:
    report = await one([row(n, ["email"]) for n in range(1, 5)], options("closed-doors", seed=2))
    assert report.summary.pauses["email"] > 0
    assert (report.summary.lost, report.summary.ledger, report.summary.stuck) == (0, "ok", None)
    assert {each.outcome for shown in report.rows for each in shown.messages} == {"sent"}
