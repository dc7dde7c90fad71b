"""Webhooks that ClickPesa never sent: real ones changed, spliced or re-signed, and plain inventions.

What is drawn is seeded. A change that leaves a real webhook's meaning as it was is no forgery and is never given out;
that is decided with the sandbox's own checksum, which shares no code with tuma's.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bot.sandbox.clickpesa_checksum import canonical, sign

Event = dict[str, Any]
_OUTSIDE = ("checksum", "checksumMethod")


def signed(event: Event, key: str) -> Event:
    """The event as ClickPesa would send it."""
    return {**event, "checksum": sign(event, key), "checksumMethod": "canonical"}


def forgeries(real: Sequence[Event], key: str, seed: int) -> Iterator[bytes]:
    """Forged bodies without end, made out of `real` (signed under `key`, which no forger knows)."""
    draw = random.Random(seed)
    while True:
        event = draw.choice(real)
        body = draw.choice(_WAYS)(draw, copy.deepcopy(event), draw.choice(real))
        if not authentic(body, key):
            yield body


def authentic(body: bytes, key: str) -> bool:
    """Whether a body carries the right checksum for what it says, so that believing it is no mistake."""
    try:
        event = json.loads(body.decode(), object_pairs_hook=_once)
        content = {name: value for name, value in event.items() if name not in _OUTSIDE}
        right = hmac.new(key.encode(), canonical(content).encode(), hashlib.sha256).hexdigest()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return False
    return str(event.get("checksum")).lower() == right and event.get("checksumMethod") != "legacy"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member twice")
    return dict(pairs)


def _text(event: Any, **options: Any) -> bytes:
    return json.dumps(event, **options).encode()


def _bytes_changed(draw: random.Random, event: Event, _: Event) -> bytes:
    body = bytearray(_text(event))
    for _turn in range(draw.randint(1, 4)):
        at = draw.randrange(len(body))
        match draw.randrange(4):
            case 0:
                body[at] = draw.randrange(256)
            case 1:
                body.insert(at, draw.randrange(256))
            case 2:
                del body[at : at + draw.randint(1, 8)]
            case _:
                body[at:at] = body[at : at + draw.randint(1, 40)]
    return bytes(body)


def _member_changed(draw: random.Random, event: Event, other: Event) -> bytes:
    data = event["data"]
    name = draw.choice([*data])
    values = [
        *(other["data"].get(name), draw.randrange(10**6), str(draw.randrange(10**6)), None, True, [], {}, ""),
        *("REVERSED", "SETTLED", "0", "-1", "1e9", 10**400, float("nan"), "\u0000", "ﷺ" * 50),
    ]
    data[name] = draw.choice(values)
    return _text(event)


def _member_moved(draw: random.Random, event: Event, _: Event) -> bytes:
    name = draw.choice([*event["data"]])
    value = event["data"].pop(name)
    draw.choice([event, event["data"]])[
        draw.choice([name.upper(), name + " ", f"x{name}", "а" + name[1:]])
    ] = value
    return _text(event)


def _spliced(draw: random.Random, event: Event, other: Event) -> bytes:
    taken = draw.choice([["checksum"], ["data"], ["event", "data"], ["checksum", "event"]])
    return _text({**event, **{name: other[name] for name in taken}, "nonce": draw.random()})


def _signed_otherwise(draw: random.Random, event: Event, _: Event) -> bytes:
    content = {name: value for name, value in event.items() if name not in _OUTSIDE}
    guessed = draw.choice(["", "key", "CHK", "None", "null", secrets.token_hex(8)])
    return _text(signed(content, guessed))


def _checksum_changed(draw: random.Random, event: Event, _: Event) -> bytes:
    right = event["checksum"]
    event["checksum"] = draw.choice(
        [
            *("", "0" * 64, right[:-1], right + "0", right[::-1], " " + right, right + "\n", "٠" * 64),
            *(None, True, 0, [right], {"a": right}, int(right, 16), secrets.token_hex(32), right[:32] * 2),
        ]
    )
    event["checksumMethod"] = draw.choice(["canonical", "legacy", "none", "", None, "HMAC-SHA256", 1])
    return _text(event)


def _legacy(draw: random.Random, event: Event, _: Event) -> bytes:
    # What the old method signs is the same for every payment, so a watcher of one webhook could sign all others.
    event["data"]["collectedAmount"] = str(draw.randrange(10**7))
    event["checksumMethod"] = draw.choice(["legacy", "LEGACY", "Legacy"])
    return _text(event)


def _twice(draw: random.Random, event: Event, other: Event) -> bytes:
    name = draw.choice(["data", "event", "checksum", "checksumMethod"])
    body, more = _text(event).decode(), f'"{name}":{json.dumps(other[name])}'
    return (f"{{{more},{body[1:]}" if draw.random() < 0.5 else f"{body[:-1]},{more}}}").encode()


def _without(draw: random.Random, event: Event, _: Event) -> bytes:
    for name in draw.sample(["checksum", "checksumMethod", "event", "data"], draw.randint(1, 3)):
        event.pop(name)
    return _text(event)


def _wrapped(draw: random.Random, event: Event, other: Event) -> bytes:
    deep: Any = "x"
    for _turn in range(draw.choice([10, 2000])):
        deep = [deep]
    forms: list[Callable[[], Any]] = [
        lambda: [event],
        lambda: {"payload": event},
        lambda: {**event, "data": [event["data"], other["data"]]},
        lambda: {**event, "more": deep},
        lambda: json.dumps(event),
    ]
    try:
        return _text(draw.choice(forms)())
    except RecursionError:
        return b"[" * 5000


def _other_text(draw: random.Random, event: Event, _: Event) -> bytes:
    event["data"]["id"] = secrets.token_hex(6)
    whole = _text(event, ensure_ascii=False)
    encoding = draw.choice(["utf-16", "utf-8-sig", "utf-32", "latin-1"])
    return draw.choice(
        [whole.decode().encode(encoding, "replace"), whole[: draw.randrange(len(whole))], b"", b"null"]
    )


def _invented(draw: random.Random, event: Event, _: Event) -> bytes:
    data = {
        "id": secrets.token_hex(8),
        "status": "SUCCESS",
        "orderReference": event["data"]["orderReference"],
    }
    data |= {"collectedAmount": str(draw.randrange(10**6)), "collectedCurrency": "TZS"}
    name = draw.choice(["event", "eventType"])
    return _text({name: "PAYMENT RECEIVED", "data": data, "checksum": secrets.token_hex(32)})


_WAYS = (
    _bytes_changed,
    _bytes_changed,
    _member_changed,
    _member_changed,
    _member_moved,
    _spliced,
    _signed_otherwise,
    _checksum_changed,
    _legacy,
    _twice,
    _without,
    _wrapped,
    _other_text,
    _invented,
)
