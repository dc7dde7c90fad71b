"""The built server on a real socket, with a real engine behind it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.app import clickpesa, renderer
from bot.billpay.desk import BillDesk
from bot.engine.engine import Engine
from bot.settings import Settings
from bot.web.bodies import Limits
from bot.web.server import build, runner
from tests.conftest import Valkey, start_valkey
from tests.engine.conftest import settings_for

KEY = "a-key-with-every-scope"
PUBLIC_URL = "https://bili.example"
_serial = itertools.count(1)


@dataclass(frozen=True)
class Site:
    """A running server: its engine and settings, a client with a key and one without, both with its address."""

    engine: Engine
    settings: Settings
    http: aiohttp.ClientSession
    stranger: aiohttp.ClientSession
    port: int


Serve = Callable[..., Awaitable[Site]]


@asynccontextmanager
async def serving(redis_url: str) -> AsyncIterator[Serve]:
    """Starts servers: `await serve(setting=value, ..., updates=...)`."""
    async with AsyncExitStack() as stack:

        async def start(
            updates: Any = None, redis_at: str = redis_url, limits: Limits | None = None, **changes: Any
        ) -> Site:
            values = {"api_keys": (KEY,), "public_url": PUBLIC_URL, **changes}
            return await _start(stack, settings_for(redis_at, **values), updates, limits)

        yield start


@pytest.fixture
async def serve(redis_url: str) -> AsyncIterator[Serve]:
    async with serving(redis_url) as start:
        yield start


async def _start(stack: AsyncExitStack, settings: Settings, updates: Any, limits: Limits | None) -> Site:
    engine = await Engine.open(settings)
    stack.push_async_callback(engine.close)
    made = renderer(settings)
    desk = BillDesk(clickpesa(engine, settings), engine.changes, engine.bills)
    stack.push_async_callback(desk.close)
    app = build(engine, settings, made, updates=updates, roles=("api",), limits=limits, desk=desk)
    running = runner(app)
    await running.setup()
    stack.push_async_callback(running.cleanup)
    await web.TCPSite(running, "127.0.0.1", 0).start()
    port = running.addresses[0][1]
    base = f"http://127.0.0.1:{port}"
    bearer = {"Authorization": f"Bearer {KEY}"}
    http = await stack.enter_async_context(aiohttp.ClientSession(base, headers=bearer))
    stranger = await stack.enter_async_context(aiohttp.ClientSession(base))
    return Site(engine, settings, http, stranger, port)


@pytest.fixture
async def site(serve: Serve) -> Site:
    """A server with every channel on."""
    return await serve()


Lonely = tuple[Site, Valkey]


@pytest.fixture
async def lonely(serve: Serve, tmp_path: Path) -> AsyncIterator[Lonely]:
    """A server with a Redis of its own, which the test may take away."""
    server = start_valkey(tmp_path)
    yield await serve(redis_at=server.url), server
    server.process.kill()
    server.process.wait()


def a_share(**changes: Any) -> dict[str, Any]:
    """A share job as a producer writes it; `changes` replace top-level fields."""
    n = next(_serial)
    bill = {"number": f"7704291487{n:04}", "amount": "45000", "description": "Term 2 fees"}
    customer = {"name": "Asha Juma", "phone": f"07541{n:05}", "email": f"asha{n}@example.com", "locale": "en"}
    return {"id": f"web-{n}", "bill": bill, "customer": customer, **changes}


async def redis_keys(site: Site, pattern: str) -> list[str]:
    """Names of the keys that look like `pattern`."""
    return [str(name) for name in await site.engine.redis.keys(pattern)]


async def shared(site: Site, **changes: Any) -> dict[str, Any]:
    """Hand in a share over HTTP; the answer."""
    async with site.http.post("/v1/shares", json=a_share(**changes)) as response:
        assert response.status == 202, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer
