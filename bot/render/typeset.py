"""Text on a page of a PDF: how wide it is, how it breaks, and which of its letters the standard fonts have.

Widths and sizes are in points. Source: ISO 32000-1, the 14 standard fonts and WinAnsi encoding (cp1252).
"""

from __future__ import annotations

import unicodedata


def width(text: str, font: str, size: float) -> float:
    """How wide a text is."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    return float(stringWidth(text, font, size))


def lines(text: str, font: str, size: float, room: float, most: int) -> list[str]:
    """Text on at most `most` lines of `room` points; a word too long for one is broken, what is left over cut."""
    words = writable(text).split()
    if width(whole := " ".join(words), font, size) <= room:
        return [whole] if whole else []  # as most texts
    made = [""]
    for word in words:
        joined = f"{made[-1]} {word}".strip()
        if width(joined, font, size) <= room:
            made[-1] = joined
        else:
            made += _broken(word, font, size, room)
    made = [line for line in made if line]
    return made if len(made) <= most else [*made[: most - 1], _cut(made[most - 1] + "…", font, size, room)]


def _broken(word: str, font: str, size: float, room: float) -> list[str]:
    parts = [""]
    for letter in word:
        if parts[-1] and width(parts[-1] + letter, font, size) > room:
            parts.append("")
        parts[-1] += letter
    return parts


def _cut(line: str, font: str, size: float, room: float) -> str:
    while len(line) > 1 and width(line, font, size) > room:
        line = line[:-2] + "…"
    return line


def writable(text: str) -> str:
    """Text in the letters that the standard fonts have."""
    return text if _fits(text) else "".join(map(_letter, text))


def _letter(letter: str) -> str:
    if _fits(letter):
        return letter
    bare = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return bare if bare and _fits(bare) else "" if not letter.isprintable() else "?"


def _fits(text: str) -> bool:
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True
