"""Who may call ClickPesa now: 120 requests a minute for every process of ours together, the urgent ones first.

Source: ClickPesa docs, "API application setup" and changelog: 120 requests a minute per address over all endpoints
since November 2025; 100 a day before an account is approved, generate-token included.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Urgency(StrEnum):
    """What a call is for. A less urgent one leaves room for those above it."""

    NOW = "now"  # creating, changing and looking up control numbers: somebody waits
    HINT = "hint"  # asking whether an unproven webhook is true
    SWEEP = "sweep"  # looking for payments whose webhook was lost


class Budget(Protocol):
    """Where processes share their allowance: `CallBudget` of the engine."""

    async def take(self, urgency: str) -> float:
        """Use one request: 0 if it may be made, else seconds until it is worth asking again."""
        ...

    async def rest(self, seconds: float) -> None:
        """ClickPesa said that it is too much: nobody asks for so many seconds."""
        ...


class Unlimited:
    """A Budget for one single question, where there is no Redis to share one."""

    async def take(self, urgency: str) -> float:
        """Always 0."""
        return 0.0

    async def rest(self, seconds: float) -> None:
        """Nothing: whoever asks only once need not wait."""
