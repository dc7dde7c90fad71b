"""Dead letters over HTTP: list them, mend the contact, send them again, or say that one arrived after all.

What the query and the bodies may hold is one type each; every rule about dead letters is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from bot.domain import shape
from bot.domain.bill import ShareContact
from bot.domain.dead import REPLAY_MOST, DeadFilter, DeadPage, LetterOutcome, Replayed
from bot.domain.edit import ContactForm, contact_edit
from bot.errors import Problem, Refused
from bot.web import bodies
from bot.web.answers import json_answer
from bot.web.auth import caller
from bot.web.routes import Answer, Body, Handler, Route

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

_KEYED = ("unauthorized", "forbidden", "unavailable")
_WRITTEN = (*_KEYED, "not-understood", "too-large", "too-slow", "refused")
_LIMIT, _LIMIT_MOST, _OFFSET_MOST = 50, 1000, 1_000_000
# 10,000 message ids and what stands between them.
_LARGEST = 512 * 1024
_LARGEST_EDIT = 8 * 1024


class DeadQuery(DeadFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `GET /v1/dead` may be asked."""

    limit: Annotated[
        int | None, Meta(description="Most letters to answer: 1 to 1000, default 50.", examples=[50])
    ] = None
    offset: Annotated[int | None, Meta(description="How many of the newest to pass over.", examples=[0])] = (
        None
    )


class ReplayForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to send again: `ids`, or all that a `filter` means ({} means every one)."""

    ids: Annotated[
        list[str] | None,
        Meta(description="Message ids, at most 10,000.", examples=[["3-Zk3nB1xQwE9tYu2a.1"]]),
    ] = None
    filter: DeadFilter | None = None
    limit: Annotated[
        int | None,
        Meta(description="Most letters to try by filter: 1 to 10,000, the default.", examples=[10000]),
    ] = None
    after: Annotated[
        str | None,
        Meta(
            description="`next` of the answer before, to go on there.",
            examples=["1767225600000_3-Zk3nB1xQwE9tYu2a.1"],
        ),
    ] = None


class Letters:
    """The addresses for dead letters and what mends them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        return [self._list_route(), self._replay_route(), self._contact_route(), *self._message_routes()]

    def _list_route(self) -> Route:
        return Route(
            method="GET",
            path="/v1/dead",
            handler=self.dead,
            summary="Messages that nobody sends any more until somebody acts, and what would mend them",
            tag="dead",
            scopes=("read", "staff"),
            query=DeadQuery,
            answers={200: Answer(meaning="The newest first, and how many there are", body=DeadPage)},
            problems=(*_KEYED, "refused"),
        )

    def _replay_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/dead/replay",
            handler=self.replay_many,
            summary="Send many of them again",
            tag="dead",
            scopes=("staff",),
            body=Body(schemas={"application/json": ReplayForm}),
            answers={200: Answer(meaning="What became of each; `next` if there may be more", body=Replayed)},
            problems=_WRITTEN,
        )

    def _contact_route(self) -> Route:
        return Route(
            method="PATCH",
            path="/v1/shares/{id}/contact",
            handler=self.edit_contact,
            summary="Give a share's contact another address",
            tag="shares",
            scopes=("staff",),
            body=Body(schemas={"application/json": ContactForm}),
            answers={200: Answer(meaning="As it is reached now", body=ShareContact)},
            problems=(*_WRITTEN, "not-found"),
        )

    def _message_routes(self) -> list[Route]:
        return [
            self._act("replay", self.replay, "Send a dead letter again, as a new message"),
            self._act("arrived", self.arrived, "Say that a message in doubt did arrive"),
        ]

    def _act(self, name: str, handler: Handler, summary: str) -> Route:
        return Route(
            method="POST",
            path=f"/v1/messages/{{id}}/{name}",
            handler=handler,
            summary=summary,
            tag="messages",
            scopes=("staff",),
            answers={200: Answer(meaning="Done; the same again if it is repeated", body=LetterOutcome)},
            problems=(*_KEYED, "not-found", "refused"),
        )

    async def dead(self, request: web.Request) -> web.Response:
        """List dead letters."""
        query = _query(request)
        only = DeadFilter(**{name: getattr(query, name) for name in DeadFilter.__struct_fields__})
        limit = _within(query.limit, "limit", _LIMIT, 1, _LIMIT_MOST)
        offset = _within(query.offset, "offset", 0, 0, _OFFSET_MOST)
        return json_answer(await self._engine.messages.dead_page(only, limit=limit, offset=offset))

    async def replay_many(self, request: web.Request) -> web.Response:
        """Replay by ids or by filter."""
        fields = bodies.json_object(await bodies.read(request, _LARGEST))
        form, problems = shape.read(fields, ReplayForm)
        if problems:
            raise Refused(*problems)
        return json_answer(await self._replay(form, caller(request)))

    async def _replay(self, form: ReplayForm, by: str) -> Replayed:
        messages = self._engine.messages
        if (form.ids is None) == (form.filter is None):
            raise Refused(
                Problem(field="$", message="needs one of ids and filter", expected='such as {"filter": {}}')
            )
        if form.filter is not None:
            limit = _within(form.limit, "limit", REPLAY_MOST, 1, REPLAY_MOST)
            return await messages.replay_many(form.filter, by=by, limit=limit, after=form.after)
        ids = form.ids or []
        if form.after is not None or form.limit is not None:
            raise Refused(Problem(field="ids", message="stands beside limit or after", expected="ids alone"))
        if not 1 <= len(ids) <= REPLAY_MOST:
            raise Refused(
                Problem(field="ids", message=f"has {len(ids)} entries", expected=f"1 to {REPLAY_MOST}")
            )
        return await messages.replay_each(ids, by=by)

    async def replay(self, request: web.Request) -> web.Response:
        """Replay one."""
        message = request.match_info["id"]
        made = await self._engine.messages.replay(message, by=caller(request))
        return json_answer(LetterOutcome(message=message, outcome="replayed", replayed_as=made))

    async def arrived(self, request: web.Request) -> web.Response:
        """Note that a message in doubt arrived."""
        message = request.match_info["id"]
        return json_answer(await self._engine.messages.settle_doubt(message, True, by=caller(request)))

    async def edit_contact(self, request: web.Request) -> web.Response:
        """Edit a share's contact."""
        fields = bodies.json_object(await bodies.read(request, _LARGEST_EDIT))
        edit = contact_edit(fields, self._settings)
        edited = await self._engine.shares.edit_contact(
            request.match_info["id"],
            phone=edit.phone,
            email=edit.email,
            telegram=edit.telegram,
            by=caller(request),
        )
        return json_answer(edited)


def _query(request: web.Request) -> DeadQuery:
    """The query as its type. Raises Refused."""
    given: Mapping[str, str] = request.query
    fields: dict[str, Any] = {
        name: int(text) if name in ("limit", "offset") and text.isascii() and text.isdigit() else text
        for name, text in given.items()
        if text
    }
    query, problems = shape.read(fields, DeadQuery)
    if problems:
        raise Refused(*problems)
    return query


def _within(value: int | None, field: str, default: int, least: int, most: int) -> int:
    if value is None:
        return default
    if not least <= value <= most:
        raise Refused(
            Problem(field=field, message="is out of range", given=str(value), expected=f"{least} to {most}")
        )
    return value
