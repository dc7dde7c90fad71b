"""Script texts: each business step with the helpers of lua/_lib.lua that it needs, and no others.

A script runs from its first line at every call, and defining all helpers takes the server longer than most steps do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("lua")
_NAMES = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_WORD = re.compile(r"\w+")


def names() -> list[str]:
    """Every script."""
    return sorted(path.stem for path in _FOLDER.glob("[a-z]*.lua"))


@cache
def text(name: str) -> str:
    """A script as the server gets it: its `#!lua` line, the helpers it needs, itself."""
    head, _, body = (_FOLDER / f"{name}.lua").read_text().partition("\n")
    return f"{head}\n{_needed(body)}\n{body}"


def _needed(body: str) -> str:
    """The statements of the library that the script, or one of them, names; those that declare nothing always run."""
    wanted = set(_WORD.findall(body))
    kept = []
    for statement, declared, words in reversed(_library()):  # a helper names only what stands before it
        if not declared or declared & wanted:
            kept.append(statement)
            wanted |= words
    return "\n".join(reversed(kept))


@lru_cache(maxsize=1)
def _library() -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Top-level statements in order: text without comments, the names they declare, every word in them."""
    found = []
    for statement in _statements((_FOLDER / "_lib.lua").read_text()):
        declares = _NAMES.match(statement)
        declared = frozenset(declares[1].split(", ")) if declares else frozenset()
        found.append((statement, declared, frozenset(_WORD.findall(statement))))
    return found


def _statements(text: str) -> Iterator[str]:
    """Each begins at the margin, and goes on over what is indented or closes it."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("--"):
            continue
        if lines and not line[0].isspace() and line.split()[0] not in ("end", "else", "elseif", "}", "})"):
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join(lines)
