"""Every shape error of a JSON value at once, where a msgspec decoder stops at the first.

A form is a msgspec Struct that forbids unknown fields and has a default for every field. `read` fills it from
what can be used and lists a problem for everything that cannot: unknown fields, wrong types, words outside an
enumeration. It is slower than the decoder and meant for input that the decoder has refused already.

`expected` of a problem is the first example of the field (msgspec.Meta), or the words it allows.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from enum import EnumMeta
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from bot.domain.contact import MASK, mask
from bot.errors import Problem

Form = TypeVar("Form", bound=msgspec.Struct)

_PRIVATE = frozenset({"name", "phone", "email", "telegram", "callback_url"})
_KINDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number with decimals",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    dict: "an object",
}


def read(value: Any, form: type[Form]) -> tuple[Form, list[Problem]]:
    """Fill `form` from the decoded JSON `value`; give it back with everything that was wrong."""
    problems: list[Problem] = []
    found = _struct(value, form, "", problems)
    return found if isinstance(found, form) else form(), problems


def repeated(raw: bytes | str) -> Problem | None:
    """The first name that stands twice in one object of the JSON text: decoders would silently take the last.

    None also for what is no JSON; the decoder says what is wrong with it.
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
        _ONCE.decode(text)
    except _Twice as error:
        expected = "each name once in an object"
        return Problem(field=str(error)[:60], message="stands twice in one object", expected=expected)
    except (ValueError, RecursionError):
        return None
    return None


class _Twice(Exception):
    """The name that stands twice."""


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) != len(dict(pairs)):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))


_ONCE = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str)


def shown(path: str, value: Any) -> str | None:
    """What was given, fit for an answer or a log: personal values masked, `data` and containers left out."""
    if isinstance(value, dict | list) or value is None or path.startswith("data"):
        return None
    text = str(value)
    leaf = path.rpartition(".")[2]
    if leaf == "callback_url":
        return MASK
    if leaf in _PRIVATE:
        return mask(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _struct(value: Any, form: type[msgspec.Struct], path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        return _wrong(value, path or "$", "an object", problems)
    types = _types(form)
    found = {}
    for key, item in value.items():
        place = f"{path}.{key}" if path else str(key)
        if key in types:
            found[key] = _value(item, types[key], place, problems)
        else:
            problems.append(_unknown(place, key, types))
    return form(**found)


@cache
def _types(form: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(form, include_extras=True)


def _unknown(place: str, key: str, types: dict[str, Any]) -> Problem:
    near = difflib.get_close_matches(str(key), types, n=1)
    expected = near[0] if near else f"one of {', '.join(types)}"
    return Problem(field=place, message="is not a known field", expected=expected)


def _value(value: Any, hint: Any, path: str, problems: list[Problem]) -> Any:
    if value is None:
        return None
    bare = _bare(hint)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return _struct(value, bare, path, problems)
    read_container = _CONTAINERS.get(get_origin(bare))
    if read_container is not None:
        return read_container(value, bare, path, problems)
    try:
        return msgspec.convert(value, bare)
    except msgspec.ValidationError:
        return _wrong(value, path, _expected(hint, bare), problems)


def _list(value: Any, bare: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, list):
        return _wrong(value, path, "a list", problems)
    (kind,) = get_args(bare)
    found = [_value(item, kind, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    return [item for item in found if item is not None]


def _dict(value: Any, bare: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        return _wrong(value, path, "an object", problems)
    _, kind = get_args(bare)
    return {key: _value(item, kind, f"{path}.{key}", problems) for key, item in value.items()}


_CONTAINERS: dict[Any, Callable[[Any, Any, str, list[Problem]], Any]] = {list: _list, dict: _dict}


def _bare(hint: Any) -> Any:
    """The type without its annotations, and without None."""
    if hasattr(hint, "__metadata__"):
        return _bare(hint.__origin__)
    if get_origin(hint) in (Union, UnionType):
        kinds = [_bare(kind) for kind in get_args(hint) if kind is not NoneType]
        return Union[tuple(kinds)]  # noqa: UP007 - built at run time
    return hint


def _expected(hint: Any, bare: Any) -> str:
    if isinstance(bare, EnumMeta):
        return f"one of {', '.join(map(str, bare.__members__.values()))}"
    if get_origin(bare) is Literal:
        return f"one of {', '.join(get_args(bare))}"
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.examples:
            return f"{_names(bare)} such as {msgspec.json.encode(meta.examples[0]).decode()}"
    return _names(bare)


def _names(bare: Any) -> str:
    kinds = get_args(bare) or (bare,)
    return " or ".join(_KINDS.get(kind, str(kind)) for kind in kinds)


def _wrong(value: Any, path: str, expected: str, problems: list[Problem]) -> None:
    kind = _KINDS.get(type(value), type(value).__name__)
    message = "is not a word that is known here" if expected.startswith("one of") else f"must not be {kind}"
    problems.append(Problem(field=path, message=message, given=shown(path, value), expected=expected))
