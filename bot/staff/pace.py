"""The staff bot keeps to Telegram's limits together with the workers: what it says counts, and a chat gets it in turn.

Somebody waits for an answer, so a message is held up for a few seconds at most and then goes all the same; should it be
too fast, Telegram says so (429), and the bot waits as long as it is told.

Source: https://core.telegram.org/bots/faq, "My bot is hitting limits" (of sending; edits and answers to presses of
buttons are not named there and not counted).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType

from bot.errors import StoreUnavailable

if TYPE_CHECKING:
    from aiogram import Bot

    from bot.engine.limits import Talk

_LONGEST_S = 3.0
_SENDING = ("send", "copy", "forward")


class Paced(BaseRequestMiddleware):
    """Waits for the turn of the chat before each message."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        """Make the request."""
        chat = getattr(method, "chat_id", None)
        name = method.__api_method__
        if chat is not None and name.startswith(_SENDING) and name != "sendChatAction":
            with suppress(StoreUnavailable):  # what cannot be counted is said all the same
                await self._turn(str(chat))
        return await make_request(bot, method)

    async def _turn(self, chat: str) -> None:
        until = time.monotonic() + _LONGEST_S
        while wait_s := await self._talk.turn(chat):
            if time.monotonic() + wait_s > until:
                await self._talk.count()
                return
            await asyncio.sleep(wait_s)
