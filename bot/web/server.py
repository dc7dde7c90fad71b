"""The HTTP server put together: route table, middlewares, headers.

Constructs nothing but handlers; the engine, the settings and whoever handles Telegram's updates are given.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from bot.billpay.desk import BillDesk
from bot.web import problems
from bot.web.api import Api
from bot.web.bills import BillApi
from bot.web.bodies import LIMITS, Limits
from bot.web.check import Check
from bot.web.embed import Embeds
from bot.web.gate import Gate, headers
from bot.web.letters import Letters
from bot.web.metrics import Metrics
from bot.web.optout import OptOut
from bot.web.pages import WARM, Pages
from bot.web.pagewriter import PageWriter
from bot.web.routes import Route
from bot.web.system import System
from bot.web.webhooks import Updates, Webhooks

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.render.templates import Renderer
    from bot.settings import Settings

# Also the longest that a connection may take over its first headers.
_KEEPALIVE_S = 75.0
_LINGER_S = 2.0
# Handlers read bodies through bot.web.bodies, which knows each one's limit; this one is only a second wall.
_MAX_BODY = 1024 * 1024


def build(
    engine: Engine,
    settings: Settings,
    renderer: Renderer,
    *,
    updates: Updates | None = None,
    roles: Sequence[str] = (),
    limits: Limits | None = None,
    desk: BillDesk | None = None,
) -> web.Application:
    """The application. `updates` takes Telegram's updates, None when they are fetched by polling; without a `desk`
    bills change here alone, and ClickPesa is not told.

    Raises TemplateError if a page file is missing or wrong.
    """
    metrics = Metrics()
    writer = PageWriter(settings, renderer.look)
    check = Check(engine, writer, settings.proxies)
    bill = Pages(engine, settings, renderer.merchant.methods, writer)
    pages = [
        *bill.routes(),
        *Embeds(engine, settings, writer).routes(),
        *OptOut(engine, writer).routes(),
        *check.routes(),
    ]
    system = System(engine, settings, metrics, roles)
    gate = Gate(engine.api_keys, metrics, writer.error_page)
    app = web.Application(middlewares=gate.middlewares(), client_max_size=_MAX_BODY)
    app[LIMITS] = limits or Limits()
    app[WARM] = bill.warm
    hooks = Webhooks(engine, settings, metrics, updates, check)
    bills = BillApi(engine, settings, desk or BillDesk(None, engine.changes, engine.bills))
    api = [
        *Api(engine, settings, metrics).routes(),
        *bills.routes(),
        *Letters(engine, settings).routes(),
    ]
    routes = [*api, *hooks.routes(), *pages, *system.routes()]
    system.documented = routes
    for route in routes:
        _add(app, gate, route)
    app.on_shutdown.append(lambda _: engine.live.close())
    app.on_response_prepare.append(headers(https=(settings.public_url or "").startswith("https://")))
    return app


def runner(app: web.Application) -> web.AppRunner:
    """How the application is served: without the library's logs of what was sent, which hold tokens."""
    return _Runner(
        app, access_log=None, logger=_protocol_log(), keepalive_timeout=_KEEPALIVE_S, lingering_time=_LINGER_S
    )


class _Protocol(RequestHandler):
    """A connection. What cannot be parsed never reaches a handler: it is answered here, as any other error is."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A problem instead of the library's plain text."""
        super().handle_error(request, status, exc, message)  # logs, and gives up a connection that is spoilt
        detail = (message or "").partition("\n")[0][:120] if status < 500 else None
        problem = problems.details("bad-request" if status < 500 else "error", detail or None)
        response = problems.respond(problem)
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server  # aiohttp offers no other way to choose the protocol's class
        return server


def _protocol_log() -> logging.Logger:
    found = logging.getLogger("tuma.web.protocol")
    found.addFilter(_without_content)
    return found


def _without_content(record: logging.LogRecord) -> bool:
    """Drop reports of requests that are no HTTP: anybody can send those, and they quote what was sent."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        return False
    record.msg, record.args = f"a connection broke: {type(error).__name__}", ()
    record.exc_info = record.exc_text = None
    return True


def _add(app: web.Application, gate: Gate, route: Route) -> None:
    # One resource per address, so that a wrong method is answered 405 with what is right.
    methods = ["GET", "HEAD"] if route.method == "GET" else [route.method]
    for method in methods:
        gate.routes[app.router.add_route(method, route.path, route.handler)] = route
