"""The composition root: the only place that builds things out of settings and wires them together.

    async with open_app(settings, roles) as app:
        await app.run(stop)

A process may play any mix of roles, and any number of processes may run. All state is in Redis; closing loses nothing.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import structlog

from bot.domain.calendar import from_ms
from bot.domain.contact import mask_text
from bot.engine import costs
from bot.engine.asking import Asker
from bot.engine.compose import Composer
from bot.engine.durability import inspect
from bot.engine.engine import Engine, check_format
from bot.engine.healing import Healer
from bot.engine.inbox import Inbox
from bot.engine.scheduler import Scheduler, every
from bot.engine.scripts import now_ms
from bot.engine.worker import Worker
from bot.errors import ConfigError, StoreUnavailable
from bot.render.look import Look, read_logo
from bot.render.templates import Renderer
from bot.settings import Settings
from channels.base import Channel, ChannelName
from channels.errors import ChannelError
from channels.registry import (
    AfricasTalkingConfig,
    ChannelConfigs,
    SmsConfig,
    SmsProvider,
    SmsShared,
    SmtpConfig,
    TelegramConfig,
    TwilioConfig,
    build,
)

_FORMAT_LOOK_S = 30.0
_START_LOOK_S, _TELL_S = 1.0, 10.0
_log = structlog.get_logger(__name__)


class Role(StrEnum):
    """What a process does."""

    API = "api"
    INTAKE = "intake"
    WORKER = "worker"
    SCHEDULER = "scheduler"
    STAFF = "staff"


def renderer(settings: Settings) -> Renderer:
    """The renderer of one merchant. Raises TemplateError when a data file is wrong, ConfigError for the look.

    A mapping file that is not there is none: then WhatsApp is off, see `Settings.channels_off`.
    """
    look = Look(
        name=settings.merchant_name,
        contact=settings.merchant_contact,
        tin=settings.merchant_tin,
        colour=settings.merchant_colour,
        logo=read_logo(settings.merchant_logo),
    )
    return Renderer(
        merchant_name=settings.merchant_name,
        merchant_contact=settings.merchant_contact,
        mpesa_business_number=settings.mpesa_business_number,
        zone=settings.timezone,
        default_locale=settings.locale,
        overrides=settings.templates,
        whatsapp_templates=settings.whatsapp_mapping,
        sms_max_segments=settings.sms_max_segments,
        clock=lambda: from_ms(now_ms()),
        look=look,
        email_invoice=settings.email_invoice,
    )


def channel_configs(settings: Settings, only: Collection[str] | None = None) -> ChannelConfigs:
    """What each channel that is on needs to know; `only` leaves out the others. Raises ConfigError."""
    off = settings.channels_off()

    def on(name: ChannelName) -> bool:
        return name not in off and (only is None or name in only)

    twilio = TwilioConfig(
        account_sid=settings.twilio_account_sid or "",
        auth_token=settings.twilio_auth_token or "",
        sms_from=settings.twilio_sms_from,
        messaging_service_sid=settings.twilio_messaging_service_sid,
        whatsapp_from=settings.twilio_whatsapp_from,
        api_base=settings.twilio_api_base,
        status_callback=f"{settings.public_url}/webhooks/twilio/status" if settings.public_url else None,
        timeout_s=settings.request_timeout_s(ChannelName.SMS),
    )
    return ChannelConfigs(
        sms=_sms(settings, twilio) if on(ChannelName.SMS) else None,
        whatsapp=(
            replace(twilio, timeout_s=settings.request_timeout_s(ChannelName.WHATSAPP))
            if on(ChannelName.WHATSAPP)
            else None
        ),
        email=_smtp(settings) if on(ChannelName.EMAIL) else None,
        telegram=(
            TelegramConfig(
                token=settings.telegram_bot_token or "",
                api_base=settings.telegram_api_base,
                timeout_s=settings.request_timeout_s(ChannelName.TELEGRAM),
            )
            if on(ChannelName.TELEGRAM)
            else None
        ),
    )


def _sms(settings: Settings, twilio: TwilioConfig) -> SmsConfig:
    for name, _ in settings.sms_providers:
        if lacking := settings.sms_lacks(name):
            raise ConfigError(f"SMS_PROVIDERS names {name}, which lacks {', '.join(lacking)}")
    reports = settings.public_url is not None and settings.africastalking_callback_token is not None
    configs: dict[str, TwilioConfig | AfricasTalkingConfig] = {
        "twilio": twilio,
        "africastalking": AfricasTalkingConfig(
            username=settings.africastalking_username or "",
            api_key=settings.africastalking_api_key or "",
            sender=settings.africastalking_sender,
            api_base=settings.africastalking_api_base,
            reports=reports,
            concurrency=settings.africastalking_concurrency,
            timeout_s=settings.request_timeout_s(ChannelName.SMS),
        ),
    }
    told = {"twilio": settings.public_url is not None, "africastalking": reports}
    return SmsConfig(
        providers={
            name: SmsProvider(
                config=configs[name], weight=weight, receipts=settings.sms_receipts and told[name]
            )
            for name, weight in settings.sms_route()
        }
    )


def _smtp(settings: Settings) -> SmtpConfig:
    return SmtpConfig(
        url=settings.smtp_url or "",
        sender=settings.email_from or "",
        greylist_s=settings.greylist_wait_ms / 1000,
        timeout_s=settings.request_timeout_s(ChannelName.EMAIL),
    )


@asynccontextmanager
async def open_channels(
    settings: Settings, only: Collection[str] | None = None, engine: Engine | None = None
) -> AsyncIterator[Mapping[ChannelName, Channel]]:
    """Every channel that is on, closed at the end; with an engine they share what they learn of their providers.

    Raises ConfigError for settings that cannot work.
    """
    shared = SmsShared(engine.receipts, engine.sms_board) if engine is not None else None
    try:
        channels = build(channel_configs(settings, only), shared)
    except ChannelError as error:
        raise ConfigError(f"a channel's settings cannot work: {error}") from error
    try:
        yield channels
    finally:
        for channel in channels.values():
            await channel.close()


@dataclass(frozen=True, slots=True)
class App:
    """A process: the engine, and what its roles run."""

    engine: Engine
    roles: frozenset[Role]
    tasks: Mapping[str, Callable[[asyncio.Event], Awaitable[None]]]

    async def run(self, stop: asyncio.Event) -> None:
        """Play every role until `stop` is set; each then finishes what it holds. A role that breaks ends all."""
        _log.info("roles_play", roles=sorted(self.roles))
        async with asyncio.TaskGroup() as group:
            # A role that has nothing to do here (staff without a bot token) waits with the others.
            group.create_task(self._guarded("format", self._leave_newer_alone, stop))
            for name, task in self.tasks.items():
                group.create_task(self._guarded(name, task, stop), name=name)

    async def _leave_newer_alone(self, stop: asyncio.Event) -> None:
        """Wait for `stop`, and end this process if a newer tuma has taken the data over meanwhile."""
        await every(_FORMAT_LOOK_S, lambda: check_format(self.engine.records), stop)

    async def _guarded(
        self, name: str, task: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        try:
            await task(stop)
        except Exception as error:
            _log.error("role_broke", role=name, error=mask_text(f"{type(error).__name__}: {error}"))
            # The others finish what they hold and end too: a process that lacks a role must not look alive. Being
            # cancelled would not be enough: a task that just sends to Redis may not notice (see worker.Finisher).
            stop.set()
            raise


@asynccontextmanager
async def open_app(
    settings: Settings, roles: Collection[Role] = tuple(Role), channels: Collection[str] | None = None
) -> AsyncIterator[App]:
    """Wire a process for `roles`, its worker for `channels` (all that are on when None).

    Raises ConfigError, StoreUnavailable, TemplateError.
    """
    async with AsyncExitStack() as stack:
        engine = await Engine.open(settings)
        stack.push_async_callback(engine.close)
        await _durable(engine)
        tasks: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {}
        if Role.WORKER in roles or Role.SCHEDULER in roles:
            await costs.publish(engine.records, settings)
        consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        made = renderer(settings)
        if Role.WORKER in roles:
            opened = await stack.enter_async_context(open_channels(settings, channels, engine))
            composer = Composer(engine.records, made, settings)
            asker = Asker(engine.records, engine.contacts, engine.receipts, composer, settings, opened)
            tasks["worker"] = _worker(engine, composer, settings, opened, consumer, asker).run
            tasks["asking"] = asker.run
            tasks["healing"] = Healer(engine.channels, opened).run
        if Role.INTAKE in roles:
            tasks["intake"] = Inbox(engine.records, engine.shares, settings, consumer).run
            tasks.update(_making(engine, settings, stack))
        if Role.SCHEDULER in roles:
            tasks.update(_scheduling(engine, settings, stack))
        bot = _staff(engine, settings, made, roles)
        if bot is not None:
            stack.push_async_callback(bot.close)
        if bot is not None and Role.STAFF in roles:
            tasks["staff"] = bot.run
        if Role.API in roles:
            from bot.billpay.desk import BillDesk

            updates = bot.feed if bot is not None and settings.telegram_updates == "webhook" else None
            desk = BillDesk(clickpesa(engine, settings), engine.changes, engine.bills)
            stack.push_async_callback(desk.close)
            tasks["api"] = _api(engine, settings, made, updates, roles, desk)
        yield App(engine, frozenset(roles), tasks)


@asynccontextmanager
async def open_app_in_time(
    settings: Settings, roles: Collection[Role], channels: Collection[str] | None, stop: asyncio.Event
) -> AsyncIterator[App | None]:
    """As `open_app`, but a Redis that is away, loading or failing over is waited for, so that processes and server may
    start in any order. None if `stop` was set meanwhile. Raises StoreUnavailable once `start_wait_s` are over.
    """
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as meanwhile:
            app = await _opened(settings, roles, channels, stop, stack, meanwhile)
        yield app


async def _opened(
    settings: Settings,
    roles: Collection[Role],
    channels: Collection[str] | None,
    stop: asyncio.Event,
    stack: AsyncExitStack,
    meanwhile: AsyncExitStack,
) -> App | None:
    until, told = time.monotonic() + settings.start_wait_s, -math.inf
    while not stop.is_set():
        try:
            return await stack.enter_async_context(open_app(settings, roles, channels))
        except StoreUnavailable as error:
            left_s = until - time.monotonic()
            if left_s <= 0 or settings.redis_url is None:
                raise
            if told == -math.inf and Role.API in roles:
                from bot.web.waiting import waiting_room

                with _listening_on(settings.listen):
                    await meanwhile.enter_async_context(waiting_room(*_host_and_port(settings)))
            if time.monotonic() > told + _TELL_S:
                told = time.monotonic()
                _log.warning("waits_for_redis_to_start", error=str(error), gives_up_in_s=round(left_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _START_LOOK_S)):
                    await stop.wait()
    return None


async def _durable(engine: Engine) -> None:
    """Refuse a server that deletes bills when it is full; say aloud what else it may lose."""
    found = await inspect(engine.records)
    for loss in found.losses:
        if "noeviction" in loss:
            raise ConfigError(f"REDIS_URL: {loss}")
        _log.error("redis_may_lose_bills", server=found.server, why=loss)
    for doubt in found.doubts:
        _log.warning("redis_durability", server=found.server, why=doubt)


def _worker(
    engine: Engine,
    composer: Composer,
    settings: Settings,
    channels: Mapping[ChannelName, Channel],
    consumer: str,
    asker: Asker,
) -> Worker:
    parts = engine.records, engine.contacts, engine.channels, composer, settings, channels, consumer
    return Worker(*parts, asker.desks)


def _making(
    engine: Engine, settings: Settings, stack: AsyncExitStack
) -> dict[str, Callable[[asyncio.Event], Awaitable[None]]]:
    client = clickpesa(engine, settings)
    if client is None:
        return {}
    from bot.billpay.maker import NumberMaker

    stack.push_async_callback(client.close)
    return {"numbers": NumberMaker(client, engine.creations, bulk_wait_ms=settings.create_wait_ms).run}


def _scheduling(
    engine: Engine, settings: Settings, stack: AsyncExitStack
) -> dict[str, Callable[[asyncio.Event], Awaitable[None]]]:
    from bot.web.callbacks import Deliverer

    tasks: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
        "scheduler": Scheduler(engine.records, engine.shares, settings).run,
        "callbacks": Deliverer(engine, settings).run,
    }
    client = clickpesa(engine, settings)
    if client is not None:
        from bot.billpay.poller import HintVerifier
        from bot.billpay.sweeper import Sweeper

        stack.push_async_callback(client.close)
        tasks["hints"] = HintVerifier(client, engine.payments, leases=engine.leases).run
        tasks["sweep"] = Sweeper(
            client, engine.payments, engine.sweeps, engine.leases, every_s=settings.sweep_every_s
        ).run
    return tasks


def clickpesa(engine: Engine | None, settings: Settings) -> Any:
    """ClickPesa's client, None without credentials; with an engine it shares token and budget with all processes."""
    if not settings.clickpesa_client_id or not settings.clickpesa_api_key:
        return None
    from bot.billpay.client import ClickPesa

    return ClickPesa(
        base=settings.clickpesa_api_base,
        client_id=settings.clickpesa_client_id,
        api_key=settings.clickpesa_api_key,
        checksum_key=settings.clickpesa_checksum_key,
        token_cache=engine.tokens if engine is not None else None,
        budget=engine.calls if engine is not None else None,
    )


