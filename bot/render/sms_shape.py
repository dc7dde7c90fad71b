"""`fit` without trying: what a template writes around its values is learnt once, then texts are measured by sums.

A campaign's texts differ in their values alone. A template is rendered with a mark in place of every value, once for
each set of values that are empty (they decide its conditions); after that a candidate's length is the sum of its parts,
where `fit` renders some fifteen texts a message. The text that is chosen this way is then rendered in earnest, and
taken only if it is the one that was foreseen. Any other template, one that changes or compares values, or whose values
the alphabet joins with what is around them, is left to `fit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from bot.errors import TemplateError
from bot.render.segments import cut, septets, to_gsm
from bot.render.sms import (
    DATA_ROOM,
    GAP,
    MERCHANT_FLOOR,
    OPTIONS,
    RUNS,
    Option,
    Render,
    candidates,
    fit,
    tidy,
)

_FIRST_MARK = 0xE000  # private characters: no text in the GSM alphabet has them
_MARKS = re.compile("([\ue000-\ue0ff])")
_MOST_USED, _MOST_SHAPES = 256, 4096


class _Shape:
    """What a template writes with one set of values present: its words, and between them places in `used`."""

    __slots__ = ("_parts", "_places", "_words")

    def __init__(self, marked: str) -> None:
        # Blanks are tidied as `tidy` does it, a mark standing for a value that begins and ends with a letter.
        known = "".join(part if _MARKS.match(part) else to_gsm(part) for part in _MARKS.split(marked))
        parts = _MARKS.split(GAP.sub("", RUNS.sub(" ", known)).strip())
        self._parts = parts[::2]
        self._places = [ord(mark) - _FIRST_MARK for mark in parts[1::2]]
        self._words = sum(map(_width, self._parts))

    def width(self, widths: Sequence[int]) -> int:
        return self._words + sum([widths[place] for place in self._places])

    def text(self, values: Sequence[str]) -> str:
        written = [self._parts[0]]
        for place, part in zip(self._places, self._parts[1:], strict=True):
            written += values[place], part
        return "".join(written)


class Fitter:
    """Fits the texts of one template. `used` are the names it uses, such as `payment.amount`."""

    def __init__(self, render: Render, used: Iterable[str]) -> None:
        self._render = render
        self._paths = [tuple(name.split(".")) for name in sorted(used)]
        place = {path: index for index, path in enumerate(self._paths)}
        self._options = [(place[option.path], option) for option in OPTIONS if option.path in place]
        self._optional = {index for index, _ in self._options}
        self._shapes: dict[tuple[int, str], _Shape] = {}

    def fit(self, values: Mapping[str, Any], room: int) -> str:
        """Exactly what `sms.fit` answers. Raises TemplateError."""
        try:
            text = self._foreseen(values, room) if len(self._paths) <= _MOST_USED else None
        except (KeyError, TypeError, TemplateError):  # `fit` says what is wrong, if anything is
            text = None
        return fit(self._render, values, room) if text is None else text

    def _foreseen(self, values: Mapping[str, Any], room: int) -> str | None:
        """The text, or None where it did not come out as foreseen."""
        full = [_written(_text(values, path)) for path in self._paths]
        now, locale = full, str(values.get("locale", ""))
        present = sum([1 << index for index, value in enumerate(full) if value])
        shape = self._shape(present, locale)
        if shape.width([_width(value) for value in full]) > room:
            now, shape = self._grown(full, locale, room)
        text = shape.text(now)
        return text if tidy(self._render(self._nested(now, locale))) == text else None

    def _grown(self, full: Sequence[str], locale: str, room: int) -> tuple[list[str], _Shape]:
        """As `fit`: the least, and of each option as much as there is room for."""
        now = [self._least(index, value) for index, value in enumerate(full)]
        widths = [_width(value) for value in now]
        present = sum([1 << index for index, value in enumerate(now) if value])
        shape = self._shape(present, locale)
        width = shape.width(widths)
        for index, option in self._options:
            value, before = full[index], widths[index]
            if not value:
                continue
            limit = before + room - width
            if limit <= before:
                continue
            trial = self._shape(present | 1 << index, locale)
            ways = _ways(option, value) if option.floor is None else candidates(option, value, before, limit)
            for candidate in ways:
                widths[index] = _width(candidate)
                if not before < widths[index] <= limit:
                    widths[index] = before
                    continue
                longer = trial.width(widths)
                if longer <= room:
                    now[index], width, shape, present = candidate, longer, trial, present | 1 << index
                    break
                widths[index] = before
        return now, shape

    def _least(self, index: int, value: str) -> str:
        path = self._paths[index]
        if path == ("merchant",):
            return _short_merchant(value)
        if path == ("how",):
            return value.partition(", ")[0]
        if path[0] == "data":
            return cut(value, DATA_ROOM)
        return "" if index in self._optional else value

    def _shape(self, present: int, locale: str) -> _Shape:
        found = self._shapes.get((present, locale))
        if found is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            marks = [chr(_FIRST_MARK + i) if present >> i & 1 else "" for i in range(len(self._paths))]
            found = self._shapes[present, locale] = _Shape(self._render(self._nested(marks, locale)))
        return found

    def _nested(self, values: Sequence[str], locale: str) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for path, value in zip(self._paths, values, strict=True):
            within = nested
            for key in path[:-1]:
                within = within.setdefault(key, {})
            within[path[-1]] = value
        return nested | {"locale": locale}


# Most values of a campaign are the same in every message.
_width = lru_cache(maxsize=4096)(septets)
_written = lru_cache(maxsize=4096)(to_gsm)


@lru_cache(maxsize=1024)
def _ways(option: Option, value: str) -> tuple[str, ...]:
    """Ways to write a value; what the merchant says is the same in every message."""
    return tuple(option.ways(value))


@lru_cache(maxsize=64)
def _short_merchant(name: str) -> str:
    return cut(name, MERCHANT_FLOOR)


def _text(values: Mapping[str, Any], path: Sequence[str]) -> str:
    found: Any = values
    for key in path:
        found = found[key]
    if not isinstance(found, str):
        raise TypeError
    return found
