"""What is answered at tuma's address while its Redis has not come up yet: the process lives, and cannot work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bot.errors import StoreUnavailable
from bot.web import problems
from bot.web.answers import json_answer
from bot.web.server import runner
from bot.web.system import Alive


@asynccontextmanager
async def waiting_room(host: str, port: int) -> AsyncIterator[None]:
    """`/healthz` is 200, everything else 503: who asks comes back. Raises OSError if the address is taken."""
    app = web.Application()
    app.router.add_get("/healthz", _alive)
    app.router.add_route("*", "/{rest:.*}", _away)
    made = runner(app)
    await made.setup()
    try:
        await web.TCPSite(made, host, port).start()
        yield
    finally:
        await made.cleanup()


async def _alive(request: web.Request) -> web.Response:
    return json_answer(Alive())


async def _away(request: web.Request) -> web.Response:
    return problems.of_error(StoreUnavailable("Redis has not answered since this process started"))
