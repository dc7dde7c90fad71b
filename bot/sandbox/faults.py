"""What goes wrong at each provider: one place decides, each server words it in its own protocol.

Three ways to ask for trouble, and the first that applies decides: a *mode* for a whole provider (slow, failing,
throttling), a fault *on demand* for the next few requests, and faults by *rate*. The last two may name one contact;
a contact's own rates then replace the provider's at the same point.

Promises that a run can be repeated: whether the n-th request at one point about one contact is met by a fault
follows from the seed alone, whatever happens to other contacts in between.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bot.sandbox.fault_kinds import KINDS, PROVIDERS, Kind, Point, kind_of
from bot.sandbox.profiles import TIMES, Profile

_WHATSAPP = "whatsapp:"


class Mode(StrEnum):
    """What a provider does with every request.

    `slow` answers after `Faults.slow_s`; `failing` answers with its protocol's server error and takes nothing;
    `throttling` says too many, with the time to wait, and takes nothing.
    """

    OK = "ok"
    SLOW = "slow"
    FAILING = "failing"
    THROTTLING = "throttling"


_HTTP_MODES = {
    Mode.SLOW: {Point.SEND: "slow", Point.QUERY: "query-slow"},
    Mode.FAILING: {Point.SEND: "error-before", Point.QUERY: "query-error"},
    Mode.THROTTLING: {Point.SEND: "throttle", Point.QUERY: "query-throttle"},
}
_SMTP_MODES = {
    Mode.SLOW: {Point.DOT: "slow"},
    Mode.FAILING: {Point.MAIL: "mail-4xx"},
    Mode.THROTTLING: {Point.RCPT: "rcpt-4xx"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One fault that was asked for: by `rate` (0 to 1), for the `left` next requests. `met`: how many met it."""

    provider: str
    kind: str
    contact: str | None = None
    rate: float = 0.0
    left: int = 0
    met: int = 0


@dataclass(slots=True)
class _Wanted:
    """What was asked for one provider, or for one contact there."""

    rates: dict[str, float] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)


