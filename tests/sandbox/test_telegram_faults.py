"""Every fault of Telegram, as aiogram meets it, and what is on record afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)

from bot.sandbox.city import Sandbox

ASHA = 700_123_456


@pytest.fixture
async def bot(city: Sandbox) -> AsyncIterator[Bot]:
    city.world.person("Asha", chat=ASHA)
    city.telegram.chats.begin(ASHA)
    session = AiohttpSession(api=TelegramAPIServer.from_base(city.urls["telegram"]), timeout=0.5)
    async with Bot(city.accounts.telegram.token, session=session) as bot:
        yield bot


@pytest.mark.parametrize(
    ("kind", "met", "taken"),
    [
        ("timeout-before", TelegramNetworkError, 0),
        ("timeout-after", TelegramNetworkError, 1),
        ("reset-before", TelegramNetworkError, 0),
        ("reset-after", TelegramNetworkError, 1),
        ("error-before", TelegramServerError, 0),
        ("error-after", TelegramServerError, 1),
        ("html-before", ClientDecodeError, 0),
        ("html-after", ClientDecodeError, 1),
        ("throttle", TelegramRetryAfter, 0),
        ("forbidden", TelegramForbiddenError, 0),
        ("migrated", TelegramMigrateToChat, 0),
    ],
)
async def test_a_fault_meets_aiogram_and_the_record_says_what_was_taken(
    city: Sandbox, bot: Bot, kind: str, met: type[Exception], taken: int
) -> None:
    city.faults.next("telegram", kind)
    with pytest.raises(met):
        await bot.send_message(ASHA, "Habari")
    assert len(city.world.accepted("telegram", str(ASHA))) == taken


async def test_a_slow_answer_comes(city: Sandbox, bot: Bot) -> None:
    city.faults.next("telegram", "slow")
    assert (await bot.send_message(ASHA, "Habari")).text == "Habari"


async def test_a_migrated_chat_answers_to_its_new_id_only(city: Sandbox, bot: Bot) -> None:
    city.faults.next("telegram", "migrated")
    with pytest.raises(TelegramMigrateToChat) as moved:
        await bot.send_message(ASHA, "Habari")
    there = moved.value.migrate_to_chat_id
    assert (await bot.send_message(there, "Habari")).chat.id == there
    with pytest.raises(TelegramMigrateToChat):
        await bot.send_message(ASHA, "Habari")
    assert len(city.world.accepted("telegram", str(ASHA))) == 1


async def test_a_migrated_chat_is_the_same_contact(city: Sandbox, bot: Bot) -> None:
    city.telegram.chats.migrate(ASHA)
    city.faults.next("telegram", "forbidden", 1, str(ASHA))
    with pytest.raises(TelegramForbiddenError):
        await bot.send_message(-1_000_000_000_000 - ASHA, "Habari")


async def test_one_chat_is_out_of_luck(city: Sandbox, bot: Bot) -> None:
    city.telegram.chats.begin(ASHA + 1)
    city.faults.rate("telegram", "forbidden", 1.0, str(ASHA))
    await bot.send_message(ASHA + 1, "Habari")
    with pytest.raises(TelegramForbiddenError):
        await bot.send_message(ASHA, "Habari")


@pytest.mark.parametrize(
    ("kind", "met"),
    [
        ("query-error", TelegramServerError),
        ("query-throttle", TelegramRetryAfter),
        ("query-timeout", TelegramNetworkError),
        ("query-reset", TelegramNetworkError),
    ],
)
async def test_questions_have_faults_of_their_own(
    city: Sandbox, bot: Bot, kind: str, met: type[Exception]
) -> None:
    city.faults.next("telegram", kind)
    await bot.send_message(ASHA, "Habari")
    with pytest.raises(met):
        await bot.get_me()
    assert (await bot.get_me()).is_bot
