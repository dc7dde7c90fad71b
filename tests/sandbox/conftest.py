"""A sandbox in which nothing takes time, and a server that stands where tuma would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from multidict import MultiDict

from bot.sandbox.city import Sandbox
from bot.sandbox.faults import Faults
from bot.sandbox.serving import LocalServer
from bot.sandbox.twilio_carrier import Pace


@dataclass
class Clock:
    """A clock that tests move."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Call:
    """One request that arrived at tuma's place."""

    path: str
    url: str
    headers: dict[str, str]
    body: bytes
    form: MultiDict[str]


@dataclass
class Tuma:
    """Takes every webhook; answers with `status` and the text `answer`."""

    url: str = ""
    status: int = 200
    answer: str = ""
    calls: list[Call] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        body, form = (
            await request.read(),
            MultiDict(
                (name, value) for name, value in (await request.post()).items() if isinstance(value, str)
            ),
        )
        url = self.url + request.raw_path
        self.calls.append(Call(request.path, url, dict(request.headers), body, form))
        self._arrived.set()
        return web.Response(status=self.status, text=self.answer, content_type="text/xml")

    async def wait_for(self, count: int) -> list[Call]:
        async with asyncio.timeout(10):
            while len(self.calls) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.calls


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def running_city(clock: Clock) -> AsyncIterator[Sandbox]:
    pace, faults = Pace(queued=0, sent=0, delivered=0, read=0), Faults(slow_s=0.2)
    async with Sandbox(pace=pace, faults=faults, clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
async def city(clock: Clock) -> AsyncIterator[Sandbox]:
    async with running_city(clock) as sandbox:
        yield sandbox


@asynccontextmanager
async def running_tuma() -> AsyncIterator[Tuma]:
    receiver = Tuma()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    server = LocalServer(app, "127.0.0.1", 0)
    receiver.url = await server.start()
    yield receiver
    await server.stop()


@pytest.fixture
async def tuma() -> AsyncIterator[Tuma]:
    async with running_tuma() as receiver:
        yield receiver
