"""Who calls the API, and whether they may: bearer keys with scopes.

Keys are compared by hash in constant time (bot.engine.api_keys). A missing key is 401, and so is one that is wrong
or revoked, in other words; a right key without the scope is 403. There are no cookies and no sessions, so a page in
a browser cannot borrow anybody's rights.

Source: RFC 6750, bearer tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from bot.web.problems import Rejected

if TYPE_CHECKING:
    from bot.engine.api_keys import ApiKey, ApiKeys

CALLER: web.RequestKey[ApiKey] = web.RequestKey("caller")


async def admit(keys: ApiKeys, request: web.Request, scopes: tuple[str, ...]) -> ApiKey:
    """The caller's key, if it has one of `scopes`. Raises Rejected (401, 403) and StoreUnavailable."""
    token = _bearer(request.headers.get("Authorization", ""))
    if not token:
        raise Rejected("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="tuma"'})
    key = await keys.verify(token)
    if key is None:
        challenge = 'Bearer realm="tuma", error="invalid_token"'
        raise Rejected("unknown-key", headers={"WWW-Authenticate": challenge})
    if not set(scopes) & set(key.scopes):
        detail = f"this needs one of the scopes: {', '.join(scopes)}"
        challenge = f'Bearer realm="tuma", error="insufficient_scope", scope="{" ".join(scopes)}"'
        raise Rejected("forbidden", detail, headers={"WWW-Authenticate": challenge})
    return key


def caller(request: web.Request) -> str:
    """How the caller is written into the audit trail: the key's name and id, never the key."""
    key = request[CALLER]
    return f"key:{key.name} ({key.id})"


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
