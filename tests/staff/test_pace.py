"""What the bot says itself keeps to the rates that the workers keep to."""

from __future__ import annotations

from bot.app import renderer
from bot.engine.engine import Engine
from bot.engine.limits import Talk, standing
from bot.sandbox.city import Sandbox
from bot.staff.bot import StaffBot
from tests.staff.conftest import VIEWER, Office, at_work, settings_for


async def test_an_answer_counts_and_the_next_one_in_its_chat_waits(city: Sandbox, redis_url: str) -> None:
    settings = settings_for(city, redis_url, TELEGRAM_RATE="30,chat:1")
    engine = await Engine.open(settings)
    try:
        bot = StaffBot(engine, settings, renderer(settings))
        async with at_work(bot):
            await Office(city, engine, settings, bot).viewer.says("/help")
        assert (await standing(engine.records))["telegram"].used == 1
        assert await Talk(engine.records, settings).turn(str(VIEWER)) > 0
    finally:
        await engine.close()
