"""The judge of once: what counts as one message, and how often it was taken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx

from bot.sandbox.city import Sandbox
from bot.sandbox.judge import text_key
from bot.sandbox.world import Message, World
from tests.plain import PLAIN

ASHA = "+255754000001"


def take(world: World, channel: str = "sms", address: str = ASHA, **more: Any) -> None:
    provider = {"email": "smtp", "telegram": "telegram"}.get(channel, "twilio")
    known: dict[str, Any] = {"id": f"X{len(world.messages)}", "sender": "TUMA", "text": "Habari"}
    at = datetime.now(UTC)
    world.accept(Message(provider=provider, channel=channel, address=address, at=at, **known | more))


def test_a_callbacks_m_tells_messages_apart() -> None:
    world = World()
    for query in ("m=3-x.1&a=1", "m=3-x.1&a=2", "m=3-x.2&a=1"):
        take(world, reference=query)
    verdict = world.verdict()
    assert (verdict.accepted, len(verdict.taken)) == (3, 2)
    [twice] = verdict.twice
    assert (twice.message, twice.times, twice.attempts, twice.certain) == ("3-x.1", 2, ["1", "2"], True)
    assert (verdict.times("3-x.1"), verdict.times("3-x.2"), verdict.times("3-x.3")) == (2, 1, 0)


def test_a_mails_message_id_tells_messages_apart() -> None:
    world = World()
    for local in ("3-x.1", "3-x.1", "3-x.2"):
        take(world, "email", "asha@example.com", reference=f"<{local}@shule.test>")
    assert [(each.message, each.times) for each in world.verdict().taken] == [("3-x.1", 2), ("3-x.2", 1)]


def test_the_same_id_on_two_channels_is_two_messages() -> None:
    world = World()
    take(world, reference="m=3-x.1")
    take(world, "whatsapp", reference="m=3-x.1")
    verdict = world.verdict()
    assert (verdict.twice, verdict.times("3-x.1"), verdict.times("3-x.1", "sms")) == ([], 2, 1)


def test_telegram_is_judged_by_chat_and_text_and_says_that_it_guesses() -> None:
    world = World()
    for chat, text in (("5", "Lipa"), ("5", "Lipa"), ("6", "Lipa"), ("5", "Asante")):
        take(world, "telegram", chat, text=text)
    verdict = world.verdict()
    assert verdict.twice == []
    [alike] = verdict.alike
    assert (alike.address, alike.times, alike.certain, alike.message) == ("5", 2, False, None)
    assert (verdict.times_alike("5", "Lipa"), verdict.times_alike("6", "Lipa")) == (2, 1)


def test_what_a_customer_wrote_is_not_judged() -> None:
    world = World()
    take(world, outgoing=False)
    assert world.verdict().taken == ()


async def test_telegram_text_is_judged_as_it_was_sent_and_before_edits(city: Sandbox) -> None:
    city.telegram.chats.begin(5)
    url = f"{city.urls['telegram']}/bot{city.accounts.telegram.token}"
    sent = {"chat_id": 5, "text": "<b>Lipa</b>", "parse_mode": "HTML"}
    async with httpx.AsyncClient(verify=PLAIN, base_url=url) as http:
        made = (await http.post("/sendMessage", json=sent)).json()["result"]
        edit = {"chat_id": 5, "message_id": made["message_id"], "text": "Imelipwa"}
        assert (await http.post("/editMessageText", json=edit)).json()["ok"]
    [taken] = city.world.verdict().taken
    assert taken.key == text_key("telegram", "5", "<b>Lipa</b>")


async def test_the_verdict_is_there_for_programs(city: Sandbox) -> None:
    for query in ("m=3-x.1", "m=3-x.1", "m=3-x.2"):
        take(city.world, reference=query)
    async with httpx.AsyncClient(verify=PLAIN, base_url=city.urls["page"]) as http:
        short = (await http.get("/api/verdict")).json()
        full = (await http.get("/api/verdict?every=1")).json()
    assert (short["accepted"], short["messages"], "every" in short) == (3, 2, False)
    assert [(each["message"], each["times"]) for each in short["twice"]] == [("3-x.1", 2)]
    assert [each["message"] for each in full["every"]] == ["3-x.1", "3-x.2"]
