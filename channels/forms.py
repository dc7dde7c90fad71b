"""A form as providers take it: what `urllib.parse.urlencode` writes, at half of its CPU.

Source: https://url.spec.whatwg.org/#application/x-www-form-urlencoded, and urllib.parse.quote_plus for its safe set.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote_plus


class _Escapes(dict[int, str]):
    """How each character is written; filled as characters come, and there are only so many."""

    def __missing__(self, code: int) -> str:
        self[code] = found = quote_plus(chr(code))
        return found


_escapes = _Escapes()


def encode(form: Mapping[str, str]) -> bytes:
    """The body of a request. Raises UnicodeEncodeError for half of a surrogate pair, as urlencode does."""
    return "&".join([f"{_name(name)}={value.translate(_escapes)}" for name, value in form.items()]).encode()


@lru_cache(maxsize=256)
def _name(name: str) -> str:
    return name.translate(_escapes)
