"""The canonical checksum as ClickPesa's side computes it: HMAC-SHA256 over compact JSON with sorted keys.

Shares no code with tuma's own implementation on purpose: two sides that share a mistake agree with each other and
with nobody else. Prints numbers as JavaScript does and leaves non-ASCII text raw. Source: ClickPesa home/checksum.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from decimal import Decimal
from typing import Any

_MEMBERS = ("checksum", "checksumMethod")
_EXACT = 2**53
_OUTSIDE_ASCII = re.compile(r"[^\x00-\x7f]")


def sign(payload: dict[str, Any], key: str, *, escaped: bool = False) -> str:
    """64 lower-case hex digits over `payload` without its own checksum members.

    `escaped`: with everything outside ASCII escaped, as ClickPesa's Python and PHP samples do.
    """
    content = {name: value for name, value in payload.items() if name not in _MEMBERS}
    text = canonical(content)
    if escaped:
        text = _OUTSIDE_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def canonical(value: object) -> str:
    """Compact JSON, the keys of every object sorted, numbers as JavaScript prints them."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return _text(value)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) <= _EXACT:
        return str(value)
    try:
        value = float(value)
    except OverflowError:
        return "null"
    if not math.isfinite(value):
        return "null"  # as JSON.stringify writes it
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(repr(value)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent):+d}"
