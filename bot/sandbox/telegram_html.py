"""Telegram's HTML subset: from markup to plain text and entities, refusing what Telegram refuses.

Offsets and lengths are UTF-16 code units, as in the Bot API. Source: Bot API, "HTML style" and MessageEntity.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

_PIECE = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z-]*)(?P<attributes>[^<>]*)>|(?P<stray><)|(?P<text>[^<]+)"
)
_ATTRIBUTE = re.compile(r"""([A-Za-z-]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d+|#x[0-9A-Fa-f]+);")

_TYPES: Mapping[str, str] = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "a": "text_link",
    "tg-emoji": "custom_emoji",
}


class MarkupError(ValueError):
    """Markup that Telegram refuses; the text is what follows "can't parse entities: "."""


def utf16(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


class _Reader:
    """Reads markup from left to right; `stack` holds (tag, entity) of what is open."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.length = 0
        self.entities: list[dict[str, Any]] = []
        self.stack: list[tuple[str, dict[str, Any]]] = []

    def add(self, text: str) -> None:
        plain = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
        self.text.append(plain)
        self.length += utf16(plain)

    def open(self, name: str, attributes: str, at: int) -> None:
        kind = _TYPES.get(name)
        given = {key.lower(): value.strip("\"'") for key, value in _ATTRIBUTE.findall(attributes)}
        if kind is None or (name == "span" and given.get("class") != "tg-spoiler"):
            raise MarkupError(f'Unsupported start tag "{name}" at byte offset {at}')
        entity: dict[str, Any] = {"type": kind, "offset": self.length}
        if kind == "text_link":
            entity["url"] = html.unescape(given.get("href", ""))
        if kind == "custom_emoji":
            entity["custom_emoji_id"] = given.get("emoji-id", "")
        self.stack.append((name, entity))

    def close(self, name: str, at: int) -> None:
        if not self.stack:
            raise MarkupError(f"Unexpected end tag at byte offset {at}")
        opened, entity = self.stack.pop()
        if opened != name:
            raise MarkupError(
                f'Unmatched end tag at byte offset {at}, expected "</{opened}>", found "</{name}>"'
            )
        entity["length"] = self.length - int(entity["offset"])
        if entity["length"] and entity.get("url", True):
            self.entities.append(entity)


def parse(markup: str) -> tuple[str, list[dict[str, Any]]]:
    """Plain text and entities, outer ones first. Raises MarkupError."""
    reader = _Reader()
    for piece in _PIECE.finditer(markup.strip()):
        at = len(markup.strip()[: piece.start()].encode())
        if piece["text"]:
            reader.add(piece["text"])
        elif piece["stray"]:
            raise MarkupError(f'Unsupported start tag "" at byte offset {at}')
        elif piece["end"]:
            reader.close(piece["name"].lower(), at)
        else:
            reader.open(piece["name"].lower(), piece["attributes"], at)
    if reader.stack:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{reader.stack[-1][0]}"')
    order = sorted(reader.entities, key=lambda each: (each["offset"], -each["length"]))
    return "".join(reader.text), order
