"""What follows from the seed alone: who is billed how, who pays when, and which process is struck when.

Times are seconds from the start of the storm. When exactly a strike meets a message depends on the machine; whom it
strikes and when does not.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

CHANNELS = ("sms", "whatsapp", "email", "telegram")
# Each process by name: roles, and channels of a worker. Telegram's client takes seconds to load, so some do without.
PROCESSES: Mapping[str, tuple[str, str | None]] = {
    "worker-1": ("worker", "sms,whatsapp,email"),
    "worker-2": ("worker", "sms,whatsapp,email"),
    "worker-3": ("worker", "telegram,email"),
    "worker-4": ("worker", "telegram,sms"),
    "scheduler-1": ("scheduler", None),
    "scheduler-2": ("scheduler", None),
    "intake-1": ("intake", None),
    "intake-2": ("intake", None),
    "api": ("api", None),
    "staff": ("staff", None),
}
# How often each is struck, relative to the others; a worker's death is what decides about a message.
_KILLED = {"worker": 12, "scheduler": 8, "intake": 7, "api": 12, "staff": 4}
_FROZEN = {"worker": 12, "scheduler": 3, "intake": 2, "api": 4, "staff": 1}
_FREEZE_S = (2.5, 9.0)
# From the moment a bill is fed: the first reminder, the due time, and the reminders after it.
_REMIND_S, _DUE_S, _AFTER_S = 30.0, 60.0, (1.0, 25.0)
_PATIENCE_S = (5.0, 95.0)


Kind = Literal["order", "customer"]
StoreName = Literal["single", "sentinel", "cluster"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; times in seconds. Bills are fed evenly over `feed_s`, strikes end with `storm_s`, all
    must rest `calm_s` later. `doubt_s` is how long tuma asks about a message in doubt; `tempo` shortens the time
    between reminders and until customers pay. On a `store` that fails over, an outage ends with its replica promoted;
    `migrations` are slots that move. `guarded`: its servers refuse writes while they have no replica.
    """

    shares: int
    kills: int
    freezes: int
    outages: int
    feed_s: float
    storm_s: float
    calm_s: float
    doubt_s: float
    tempo: float = 1.0
    store: StoreName = "single"
    migrations: int = 0
    guarded: bool = True


FULL = Scale(shares=5000, kills=100, freezes=20, outages=5, feed_s=422, storm_s=505, calm_s=300, doubt_s=15)
QUICK = Scale(
    shares=60, kills=8, freezes=2, outages=1, feed_s=5, storm_s=17, calm_s=100, doubt_s=6, tempo=0.18
)
SENTINEL = Scale(
    shares=350,
    kills=16,
    freezes=4,
    outages=4,
    feed_s=70,
    storm_s=100,
    calm_s=200,
    doubt_s=8,
    tempo=0.5,
    store="sentinel",
)
CLUSTER = replace(SENTINEL, store="cluster", migrations=8)

Act = Literal["pay", "halves", "part", "fail", "none"]


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer and their one bill. `act`: what they do about it, `patience_s` after the bill was fed."""

    index: int
    number: str
    kind: Kind
    amount: int
    phone: str
    email: str
    chat: int
    fed_at_s: float
    mode: Literal["all", "first"]
    channels: tuple[str, ...]
    by_http: bool
    bulk: bool
    act: Act
    patience_s: float
    doubles: int

    @property
    def share(self) -> str:
        """The producer's id of the share."""
        return f"chaos-{self.index:05d}"


