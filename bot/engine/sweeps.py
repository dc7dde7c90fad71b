"""What the sweep of ClickPesa's list remembers, and until when payments are known, which reminders wait for."""

from __future__ import annotations

from datetime import datetime

from bot.domain.calendar import from_ms, to_ms
from bot.engine import keys
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.engine.store import guard

# Staff are told once while it lasts, and again the next day.
_TOLD_S = 86_400


class Sweeps:
    """Reminders wait while what is known is older than `within_s` seconds, None: they never do.

    Every method raises StoreUnavailable.
    """

    def __init__(self, records: Records, within_s: int | None) -> None:
        self._records, self._within_s = records, within_s

    def now(self) -> datetime:
        """The engine's time."""
        return from_ms(now_ms())

    async def load(self) -> str | None:
        """What the last sweep saved, as it saved it."""
        with guard():
            found: str | None = await self._records.client.get(keys.clickpesa("sweep"))
        return found

    async def save(self, state: str, known_until: datetime | None) -> None:
        """Keep where the next sweep goes on; `known_until` is told to every partition, None leaves it as it is.

        The position goes first: should the rest get lost, reminders wait a little longer.
        """
        with guard():
            await self._records.client.set(keys.clickpesa("sweep"), state)
            if known_until is None:
                return
            for p in range(self._records.partitions):
                await self._records.client.set(f"{keys.prefix(p)}seen", str(to_ms(known_until)))
            await self._records.client.delete(keys.clickpesa("told"))

    async def not_read(self, why: str) -> None:
        """The list could not be read: tell staff if reminders wait for it by now."""
        known, now = await self.known_until(), now_ms()
        if self._within_s is None or known is None or now - to_ms(known) <= self._within_s * 1000:
            return
        with guard():
            fresh = await self._records.client.set(keys.clickpesa("told"), "1", nx=True, ex=_TOLD_S)
        if fresh:
            await self._records.tell(0, "payments_unknown", now, {"why": why})

    async def known_until(self) -> datetime | None:
        """All payments made before this time are known; None before the first sweep."""
        with guard():
            found = await self._records.client.get(f"{keys.prefix(self._records.partitions - 1)}seen")
        return from_ms(int(found)) if found else None