class Faults:
    """The faults of all providers.

    Units: `slow_s` until a slow answer, `retry_after_s` what a 429 asks for, `late_s` until a late webhook,
    `silence_s` until a connection that is never answered is closed after all. `seed` is drawn if not given.
    """

    def __init__(
        self,
        *,
        slow_s: float = 3.0,
        retry_after_s: int = 1,
        late_s: float = 5.0,
        silence_s: float = 120.0,
        seed: int | None = None,
    ) -> None:
        self.slow_s, self.retry_after_s = slow_s, retry_after_s
        self.late_s, self.silence_s = late_s, silence_s
        self.seed = secrets.randbelow(10**6) if seed is None else seed
        self._times = {name: getattr(self, name) for name in TIMES}
        self.on_change: Callable[[], None] = lambda: None
        self.met: Counter[tuple[str, str, str | None]] = Counter()
        self._used: Profile | None = None
        self._modes = dict.fromkeys(PROVIDERS, Mode.OK)
        self._wanted: defaultdict[tuple[str, str | None], _Wanted] = defaultdict(_Wanted)
        self._drawn: Counter[tuple[str, Point, str | None]] = Counter()

    # Asking for trouble

    def set(self, provider: str, mode: Mode | str) -> None:
        """Put `provider` into `mode`. Raises ValueError for a name that is neither."""
        if provider not in self._modes:
            raise ValueError(f"unknown provider: expected one of {', '.join(PROVIDERS)}")
        self._modes[provider] = Mode(mode)
        self.on_change()

    def rate(self, provider: str, kind: str, rate: float, contact: str | None = None) -> None:
        """Let this share of requests (0 to 1; 0: none any more) meet a fault. Raises ValueError."""
        point = kind_of(provider, kind).point
        if not 0 <= rate <= 1:
            raise ValueError("a rate is a number from 0 to 1, such as 0.05")
        wanted = self._wanted[provider, _named(contact)]
        others = sum(each for name, each in _at(provider, wanted.rates, point) if name != kind)
        if others + rate > 1 + 1e-9:
            raise ValueError(f"the rates of {provider} at {point} add up to more than 1")
        if rate:
            wanted.rates[kind] = float(rate)
        else:
            wanted.rates.pop(kind, None)
        self.on_change()

    def next(self, provider: str, kind: str, count: int = 1, contact: str | None = None) -> None:
        """Let the next `count` requests meet a fault, before any rate; 0: none any more. Raises ValueError."""
        kind_of(provider, kind)
        if count < 0:
            raise ValueError("a count is a whole number, such as 1")
        self._wanted[provider, _named(contact)].left[kind] = count
        self.on_change()

    def use(self, profile: Profile) -> None:
        """From now on exactly what `profile` says, and nothing that was asked for before. Raises ValueError."""
        self.clear()
        for provider, rates in profile.rates.items():
            for kind, rate in rates.items():
                self.rate(provider, kind, rate)
        self._used = profile
        for name, value in profile.times.items():
            setattr(self, name, value)
        self.on_change()

    def clear(self) -> None:
        """Everything works again, and takes as long as at first."""
        self._modes = dict.fromkeys(PROVIDERS, Mode.OK)
        self._wanted.clear()
        for name, value in self._times.items():
            setattr(self, name, value)
        self.on_change()

    def reseed(self, seed: int) -> None:
        """Begin again from `seed`: the same requests then meet the same faults."""
        self.seed = seed
        self._drawn.clear()
        self.on_change()

    # Looking

    @property
    def profile(self) -> str:
        """The name of the profile in use; `calm` for no rates at all, `custom` for rates of somebody's own."""
        rates = {about: wanted.rates for about, wanted in self._wanted.items() if wanted.rates}
        if not rates:
            return "calm"
        used = self._used.rates if self._used else {}
        same = rates == {(provider, None): dict(kinds) for provider, kinds in used.items() if kinds}
        return self._used.name if self._used and same else "custom"

    def modes(self) -> dict[str, str]:
        """The mode of every provider."""
        return {provider: mode.value for provider, mode in self._modes.items()}

    def rates(self) -> dict[str, dict[str, float]]:
        """The rates of whole providers, without those of single contacts."""
        found = {provider: self._wanted.get((provider, None), _Wanted()).rates for provider in PROVIDERS}
        return {provider: dict(rates) for provider, rates in found.items() if rates}

    def plans(self) -> list[Plan]:
        """What is asked for and what was met, by provider and kind."""
        keys = {
            (provider, contact, kind)
            for (provider, contact), wanted in self._wanted.items()
            for kind in (*wanted.rates, *(name for name, left in wanted.left.items() if left))
        } | {(provider, contact, kind) for provider, kind, contact in self.met}
        return [self._plan(*key) for key in sorted(keys, key=_order)]

    def _plan(self, provider: str, contact: str | None, kind: str) -> Plan:
        wanted = self._wanted.get((provider, contact), _Wanted())
        return Plan(
            provider=provider,
            kind=kind,
            contact=contact,
            rate=wanted.rates.get(kind, 0.0),
            left=wanted.left[kind],
            met=self.met[provider, kind, contact],
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """How many requests met each fault, whoever they were about."""
        totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for (provider, kind, _), count in sorted(self.met.items(), key=lambda item: item[0][:2]):
            totals[provider][kind] += count
        return {provider: dict(kinds) for provider, kinds in totals.items()}

    # Deciding

    def draw(self, provider: str, point: Point, contact: str | None = None) -> Kind | None:
        """The fault that one request meets, None if it goes well. Ask once per request and point."""
        mode = self._modes[provider]
        if mode is not Mode.OK:
            name = (_SMTP_MODES if provider == "smtp" else _HTTP_MODES)[mode].get(point)
            return KINDS[provider][name] if name else None
        contact = _named(contact)
        levels = [(about, self._wanted[provider, about]) for about in self._levels(provider, contact)]
        return self._due(provider, point, levels) or self._chanced(provider, point, contact, levels)

    def _levels(self, provider: str, contact: str | None) -> Iterator[str | None]:
        """Whose plans apply, the nearest first: the contact's, and everybody's."""
        for name in dict.fromkeys((contact, contact and contact.removeprefix(_WHATSAPP), None)):
            if (provider, name) in self._wanted:
                yield name

    def _due(self, provider: str, point: Point, levels: Iterable[tuple[str | None, _Wanted]]) -> Kind | None:
        for about, wanted in levels:
            for name, left in wanted.left.items():
                kind = KINDS[provider][name]
                if left and kind.point is point:
                    wanted.left[name] -= 1
                    return self._note(provider, kind, about)
        return None

    def _chanced(
        self, provider: str, point: Point, contact: str | None, levels: Iterable[tuple[str | None, _Wanted]]
    ) -> Kind | None:
        for about, wanted in levels:
            rates = list(_at(provider, wanted.rates, point))
            if rates:
                chance = self._chance(provider, point, contact)
                for name, rate in rates:
                    if chance < rate:
                        return self._note(provider, KINDS[provider][name], about)
                    chance -= rate
                return None
        return None

    def _chance(self, provider: str, point: Point, contact: str | None) -> float:
        """A number from 0 to 1 that follows from the seed and from how many came before."""
        self._drawn[provider, point, contact] += 1
        nth = self._drawn[provider, point, contact]
        text = f"{self.seed}|{provider}|{point}|{contact or ''}|{nth}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64

    def _note(self, provider: str, kind: Kind, about: str | None) -> Kind:
        self.met[provider, kind.name, about] += 1
        self.on_change()
        return kind


def _named(contact: str | None) -> str | None:
    """Nobody in particular is None; case tells nobody apart."""
    return (contact or "").strip().lower() or None


def _at(provider: str, rates: Mapping[str, float], point: Point) -> Iterator[tuple[str, float]]:
    return ((name, rate) for name, rate in rates.items() if KINDS[provider][name].point is point)


def _order(key: tuple[str, str | None, str]) -> tuple[int, str, int]:
    provider, contact, kind = key
    return PROVIDERS.index(provider), contact or "", list(KINDS[provider]).index(kind)
