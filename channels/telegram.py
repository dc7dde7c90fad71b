"""Telegram through aiogram: one `sendMessage` with HTML and buttons, to a chat that the person opened.

`sendMessage` has no idempotency and a bot cannot read its chats: a lost answer stays in doubt for good. A group that
became a supergroup is written to under its new id in the same call, as the first request was certainly not taken.

Source: https://core.telegram.org/bots/api#sendmessage; aiogram 3.31 `client/session`; refusals in `telegram_codes`.
"""

from __future__ import annotations

from channels import aiogram_lazily  # noqa: F401

# isort: split
import aiohttp
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import AiogramError, TelegramMigrateToChat, TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import GetMe, Response, SendMessage, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions, User
from aiogram.utils.token import TokenValidationError

from channels.base import Accepted, Button, ChannelName, Delivery, Outgoing, Probe, TelegramContent
from channels.config import TelegramConfig
from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    Unavailable,
    Uncertain,
)
from channels.leased import Flight, LeasedConnector, flight, lease, why
from channels.telegram_codes import classify

_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class LeasedSession(AiohttpSession):
    """aiogram's session with the lease checked once connected, one exact deadline, and our errors.

    Errors: ChannelError only.
    """

    def __init__(self, api_base: str, *, timeout_s: float, limit: int) -> None:
        super().__init__(api=TelegramAPIServer.from_base(api_base), limit=limit, timeout=timeout_s + 1)
        self._connector_type = LeasedConnector
        self._timeout_s = timeout_s

    async def make_request(
        self, bot: Bot, method: TelegramMethod[TelegramType], timeout: int | None = None
    ) -> TelegramType:
        """Make one request; `timeout` of the caller does not apply."""
        with flight() as current:
            try:
                async with current.within(self._timeout_s):
                    return await self._request_where_it_moved(bot, method)
            # ValueError, LookupError: an answer in no encoding, or with a charset that does not exist
            except (AiogramError, aiohttp.ClientError, OSError, ValueError, LookupError) as error:
                failure = _failure(current, error)
        raise failure

    async def _request_where_it_moved(self, bot: Bot, method: TelegramMethod[TelegramType]) -> TelegramType:
        try:
            return await super().make_request(bot, method)
        except TelegramMigrateToChat as moved:
            there = method.model_copy(update={"chat_id": moved.migrate_to_chat_id})
        return await super().make_request(bot, there)

    def check_response(
        self, bot: Bot, method: TelegramMethod[TelegramType], status_code: int, content: str
    ) -> Response[TelegramType]:
        """Read an answer; what is no success becomes a ChannelError."""
        if status_code >= 500:  # aiogram trips over an HTML page or a missing description
            raise classify(status_code, "")
        try:
            return super().check_response(bot, method, status_code, content)
        except TelegramMigrateToChat:
            raise
        except AiogramError as error:
            refusal = _refusal(status_code, error)
        raise refusal


def _failure(current: Flight, error: Exception) -> ChannelError:
    cause = error.__cause__ if isinstance(error, TelegramNetworkError) and error.__cause__ else error
    if not current.begun:
        return Unavailable("telegram connection", f"Telegram was not reached: {why(cause)}")
    return Uncertain("telegram connection", f"no answer to a message that may have been taken: {why(cause)}")


def _refusal(status: int, error: AiogramError) -> ChannelError:
    if 200 <= status < 300:
        return Uncertain("telegram answer", "taken, but the answer could not be read")
    wait = float(error.retry_after) if isinstance(error, TelegramRetryAfter) else None
    return classify(status, str(error), retry_after_s=wait)


class Telegram:
    """The Telegram channel. Raises Misconfigured when made with a token of the wrong form."""

    name = ChannelName.TELEGRAM

    def __init__(self, config: TelegramConfig) -> None:
        self.concurrency = config.concurrency
        self.request_timeout_s = config.timeout_s
        session = LeasedSession(config.api_base, timeout_s=config.timeout_s, limit=config.concurrency)
        try:
            self._bot = Bot(config.token, session=session)
        except TokenValidationError:
            raise Misconfigured(
                "telegram settings", "TELEGRAM_BOT_TOKEN has the form 123456:ABC..."
            ) from None
        self._username: str | None = None

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Send one message. Errors: every ChannelError."""
        request = _request(outgoing)
        with lease(outgoing.deadline):
            message = await self._bot(request)
        return Accepted(str(message.message_id), Delivery.SENT)

    async def username(self) -> str:
        """Tell the bot's name, for `https://t.me/<name>` links; asked once. Errors: ChannelError."""
        if self._username is None:
            self._username = (await self._me()).username or ""
        return self._username

    async def probe(self) -> Probe:
        """Ask the bot who it is; sends nothing."""
        try:
            me = await self._me()
        except ChannelError as error:
            return Probe(False, str(error), ("check TELEGRAM_BOT_TOKEN, given by @BotFather",))
        return Probe(True, f"the bot @{me.username} answers")

    async def close(self) -> None:
        """Close every connection."""
        await self._bot.session.close()

    async def _me(self) -> User:
        return await self._bot(GetMe())


def _request(outgoing: Outgoing) -> SendMessage:
    if not isinstance(outgoing.content, TelegramContent):
        raise ContentRejected("telegram content", "this is not a Telegram message")
    try:
        chat_id = int(outgoing.to)
    except ValueError:
        raise RecipientInvalid("telegram chat", "a chat id is digits only") from None
    try:
        keyboard = _keyboard(outgoing.content)
    except ValueError:  # pydantic's, which quotes the button
        raise ContentRejected("telegram button", "a button of the message is not valid") from None
    return SendMessage(
        chat_id=chat_id,
        text=outgoing.content.html,
        parse_mode="HTML",
        link_preview_options=_NO_PREVIEW,
        reply_markup=keyboard,
    )


def _keyboard(content: TelegramContent) -> InlineKeyboardMarkup | None:
    if not content.buttons:
        return None
    return InlineKeyboardMarkup(
        inline_keyboard=[[_button(button) for button in row] for row in content.buttons]
    )


def _button(button: Button) -> InlineKeyboardButton:
    if sum(action is not None for action in (button.copy, button.url, button.callback)) != 1:
        raise ContentRejected("telegram button", "a button has exactly one action")
    copy = CopyTextButton(text=button.copy) if button.copy is not None else None
    return InlineKeyboardButton(
        text=button.text, copy_text=copy, url=button.url, callback_data=button.callback
    )
