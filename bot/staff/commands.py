"""The lists of commands that Telegram shows: everybody's in private chats, and each staff member's own.

Telegram takes the list of the narrowest scope, and in it that of the phone's language before the one without. So
everybody has one list per language, and a staff chat has one in the language chosen here, under every code. A chat
whose owner left the staff gets its list back.

Source: Telegram Bot API, setMyCommands and "Determining list of commands".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, BotCommandScopeChat

from bot.staff.memory import Memory
from bot.staff.people import Role, speech
from bot.staff.speech import LANGUAGES, Speech

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

_log = structlog.get_logger("tuma.staff")
_EVERYBODY = ("start", "bills", "check", "language", "stop")
_VIEWER = ("status", "payments", "stats", "queue", "failed", "help", "language")
_OPERATOR = (
    *("share", "status", "stop", "resend", "payments", "cash"),
    *("stats", "queue", "failed", "help", "language"),
)
# For staff, /stop means a bill; for everybody else, messages.
_STAFF_TEXT = {"stop": "stop_bill"}
_CODES = (None, *LANGUAGES)


def customer_commands(say: Speech) -> list[BotCommand]:
    """What everybody sees."""
    return [BotCommand(command=name, description=say.plain(f"command.{name}")) for name in _EVERYBODY]


def staff_commands(say: Speech, role: Role) -> list[BotCommand]:
    """What a role sees."""
    names = _OPERATOR if role >= Role.OPERATOR else _VIEWER
    return [
        BotCommand(command=name, description=say.plain(f"command.{_STAFF_TEXT.get(name, name)}"))
        for name in names
    ]


async def register(
    bot: Bot, engine: Engine, settings: Settings, staff: Mapping[int, Role], memory: Memory
) -> None:
    """Tell Telegram every list. Raises what the bot raises; a chat that never started the bot is left out."""
    everybody = BotCommandScopeAllPrivateChats()
    for code in _CODES:
        say = Speech(code or settings.locale, settings.timezone)
        await bot.set_my_commands(customer_commands(say), scope=everybody, language_code=code)
    for chat in await memory.staff_chats() - staff.keys():
        await _forget(bot, chat)
    for chat, role in staff.items():
        await register_chat(bot, chat, await speech(engine, settings, chat), role)
    await memory.keep_staff_chats(staff)


async def register_chat(bot: Bot, chat: int, say: Speech, role: Role | None) -> None:
    """The list of one chat in the language it chose."""
    commands = customer_commands(say) if role is None else staff_commands(say, role)
    try:
        for code in _CODES:
            await bot.set_my_commands(commands, scope=BotCommandScopeChat(chat_id=chat), language_code=code)
    except (TelegramBadRequest, TelegramForbiddenError) as error:
        _log.info("commands_not_shown", reason=error.message)


async def _forget(bot: Bot, chat: int) -> None:
    try:
        for code in _CODES:
            await bot.delete_my_commands(scope=BotCommandScopeChat(chat_id=chat), language_code=code)
    except (TelegramBadRequest, TelegramForbiddenError) as error:
        _log.info("commands_not_removed", reason=error.message)
