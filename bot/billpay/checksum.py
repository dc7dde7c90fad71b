"""ClickPesa's checksum: HMAC-SHA256 over the canonical JSON of a payload, in lower-case hex.

The canonical form is what JavaScript prints: keys sorted at every depth, no spaces, raw UTF-8, numbers as
JSON.stringify writes them. A verifier also takes the form in which everything outside ASCII is escaped,
because some of ClickPesa's own samples sign that. The older `legacy` method signs the same text for every
webhook and so proves nothing: it is refused.

Source: ClickPesa docs, "Checksum" (canonical since January 2026); ECMA-262, Number::toString and
JSON.stringify.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

_OUTSIDE = frozenset({"checksum", "checksumMethod"})
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
# A JSON text of letters, digits and marks that stand for themselves.
_PLAIN = re.compile(r"[ !#-\[\]-~]*", re.ASCII)
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_LARGEST_EXACT = 2**53
_LARGEST_INDEX = 2**32 - 2


def canonical(payload: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: `payload` without its two top-level checksum members.

    Values are those of JSON. Raises TypeError for any other.
    """
    return _canonical(payload, plain=False)


def _canonical(payload: Mapping[str, Any], *, plain: bool) -> bytes:
    content = {key: value for key, value in payload.items() if key not in _OUTSIDE}
    return _print(content, plain).encode()


def sign(payload: Mapping[str, Any], key: str) -> str:
    """The checksum of `payload` under the secret `key`: 64 lower-case hex digits."""
    return _mac(canonical(payload), key)


def verify(raw: bytes, key: str) -> bool:
    """Whether the JSON text `raw` carries a checksum that holds under `key`. Never raises, in constant time.

    False too for what is no JSON object, repeats a key, or names the method `legacy`.
    """
    return verified(raw, key) is not None


def verified(raw: bytes, key: str) -> dict[str, Any] | None:
    """What the JSON text `raw` says, if its checksum holds under `key` (see `verify`), else None."""
    try:
        payload = load(raw)
        given = _given(payload)
        if given is None or not key:
            return None
        # Nothing in it is escaped, so nothing will be: JSON has no other way to say what must be.
        text = _canonical(payload, plain=raw.isascii() and b"\\" not in raw)
    except (ValueError, RecursionError):
        return None
    same = hmac.compare_digest(given, _mac(text, key))
    if not text.isascii():
        # Both are always computed and compared, so that the time tells nothing about which one nearly matched.
        same |= hmac.compare_digest(given, _mac(_escaped(text), key))
    return payload if same else None


def load(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object in UTF-8. Raises ValueError, also for repeated keys and for NaN and Infinity."""
    found = _DECODER.decode(raw.decode("utf-8"))
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Two readers may believe different ones: what was signed and what is acted on could differ.
        raise ValueError("a key is repeated")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _given(payload: Mapping[str, Any]) -> str | None:
    checksum, method = payload.get("checksum"), payload.get("checksumMethod")
    # The method stands outside of what is signed: any other label on a canonical checksum does no harm.
    if not isinstance(checksum, str) or str(method).lower() == "legacy":
        return None
    lowered = checksum.lower()
    return lowered if _HEX.fullmatch(lowered) else None


def _mac(text: bytes, key: str) -> str:
    return hmac.digest(key.encode(), text, hashlib.sha256).hex()


def _escaped(text: bytes) -> bytes:
    return _NON_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text.decode()).encode()


def _print(value: Any, plain: bool) -> str:
    """`plain`: every text in it stands for itself."""
    if isinstance(value, str):
        return f'"{value}"' if plain else _string(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return _number(value)
    # A dict is asked for first: whether something else is a mapping takes long to find out.
    if isinstance(value, dict | Mapping):
        members = [f"{_print(key, plain)}:{_print(value[key], plain)}" for key in _in_order(value)]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_print(each, plain) for each in value]) + "]"
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    # Half a surrogate pair cannot be written in UTF-8; JSON.stringify escapes it.
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def _in_order(keys: Iterable[str]) -> list[str]:
    found = sorted(keys)
    # All above the digits, and one byte each: sorted as JavaScript does.
    if found and found[0][:1] > "9" and all(map(str.isascii, found)):
        return found
    return sorted(found, key=_key_order)


def _key_order(key: str) -> tuple[int, int, bytes]:
    """JavaScript keeps keys that look like array indexes first, in numeric order.

    The rest by UTF-16 units.
    """
    if _ARRAY_INDEX.fullmatch(key) and int(key) <= _LARGEST_INDEX:
        return 0, int(key), b""
    return 1, 0, key.encode("utf-16-be", "surrogatepass")


def _number(value: int | float) -> str:
    if isinstance(value, int) and -_LARGEST_EXACT <= value <= _LARGEST_EXACT:
        return str(value)
    try:
        number = float(value)
    except OverflowError:
        return "null"
    if not math.isfinite(number):
        return "null"  # what JSON.stringify makes of Infinity
    return "0" if number == 0 else _float(number)


def _float(number: float) -> str:
    """Number::toString of ECMA-262.

    Python's repr finds the same shortest digits and only lays them out otherwise.
    """
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    point = int(exponent or 0) + (len(whole) if whole != "0" else len(digits) - len(part))
    digits = digits.rstrip("0")
    return sign + _laid_out(digits, point)


def _laid_out(digits: str, point: int) -> str:
    """`digits` with the decimal point after the first `point` of them, which may lie outside."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
