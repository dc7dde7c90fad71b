"""For whoever runs the server: is it alive, can it work, what does it count, how is its API called.

`/healthz` asks nothing of anybody, so that a Redis that is away does not restart every process; `/readyz` asks Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from bot.engine.limits import standing
from bot.engine.store import check_ready
from bot.errors import StoreUnavailable
from bot.render.pagefiles import PageFiles
from bot.web import docs, openapi
from bot.web.answers import json_answer
from bot.web.metrics import CONTENT_TYPE, Metrics
from bot.web.routes import Answer, Handler, Route

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

_PING_S = 2.0
_STYLE = "docs.css"
_ROBOTS = "User-agent: *\nDisallow: /\n"


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: str = "ok"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Redis answers too. `roles` are those of this process."""

    status: str = "ready"
    roles: tuple[str, ...]


class System:
    """Health, metrics and documentation."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics, roles: Sequence[str]) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._roles = tuple(roles)
        self._files = PageFiles(settings.templates)
        self.documented: list[Route] = []

    def routes(self) -> list[Route]:
        """The system's addresses, for the route table."""
        html = Answer(meaning="A page for people", media_type="text/html")
        text = Answer(meaning="Plain text", media_type="text/plain")
        return [
            self._route(
                "/healthz", self.healthz, "Is the process alive", Answer(meaning="Alive", body=Alive)
            ),
            self._route("/readyz", self.readyz, "Can it work", Answer(meaning="Redis answers", body=Ready)),
            self._route("/metrics", self.metrics, "Figures for Prometheus", text),
            self._route(
                "/openapi.json", self.openapi, "This API for machines", Answer(meaning="OpenAPI 3.1")
            ),
            self._route("/docs", self.docs, "This API for people", html),
            self._route("/robots.txt", self.robots, "Nothing here is for crawlers", text),
        ]

    def _route(self, path: str, handler: Handler, summary: str, answer: Answer) -> Route:
        problems = ("unavailable",) if path in {"/readyz", "/metrics"} else ()
        return Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            tag="system",
            answers={200: answer},
            problems=problems,
        )

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the process answers."""
        return json_answer(Alive())

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether Redis answers and takes writes. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(_PING_S):
                await check_ready(self._engine.redis)
        except TimeoutError as error:
            raise StoreUnavailable("Redis does not answer") from error
        return json_answer(Ready(roles=self._roles))

    async def metrics(self, request: web.Request) -> web.Response:
        """Read the ledger and the limits and answer everything counted. Raises StoreUnavailable."""
        stats, limits = await asyncio.gather(self._engine.ledger.stats(), standing(self._engine.records))
        body = self._metrics.exposition(stats, limits)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, request: web.Request) -> web.Response:
        """The API for machines."""
        return json_answer(self._document)

    async def docs(self, request: web.Request) -> web.Response:
        """The API for people."""
        headers = {"Content-Security-Policy": self._files.policy(_STYLE)}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def robots(self, request: web.Request) -> web.Response:
        """Keep crawlers out."""
        return web.Response(text=_ROBOTS)

    @cached_property
    def _document(self) -> dict[str, object]:
        return openapi.document(self.documented, self._settings.public_url)

    @cached_property
    def _page(self) -> str:
        return self._files.render("docs.html", _STYLE, docs.values(self._document))
