"""What a person reads in a message: control numbers, the amount asked for, and links.

The sandbox is told of a bill by ClickPesa's API or by the demo; a number that was only shared is found here, as
the customer finds it, by reading. It guesses; nothing but the page's convenience depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from decimal import Decimal

_URL = re.compile(r"https?://[^\s<>\"'\u201d]+")
_WORDS = re.compile(r"[A-Za-z0-9]+")
_DIGITS = re.compile(r"(?<![\w.,+])\d{9,20}(?![\w]|[.,]\d)")
_PHONE = re.compile(r"255\d{9}|0\d{9}|00255\d{9}")
_AMOUNT = re.compile(r"(?:TZS|TSh|Tsh|TSZ)\.?\s?(\d[\d,]*(?:\.\d{1,2})?)")
_GROUPS = 6  # the most pieces a control number is broken into for the eye


def links(text: str) -> list[str]:
    """Every http or https link in `text`, without the full stop that ends a sentence."""
    return [found.rstrip(".,;:!?)") for found in _URL.findall(text)]


def control_numbers(text: str, known: Container[str]) -> list[str]:
    """Control numbers in `text`, in order: `known` ones also in groups, unknown ones if they look like one."""
    plain = _URL.sub(" ", text)
    found = dict.fromkeys(word for word in _joined_words(plain) if word in known)
    for digits in _DIGITS.findall(plain):
        if not _PHONE.fullmatch(digits):
            found.setdefault(digits)
    return list(found)


def _joined_words(text: str) -> Iterator[str]:
    words = [(match.group(), match.start(), match.end()) for match in _WORDS.finditer(text)]
    for index, (joined, _, end) in enumerate(words):
        yield joined
        for word, start, stop in words[index + 1 : index + _GROUPS]:
            if text[end:start] not in {" ", "\u00a0", "-"}:
                break
            joined, end = joined + word, stop
            yield joined


def amount(text: str) -> Decimal | None:
    """The first amount in shillings that `text` names."""
    found = _AMOUNT.search(text)
    return Decimal(found.group(1).replace(",", "")) if found else None