def _staff(engine: Engine, settings: Settings, made: Renderer, roles: Collection[Role]) -> Any:
    by_webhook = settings.telegram_updates == "webhook" and Role.API in roles
    if settings.telegram_bot_token is None or not (Role.STAFF in roles or by_webhook):
        return None
    from bot.staff.bot import StaffBot

    return StaffBot(engine, settings, made)


def _api(
    engine: Engine,
    settings: Settings,
    made: Renderer,
    updates: Any,
    roles: Collection[Role],
    desk: Any,
) -> Callable[[asyncio.Event], Awaitable[None]]:
    async def run(stop: asyncio.Event) -> None:
        from aiohttp import web

        from bot.web.pages import WARM
        from bot.web.server import build as build_web
        from bot.web.server import runner as runner_of

        server = build_web(engine, settings, made, updates=updates, roles=sorted(roles), desk=desk)
        runner = runner_of(server)
        await runner.setup()
        warming: asyncio.Task[None] | None = None
        try:
            with _listening_on(settings.listen):
                await web.TCPSite(runner, *_host_and_port(settings)).start()
            _log.info("api_listens", address=settings.listen)
            warming = asyncio.create_task(_warm(server[WARM]))
            await stop.wait()
        finally:
            if warming is not None:
                warming.cancel()
            await runner.cleanup()

    return run


async def _warm(draw: Callable[[], None]) -> None:
    """Have the first PDF drawn before somebody asks for one, beside all that is served."""
    began = time.perf_counter()
    try:
        await asyncio.to_thread(draw)
    except Exception as error:
        _log.error("pdf_cannot_be_drawn", error=mask_text(f"{type(error).__name__}: {error}"))
    else:
        _log.info("pdf_warm", ms=round(1000 * (time.perf_counter() - began)))


def _host_and_port(settings: Settings) -> tuple[str, int]:
    host, _, port = settings.listen.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def _listening_on(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"TUMA_LISTEN: cannot listen on {address}: {error.strerror}") from error
