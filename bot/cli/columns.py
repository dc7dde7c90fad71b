"""The line of column names, and what it makes of the cells under it.

Known names may be written with capitals, spaces and hyphens ("Due at"). A column `error` is ignored, so that
an errors file can be corrected and sent again; a column without a name is ignored and said so. What columns mean
is for `bot.domain.row`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.row import COLUMNS
from bot.errors import Problem, Refused

ERROR = "error"
# What people call a column instead; only ever a hint.
_OTHER_WORDS = {
    **dict.fromkeys(("mobile", "tel", "telephone", "msisdn", "simu"), "phone"),
    **dict.fromkeys(("mail", "barua"), "email"),
    **dict.fromkeys(("control", "namba"), "number"),
    **dict.fromkeys(("total", "balance", "kiasi"), "amount"),
    **dict.fromkeys(("jina", "customer"), "name"),
    **dict.fromkeys(("due", "deadline"), "due_at"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: exactly one of `cells` (by column), `job` (a line of NDJSON) and `problem` is set.

    `original` is what the errors file repeats.
    """

    number: int
    original: Any
    cells: dict[str, str] | None = None
    job: dict[str, Any] | None = None
    problem: Problem | None = None


class Header:
    """`names` are as written, `notes` are for the person who sends the file. Raises Refused if unusable."""

    def __init__(self, cells: Sequence[str]) -> None:
        self.names = _without_blank_end([cell.strip() for cell in cells])
        self._keys = [_key(name) for name in self.names]
        self._refuse_unusable()
        self.notes = [*self._nameless(), *self._misspelt()]

    @staticmethod
    def known(cells: Sequence[str]) -> int:
        """How many of `cells` name a column that tuma knows."""
        return sum(_key(cell) in COLUMNS for cell in cells)

    def row(self, number: int, cells: Sequence[str]) -> Row:
        """The cells by their columns, or the problem that there are more cells than columns."""
        if any(cell.strip() for cell in cells[len(self.names) :]):
            count = len(_without_blank_end(cells))
            return Row(number, cells, problem=_too_long(count, len(self.names)))
        named = zip(self._keys, cells, strict=False)
        return Row(number, cells, cells={key: cell for key, cell in named if key not in ("", ERROR)})

    def _refuse_unusable(self) -> None:
        if not self.known(self.names):
            expected = f"a first line that names the columns, out of: {' '.join(COLUMNS)}"
            raise Refused(Problem(field="file", message="has no column that tuma knows", expected=expected))
        twice = sorted({key for key in self._keys if key and self._keys.count(key) > 1})
        if twice:
            message = f"has more than one column called {', '.join(twice)}"
            raise Refused(Problem(field="file", message=message, expected="one column of each name"))

    def _nameless(self) -> list[str]:
        places = [place for place, key in enumerate(self._keys, start=1) if not key]
        return [f"Column {place} has no name and is ignored." for place in places]

    def _misspelt(self) -> list[str]:
        missing = [name for name in COLUMNS if name not in self._keys]
        unknown = [key for key in self._keys if key not in ("", ERROR, *COLUMNS)]
        near = ((key, _meant(key.lower(), missing)) for key in unknown)
        return [f"Column {key!r} is taken as data. Did you mean {match!r}?" for key, match in near if match]


def _meant(name: str, missing: Sequence[str]) -> str | None:
    """The missing column that a heading looks like, as a whole or in one of its words."""
    for words in (name, *re.split(r"[\W_]+", name)):
        for said in (words, _OTHER_WORDS.get(words, "")):
            if match := difflib.get_close_matches(said, missing, n=1, cutoff=0.8):
                return match[0]
    return None


def _key(name: str) -> str:
    folded = re.sub(r"[\s-]+", "_", name.strip().lower())
    return folded if folded in COLUMNS or folded == ERROR else name.strip()


def _without_blank_end(cells: Sequence[str]) -> list[str]:
    kept = list(cells)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _too_long(cells: int, columns: int) -> Problem:
    expected = (
        'an amount without a comma (45000), and quotes around a cell that holds a separator ("Juma, Asha")'
    )
    return Problem(field="row", message=f"has {cells} cells for {columns} columns", expected=expected)
