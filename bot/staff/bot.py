"""The Telegram bot: commands and alerts for staff, and the menu of customers, in Swahili and English.

Promises that no update is lost over a restart, that what goes wrong with one update ends nothing else, and that a
Telegram that cannot be reached only delays. It does not send bills: messages to customers leave through the
channel `channels.telegram`, with consent, fence and ledger.

Updates come by long polling (`run`), or through a webhook that the HTTP role receives and hands to `feed`.

Source: Telegram Bot API, "Getting updates" and setWebhook.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from aiogram import Bot, Dispatcher, Router
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import AiogramError, TelegramRetryAfter
from aiogram.methods import GetUpdates, Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import Update
from aiogram.utils.token import TokenValidationError
from pydantic import ValidationError

from bot.engine.limits import Talk
from bot.engine.store import guard
from bot.errors import ConfigError, StoreUnavailable
from bot.staff import actions, customers, lookup, money, overview, sharing
from bot.staff.alerts import Alerts
from bot.staff.commands import register
from bot.staff.drafts import Drafts
from bot.staff.memory import Memory
from bot.staff.pace import Paced
from bot.staff.people import Apologies, CommandsEndDialogues, Gate, Introduction, IsStaff, roles, speech
from bot.staff.polling import Poller
from bot.staff.waiting import Patience, where

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.render.templates import Renderer
    from bot.settings import Settings

_log = structlog.get_logger("tuma.staff")
_REQUEST_TIMEOUT_S = 20.0
_HANDLER_TIMEOUT_S = 60.0
_LONGEST_FLOOD_WAIT_S = 30


class AfterFlood(BaseRequestMiddleware):
    """Waits as long as a 429 asks for, then tries again, once; a person who waits for an answer should get it."""

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        """Make the request."""
        try:
            return await make_request(bot, method)
        except TelegramRetryAfter as error:
            if isinstance(method, GetUpdates) or error.retry_after > _LONGEST_FLOOD_WAIT_S:
                raise
            await asyncio.sleep(error.retry_after)
            return await make_request(bot, method)


def build_bot(settings: Settings, talk: Talk) -> Bot:
    """The client of the Bot API. Raises ConfigError without a token, or with one that cannot be right."""
    session = AiohttpSession(
        api=TelegramAPIServer.from_base(settings.telegram_api_base), timeout=_REQUEST_TIMEOUT_S
    )
    session.middleware(AfterFlood())
    session.middleware(Paced(talk))
    try:
        return Bot(
            settings.telegram_bot_token or "",
            session=session,
            default=DefaultBotProperties(parse_mode="HTML", link_preview_is_disabled=True),
        )
    except TokenValidationError as error:
        raise ConfigError(
            "TELEGRAM_BOT_TOKEN: expected the token that @BotFather gave, digits:letters"
        ) from error


def build_router() -> Router:
    """Everything the bot answers to: what is the same for all, then staff, then everybody else."""
    staff = Router(name="staff")
    for observer in (staff.message, staff.callback_query):
        observer.filter(IsStaff())
        observer.middleware(Gate())
    staff.message.middleware(CommandsEndDialogues())
    staff.include_routers(
        overview.router(), actions.router(), money.router(), sharing.router(), lookup.router()
    )
    root = Router(name="tuma")
    for observer in (root.message, root.callback_query):
        observer.middleware(Apologies())
    root.include_routers(customers.everybody(), staff, customers.customers())
    return root


class StaffBot:
    """The bot of one process. Raises ConfigError at once if its token cannot be right, or its webhook cannot work."""

    def __init__(self, engine: Engine, settings: Settings, renderer: Renderer) -> None:
        if settings.telegram_updates == "webhook" and not (
            settings.public_url and settings.telegram_webhook_secret
        ):
            raise ConfigError("TELEGRAM_UPDATES: webhook also needs PUBLIC_URL and TELEGRAM_WEBHOOK_SECRET")
        self._engine, self._settings = engine, settings
        self._bot = build_bot(settings, Talk(engine.records, settings))
        self._memory = Memory(engine.redis, self._bot.id)
        self._staff = roles(settings.telegram_staff)
        self._who = secrets.token_hex(8)
        self._username: str | None = None
        self._dispatcher = Dispatcher(storage=self._memory.storage())
        self._dispatcher.update.outer_middleware(Introduction(engine, settings))
        self._dispatcher.include_router(build_router())
        self._dispatcher.workflow_data.update(
            engine=engine, settings=settings, memory=self._memory, drafts=Drafts(engine, settings, renderer)
        )

    @property
    def username(self) -> str | None:
        """The bot's user name, without @; None until Telegram told it."""
        return self._username

    @property
    def allowed_updates(self) -> list[str]:
        """The kinds of updates that have handlers, blocks and unblocks among them."""
        return self._dispatcher.resolve_used_update_types()

    async def run(self, stop: asyncio.Event) -> None:
        """Introduce the bot to Telegram, then fetch updates (unless they come by webhook) and tell staff the news."""
        try:
            if await self._introduce(stop):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._alerts().run(stop))
                    if self._settings.telegram_updates == "polling":
                        group.create_task(self._poller().run(stop))
                    await stop.wait()
        finally:
            await self.close()

    async def feed(self, update: Mapping[str, Any]) -> None:
        """Handle one update that a webhook received; answer Telegram 200 only after this.

        Raises StoreUnavailable when Redis is away: Telegram sends an update again that is not answered with 2xx.
        """
        try:
            parsed = Update.model_validate(update, context={"bot": self._bot})
        except ValidationError:
            _log.warning("update_not_understood", fields=sorted(map(str, update))[:8])
            return
        await self.handle(parsed)

    async def handle(self, update: Update) -> None:
        """Handle one update once. Raises StoreUnavailable; everything else is logged and let go."""
        if await self._memory.handled(update.update_id):
            return
        try:
            with guard():
                async with asyncio.timeout(_HANDLER_TIMEOUT_S):
                    await self._dispatcher.feed_update(self._bot, update)
        except StoreUnavailable:
            raise
        except AiogramError as error:
            _log.warning("answer_not_sent", error=type(error).__name__, where=where(error))
        except Exception as error:
            _log.error("update_failed", error=type(error).__name__, where=where(error))
            await self._excuse(update)
        await self._memory.remember(update.update_id)

    async def close(self) -> None:
        """Close the connections to Telegram; the next use opens them again."""
        await self._bot.session.close()

    def _alerts(self) -> Alerts:
        return Alerts(self._bot, self._engine, self._settings, self._staff)

    def _poller(self) -> Poller:
        return Poller(self._bot, self._memory, self.allowed_updates, self.handle, self._who)

    async def _introduce(self, stop: asyncio.Event) -> bool:
        """Reach Telegram and set the bot up there, however long that takes; False if `stop` came first."""
        patience = Patience()
        while not stop.is_set():
            try:
                await self._set_up()
            except (AiogramError, StoreUnavailable) as error:
                _log.warning("telegram_not_reached", error=type(error).__name__, detail=_detail(error))
                await patience.wait(stop, getattr(error, "retry_after", 0))
            else:
                _log.info("bot_ready", username=self._username, staff=len(self._staff))
                return True
        return False

    async def _set_up(self) -> None:
        me = await self._bot.get_me()
        if me.username:
            self._username = me.username
            await self._engine.announce_bot(me.username)
        await self._choose_delivery()
        await register(self._bot, self._engine, self._settings, self._staff, self._memory)

    async def _choose_delivery(self) -> None:
        """Polling or webhook. What waits at Telegram is kept either way."""
        settings = self._settings
        if settings.telegram_updates == "polling":
            await self._bot.delete_webhook(drop_pending_updates=False)
            return
        await self._bot.set_webhook(
            f"{settings.public_url}/webhooks/telegram",
            secret_token=settings.telegram_webhook_secret,
            allowed_updates=self.allowed_updates,
            drop_pending_updates=False,
        )

    async def _excuse(self, update: Update) -> None:
        """Tell the person that it went wrong, if that is possible."""
        message = update.message or (update.callback_query.message if update.callback_query else None)
        if message is None or message.chat.type != "private":
            return
        try:
            say = await speech(self._engine, self._settings, message.chat.id)
            await self._bot.send_message(message.chat.id, say("error.unexpected"))
        except Exception as error:
            # Whatever broke the handler may break this too; the update counts as handled all the same.
            _log.info("excuse_not_sent", error=type(error).__name__)


def _detail(error: Exception) -> str:
    return str(getattr(error, "message", error))
