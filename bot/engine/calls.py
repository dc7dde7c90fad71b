"""How many requests all processes together may make to ClickPesa, and who goes first.

Counted in a sliding minute, so that no 60 seconds hold more than are allowed. Urgent calls may use all of it; others
leave room, so that what somebody waits for never waits behind what only looks for lost webhooks.

Source: ClickPesa docs, "API application setup": 120 requests a minute; before approval 100 a day, counted anew at
midnight in Dar es Salaam (UTC+3).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from fractions import Fraction

from bot.engine import keys
from bot.engine.scripts import Scripts, now_ms
from bot.engine.store import Client, guard

# What an urgency may use of the whole, the calls of the others included.
SHARES: Mapping[str, Fraction] = {"now": Fraction(1), "hint": Fraction(3, 4), "sweep": Fraction(1, 2)}
_EAT = timezone(timedelta(hours=3))


class CallBudget:
    """`per_minute` requests, and `per_day` if that is bounded."""

    def __init__(self, client: Client, scripts: Scripts, per_minute: int, per_day: int | None) -> None:
        self._client, self._scripts = client, scripts
        self._per_minute, self._per_day = per_minute, per_day

    async def take(self, urgency: str) -> float:
        """Use one request: 0 if it may be made, else seconds until it is worth asking again.

        Raises StoreUnavailable.
        """
        now, share = now_ms(), SHARES[urgency]
        day, left_ms = _day(now)
        bounds = (_part(self._per_minute, share), _part(self._per_day, share) if self._per_day else 0)
        call = self._scripts.call(keys.clickpesa(""), now, (*bounds, day, left_ms, secrets.token_hex(6)))
        return await self._scripts.run(call) / 1000

    async def rest(self, seconds: float) -> None:
        """Nobody asks for so many seconds. Raises StoreUnavailable."""
        wait_ms = max(int(seconds * 1000), 1)
        with guard():
            await self._client.set(keys.clickpesa("rest"), str(now_ms() + wait_ms), px=wait_ms)

    async def today(self) -> int:
        """Requests made since midnight in Dar es Salaam. Raises StoreUnavailable."""
        with guard():
            return int(await self._client.get(keys.clickpesa(f"day:{_day(now_ms())[0]}")) or 0)


def _day(now: int) -> tuple[str, int]:
    """The day in Dar es Salaam and the ms that are left of it."""
    local = datetime.fromtimestamp(now / 1000, _EAT)
    past = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
    return local.date().isoformat(), int((timedelta(days=1) - past).total_seconds() * 1000)


def _part(whole: int, share: Fraction) -> int:
    return max(int(whole * share), 1)
