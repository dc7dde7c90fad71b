"""Errors as callers of the HTTP API see them: `application/problem+json` that names every field.

One table holds every kind of problem with its status and title; `/docs` explains each under the address that
the problem's `type` gives. A problem never holds a credential, a token or a full contact: what was given
arrives masked.

Source: RFC 9457, Problem Details for HTTP APIs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from bot.errors import Conflict, NotFound, Problem, ProviderAway, Refused, StoreUnavailable, TumaError

MEDIA_TYPE = "application/problem+json"
Headers = Mapping[str, str] | None


class Kind(NamedTuple):
    """One kind of problem: HTTP status, short title, and what the caller can do about it."""

    status: int
    title: str
    remedy: str


KINDS: Mapping[str, Kind] = {
    "not-understood": Kind(400, "The body is not understood", "Send one JSON object in UTF-8."),
    "bad-request": Kind(400, "The request is not understood", "Correct what `detail` names."),
    "unauthorized": Kind(401, "An API key is needed", "Send `Authorization: Bearer <key>`."),
    "unknown-key": Kind(
        401, "This API key is not known", "It is wrong or was revoked; use one that is valid."
    ),
    "wrong-checksum": Kind(401, "The checksum is missing or wrong", "Sign with the right checksum key."),
    "forbidden": Kind(403, "This key may not do that", "Use a key that has one of the scopes named."),
    "wrong-signature": Kind(403, "The signature is missing or wrong", "Sign as the provider does."),
    "not-found": Kind(404, "There is no such thing", "Check the id; ids are case-sensitive."),
    "method-not-allowed": Kind(405, "This address does not take that method", "See the `Allow` header."),
    "too-slow": Kind(408, "The body came too slowly", "Send the request again."),
    "conflict": Kind(409, "This contradicts what is on record", "Use a new id, or what was first sent."),
    "too-large": Kind(413, "The body is too large", "Send less at once."),
    "unsupported-media-type": Kind(415, "This content type is not taken", "Use one that `detail` names."),
    "refused": Kind(422, "The input cannot be taken", "Correct each field in `errors` and send it again."),
    "too-often": Kind(429, "Too many questions", "Ask again after the seconds that `Retry-After` names."),
    "error": Kind(500, "Something went wrong here", "Send it again later; the same id is never taken twice."),
    "not-implemented": Kind(501, "That format is not there", "Ask for one that `detail` names."),
    "provider-away": Kind(503, "ClickPesa cannot be asked now", "Nothing was changed; send it again soon."),
    "unavailable": Kind(
        503, "The store cannot take this now", "Send it again soon, unchanged: nothing is taken twice."
    ),
}


# A body that was not read to its end spoils the connection for what comes after it.
UNREAD = {408, 413}


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error answer (RFC 9457). `errors` names each field that is wrong."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: tuple[Problem, ...] = ()


class Rejected(TumaError):
    """A request that is answered with the problem `kind`. `detail` is one line for the caller."""

    def __init__(self, kind: str, detail: str | None = None, *, headers: Headers = None) -> None:
        super().__init__(detail or KINDS[kind].title)
        self.kind = kind
        self.detail = detail
        self.headers = headers


# Everything else is our own fault, and logged as such.
EXPECTED = (Rejected, Refused, NotFound, ProviderAway, StoreUnavailable, web.HTTPException)


def details(kind: str, detail: str | None = None, errors: Sequence[Problem] = ()) -> ProblemDetails:
    """The problem `kind` as a value."""
    status, title, _ = KINDS[kind]
    address = f"/docs#{kind}"
    return ProblemDetails(type=address, title=title, status=status, detail=detail, errors=tuple(errors))


def respond(problem: ProblemDetails, headers: Headers = None) -> web.Response:
    """The problem as an answer."""
    body = msgspec.json.encode(problem)
    return web.Response(body=body, status=problem.status, content_type=MEDIA_TYPE, headers=headers)


def of_error(error: Exception) -> web.Response:
    """The answer to anything that went wrong while a request was served."""
    match error:
        case Rejected():
            response = respond(details(error.kind, error.detail), error.headers)
            if response.status in UNREAD:
                response.force_close()
            return response
        case web.HTTPException():
            return respond(details(_of_status(error.status)), _kept(error.headers))
        case StoreUnavailable():
            return respond(details("unavailable", str(error)), {"Retry-After": "5"})
        case ProviderAway():
            return respond(details("provider-away", str(error)), {"Retry-After": "5"})
        case _:
            return respond(_of_tuma(error))


def _of_tuma(error: Exception) -> ProblemDetails:
    match error:
        case Conflict():
            return details("conflict", errors=error.problems)
        case Refused():
            return details("refused", errors=error.problems)
        case NotFound():
            return details("not-found", str(error) or None, errors=error.problems)
        case _:
            return details("error")


def _of_status(status: int) -> str:
    by_status = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}
    return by_status.get(status, "bad-request" if status < 500 else "error")


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in ("Allow",) if name in headers}
