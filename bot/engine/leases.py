"""What only one process does at a time: whoever has the lease, until it ends it or dies."""

from __future__ import annotations

from bot.engine import keys
from bot.engine.scripts import Scripts


class Leases:
    """Leases by name. Every method raises StoreUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def hold(self, name: str, owner: str, ttl_s: float) -> bool:
        """Take or renew `name` for `ttl_s` seconds; False while another owner has it."""
        return await self._scripts.run(self._scripts.own(keys.lease(name), owner, max(int(ttl_s * 1000), 1)))

    async def drop(self, name: str, owner: str) -> None:
        """End it, if it is this owner's."""
        await self._scripts.run(self._scripts.own(keys.lease(name), owner, 0))
