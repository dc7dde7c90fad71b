"""`fit` without trying: what a template writes around its values is learnt once, then texts are measured by sums.

A campaign's texts differ in their values alone. A template is rendered with a mark in place of every value, once for
each set of values that are empty (they decide its conditions); after that a candidate's length is the sum of its parts,
where `fit` renders some fifteen texts a message. What gives way to what is decided once for all messages whose values
measure the same. The text that is chosen this way is then rendered in earnest, and taken only if it is the one that was
foreseen. Any other template, one that changes or compares values, or whose values
the alphabet joins with what is around them, is left to `fit`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
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
    whole,
)

_FIRST_MARK = 0xE000  # private characters: no text in the GSM alphabet has them
_MARKS = re.compile("([\ue000-\ue0ff])")
_MOST_USED, _MOST_SHAPES = 256, 4096
Write = Callable[[str], str]


class _Shape:
    """What a template writes with one set of values present: its words, and between them places in `used`."""

    __slots__ = ("_parts", "_places", "_words")

    def __init__(self, marked: str) -> None:
        # Blanks are tidied as `tidy` does it, a mark standing for a value that begins and ends with a letter.
        known = "".join(part if _MARKS.match(part) else to_gsm(part) for part in _MARKS.split(marked))
        self._parts = _MARKS.split(GAP.sub("", RUNS.sub(" ", known)).strip())
        self._places = [ord(mark) - _FIRST_MARK for mark in self._parts[1::2]]
        self._words = sum(map(_width, self._parts[::2]))

    def width(self, widths: Sequence[int]) -> int:
        return self._words + sum([widths[place] for place in self._places])

    def text(self, values: Sequence[str]) -> str:
        written = self._parts.copy()
        written[1::2] = [values[place] for place in self._places]
        return "".join(written)


class Fitter:
    """Fits the texts of one template. `used` are the names it uses, such as `payment.amount`."""

    def __init__(self, render: Render, used: Iterable[str]) -> None:
        self._render = render
        self._paths = [tuple(name.split(".")) for name in sorted(used)]
        # Names of values that lie within no other, as in most templates.
        self._flat = (
            [path[0] for path in self._paths] if all(len(path) == 1 for path in self._paths) else None
        )
        place = {path: index for index, path in enumerate(self._paths)}
        self._options = [(place[option.path], option) for option in OPTIONS if option.path in place]
        self._optional = {index for index, _ in self._options}
        self._measures = [self._measure(index) for index in range(len(self._paths))]
        self._shapes: dict[tuple[int, str], _Shape] = {}
        self._decided: dict[tuple[Hashable, ...], tuple[list[Write], _Shape]] = {}

    def fit(self, values: Mapping[str, Any], room: int) -> str:
        """Exactly what `sms.fit` answers. Raises TemplateError."""
        try:
            text = self._foreseen(values, room) if len(self._paths) <= _MOST_USED else None
        except (KeyError, TypeError, TemplateError):  # `fit` says what is wrong, if anything is
            text = None
        return fit(self._render, values, room) if text is None else text

    def fits(self, values: Mapping[str, Any], room: int) -> bool:
        """Whether what `fit` answers has at most `room` units. Raises TemplateError."""
        try:
            full = self._full(values)
            least = [self._least(index, value) for index, value in enumerate(full)]
            text = tidy(self._render(self._nested(least, str(values.get("locale", "")))))
        except (KeyError, TypeError, TemplateError):
            text = None
        # `fit` adds to the least only what there is room for.
        return (text is not None and septets(text) <= room) or septets(self.fit(values, room)) <= room

    def _full(self, values: Mapping[str, Any]) -> list[str]:
        """Every value the template uses, in the alphabet. Raises KeyError and TypeError for what is no text."""
        if self._flat is not None:
            return [_written(values[name]) for name in self._flat]
        return [_written(_text(values, path)) for path in self._paths]

    def _foreseen(self, values: Mapping[str, Any], room: int) -> str | None:
        """The text, or None where it did not come out as foreseen."""
        full, locale = self._full(values), str(values.get("locale", ""))
        writes, shape = self._decide(full, locale, room)
        now = [write(value) for write, value in zip(writes, full, strict=True)]
        text = shape.text(now)
        return text if tidy(self._render(self._nested(now, locale))) == text else None

    def _measure(self, index: int) -> Callable[[str], Hashable]:
        """All that `_grown` goes by in a value: its width, or those of the ways to write it, or what it says."""
        options = tuple(option for place, option in self._options if place == index)
        if self._is_cut(index) or any(option.floor is not None for option in options):
            return str
        return partial(_measured, options) if any(option.ways is not whole for option in options) else _width

    def _decide(self, full: Sequence[str], locale: str, room: int) -> tuple[list[Write], _Shape]:
        """How each value is to be written, and what the template writes around them."""
        measured = [measure(value) for measure, value in zip(self._measures, full, strict=True)]
        key = (locale, room, *measured)
        found = self._decided.get(key)
        if found is None:
            if len(self._decided) >= _MOST_SHAPES:
                self._decided.clear()
            found = self._decided[key] = self._whole(full, locale, room) or self._grown(full, locale, room)
        return found

    def _whole(self, full: Sequence[str], locale: str, room: int) -> tuple[list[Write], _Shape] | None:
        """All of every value, if there is room for it."""
        shape = self._shape(_present(full), locale)
        return ([str] * len(full), shape) if shape.width([*map(_width, full)]) <= room else None

    def _grown(self, full: Sequence[str], locale: str, room: int) -> tuple[list[Write], _Shape]:
        """As `fit`: the least, and of each option as much as there is room for."""
        now = [self._least(index, value) for index, value in enumerate(full)]
        writes: list[Write] = [
            str if value == now[index] else partial(_always, now[index]) for index, value in enumerate(full)
        ]
        widths = [_width(value) for value in now]
        present = _present(now)
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
            for way, candidate in enumerate(ways):
                widths[index] = _width(candidate)
                if not before < widths[index] <= limit:
                    widths[index] = before
                    continue
                longer = trial.width(widths)
                if longer <= room:
                    width, shape, present = longer, trial, present | 1 << index
                    writes[index] = self._write(index, option, way, candidate)
                    break
                widths[index] = before
        return writes, shape

    def _write(self, index: int, option: Option, way: int, text: str) -> Write:
        """What makes `text`, the value's `way` of an option, and its like of others that measure the same."""
        if self._measures[index] is str:
            return partial(_always, text)
        return str if option.ways is whole else partial(_way, option, way)

    def _is_cut(self, index: int) -> bool:
        """Whether even the least of a text has a part of this value."""
        return self._paths[index][0] in ("merchant", "how", "data")

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
        if self._flat is not None:
            return {**dict(zip(self._flat, values, strict=True)), "locale": locale}
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


def _present(values: Sequence[str]) -> int:
    """Which of the values there are, a bit each."""
    return sum([1 << index for index, value in enumerate(values) if value])


def _measured(options: Sequence[Option], value: str) -> tuple[int, ...]:
    return tuple([_width(text) for option in options for text in _ways(option, value)])


def _always(text: str, _: str) -> str:
    return text


def _way(option: Option, way: int, value: str) -> str:
    return _ways(option, value)[way]


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
