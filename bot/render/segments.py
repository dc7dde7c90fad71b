"""How many segments an SMS costs, and how to keep it in the cheap alphabet.

Counts exactly what a phone network bills: septets of the GSM 7-bit default alphabet with its extension
table, or UTF-16 units when one character is outside both, packed greedily because neither an escape pair nor
a surrogate pair may be split. National shift tables and 16-bit concatenation references are not considered.

Source: 3GPP TS 23.038 section 6.2.1 (alphabet, extension table), TS 23.040 section 9.2.3.24.1
(concatenation).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM = BASIC | EXTENSION
_EURO = "€"  # the one of them that is not ASCII
_EXTENDED = "".join(EXTENSION - {_EURO}).encode()

Encoding = Literal["gsm-7", "ucs-2"]

# (units that fit alone, units that fit in each part of a longer message)
_ROOM: dict[Encoding, tuple[int, int]] = {"gsm-7": (160, 153), "ucs-2": (70, 67)}

# What editors and phones put in place of plain characters. Everything else goes through compatibility
# decomposition, which takes the accents off letters that GSM does not have.
_LOOK_ALIKES = {
    **dict.fromkeys("‘’‚‛′`´ʹʻʼʽˈ‵＇", "'"),
    **dict.fromkeys("“”„‟″«»‶＂", '"'),
    **dict.fromkeys("‹", "<"),
    **dict.fromkeys("›", ">"),
    **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
    **dict.fromkeys("•·∙‣◦●", "*"),
    **dict.fromkeys("⁄∕", "/"),
    **dict.fromkeys("\t\v\x85\u2028\u2029", " "),
    **dict.fromkeys("×✕", "x"),
    "đ": "d",
    "Đ": "D",
    "ł": "l",
    "Ł": "L",
    "ı": "i",
    "œ": "oe",
    "Œ": "OE",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "Th",
    "ħ": "h",
    "Ħ": "H",
}


@dataclass(frozen=True, slots=True)
class Count:
    """What a text costs: `units` are septets for gsm-7 (an extension character is two), UTF-16 units for
    ucs-2.
    """

    encoding: Encoding
    units: int
    segments: int


def is_gsm(text: str) -> bool:
    """Whether every character is in the GSM default alphabet or its extension table."""
    # Of the printable ASCII characters only the backtick is not, and nearly every text has no others.
    return (text.isascii() and text.isprintable() and "`" not in text) or _GSM.issuperset(text)


def units(text: str) -> int:
    """Septets of a text in the GSM alphabet, else its UTF-16 units."""
    return _units(text, _encoding(text))


def septets(text: str) -> int:
    """Septets of a text that is known to be in the GSM alphabet."""
    written = text.encode()
    return len(text) + len(written) - len(written.translate(None, _EXTENDED)) + text.count(_EURO)


def count(text: str) -> Count:
    """Encoding, units and segments of a text. An empty message is still one segment."""
    encoding = _encoding(text)
    total = _units(text, encoding)
    if total <= _ROOM[encoding][0]:
        return Count(encoding, total, 1)
    return Count(encoding, total, len(split(text)))


def split(text: str) -> list[str]:
    """The parts in which the network sends a text; together they are the text."""
    encoding = _encoding(text)
    alone, room = _ROOM[encoding]
    costs = [_cost(character, encoding) for character in text]
    if sum(costs) <= alone:
        return [text]
    starts = [0]
    used = 0
    for index, cost in enumerate(costs):
        if used + cost > room:
            starts.append(index)
            used = 0
        used += cost
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def to_gsm(text: str) -> str:
    """Write a text in the GSM alphabet: composed, look-alikes replaced, accents dropped where GSM lacks them.

    What has no likeness (other scripts, emoji, control characters) is dropped on purpose: one such character
    would double or triple the price of the whole message.
    """
    if is_gsm(text):
        return text
    return "".join(map(_nearest, unicodedata.normalize("NFC", text)))


def cut(text: str, room: int, mark: str = "..") -> str:
    """Shorten to at most `room` units, at a word's end if one is near, with `mark` in place of the rest."""
    if units(text) <= room:
        return text
    room -= units(mark)
    encoding = _encoding(text)
    head = text[: sum(1 for total in accumulate(_cost(c, encoding) for c in text) if total <= room)]
    if text[len(head) : len(head) + 1] not in ("", " ") and len(head.rpartition(" ")[0]) * 2 > len(head):
        head = head.rpartition(" ")[0]
    head = head.rstrip(" ,.;:-(/")
    # Without the character that made it UCS-2, what is left may count in septets, where some cost two.
    while head and units(head) > room:
        head = head[:-1]
    return head + mark if head else ""


def _encoding(text: str) -> Encoding:
    return "gsm-7" if is_gsm(text) else "ucs-2"


def _units(text: str, encoding: Encoding) -> int:
    if encoding == "gsm-7":
        return septets(text)
    return sum(_cost(character, encoding) for character in text)


def _cost(character: str, encoding: Encoding) -> int:
    if encoding == "gsm-7":
        return 2 if character in EXTENSION else 1
    return 2 if ord(character) > 0xFFFF else 1


@lru_cache(maxsize=4096)
def _nearest(character: str) -> str:
    if character in _GSM:
        return character
    if character in _LOOK_ALIKES:
        return _LOOK_ALIKES[character]
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in (_LOOK_ALIKES.get(p, p) for p in parts) if is_gsm(part))
