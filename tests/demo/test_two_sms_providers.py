"""Two SMS providers and all of tuma between them: what one does not take the other carries, and its receipt comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bot.app import App, Role, open_app
from bot.domain.bill import MessageView
from bot.sandbox.city import Sandbox
from bot.settings import load
from tests.conftest import free_port
from tests.engine.conftest import job


@dataclass
class Town:
    """A sandbox, and tuma running in front of it."""

    city: Sandbox
    app: App

    async def share(self) -> str:
        """Share a bill by SMS; the message's id."""
        return (await self.app.engine.shares.accept(job())).messages[0]

    async def delivered(self, message_id: str) -> MessageView:
        """The message, once its receipt has come."""
        async with asyncio.timeout(20):
            while (view := await self.app.engine.messages.get(message_id)).delivery != "delivered":
                await asyncio.sleep(0.02)
        return view


@pytest.fixture
async def town(redis_url: str) -> AsyncIterator[Town]:
    port = free_port()
    async with Sandbox() as city:
        base = f"http://127.0.0.1:{port}"
        city.connect(base)
        own = {"REDIS_URL": redis_url, "TUMA_LISTEN": f"127.0.0.1:{port}", "PUBLIC_URL": base}
        settings = load(city.settings_env() | city.second_sms_env() | own, dotenv=None)
        stop = asyncio.Event()
        async with open_app(settings, [Role.API, Role.WORKER, Role.SCHEDULER], ["sms"]) as app:
            running = asyncio.create_task(app.run(stop))
            yield Town(city, app)
            stop.set()
            await running


async def test_what_the_first_does_not_take_the_second_delivers_and_reports(town: Town) -> None:
    town.city.faults.set("twilio", "throttling")
    view = await town.delivered(await town.share())
    assert (view.provider_id or "").startswith("ATXid_")
    assert [each.provider for each in town.city.world.accepted()] == ["africastalking"]


async def test_while_the_first_is_well_the_second_gets_nothing(town: Town) -> None:
    for message_id in [await town.share() for _ in range(5)]:
        await town.delivered(message_id)
    assert town.city.world.counts == {"twilio": 5}
