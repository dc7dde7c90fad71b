"""Servers for a test, and a whole tuma at work on them among the sandbox's providers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from bot.app import App, open_app
from bot.engine import inbox
from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_bills import Payment
from bot.sandbox.twilio_carrier import Pace
from bot.settings import load
from tests.conftest import free_port
from tests.engine.test_worker import until
from tests.store.servers import Servers, servers

KEY = "a-key-with-every-scope"


@pytest.fixture
def many() -> Iterator[Servers]:
    with servers() as made:
        yield made


@dataclass
class Town:
    """tuma with every role, the people it serves, and a client of its HTTP API."""

    city: Sandbox
    app: App
    http: aiohttp.ClientSession
    playing: asyncio.Task[None]
    _serial: int = 0

    async def status(self, path: str) -> int:
        async with self.http.get(path) as answer:
            return answer.status

    async def is_ready(self) -> bool:
        return await self.status("/readyz") == 200

    async def is_not_ready(self) -> bool:
        return await self.status("/readyz") == 503

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        async with self.http.post(path, json=body) as answer:
            return answer.status, await answer.json()

    def job(self) -> dict[str, Any]:
        self._serial += 1
        n = self._serial
        return {
            "id": f"inv-{n}",
            "bill": {"number": f"550429148{n:05}", "amount": "45000"},
            "customer": {"name": "Asha", "phone": f"+2557540000{n:02}"},
            "route": {"channels": ["sms"]},
        }

    async def serves_a_customer(self) -> None:
        """A job in the inbox goes out, is paid by webhook, and the receipt arrives: every role does its part."""
        job = self.job()
        phone, number = job["customer"]["phone"], job["bill"]["number"]
        await inbox.add(self.app.engine.records, json.dumps(job))
        await until(lambda: self.sees(phone, 1), 40)
        await self.city.pay(number, 45000)
        await until(lambda: self.sees(phone, 2), 40)

    async def pays(self, number: str) -> Payment:
        """A customer pays, and the webhook has had its answer."""
        payment = await self.city.pay(number, 45000)
        await until(lambda: _told(payment), 30)
        return payment

    async def sees(self, phone: str, messages: int) -> bool:
        assert not self.playing.done(), "a role ended"
        return len(self.city.world.screen("sms", phone)) == messages


@asynccontextmanager
async def town(redis_url: str, **changes: str) -> AsyncIterator[Town]:
    """Every role of tuma in one process on the given Redis."""
    pace = Pace(queued=0, sent=0, delivered=0, read=0)
    async with Sandbox(pace=pace) as city:
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        city.connect(base)
        env = {
            **city.settings_env(),
            "REDIS_URL": redis_url,
            "TUMA_LISTEN": f"127.0.0.1:{port}",
            "TUMA_API_KEYS": KEY,
            "TUMA_PARTITIONS": "4",
            **changes,
        }
        stop = asyncio.Event()
        bearer = {"Authorization": f"Bearer {KEY}"}
        async with (
            open_app(load(env, dotenv=None)) as app,
            aiohttp.ClientSession(base, headers=bearer) as http,
        ):
            playing = asyncio.create_task(app.run(stop))
            try:
                made = Town(city, app, http, playing)
                await until(lambda: _listens(made), 20)
                yield made
            finally:
                stop.set()
                await playing


async def _told(payment: Payment) -> bool:
    return payment.webhook_status is not None


async def _listens(made: Town) -> bool:
    with contextlib.suppress(aiohttp.ClientConnectionError):
        return await made.is_ready()
    return False


@pytest.fixture(autouse=True)
def _sockets_of_given_up_connects() -> Iterator[None]:
    """A connect that is given up while the server is frozen leaves its socket to the collector (asyncio, Python 3.11).

    That is of no harm, but its warning would come in somebody else's test.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
