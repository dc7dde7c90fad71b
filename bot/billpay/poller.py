"""Believing what is not signed: an unsigned webhook is a hint, and ClickPesa's own list decides.

The verifier asks about every hinted number at once, and again at growing intervals while the list does not
show anything new yet, for as long as the hint holds reminders back. It is not the most urgent use of the shared
budget of requests, so that a flood of forged webhooks cannot use up what creating numbers needs. It settles
nothing that the list does not say.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from bot.billpay.budget import Urgency
from bot.billpay.errors import ClickPesaDenied, ClickPesaError, ClickPesaRefused, ClickPesaThrottled
from bot.domain.bill import PaymentEvent, SettleResult
from bot.errors import StoreUnavailable

# Seconds after one asking until the next; then the hint is given up. Together just under the ten minutes for
# which a hint holds reminders.
WAITS_S = (5.0, 15.0, 40.0, 120.0, 400.0)

# Only final words are acted on; a pending payment becomes one of them, or nothing.
FINAL = frozenset({"SUCCESS", "SETTLED", "FAILED", "REFUNDED", "REVERSED"})
NEWS = frozenset({"settled", "partial", "over", "failed", "unmatched"})

# An attempt that failed long before the hint is no news to the customer.
_FAILED_IS_NEWS_FOR = timedelta(minutes=15)

_LEASE = "hints"
_LEASE_S = 90.0  # longer than any pause between two looks

_log = structlog.get_logger(__name__)


class PaymentList(Protocol):
    """Who knows what was really paid: `bot.billpay.client.ClickPesa`."""

    async def payments(self, reference: str, *, urgency: Urgency) -> list[PaymentEvent]:
        """All payments on a control number. Raises ClickPesaError."""
        ...


class HintedPayments(Protocol):
    """Where hints wait and payments are settled: `Payments` of the engine."""

    async def hints_due(self, limit: int) -> list[str]:
        """Hinted numbers, the oldest hint first."""
        ...

    async def hint_done(self, number: str) -> None:
        """Forget the hint: it came true, or was asked about for long enough."""
        ...

    async def settle(self, event: PaymentEvent) -> SettleResult:
        """Take one thing said about a payment."""
        ...


@dataclass(slots=True)
class _Asked:
    """How often a number was asked about, and from when (monotonic seconds) it may be again."""

    times: int = 0
    again_at: float = 0.0


class Leases(Protocol):
    """Who does it now: `Leases` of the engine."""

    async def hold(self, name: str, owner: str, ttl_s: float) -> bool:
        """Take or renew a lease."""
        ...

    async def drop(self, name: str, owner: str) -> None:
        """End it."""
        ...


class HintVerifier:
    """Turns hints into settled payments. `idle_s` is how often it looks for new hints, in seconds.

    With `leases` one process at a time does it.
    """

    def __init__(
        self,
        client: PaymentList,
        payments: HintedPayments,
        *,
        leases: Leases | None = None,
        waits_s: Sequence[float] = WAITS_S,
        idle_s: float = 1.0,
    ) -> None:
        self._client = client
        self._payments = payments
        self._leases = leases
        self._owner = secrets.token_hex(8)
        self._waits_s = waits_s
        self._idle_s = idle_s
        self._asked: dict[str, _Asked] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Verify until `stop` is set; an absent ClickPesa or Redis is waited out."""
        while not stop.is_set():
            wait_s = self._idle_s
            try:
                if await self._mine():
                    await self.sweep()
            except ClickPesaError as error:
                wait_s = pause_s(error)
                _log.warning("hints cannot be verified", error=str(error), pause_s=wait_s)
            except StoreUnavailable:
                wait_s = 5.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)

        if self._leases is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._leases.drop(_LEASE, self._owner)

    async def _mine(self) -> bool:
        return self._leases is None or await self._leases.hold(_LEASE, self._owner, _LEASE_S)

    async def sweep(self) -> int:
        """Ask about every hinted number whose time has come; how many were asked about.

        Raises ClickPesaError (BudgetSpent too) and StoreUnavailable; the hints stay.
        """
        numbers = await self._payments.hints_due(200)
        self._forget_all_but(numbers)
        asked = 0
        for number in numbers:
            state = self._asked.setdefault(number, _Asked())
            if time.monotonic() < state.again_at:
                continue
            await self._verify(number, state)
            asked += 1
        return asked

    def _forget_all_but(self, numbers: Sequence[str]) -> None:
        for gone in self._asked.keys() - set(numbers):
            del self._asked[gone]

    async def _verify(self, number: str, state: _Asked) -> None:
        try:
            found = await self._settle(await self._client.payments(number, urgency=Urgency.HINT))
        except ClickPesaRefused as error:
            # This very number is at fault; the others must not wait for it.
            _log.warning("hint cannot be verified", error=str(error))
            found = False
        if found or state.times >= len(self._waits_s):
            del self._asked[number]
            await self._payments.hint_done(number)
            return
        state.again_at = time.monotonic() + self._waits_s[state.times]
        state.times += 1

    async def _settle(self, events: Sequence[PaymentEvent]) -> bool:
        """Settle what is final; whether any of it was new."""
        results = [await self._payments.settle(event) for event in events if counts(event)]
        return any(result.outcome in NEWS for result in results)


def counts(event: PaymentEvent) -> bool:
    """Whether to act on what ClickPesa's list says of a payment: it is final, and if it failed, that is news."""
    if event.status not in FINAL:
        return False
    if event.status != "FAILED":
        return True
    told_at = event.updated_at or event.created_at
    return told_at is not None and datetime.now(UTC) - told_at < _FAILED_IS_NEWS_FOR


def pause_s(error: ClickPesaError) -> float:
    """Seconds until it is worth asking ClickPesa again."""
    if isinstance(error, ClickPesaThrottled):
        return error.retry_after_s or 30.0
    return 60.0 if isinstance(error, ClickPesaDenied) else 10.0
