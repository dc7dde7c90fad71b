"""/help, /stats, /queue, and the command lists that Telegram shows."""

from __future__ import annotations

import pytest

from bot.app import renderer
from bot.staff.bot import StaffBot
from tests.staff.conftest import ADMIN, OPERATOR, VIEWER, Office, at_work, settings_for
from tests.staff.phone import eventually


def names(office: Office, scope: str) -> list[str]:
    return [command["command"] for command in office.city.telegram.commands[scope]]


async def test_help_lists_what_the_role_can_do(office: Office) -> None:
    viewer, operator = await office.viewer.says("/help"), await office.operator.says("/help")
    assert "Shule · your role: viewer" in viewer
    assert "/stop" not in viewer
    assert "/stop – Stop a bill" in operator
    assert "Example: /share" in operator


async def test_start_shows_staff_their_help(office: Office) -> None:
    assert "your role: admin" in await office.admin.starts()


async def test_stats_count_bills_and_messages(office: Office) -> None:
    await office.share(route={"mode": "all", "channels": ["sms", "whatsapp"]})
    await office.pay("999", 100)
    text = await office.viewer.says("/stats")
    assert "Unpaid bills: 1" in text
    assert "Payments waiting for a decision: 1" in text
    assert "Messages made: 2" in text
    assert "queued 2" in text


async def test_queue_says_what_waits_where(office: Office) -> None:
    assert "The queues are empty." in await office.viewer.says("/queue")
    await office.share(route={"mode": "all", "channels": ["sms"]})
    await office.viewer.presses("Refresh", sees="SMS, urgent: 1")


async def test_queue_shows_pauses_and_their_reason(office: Office) -> None:
    await office.engine.channels.pause("email", reason="535: bad <password>", by="tuma")
    await office.viewer.sees("Email is paused: 535")
    assert "535: bad <password>" in await office.viewer.says("/queue")


async def test_everybody_has_a_command_list_in_each_language(office: Office) -> None:
    await office.viewer.says("/help")
    lists = {code: office.city.telegram.commands[f"all_private_chats::{code}"] for code in ("", "sw", "en")}
    assert all(
        [c["command"] for c in found] == ["start", "bills", "check", "language", "stop"]
        for found in lists.values()
    )
    assert lists["sw"][1]["description"] == "Bili zangu"
    assert lists["en"][1]["description"] == "My bills"
    assert lists[""] == lists["en"]


@pytest.mark.parametrize(("chat", "has", "lacks"), [(VIEWER, "status", "stop"), (OPERATOR, "stop", "bills")])
async def test_staff_chats_have_their_roles_list(office: Office, chat: int, has: str, lacks: str) -> None:
    await office.phone(chat).says("/help")
    assert has in names(office, f"chat:{chat}:sw")
    assert lacks not in names(office, f"chat:{chat}:sw")


async def test_chosen_language_changes_the_command_list_of_the_chat(office: Office) -> None:
    await office.admin.says("/language")
    await office.admin.presses("Kiswahili", sees="Sawa, tutaongea Kiswahili.")
    assert "Takwimu" in await office.admin.says("/stats")
    descriptions = [c["description"] for c in office.city.telegram.commands[f"chat:{ADMIN}:en"]]
    assert "Simamisha bili" in descriptions


async def test_former_staff_lose_their_command_list(office: Office) -> None:
    await office.admin.says("/help")
    scopes = office.city.telegram.commands
    assert f"chat:{VIEWER}:" in scopes
    settings = settings_for(office.city, office.settings.redis_url or "", TELEGRAM_STAFF=f"{ADMIN}:admin")
    async with at_work(StaffBot(office.engine, settings, renderer(settings))):
        await eventually(lambda: f"chat:{VIEWER}:en" not in scopes)
    assert f"chat:{ADMIN}:" in scopes
