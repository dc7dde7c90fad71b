"""ClickPesa's token: one for all processes, fetched by one of them, renewed before its hour ends.

Source: ClickPesa docs, "Generate token": a token lives for 1 hour and carries its scheme, `Bearer `, in front.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

TTL_S = 55 * 60
# Longer than a fetch can take: then whoever fetched is gone, and another may.
CLAIM_S = 30.0
_LOOK_S = 0.05


class TokenCache(Protocol):
    """Where processes share a provider's token: `Tokens` of the engine."""

    async def get(self, name: str) -> str | None:
        """The token cached under `name`, if it has not run out."""
        ...

    async def set(self, name: str, token: str, ttl_s: int) -> None:
        """Keep `token` under `name` for `ttl_s` seconds."""
        ...

    async def claim(self, name: str, owner: str, ttl_s: float) -> bool:
        """Whether `owner` may fetch the token: no other has claimed that within `ttl_s` seconds."""
        ...

    async def release(self, name: str, owner: str) -> None:
        """End the claim of `owner`."""
        ...


class ProcessTokens:
    """A TokenCache that shares nothing with other processes: for one without Redis."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}
        self._claims: dict[str, str] = {}

    async def get(self, name: str) -> str | None:
        """The token cached under `name`, if it has not run out."""
        token, ends = self._tokens.get(name, (None, 0.0))
        return token if time.monotonic() < ends else None

    async def set(self, name: str, token: str, ttl_s: int) -> None:
        """Keep `token` under `name` for `ttl_s` seconds."""
        self._tokens[name] = token, time.monotonic() + ttl_s

    async def claim(self, name: str, owner: str, ttl_s: float) -> bool:
        """Whether nobody else is at it."""
        return self._claims.setdefault(name, owner) == owner

    async def release(self, name: str, owner: str) -> None:
        """End the claim of `owner`."""
        if self._claims.get(name) == owner:
            del self._claims[name]


class Token:
    """The token of one application, from `cache` or, one caller at a time over all processes, from `fetch`."""

    def __init__(self, name: str, cache: TokenCache, fetch: Callable[[], Awaitable[str]]) -> None:
        self._name, self._cache, self._fetch = name, cache, fetch
        self._waiting = asyncio.Lock()

    async def get(self, refused: str | None = None) -> str:
        """A token other than `refused`. Raises what `fetch` raises."""
        if (known := await self._known(refused)) is not None:
            return known
        async with self._waiting:  # one of this process watches for all
            return await self._fetch_or_wait(refused)

    async def _known(self, refused: str | None) -> str | None:
        cached = await self._cache.get(self._name)
        return cached if cached and cached != refused else None

    async def _fetch_or_wait(self, refused: str | None) -> str:
        owner = secrets.token_hex(8)
        while (known := await self._known(refused)) is None:
            if await self._cache.claim(self._name, owner, CLAIM_S):
                try:
                    return await self._renew(refused)
                finally:
                    await self._cache.release(self._name, owner)
            await asyncio.sleep(_LOOK_S)
        return known

    async def _renew(self, refused: str | None) -> str:
        # Another may have been done between our look and our claim.
        if (known := await self._known(refused)) is not None:
            return known
        token = await self._fetch()
        await self._cache.set(self._name, token, TTL_S)
        return token
