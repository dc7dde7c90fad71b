"""What the server answers: one table that routing, authorisation, metrics and OpenAPI all read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One documented answer: what it means, and the type of its JSON body if it has one."""

    meaning: str
    body: Any = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The documented body of a request: the name of a schema, or plain text, per media type."""

    schemas: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address. An empty `scopes` means public; `html` says that people read the answer, errors too."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    scopes: tuple[str, ...] = ()
    html: bool = False
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
