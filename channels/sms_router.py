"""SMS through several providers: each message goes to one, chosen by weight and by how well each does.

Promises: a message that a provider took, or may have taken, stays with it. Another one is tried only after an error
that says for certain that it was not taken (refused connection, too many requests, refused credentials), and only
while the lease lasts; what is wrong with the person or the text is wrong everywhere and ends the attempt. An error that
leaves a message in doubt says with whom, so that `find` asks that one; where nobody knows, it asks all.

Does not repeat anything and does not share its choices: only the counts they rest on (`sms_health`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping

from channels.base import Accepted, Askable, Channel, ChannelName, Outgoing, Probe, Trace
from channels.config import SmsConfig
from channels.errors import (
    ChannelError,
    LeaseExpired,
    Misconfigured,
    Throttled,
    Unaskable,
    Unavailable,
    Uncertain,
)
from channels.sms_health import Seen, Watch, shares

# Certainly not taken, and no fault of the person or the text.
NOT_TAKEN = (Unavailable, Throttled, Misconfigured)
# How often a fault is counted: with refused credentials nothing will pass, one refused connection is one too many.
_FAULTS: Mapping[type[ChannelError], int] = {Misconfigured: 20, Unavailable: 2, Uncertain: 2, Throttled: 1}
# How long a provider rests that was too busy and did not say for how long, or that refused our account.
_REST_S: Mapping[type[ChannelError], float] = {Throttled: 2.0, Misconfigured: 60.0}
_SHARES_KEPT_S = 0.5
_SAY_EVERY_S = 30.0
_log = logging.getLogger(__name__)


class SmsRouter:
    """The SMS channel of several providers. `made` holds their channels by the names in `config`."""

    name = ChannelName.SMS

    def __init__(
        self,
        config: SmsConfig,
        made: Mapping[str, Channel],
        watch: Watch | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._config, self._made, self._chance = config, made, chance
        self._watch = watch or Watch()
        self._rests: dict[str, tuple[float, ChannelError]] = {}
        self._shares: dict[str, float] = {}
        self._shares_until = 0.0
        self._said: dict[str, float] = {}

    @property
    def concurrency(self) -> int:
        """So many that no provider gets more at once than it bears, by the parts they have now."""
        bearable = (self._made[name].concurrency / part for name, part in self.shares().items() if part > 0)
        most = sum(channel.concurrency for channel in self._made.values())
        return max(1, min(int(min(bearable)), most))

    @property
    def request_timeout_s(self) -> float:
        """The slowest provider's: another one is begun only within the lease."""
        return max(channel.request_timeout_s for channel in self._made.values())

    def shares(self) -> dict[str, float]:
        """The part of the messages that each provider gets now, adding up to 1."""
        now = time.monotonic()
        if now >= self._shares_until:
            providers = self._config.providers
            weights = {name: provider.weight for name, provider in providers.items()}
            healths = {name: self._watch.health(name, receipts=p.receipts) for name, p in providers.items()}
            self._shares, self._shares_until = shares(weights, healths), now + _SHARES_KEPT_S
        return self._shares

    # Sending

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Send through one provider, through the next if it certainly did not take it. Errors: every ChannelError."""
        self._watch.refresh_soon()
        errors: list[ChannelError] = []
        for name in self._order():
            try:
                accepted = await self._made[name].send(outgoing)
            except NOT_TAKEN as error:
                self._fault(name, error)
                errors.append(error)
            except LeaseExpired as error:
                errors.append(error)
                break
            except Uncertain as error:
                self._fault(name, error)
                error.provider = name
                raise
            else:
                self._watch.note(name, Seen.ACCEPTED)
                self._rests.pop(name, None)
                return accepted
        raise self._verdict(errors)

    def _order(self) -> Iterator[str]:
        """Who is tried, the chosen one first. A provider that rests is left out while another one works."""
        now = time.monotonic()
        self._rests = {name: rest for name, rest in self._rests.items() if rest[0] > now}
        awake = [name for name in self._made if name not in self._rests]
        # Refused credentials must show again when nothing else is left: that is what pauses the whole channel.
        able = awake or [name for name, (_, error) in self._rests.items() if isinstance(error, Misconfigured)]
        return self._drawn(able)

    def _drawn(self, names: list[str]) -> Iterator[str]:
        left = {name: self.shares()[name] for name in names}
        while left:
            chosen = self._draw(left)
            del left[chosen]
            yield chosen

    def _draw(self, parts: Mapping[str, float]) -> str:
        mark = self._chance() * sum(parts.values())
        for name, part in parts.items():
            mark -= part
            if mark < 0:
                return name
        return next(iter(parts))  # standbys that get nothing as yet, in their order

    def _fault(self, name: str, error: ChannelError) -> None:
        self._watch.note(name, Seen.FAULT, _FAULTS[_kind(error)])
        self._shares_until = 0.0
        rest_s = _REST_S.get(_kind(error))
        if rest_s is not None:
            asked_s = error.retry_after_s if isinstance(error, Throttled) else None
            self._rests[name] = (time.monotonic() + (rest_s if asked_s is None else asked_s), error)
        self._say(name, error)

    def _say(self, name: str, error: ChannelError) -> None:
        """Log a fault, but not every one of an outage."""
        now = time.monotonic()
        if now - self._said.get(name, -math.inf) >= _SAY_EVERY_S:
            self._said[name] = now
            _log.warning("sms provider %s did not take a message: %s", name, error)

    def _verdict(self, errors: list[ChannelError]) -> ChannelError:
        """What it means that nobody took it: whoever may work soonest decides; all are at fault only if all say so."""
        for kind in (Unavailable, LeaseExpired):
            if (found := next((error for error in errors if isinstance(error, kind)), None)) is not None:
                return found
        resting = [error for _, error in self._rests.values()]
        busy = next((error for error in (*errors, *resting) if isinstance(error, Throttled)), None)
        return self._busy(busy) if busy is not None else errors[0]

    def _busy(self, error: ChannelError) -> Throttled:
        now = time.monotonic()
        ends = [end for end, cause in self._rests.values() if isinstance(cause, Throttled)]
        wait_s = max(min(ends, default=now) - now, 0.0)
        return Throttled(error.code, error.detail, retry_after_s=wait_s, whole_channel=True)

    # Asking

    async def find(self, trace: Trace) -> Accepted | None:
        """Ask the providers that may have it; where nobody knows which, every one.

        Errors: Unaskable when one that may have it cannot be asked, otherwise what kept one from answering.
        """
        unanswered: list[ChannelError] = []
        for name in self._made if trace.providers is None else sorted(trace.providers):
            try:
                found = await self._ask(name, trace)
            except ChannelError as error:
                unanswered.append(error)
                continue
            if found is not None:
                return found
        if unanswered:
            raise min(unanswered, key=lambda error: isinstance(error, Unaskable))
        return None

    async def _ask(self, name: str, trace: Trace) -> Accepted | None:
        channel = self._made.get(name)  # one that was taken out of the settings since tells nothing
        if isinstance(channel, Askable):
            return await channel.find(trace)
        raise Unaskable(f"{name} question", "this provider does not tell which messages it has")

    # Living

    async def probe(self) -> Probe:
        """Probe every provider; well as long as one is."""
        probes = await asyncio.gather(*(channel.probe() for channel in self._made.values()))
        named = dict(zip(self._made, probes, strict=True))
        shown = "; ".join(f"{name}: {probe.detail}" for name, probe in named.items())
        hints = tuple(f"{name}: {hint}" for name, probe in named.items() for hint in probe.hints)
        return Probe(any(probe.ok for probe in probes), shown, hints)

    async def close(self) -> None:
        """Close every provider, and share what was seen last."""
        for channel in self._made.values():
            await channel.close()
        await self._watch.close()


def _kind(error: ChannelError) -> type[ChannelError]:
    return next(kind for kind in _FAULTS if isinstance(error, kind))
