"""No update is lost and none is handled twice, whatever stops in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.app import renderer
from bot.engine.engine import Engine
from bot.errors import ConfigError, StoreUnavailable
from bot.sandbox.city import Sandbox
from bot.settings import Settings
from bot.staff.bot import StaffBot
from bot.web.server import build
from tests.conftest import free_port, start_valkey
from tests.staff.conftest import ADMIN, CUSTOMER, VIEWER, Office, at_work, settings_for
from tests.staff.phone import Phone, eventually


def make(engine: Engine, settings: Settings) -> StaffBot:
    return StaffBot(engine, settings, renderer(settings))


async def test_updates_wait_while_nobody_fetches_them(
    city: Sandbox, engine: Engine, settings: Settings
) -> None:
    city.telegram.chats.write(VIEWER, "/help")
    async with at_work(make(engine, settings)):
        await Phone(city, VIEWER).sees("your role: viewer")


async def test_restart_neither_loses_nor_repeats(city: Sandbox, engine: Engine, settings: Settings) -> None:
    phone = Phone(city, VIEWER)
    async with at_work(make(engine, settings)):
        await phone.says("/help")
    city.telegram.chats.write(VIEWER, "/stats")
    async with at_work(make(engine, settings)):
        await phone.sees("Unpaid bills")
    assert len(phone.messages) == 2


async def test_update_that_comes_again_is_handled_once(office: Office) -> None:
    await office.viewer.says("/help")
    update = {"update_id": 77, "message": message(VIEWER, "/stats")}
    await office.bot.feed(update)
    await office.bot.feed(update)
    assert len(office.viewer.messages) == 2


def message(chat: int, text: str) -> dict[str, object]:
    user = {"id": chat, "is_bot": False, "first_name": "Asha"}
    where = {"id": chat, "type": "private", "first_name": "Asha"}
    return {"message_id": 900, "date": 1, "chat": where, "from": user, "text": text}


async def test_telegram_away_at_start_is_waited_for(city: Sandbox, redis_url: str) -> None:
    port = free_port()
    settings = settings_for(city, redis_url, TELEGRAM_API_BASE=f"http://127.0.0.1:{port}")
    engine = await Engine.open(settings)
    async with at_work(make(engine, settings)) as bot, Sandbox(ports={"telegram": port}) as late:
        late.telegram.chats.begin(VIEWER)
        await Phone(late, VIEWER).says("/help")
        assert bot.username == "tuma_sandbox_bot"
    await engine.close()


async def test_bot_survives_an_outage_of_telegram(office: Office) -> None:
    await office.viewer.says("/help")
    office.city.faults.set("telegram", "failing")
    office.city.telegram.chats.write(VIEWER, "/stats")
    office.city.telegram.updates.release()
    office.city.faults.set("telegram", "ok")
    await office.viewer.says("/queue")


async def test_answer_that_telegram_throttles_comes_after_the_wait(office: Office) -> None:
    await office.viewer.says("/help")
    office.city.faults.set("telegram", "throttling")
    office.city.telegram.chats.write(VIEWER, "/stats")
    asyncio.get_running_loop().call_later(0.5, office.city.faults.set, "telegram", "ok")
    await office.viewer.sees("Unpaid bills")


async def test_fault_in_one_update_is_excused_and_ends_nothing(office: Office) -> None:
    await office.engine.redis.set(office.engine.contacts.key("telegram", str(CUSTOMER)), "not a hash")
    office.city.telegram.chats.write(CUSTOMER, "/bills")
    await office.viewer.says("/help")
    await office.engine.redis.delete(office.engine.contacts.key("telegram", str(CUSTOMER)))
    assert "No bill is linked" in await office.customer.says("/bills")


async def test_fault_of_a_handler_is_told_to_the_person(office: Office) -> None:
    accepted = await office.share()
    p = office.engine.records.partition(accepted.number)
    await office.engine.redis.set(f"tuma:{{{p}}}:dead", "not a sorted set")
    assert "something went wrong" in await office.viewer.says("/failed")


async def test_updates_wait_at_telegram_while_redis_is_away(city: Sandbox, tmp_path: Path) -> None:
    server = start_valkey(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings = settings_for(city, server.url)
    engine = await Engine.open(settings)
    phone = Phone(city, VIEWER)
    async with at_work(make(engine, settings)):
        await phone.says("/help")
        server.process.kill()
        server.process.wait()
        city.telegram.chats.write(VIEWER, "/stats")
        again = start_valkey(tmp_path, "--appendonly", "yes", "--appendfsync", "always", port=server.port)
        await city.world.until(lambda: "Unpaid bills" in phone.text, timeout_s=30)
    again.process.kill()
    again.process.wait()
    await engine.close()


async def test_one_process_polls_and_another_takes_over(
    city: Sandbox, engine: Engine, settings: Settings
) -> None:
    phone = Phone(city, VIEWER)
    second = make(engine, settings)
    async with at_work(make(engine, settings)):
        await phone.says("/help")
        stop = asyncio.Event()
        running = asyncio.create_task(second.run(stop))
        await eventually(lambda: second.username is not None)
        for _ in range(3):
            await phone.says("/stats")
        assert len(phone.messages) == 4
    await phone.says("/queue")
    assert len(phone.messages) == 5
    stop.set()
    await running


async def test_each_chat_is_answered_in_order(office: Office) -> None:
    for text in ("/share", "778899", "0754123456", "45000", "Asha"):
        office.city.telegram.chats.write(ADMIN, text)
    await office.admin.sees("Check before you send")
    assert [m.text.split("?")[0] for m in office.admin.messages[:4]] == [
        "Control number",
        "The customer's phone",
        "Amount",
        "The customer's name",
    ]


async def test_only_kinds_of_updates_with_handlers_are_asked_for(office: Office) -> None:
    assert office.bot.allowed_updates == ["callback_query", "message", "my_chat_member"]


async def test_user_name_is_told_to_every_process(office: Office) -> None:
    await office.viewer.says("/help")
    assert office.bot.username == "tuma_sandbox_bot"
    assert await office.engine.redis.get("tuma:bot:username") == "tuma_sandbox_bot"


# Webhook


def by_webhook(city: Sandbox, redis_url: str, port: int) -> Settings:
    return settings_for(
        city,
        redis_url,
        TELEGRAM_UPDATES="webhook",
        TELEGRAM_WEBHOOK_SECRET="s3cret",
        PUBLIC_URL=f"http://127.0.0.1:{port}",
    )


@asynccontextmanager
async def serving(engine: Engine, settings: Settings, bot: StaffBot, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(build(engine, settings, renderer(settings), updates=bot.feed))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_webhook_is_registered_and_answers(city: Sandbox, redis_url: str) -> None:
    port = free_port()
    settings = by_webhook(city, redis_url, port)
    engine = await Engine.open(settings)
    bot = make(engine, settings)
    async with serving(engine, settings, bot, port), at_work(bot):
        await Phone(city, VIEWER).says("/help")
        hook = city.telegram.updates.webhook
        assert hook is not None
        assert (hook.url, hook.secret) == (f"http://127.0.0.1:{port}/webhooks/telegram", "s3cret")
        assert hook.allowed == ["callback_query", "message", "my_chat_member"]
    await bot.close()
    await engine.close()


async def test_webhook_without_its_secret_changes_nothing(city: Sandbox, redis_url: str) -> None:
    port = free_port()
    settings = by_webhook(city, redis_url, port)
    engine = await Engine.open(settings)
    bot = make(engine, settings)
    async with serving(engine, settings, bot, port), aiohttp.ClientSession() as session:
        answer = await session.post(f"http://127.0.0.1:{port}/webhooks/telegram", json={"update_id": 1})
        assert answer.status == 403
    await engine.close()


async def test_update_that_is_none_is_let_go(office: Office) -> None:
    await office.bot.feed({"update_id": "x", "message": 5})


async def test_feed_says_when_redis_is_away_so_that_telegram_sends_again(
    city: Sandbox, tmp_path: Path
) -> None:
    server = start_valkey(tmp_path)
    settings = settings_for(city, server.url)
    engine = await Engine.open(settings)
    bot = make(engine, settings)
    server.process.kill()
    server.process.wait()
    with pytest.raises(StoreUnavailable):
        await bot.feed({"update_id": 5})
    await engine.close()


async def test_webhook_needs_an_address_and_a_secret(engine: Engine, city: Sandbox, redis_url: str) -> None:
    settings = settings_for(city, redis_url, TELEGRAM_UPDATES="webhook")
    with pytest.raises(ConfigError, match="TELEGRAM_WEBHOOK_SECRET"):
        make(engine, settings)


async def test_token_that_cannot_be_right_is_a_setting_at_fault(
    engine: Engine, city: Sandbox, redis_url: str
) -> None:
    settings = settings_for(city, redis_url, TELEGRAM_BOT_TOKEN="abc")
    with pytest.raises(ConfigError, match="TELEGRAM_BOT_TOKEN") as caught:
        make(engine, settings)
    assert "abc" not in str(caught.value)
