"""What the server answers: one table that routing, authorisation, metrics and OpenAPI all read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One documented answer: what it means, and the type of its JSON body if it has one.

    `page`: who sent a form gets a page instead.
    """

    meaning: str
    body: Any = None
    media_type: str = "application/json"
    page: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The documented body of a request, per media type: a type, the name of a schema, or None for anything."""

    schemas: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address. An empty `scopes` means public; `html` says that people read the answer, errors too.

    `query` is a msgspec struct whose fields are the parameters after the question mark.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    scopes: tuple[str, ...] = ()
    html: bool = False
    query: type | None = None
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
