"""What SMS providers share between processes, as they see it; whoever builds channels brings it along.

Both may be missing: without a receipt book no delivery report of a provider that names only its own ids can be told
to its message, without a board each process judges the providers by what it saw itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class ReceiptBook(Protocol):
    """Which of our messages a provider means by one of its ids."""

    async def remember(self, provider: str, provider_id: str, message_id: str) -> None:
        """Note that a provider took a message, and settle reports that came before this was known."""
        ...


class HealthBoard(Protocol):
    """Counts of what was seen of each provider, by minute since 1970; added up over all processes."""

    async def add(self, minute: int, counts: Mapping[str, int]) -> None:
        """Add to the counts of a minute, by name."""
        ...

    async def read(self, minutes: Sequence[int]) -> list[Mapping[str, int]]:
        """The counts of some minutes, in the order asked for; empty where nothing was seen."""
        ...


@dataclass(frozen=True, slots=True)
class SmsShared:
    """What one process was given of it."""

    receipts: ReceiptBook | None = None
    board: HealthBoard | None = None
