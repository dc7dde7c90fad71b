"""Provider tokens, shared by all processes so that one fetch serves them."""

from __future__ import annotations

from typing import Any

from bot.engine.store import Client, guard


class Tokens:
    """A small cache with lifetimes. Never logged, never in an error."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client

    async def get(self, name: str) -> str | None:
        """The cached token, None when it has run out."""
        with guard():
            found: str | None = await self._client.get(f"tuma:token:{name}")
        return found

    async def set(self, name: str, token: str, ttl_s: float) -> None:
        """Keep a token for `ttl_s` seconds."""
        with guard():
            await self._client.set(f"tuma:token:{name}", token, px=max(int(ttl_s * 1000), 1))
