"""The Bot API, as aiogram and a plain HTTP client see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.types import BotCommand, CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup, Message

from bot.sandbox.city import Sandbox
from tests.plain import PLAIN
from tests.sandbox.conftest import Tuma

ASHA = 700_123_456


def make_bot(city: Sandbox, token: str | None = None) -> Bot:
    session = AiohttpSession(api=TelegramAPIServer.from_base(city.urls["telegram"]))
    properties = DefaultBotProperties(parse_mode="HTML")
    return Bot(token or city.accounts.telegram.token, session=session, default=properties)


@pytest.fixture
async def bot(city: Sandbox) -> AsyncIterator[Bot]:
    city.world.person("Asha", chat=ASHA)
    async with make_bot(city) as bot:
        yield bot


@pytest.fixture
def asha(city: Sandbox, bot: Bot) -> int:
    city.telegram.chats.begin(ASHA)
    return ASHA


def keyboard(**action: Any) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Bonyeza", **action)]])


async def test_the_bot_knows_itself(city: Sandbox, bot: Bot) -> None:
    me = await bot.get_me()
    assert (me.is_bot, me.username) == (True, city.accounts.telegram.username)


async def test_another_token_is_unauthorized(city: Sandbox) -> None:
    async with make_bot(city, "1:wrong") as bot:
        with pytest.raises(TelegramUnauthorizedError):
            await bot.get_me()


async def test_an_unknown_method_is_404(city: Sandbox) -> None:
    async with httpx.AsyncClient(verify=PLAIN) as http:
        answer = await http.get(f"{city.urls['telegram']}/bot{city.accounts.telegram.token}/sendRocket")
    assert (answer.status_code, answer.json()) == (
        404,
        {"ok": False, "error_code": 404, "description": "Not Found"},
    )


async def test_a_message_arrives_as_text_with_entities(city: Sandbox, bot: Bot, asha: int) -> None:
    sent = await bot.send_message(asha, "Lipa <b>TZS 45,000</b> &amp; <code>55042914871931</code>")
    assert sent.text == "Lipa TZS 45,000 & 55042914871931"
    assert [(each.type, each.offset, each.length) for each in sent.entities or []] == [
        ("bold", 5, 10),
        ("code", 18, 14),
    ]
    assert city.world.screen("telegram", str(asha))[0].numbers == ["55042914871931"]


async def test_a_copied_number_is_read_from_its_button(city: Sandbox, bot: Bot, asha: int) -> None:
    city.bill("SOMA0001", 100)
    await bot.send_message(
        asha, "Bili yako", reply_markup=keyboard(copy_text=CopyTextButton(text="SOMA0001"))
    )
    assert city.world.accepted("telegram")[0].numbers == ["SOMA0001"]


async def test_who_never_started_the_bot_is_not_found(city: Sandbox, bot: Bot) -> None:
    with pytest.raises(TelegramBadRequest, match="chat not found"):
        await bot.send_message(ASHA, "Habari")
    assert city.world.accepted() == []


async def test_who_blocked_the_bot_is_forbidden_until_start(city: Sandbox, bot: Bot, asha: int) -> None:
    city.telegram.chats.block(asha, blocked=True)
    with pytest.raises(TelegramForbiddenError, match="bot was blocked by the user"):
        await bot.send_message(asha, "Habari")
    city.telegram.chats.start(asha)
    assert (await bot.send_message(asha, "Karibu tena")).chat.id == asha


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<b>wazi", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<blink>x</blink>", 'Unsupported start tag "blink" at byte offset 0'),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>x</b></i>", "Unmatched end tag at byte offset 7"),
        (" ", "message text is empty"),
        ("x" * 4097, "message is too long"),
    ],
)
async def test_bad_text_is_refused_in_telegrams_words(bot: Bot, asha: int, text: str, complaint: str) -> None:
    with pytest.raises(TelegramBadRequest) as refused:
        await bot.send_message(asha, text)
    assert complaint in refused.value.message


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        ({"callback_data": "é" * 33}, "BUTTON_DATA_INVALID"),
        ({"url": "javascript:alert(1)"}, "BUTTON_URL_INVALID"),
        ({"copy_text": {"text": ""}}, "BUTTON_COPY_TEXT_INVALID"),
        ({}, "Text buttons are unallowed"),
        ({"url": "https://a.test", "callback_data": "x"}, "Text buttons are unallowed"),
    ],
)
async def test_bad_buttons_are_refused(
    city: Sandbox, asha: int, action: dict[str, Any], complaint: str
) -> None:
    markup = {"inline_keyboard": [[{"text": "x"} | action]]}
    form = {"chat_id": str(asha), "text": "x", "reply_markup": json.dumps(markup)}
    async with httpx.AsyncClient(verify=PLAIN) as http:
        answer = await http.post(
            f"{city.urls['telegram']}/bot{city.accounts.telegram.token}/sendMessage", data=form
        )
    assert answer.status_code == 400
    assert complaint in answer.json()["description"]


async def test_start_with_a_payload_reaches_a_polling_bot(city: Sandbox, bot: Bot) -> None:
    waiting = asyncio.create_task(bot.get_updates(timeout=10))
    await asyncio.sleep(0)
    city.telegram.chats.start(ASHA, "3-abc_DEF")
    [update] = await waiting
    assert update.message is not None
    assert (update.message.text, update.message.chat.id) == ("/start 3-abc_DEF", ASHA)
    assert (update.message.entities or [])[0].type == "bot_command"


async def test_an_update_stays_until_its_offset_is_passed(city: Sandbox, bot: Bot) -> None:
    city.telegram.chats.write(ASHA, "moja")
    [first] = await bot.get_updates()
    [again] = await bot.get_updates(offset=first.update_id)
    assert first.update_id == again.update_id
    assert await bot.get_updates(offset=first.update_id + 1) == []


async def test_unwanted_kinds_are_not_told(city: Sandbox, bot: Bot, asha: int) -> None:
    await bot.get_updates(allowed_updates=["message"])
    city.telegram.chats.block(asha, blocked=True)
    assert await bot.get_updates() == []


async def test_blocking_is_told(city: Sandbox, bot: Bot, asha: int) -> None:
    city.telegram.chats.block(asha, blocked=True)
    [update] = await bot.get_updates()
    assert update.my_chat_member is not None
    assert update.my_chat_member.new_chat_member.status == "kicked"


async def test_a_second_poller_ends_the_first(bot: Bot) -> None:
    first = asyncio.create_task(bot.get_updates(timeout=30))
    async with asyncio.timeout(10):
        while not first.done():
            await bot.get_updates(timeout=0)
    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates"):
        await first


async def test_a_pressed_button_is_answered_once(city: Sandbox, bot: Bot, asha: int) -> None:
    sent = await bot.send_message(asha, "Chagua", reply_markup=keyboard(callback_data="stop:1"))
    query_id = city.telegram.chats.press(asha, sent.message_id, "stop:1")
    [update] = await bot.get_updates()
    assert update.callback_query is not None
    assert (update.callback_query.id, update.callback_query.data) == (query_id, "stop:1")
    assert isinstance(update.callback_query.message, Message)
    assert await bot.answer_callback_query(query_id, text="Sawa")
    assert city.telegram.chats.of(asha).toast == {"text": "Sawa", "alert": False}
    with pytest.raises(TelegramBadRequest, match="query is too old"):
        await bot.answer_callback_query(query_id)


async def test_a_button_that_is_not_there_cannot_be_pressed(city: Sandbox, bot: Bot, asha: int) -> None:
    sent = await bot.send_message(asha, "Bila kitufe")
    with pytest.raises(LookupError):
        city.telegram.chats.press(asha, sent.message_id, "stop:1")


async def test_a_message_is_edited_in_place(city: Sandbox, bot: Bot, asha: int) -> None:
    sent = await bot.send_message(asha, "Bili", reply_markup=keyboard(callback_data="x"))
    await bot.edit_message_text("<b>Imelipwa</b>", chat_id=asha, message_id=sent.message_id)
    [shown] = city.world.screen("telegram", str(asha))
    assert (shown.text, shown.extra["keyboard"]) == ("Imelipwa", [])
    assert len(city.world.accepted("telegram")) == 1


async def test_editing_without_a_change_is_refused(bot: Bot, asha: int) -> None:
    sent = await bot.send_message(asha, "Bili")
    with pytest.raises(TelegramBadRequest, match="message is not modified"):
        await bot.edit_message_text("Bili", chat_id=asha, message_id=sent.message_id)


async def test_only_the_buttons_can_be_taken_away(city: Sandbox, bot: Bot, asha: int) -> None:
    sent = await bot.send_message(asha, "Bili", reply_markup=keyboard(callback_data="x"))
    await bot.edit_message_reply_markup(chat_id=asha, message_id=sent.message_id)
    assert city.world.screen("telegram", str(asha))[0].extra["keyboard"] == []


async def test_commands_are_kept_per_language(bot: Bot) -> None:
    await bot.set_my_commands([BotCommand(command="stop", description="Acha")], language_code="sw")
    assert [each.command for each in await bot.get_my_commands(language_code="sw")] == ["stop"]
    assert await bot.get_my_commands() == []
    assert await bot.delete_my_commands(language_code="sw")
    assert await bot.get_my_commands(language_code="sw") == []


async def test_a_webhook_gets_updates_with_its_secret(city: Sandbox, bot: Bot, tuma: Tuma) -> None:
    await bot.set_webhook(f"{tuma.url}/webhooks/telegram", secret_token="siri-1")
    city.telegram.chats.start(ASHA, "abc")
    [call] = await tuma.wait_for(1)
    assert call.headers["X-Telegram-Bot-Api-Secret-Token"] == "siri-1"
    assert json.loads(call.body)["message"]["text"] == "/start abc"
    with pytest.raises(TelegramConflictError, match="webhook is active"):
        await bot.get_updates()


async def test_a_webhook_is_repeated_until_it_is_taken(city: Sandbox, bot: Bot, tuma: Tuma) -> None:
    city.telegram.updates.retry_s, tuma.status = 0.01, 503
    await bot.set_webhook(f"{tuma.url}/t")
    city.telegram.chats.write(ASHA, "moja")
    await tuma.wait_for(2)
    assert "503" in str((await bot.get_webhook_info()).last_error_message)
    tuma.status = 200
    await tuma.wait_for(len(tuma.calls) + 1)
    assert await bot.delete_webhook()
    assert (await bot.get_webhook_info()).url == ""


async def test_a_webhook_must_be_https_or_on_this_machine(bot: Bot) -> None:
    with pytest.raises(TelegramBadRequest, match="HTTPS URL must be provided"):
        await bot.set_webhook("http://tuma.example/t")


async def test_a_throttling_telegram_says_how_long(city: Sandbox, bot: Bot, asha: int) -> None:
    city.faults.set("telegram", "throttling")
    with pytest.raises(TelegramRetryAfter) as refused:
        await bot.send_message(asha, "Habari")
    assert refused.value.retry_after == 1


async def test_a_failing_telegram_takes_nothing(city: Sandbox, bot: Bot, asha: int) -> None:
    city.faults.set("telegram", "failing")
    with pytest.raises(TelegramServerError):
        await bot.send_message(asha, "Habari")
    assert city.world.accepted() == []


async def test_parameters_may_come_as_json(city: Sandbox, asha: int) -> None:
    body = {"chat_id": asha, "text": "Habari", "reply_markup": {"inline_keyboard": []}}
    async with httpx.AsyncClient(verify=PLAIN) as http:
        answer = await http.post(
            f"{city.urls['telegram']}/bot{city.accounts.telegram.token}/sendmessage", json=body
        )
    assert answer.json()["result"]["text"] == "Habari"
