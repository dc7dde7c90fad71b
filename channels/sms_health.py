"""How well each SMS provider does, and what part of the messages it gets for that.

What counts against a provider are its own faults (unreachable, too many requests, refused credentials, no answer)
and messages of which nobody says after some minutes that they arrived; a wrong number or an opt-out is no fault. What
was seen loses half its weight every `HALF_LIFE_MIN` minutes, so a provider that is left alone heals, and is tried
again with few messages before it gets many. A few faults are everybody's and change nothing.

Observations are counts by minute, so the counts of many processes simply add up (`HealthBoard`). Pure but for the
board; clocks are given. Units: minutes since 1970, shares and health from 0 to 1.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from channels.sms_shared import HealthBoard

HALF_LIFE_MIN = 3.0
WINDOW_MIN = 20
# A message that did not arrive by then counts as slow; most networks say so within seconds.
SLOW_AFTER_MIN = 3
WORST = 0.01
# Shares of failed requests, and of messages not heard of, that no provider is without.
_FAULTS_BORNE, _SILENCE_BORNE = 0.05, 0.3
# How many good ones are taken for granted: one fault after a quiet night is no outage.
_PRIOR = 5.0
_REFRESH_S = 2.0
_log = logging.getLogger(__name__)


class Seen(StrEnum):
    """What is counted of a provider. `ACCEPTED` is in the minute of the send, `ARRIVED` in that of its send too."""

    ACCEPTED = "accepted"
    FAULT = "fault"
    ARRIVED = "arrived"


Counts = Mapping[str, int]


def minute_of(seconds: float) -> int:
    """The minute that holds a time in seconds since 1970."""
    return int(seconds // 60)


def field_of(provider: str, seen: Seen) -> str:
    """The name under which a count is kept."""
    return f"{provider}:{seen}"


def health(provider: str, by_age: Sequence[Counts], *, receipts: bool) -> float:
    """How well a provider does. `by_age[n]` are the counts of n minutes ago; `receipts`: arrivals are told of."""
    accepted = _weighed(by_age, provider, Seen.ACCEPTED)
    faults = _weighed(by_age, provider, Seen.FAULT)
    score = _falloff(faults / (faults + accepted + _PRIOR), _FAULTS_BORNE)
    if receipts:
        old = by_age[SLOW_AFTER_MIN:]
        due, arrived = _weighed(old, provider, Seen.ACCEPTED), _weighed(old, provider, Seen.ARRIVED)
        score *= _falloff(max(due - arrived, 0.0) / (due + _PRIOR), _SILENCE_BORNE)
    return max(score, WORST)


def shares(weights: Mapping[str, int], healths: Mapping[str, float]) -> dict[str, float]:
    """The part of the messages that each provider gets, adding up to 1.

    Weights count as far as a provider is healthy. What is lost that way goes to the standbys (weight 0) in their
    order, as far as they are healthy; without any, to the others.
    """
    total = sum(weights.values())
    parts = {name: weight / total * healths[name] for name, weight in weights.items()}
    lost = 1 - sum(parts.values())
    for name, weight in weights.items():
        if weight == 0:
            parts[name] = lost * healths[name]
            lost -= parts[name]
    whole = sum(parts.values())
    return {name: part / whole for name, part in parts.items()}


def _weighed(by_age: Sequence[Counts], provider: str, seen: Seen) -> float:
    name = field_of(provider, seen)
    return sum(counts.get(name, 0) * math.pow(0.5, age / HALF_LIFE_MIN) for age, counts in enumerate(by_age))


def _falloff(rate: float, borne: float) -> float:
    over = max(rate - borne, 0.0) / (1 - borne)
    return math.pow(1 - over, 2)


class Watch:
    """What one process knows of its providers: what it saw itself, and what the board says of all.

    `clock` is in seconds since 1970.
    """

    def __init__(self, board: HealthBoard | None = None, clock: Callable[[], float] = time.time) -> None:
        self._board, self._clock = board, clock
        self._told: Mapping[int, Counts] = {}
        self._own: dict[int, Counter[str]] = {}
        self._leaving: Mapping[int, Counts] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed = float("-inf")

    def note(self, provider: str, seen: Seen, count: int = 1) -> None:
        """Count something seen just now."""
        self._own.setdefault(minute_of(self._clock()), Counter())[field_of(provider, seen)] += count

    def health(self, provider: str, *, receipts: bool) -> float:
        """How well a provider does now."""
        now = minute_of(self._clock())
        by_age = [self._counts(now - age) for age in range(WINDOW_MIN)]
        return health(provider, by_age, receipts=receipts)

    def _counts(self, minute: int) -> Counts:
        views = (self._told, self._leaving, self._own)
        found = [counts for counts in (view.get(minute) for view in views) if counts]
        return found[0] if len(found) == 1 else sum(map(Counter, found), Counter())

    def refresh_soon(self) -> None:
        """Exchange news with the board, now and then, beside what the caller does. Needs a running loop."""
        now = self._clock()
        if now - self._refreshed < _REFRESH_S or (self._refreshing and not self._refreshing.done()):
            return
        self._refreshed = now
        self._refreshing = asyncio.get_running_loop().create_task(self.refresh())

    async def refresh(self) -> None:
        """Tell the board what was seen here, and learn what all saw. Never raises for a board that is away."""
        now = minute_of(self._clock())
        recent = range(now, now - WINDOW_MIN, -1)
        self._own = {minute: counts for minute, counts in self._own.items() if minute in recent}
        if self._board is None:
            return
        untold, self._own = self._own, {}
        self._leaving = dict(untold)
        try:
            for minute, counts in self._leaving.items():
                await self._board.add(minute, counts)
                del untold[minute]
            self._told = dict(zip(recent, await self._board.read(recent), strict=True))
        except Exception as error:  # whatever the board is made of; each process then judges alone
            self._put_back(untold)
            _log.warning("the SMS providers' health is not shared for now: %s", type(error).__name__)
        finally:
            self._leaving = {}

    def _put_back(self, untold: Mapping[int, Counter[str]]) -> None:
        for minute, counts in untold.items():
            self._own.setdefault(minute, Counter()).update(counts)

    async def close(self) -> None:
        """Tell the board the rest."""
        if self._refreshing is not None:
            await asyncio.gather(self._refreshing, return_exceptions=True)
        if self._own:
            await self.refresh()
