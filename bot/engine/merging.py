"""Many calls of one script, made as one: a call costs both sides more than most steps do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bot.engine import library

if TYPE_CHECKING:
    from bot.engine.scripts import Call

# A script holds the server up: so many shares take it some milliseconds.
_MOST = 64


def merged(calls: Sequence[Call[Any]], *, apart: bool) -> list[tuple[Call[Any], list[int]]]:
    """The calls as they are made, each with the places of those it stands for.

    Calls of one script keep their order in a partition; they do not pass one of another script. `apart`: partitions may
    be on different servers, so each is called by itself; else those that are asked little share a call.
    """
    made: list[list[int]] = []
    open_: dict[tuple[str, int, int], list[int]] = {}
    script = ""
    for place, call in enumerate(calls):
        if call.script != script:
            script, open_ = call.script, {}
        kind = (call.keys[0], len(call.keys), len(call.args))
        places = open_.get(kind)
        if places is None or len(places) == _MOST or script not in library.MANY:
            places = open_[kind] = []
            made.append(places)
        places.append(place)
    if not apart:
        made = _shared(calls, made)
    return [(_joined([calls[i] for i in places]), places) for places in made]


def _shared(calls: Sequence[Call[Any]], made: Sequence[list[int]]) -> list[list[int]]:
    shared: list[list[int]] = []
    for places in made:
        call = calls[places[0]]
        last = shared[-1] if shared else []
        if (
            last
            and call.script in library.MANY
            and _shape(calls[last[0]]) == _shape(call)
            and len(last) + len(places) <= _MOST
        ):
            last.extend(places)
        else:
            shared.append(places)
    return shared


def _shape(call: Call[Any]) -> tuple[str, int, int]:
    return call.script, len(call.keys), len(call.args)


def _joined(calls: Sequence[Call[Any]]) -> Call[Any]:
    first = calls[0]
    if len(calls) == 1:
        return first
    keys = tuple([key for call in calls for key in call.keys])
    args = [arg for call in calls for arg in call.args]
    joined = (len(first.args), len(calls), *args)
    return type(first)(library.MANY[first.script], keys, joined, first.parse)


def each(merged: Sequence[tuple[Call[Any], list[int]]], replies: Sequence[Any]) -> list[Any]:
    """What the server said to each call that was asked for; an error is said to all that were made together."""
    answers: list[Any] = [None] * sum(len(places) for _, places in merged)
    for (_, places), reply in zip(merged, replies, strict=True):
        alike = len(places) == 1 or isinstance(reply, Exception)
        for place, answer in zip(places, [reply] * len(places) if alike else reply, strict=True):
            answers[place] = answer
    return answers