@dataclass(frozen=True, slots=True)
class Strike:
    """Something that happens to a process, or to the server (outage, migrate). `lasts_s`: a freeze, an outage."""

    at_s: float
    what: Literal["kill", "freeze", "outage", "migrate"]
    whom: str
    lasts_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before the start."""

    seed: int
    scale: Scale
    customers: Sequence[Customer]
    strikes: Sequence[Strike]


def plan(seed: int, scale: Scale) -> Plan:
    """The plan of one run."""
    customers = [_customer(seed, scale, index) for index in range(scale.shares)]
    return Plan(seed, scale, customers, _strikes(random.Random(f"{seed}:strikes"), scale))


def _customer(seed: int, scale: Scale, index: int) -> Customer:
    dice = random.Random(f"{seed}:customer:{index}")
    every = dice.random() < 0.62
    kind: Kind = dice.choice(("order", "customer"))
    return Customer(
        index=index,
        number=f"55{dice.randrange(10**5):05d}{index:07d}",
        kind=kind,
        amount=dice.randrange(5, 900) * 1000,
        phone=f"+255754{index:06d}",
        email=f"mteja{index}@example.com",
        chat=800_000_000 + index,
        fed_at_s=scale.feed_s * index / scale.shares,
        mode="all" if every else "first",
        channels=tuple(dice.sample(CHANNELS, 4 if every else dice.randint(2, 4))),
        by_http=dice.random() < 0.5,
        bulk=dice.random() < 0.5,
        act=dice.choices(_ACTS[kind], _ODDS)[0],
        patience_s=dice.uniform(*_PATIENCE_S) * scale.tempo,
        doubles=dice.choices((0, 1, 3), (5, 3, 2))[0],
    )


_ODDS = (60, 10, 8, 22)
_ACTS: Mapping[str, tuple[Act, ...]] = {
    "order": ("pay", "part", "fail", "none"),
    "customer": ("pay", "halves", "fail", "none"),
}


def _strikes(dice: random.Random, scale: Scale) -> list[Strike]:
    window = (3.0, scale.storm_s)
    kills = _spread(dice, _KILLED, scale.kills)
    freezes = _spread(dice, _FROZEN, scale.freezes)
    strikes = [Strike(dice.uniform(*window), "kill", whom) for whom in kills]
    strikes += [Strike(dice.uniform(*window), "freeze", whom, dice.uniform(*_FREEZE_S)) for whom in freezes]
    strikes += [
        Strike(dice.uniform(*window), "outage", "server", dice.uniform(0.2, 2.0))
        for _ in range(scale.outages)
    ]
    strikes += [Strike(dice.uniform(*window), "migrate", "server") for _ in range(scale.migrations)]
    return sorted(strikes, key=lambda strike: strike.at_s)


def _spread(dice: random.Random, weights: Mapping[str, int], count: int) -> list[str]:
    """Whom to strike: every role at least once where the count allows it, the rest by weight."""
    names = list(PROCESSES)
    roles = {role: [name for name in names if PROCESSES[name][0] == role] for role in weights}
    sure = [dice.choice(found) for found in roles.values()][:count]
    odds = [weights[PROCESSES[name][0]] for name in names]
    return sure + dice.choices(names, odds, k=count - len(sure))


def job(customer: Customer, tempo: float, began: datetime) -> dict[str, Any]:
    """The customer's share job, the same text however often it is told."""
    due = began + timedelta(seconds=customer.fed_at_s + _DUE_S * tempo)
    reminders = {
        "before_due": [_seconds((_DUE_S - _REMIND_S) * tempo)],
        "after_due": [_seconds(after * tempo) for after in _AFTER_S],
    }
    return {
        "id": customer.share,
        "bill": {
            "number": customer.number,
            "kind": customer.kind,
            "amount": str(customer.amount),
            "due_at": due.isoformat(),
        },
        "customer": {
            "name": f"Mteja {customer.index}",
            "phone": customer.phone,
            "email": customer.email,
            "telegram": str(customer.chat),
            "locale": "sw" if customer.index % 3 else "en",
        },
        "route": {"mode": customer.mode, "channels": list(customer.channels), "confirm_within": "PT12S"},
        "reminders": reminders,
        "lane": "bulk" if customer.bulk else "urgent",
    }


def _seconds(value: float) -> str:
    return f"PT{value:.3f}S"
