"""Fitting a text into its SMS: what matters is always there, the rest as far as there is room.

Number and amount are never cut and never left out. Names and descriptions are shortened, links and extras
left out: a text that is too long is rendered with the least a template can do with, and gets back in the
order of `OPTIONS` what still fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bot.render.segments import cut, septets, to_gsm
from bot.render.variables import on_every_text

Render = Callable[[Mapping[str, Any]], str]
Ways = Callable[[str], Sequence[str]]

RUNS = re.compile(r"[ \t]{2,}")
GAP = re.compile(r"[ \t]+(?=[,.;:!?](?:\s|$))")
# What RUNS and GAP begin with: a text in the alphabet has no tabs, and looking for these is faster.
_GAPS = (" ,", " .", " ;", " :", " !", " ?")
MERCHANT_FLOOR = 11  # as long as a registered sender name
DATA_ROOM = 16


def whole(value: str) -> list[str]:
    """The one way to write a value that is there in full or not at all."""
    return [value]


def _up_to(room: int, value: str) -> list[str]:
    return [cut(value, room)]


def _fewer(separator: str, value: str) -> list[str]:
    items = value.split(separator)
    return [separator.join(items[:kept]) for kept in range(len(items), 0, -1)]


def _first_word(value: str) -> list[str]:
    return [cut(value.partition(" ")[0], 20)]


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A value that may give way. `ways` writes it, longest first; `floor`: it may also be cut to that many
    units.
    """

    path: tuple[str, ...]
    ways: Ways = whole
    floor: int | None = None


# In the order of worth: what comes first gets the room first. That an order number takes one payment is worth most
# of all: who pays a part closes the number. A receipt is none without its number, and says in a few words what for.
OPTIONS = (
    Option(("order",)),
    Option(("payment", "reference")),
    Option(("carried",)),
    Option(("credited",)),
    Option(("merchant",), partial(_up_to, 20)),
    Option(("payment", "reason"), floor=16),
    Option(("first_name",), _first_word),
    Option(("name",), _first_word),
    Option(("pay_url",)),
    Option(("how",), partial(_fewer, ", ")),
    Option(("description",), partial(_up_to, 18), floor=10),
    Option(("merchant",), floor=MERCHANT_FLOOR),
    Option(("description",), floor=18),
    Option(("name",), partial(_fewer, " ")),
    Option(("payment", "payer")),
    Option(("merchant_contact",)),
    Option(("out_url",)),
    Option(("link_url",)),
)


def fit(render: Render, values: Mapping[str, Any], room: int) -> str:
    """Render the best text of at most `room` units in the GSM alphabet.

    `render` turns values into text. The answer is longer than `room` when even the least does not fit.
    """
    full = on_every_text(values, to_gsm)
    text = tidy(render(full))
    if septets(text) <= room:
        return text
    now = _least(full)
    text = tidy(render(now))
    for option in OPTIONS:
        now, text = _grow(render, option, full, now, text, room)
    return text


def tidy(text: str) -> str:
    """A rendered SMS as it is sent: in the alphabet, without the blanks that left-out parts leave behind."""
    text = to_gsm(text.strip())
    if "  " in text:
        text = RUNS.sub(" ", text)
    if any([mark in text for mark in _GAPS]):
        text = GAP.sub("", text)
    return text.strip()


def _least(full: Mapping[str, Any]) -> dict[str, Any]:
    least = dict(full)
    for option in OPTIONS:
        least = _with(least, option.path, "")
    least["merchant"] = cut(full["merchant"], MERCHANT_FLOOR)
    least["how"] = full["how"].partition(", ")[0]
    least["data"] = {key: cut(value, DATA_ROOM) for key, value in full["data"].items()}
    return least


def _grow(
    render: Render, option: Option, full: Mapping[str, Any], now: dict[str, Any], text: str, room: int
) -> tuple[dict[str, Any], str]:
    """`now` with as much of one option as still fits, and its text."""
    value = _of(full, option.path)
    if not value:
        return now, text
    before = septets(_of(now, option.path))
    for candidate in candidates(option, value, before, before + room - septets(text)):
        trial = _with(now, option.path, candidate)
        longer = tidy(render(trial))
        if septets(longer) <= room:
            return trial, longer
    return now, text


def candidates(option: Option, value: str, before: int, limit: int) -> Iterator[str]:
    """Ways to write one value, longest first: more than the `before` units it has, at most `limit`."""
    for text in option.ways(value):
        if before < septets(text) <= limit:
            yield text
    if option.floor is not None:
        # The template's own words around a value are not known here: give way a few units at a time.
        for room in range(min(limit, septets(value) - 1), max(option.floor, before + 1) - 1, -3):
            yield cut(value, room)


def _of(values: Mapping[str, Any], path: tuple[str, ...]) -> str:
    for key in path:
        values = values[key]
    return str(values)


def _with(values: Mapping[str, Any], path: tuple[str, ...], value: str) -> dict[str, Any]:
    key, *rest = path
    return {**values, key: _with(values[key], tuple(rest), value) if rest else value}
