"""Named kinds of weather: which faults come how often, read from `profiles.toml` or from a file of one's own.

    [bad-day]
    about = "what a bad day looks like"
    slow_s = 1.0                     # optional: slow_s, retry_after_s, late_s, silence_s
    [bad-day.twilio]
    timeout-after = 0.02             # of the requests that it can strike

Rates are shares of the requests at the fault's point, 0 to 1.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.sandbox.fault_kinds import PROVIDERS, Point, kind_of

SHIPPED = Path(__file__).with_name("profiles.toml")
TIMES = ("slow_s", "retry_after_s", "late_s", "silence_s")


@dataclass(frozen=True, slots=True)
class Profile:
    """Rates by provider and kind. `times` are seconds, see `Faults`."""

    name: str
    about: str = ""
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)


@functools.cache
def profiles() -> Mapping[str, Profile]:
    """The shipped profiles by name, in the order of the file."""
    return read(SHIPPED)


def find(name: str) -> Profile:
    """The shipped profile called `name`, or the first of the file that `name` is the path of. Raises ValueError."""
    if name in profiles():
        return profiles()[name]
    if name.endswith(".toml"):
        return next(iter(read(Path(name)).values()))
    raise ValueError(f"unknown profile {name!r}: expected one of {', '.join(profiles())}, or a .toml file")


def read(path: Path) -> Mapping[str, Profile]:
    """The profiles of a file. Raises ValueError that says what is wrong with it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    found = {name: _profile(path, name, table) for name, table in tables.items()}
    if not found:
        raise ValueError(f"{path}: has no profile, such as [bad-day]")
    return found


def _profile(path: Path, name: str, table: Any) -> Profile:
    if not isinstance(table, dict):
        raise ValueError(f"{path}: {name} is not a table, such as [bad-day]")
    try:
        rates = {provider: _rates(provider, table[provider]) for provider in PROVIDERS if provider in table}
        times = {key: _number(key, table[key]) for key in TIMES if key in table}
        unknown = table.keys() - {"about", *PROVIDERS, *TIMES}
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    except ValueError as error:
        raise ValueError(f"{path}: [{name}]: {error}") from error
    return Profile(name, str(table.get("about", "")), rates, times)


def _rates(provider: str, table: Any) -> Mapping[str, float]:
    if not isinstance(table, dict):
        raise ValueError(f"{provider} is not a table of rates")
    rates = {kind: _number(kind, rate) for kind, rate in table.items()}
    sums: dict[Point, float] = {}
    for kind, rate in rates.items():
        point = kind_of(provider, kind).point
        sums[point] = sums.get(point, 0.0) + rate
        if sums[point] > 1:
            raise ValueError(f"the rates of {provider} at {point} add up to more than 1")
    return rates


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} must be a number that is not negative")
    return value
