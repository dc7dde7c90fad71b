"""The HTTP API for producers: hand in shares, look at what became of them, stop a number.

Handlers read, call the engine once and answer; every rule is the engine's or the domain's. A share is answered 202
when it is on disk, and the same id with the same content is answered the same way again.

Source: the Idempotency-Key header, IETF draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from bot.domain import share
from bot.domain.bill import AcceptedShare, MessageView, ShareView
from bot.domain.message import Lane
from bot.domain.share import ShareJob
from bot.errors import Problem, Refused
from bot.web import bodies
from bot.web.answers import json_answer
from bot.web.auth import caller
from bot.web.bulk import Bulk, RowOutcome
from bot.web.metrics import Metrics
from bot.web.routes import Answer, Body, Route

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

_KEYED = ("unauthorized", "unknown-key", "forbidden", "unavailable")


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """What stopping a number did: how many waiting messages it cancelled."""

    number: str
    canceled: int


class Api:
    """The addresses under /v1."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._bulk = Bulk(engine, settings, metrics)

    def routes(self) -> list[Route]:
        """The API, for the route table."""
        return [self._share_route(), self._bulk_route(), *self._views(), self._stop_route()]

    def _share_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/shares",
            handler=self.share,
            summary="Send a bill to a customer",
            tag="shares",
            scopes=("share",),
            headers={"Idempotency-Key": "The share's id, if the body has none; the two must agree."},
            body=Body(schemas={"application/json": "ShareJob"}),
            answers={202: Answer(meaning="Accepted, and on disk", body=AcceptedShare)},
            problems=(*_KEYED, "not-understood", "conflict", "too-large", "too-slow", "refused"),
        )

    def _bulk_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/shares/bulk",
            handler=self._bulk.bulk,
            summary="Send many bills, one per row",
            tag="shares",
            scopes=("share",),
            body=Body(schemas={"application/x-ndjson": "ShareJob", "text/csv": None}),
            answers={
                200: Answer(
                    meaning="One outcome per row, in their order, as they are taken",
                    body=RowOutcome,
                    media_type="application/x-ndjson",
                )
            },
            problems=(*_KEYED, "unsupported-media-type", "too-large", "too-slow", "refused"),
        )

    def _views(self) -> list[Route]:
        return [
            self._view("/v1/shares/{id}", self.show_share, "A share and its messages", ShareView),
            self._view("/v1/messages/{id}", self.show_message, "A message", MessageView),
        ]

    def _view(self, path: str, handler: Any, summary: str, body: type) -> Route:
        return Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            tag=path.split("/")[2],
            scopes=("read", "staff"),
            answers={200: Answer(meaning="As it stands now", body=body)},
            problems=(*_KEYED, "not-found"),
        )

    def _stop_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/bills/{number}/stop",
            handler=self.stop,
            summary="Send nothing more about a control number",
            tag="bills",
            scopes=("share", "staff"),
            answers={200: Answer(meaning="Stopped", body=Stopped)},
            problems=(*_KEYED, "not-found"),
        )

    async def share(self, request: web.Request) -> web.Response:
        """Take one share job."""
        raw = await bodies.read(request, share.LARGEST_JOB_BYTES)
        job = self._job(raw, idempotency_key(request))
        accepted = await self._accept(job)
        location = f"/v1/shares/{quote(job.id, safe='')}"
        return json_answer(accepted, status=202, headers={"Location": location})

    async def _accept(self, job: ShareJob) -> AcceptedShare:
        """A single share waits a moment for its number; a bulk one is answered as it stands."""
        if job.lane is Lane.URGENT:
            return await self._engine.shares.accept_and_wait(job)
        return await self._engine.shares.accept(job)

    def _job(self, raw: bytes, key: str | None) -> ShareJob:
        if key is None:
            try:
                return share.decode(raw, settings=self._settings)
            except Refused:
                bodies.json_object(raw)  # what is no JSON object has no fields that could be wrong
                raise
        fields = bodies.json_object(raw)
        given = fields.setdefault("id", key)
        if given != key:
            right = f"{key}, as in the Idempotency-Key header, or no id"
            given_id = str(given)[:128]
            raise Refused(
                Problem(field="id", message="differs from the header", given=given_id, expected=right)
            )
        return share.from_fields(fields, settings=self._settings)

    async def show_share(self, request: web.Request) -> web.Response:
        """Show a share by the producer's id."""
        return json_answer(await self._engine.shares.get(request.match_info["id"]))

    async def show_message(self, request: web.Request) -> web.Response:
        """Show a message by its id."""
        return json_answer(await self._engine.messages.get(request.match_info["id"]))

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a control number."""
        number = request.match_info["number"]
        canceled = await self._engine.bills.stop(number, by=caller(request))
        return json_answer(Stopped(number=number, canceled=canceled))


def idempotency_key(request: web.Request) -> str | None:
    """The Idempotency-Key header, without the quotes that the draft asks for and few clients send."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > 1 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    return key or None
