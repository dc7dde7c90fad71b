"""Provider tokens, shared by all processes so that one fetch serves them."""

from __future__ import annotations

from typing import Any

from bot.engine.leases import Leases
from bot.engine.store import Client, guard


class Tokens:
    """A small cache with lifetimes. Never logged, never in an error."""

    def __init__(self, client: Client, leases: Leases) -> None:
        self._client: Any = client
        self._leases = leases

    async def get(self, name: str) -> str | None:
        """The cached token, None when it has run out."""
        with guard():
            found: str | None = await self._client.get(f"tuma:token:{name}")
        return found

    async def set(self, name: str, token: str, ttl_s: float) -> None:
        """Keep a token for `ttl_s` seconds."""
        with guard():
            await self._client.set(f"tuma:token:{name}", token, px=max(int(ttl_s * 1000), 1))

    async def claim(self, name: str, owner: str, ttl_s: float) -> bool:
        """Whether `owner` may fetch this token: within `ttl_s` seconds no other process can."""
        return await self._leases.hold(f"token:{name}", owner, ttl_s)

    async def release(self, name: str, owner: str) -> None:
        """`owner` is done with fetching."""
        await self._leases.drop(f"token:{name}", owner)
