"""How faults and silence lower a provider's part, and how time gives it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.sms_health import SLOW_AFTER_MIN, WORST, Seen, Watch, health, shares

PAST = SLOW_AFTER_MIN


def seen(**counts: int) -> dict[str, int]:
    """The counts of one minute of provider a."""
    return {f"a:{name}": count for name, count in counts.items()}


def ago(minutes: int, **counts: int) -> list[dict[str, int]]:
    return [*({} for _ in range(minutes)), seen(**counts)]


def score(by_age: Sequence[Mapping[str, int]], *, receipts: bool = True) -> float:
    return health("a", by_age, receipts=receipts)


def test_a_provider_of_whom_nothing_is_known_is_well() -> None:
    assert score([]) == 1


def test_a_provider_that_takes_everything_and_tells_so_is_well() -> None:
    assert score(ago(PAST, accepted=100, arrived=95)) == 1


def test_one_fault_among_many_messages_changes_nothing() -> None:
    assert score([seen(accepted=100, fault=2)]) == 1


def test_more_faults_lower_it_more() -> None:
    scores = [score([seen(accepted=100, fault=faults)]) for faults in (0, 20, 100, 1000)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.1


def test_one_fault_alone_is_no_outage() -> None:
    assert 0.5 < score([seen(fault=1)]) < 1


def test_faults_are_forgiven_with_time() -> None:
    scores = [score(ago(minutes, fault=50)) for minutes in (0, 5, 10, 19)]
    assert scores == sorted(scores)
    assert scores[0] < 0.1
    assert scores[-1] > 0.7


def test_messages_that_nobody_hears_of_lower_it() -> None:
    assert score(ago(PAST, accepted=100, arrived=10)) < 0.3
    assert score(ago(PAST, accepted=100)) < 0.1


def test_some_handsets_are_always_off() -> None:
    assert score(ago(PAST, accepted=100, arrived=72)) == 1


def test_a_message_of_a_moment_ago_is_not_late() -> None:
    assert score(ago(PAST - 1, accepted=100)) == 1


def test_where_no_receipts_are_expected_silence_means_nothing() -> None:
    assert score(ago(PAST, accepted=100), receipts=False) == 1


def test_late_receipts_mend_it() -> None:
    before, after = score(ago(PAST + 2, accepted=100)), score(ago(PAST + 2, accepted=100, arrived=100))
    assert (before < 0.3, after) == (True, 1)


def test_nobody_is_given_up() -> None:
    assert score([seen(fault=10**6)]) == WORST


def test_healthy_providers_share_by_weight() -> None:
    assert shares({"a": 3, "b": 1}, {"a": 1, "b": 1}) == {"a": 0.75, "b": 0.25}


def test_a_standby_gets_nothing_while_the_first_is_well() -> None:
    assert shares({"a": 1, "b": 0}, {"a": 1, "b": 1}) == {"a": 1, "b": 0}


def test_a_standby_gets_what_the_first_loses() -> None:
    assert shares({"a": 1, "b": 0}, {"a": 0.1, "b": 1}) == pytest.approx({"a": 0.1, "b": 0.9})


def test_standbys_step_in_in_their_order() -> None:
    parts = shares({"a": 1, "b": 0, "c": 0}, {"a": 0.01, "b": 1, "c": 1})
    assert (parts["b"], parts["c"]) == pytest.approx((0.99, 0))
    parts = shares({"a": 1, "b": 0, "c": 0}, {"a": 0.01, "b": 0.01, "c": 1})
    assert parts["c"] > 0.9


def test_without_a_standby_the_others_take_over() -> None:
    parts = shares({"a": 1, "b": 1}, {"a": 0.01, "b": 1})
    assert parts["b"] > 0.98


names = st.sampled_from("abcd")
weighted = st.dictionaries(names, st.integers(0, 100), min_size=1).filter(lambda each: any(each.values()))


@given(weighted, st.lists(st.floats(WORST, 1), min_size=4, max_size=4))
def test_the_parts_add_up_to_all_messages(weights: dict[str, int], healths: list[float]) -> None:
    parts = shares(weights, dict(zip("abcd", healths, strict=True)))
    assert sum(parts.values()) == pytest.approx(1)
    assert all(part >= 0 for part in parts.values())
    assert all(parts[name] > 0 for name, weight in weights.items() if weight)


@dataclass
class Board:
    """A board in memory; `away` cannot be reached, `mute` takes counts and gives none."""

    minutes: dict[int, Counter[str]] = field(default_factory=dict)
    away: bool = False
    mute: bool = False

    async def add(self, minute: int, counts: Mapping[str, int]) -> None:
        if self.away:
            raise OSError("gone")
        self.minutes.setdefault(minute, Counter()).update(counts)

    async def read(self, minutes: Sequence[int]) -> list[Mapping[str, int]]:
        if self.mute:
            raise OSError("gone")
        return [self.minutes.get(minute, {}) for minute in minutes]


@dataclass
class Clock:
    now: float = 6_000_000.0

    def __call__(self) -> float:
        return self.now


def watch(board: Any = None, clock: Clock | None = None) -> Watch:
    return Watch(board, clock or Clock())


async def test_what_one_process_saw_another_one_knows() -> None:
    board = Board()
    one, other = watch(board), watch(board)
    one.note("a", Seen.FAULT, 50)
    await one.refresh()
    assert other.health("a", receipts=True) == 1
    await other.refresh()
    assert one.health("a", receipts=True) == other.health("a", receipts=True) < 0.1


async def test_a_process_knows_at_once_what_it_saw_itself() -> None:
    alone = watch()
    alone.note("a", Seen.FAULT, 50)
    assert alone.health("a", receipts=True) < 0.1
    assert alone.health("b", receipts=True) == 1


async def test_nothing_is_told_twice() -> None:
    board = Board()
    one = watch(board)
    one.note("a", Seen.ACCEPTED)
    for _ in range(3):
        await one.refresh()
    assert board.minutes == {100_000: Counter({"a:accepted": 1})}


async def test_a_board_that_is_away_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(away=True)
    one = watch(board)
    one.note("a", Seen.FAULT, 50)
    await one.refresh()
    assert one.health("a", receipts=True) < 0.1
    assert "not shared for now: OSError" in caplog.text
    board.away = False
    await one.refresh()
    assert board.minutes == {100_000: Counter({"a:fault": 50})}


async def test_what_a_board_took_before_it_went_away_is_not_told_again() -> None:
    board = Board(mute=True)
    one = watch(board)
    one.note("a", Seen.FAULT, 50)
    await one.refresh()
    board.mute = False
    await one.refresh()
    assert board.minutes == {100_000: Counter({"a:fault": 50})}


async def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    alone = watch(None, clock)
    alone.note("a", Seen.FAULT, 50)
    clock.now += 3600
    await alone.refresh()
    assert alone._own == {}


async def test_closing_tells_the_rest() -> None:
    board = Board()
    one = watch(board)
    one.refresh_soon()
    one.note("a", Seen.ACCEPTED, 3)
    await one.close()
    assert board.minutes[100_000]["a:accepted"] == 3
