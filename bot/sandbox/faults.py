"""How well each provider is doing: one place decides, each server words it in its own protocol.

Every server asks `decide` once per request, with the contact when the request names one, so that finer rules
(per contact, by rate, before or after accepting) have a single place to live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum


class Mode(StrEnum):
    """What a provider does with requests.

    `slow` answers after `Faults.slow_s`; `failing` answers with its protocol's server error and takes nothing;
    `throttling` says too many, with the time to wait, and takes nothing.
    """

    OK = "ok"
    SLOW = "slow"
    FAILING = "failing"
    THROTTLING = "throttling"


PROVIDERS = ("twilio", "telegram", "smtp", "clickpesa")


class Faults:
    """The mode of each provider. `slow_s` and `retry_after_s` are seconds."""

    def __init__(self, *, slow_s: float = 3.0, retry_after_s: int = 1) -> None:
        self.slow_s = slow_s
        self.retry_after_s = retry_after_s
        self.on_change: Callable[[], None] = lambda: None
        self._modes = dict.fromkeys(PROVIDERS, Mode.OK)

    def set(self, provider: str, mode: Mode | str) -> None:
        """Put `provider` into `mode`. Raises ValueError for a name that is neither."""
        if provider not in self._modes:
            raise ValueError(f"unknown provider: expected one of {', '.join(PROVIDERS)}")
        self._modes[provider] = Mode(mode)
        self.on_change()

    def modes(self) -> dict[str, str]:
        """The mode of every provider."""
        return {provider: mode.value for provider, mode in self._modes.items()}

    async def decide(self, provider: str, contact: str | None = None) -> Mode:
        """What happens to one request. Waits first when the provider is slow, and then says `ok`."""
        mode = self._modes[provider]
        if mode is Mode.SLOW:
            await asyncio.sleep(self.slow_s)
            return Mode.OK
        return mode
