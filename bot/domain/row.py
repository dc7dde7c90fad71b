"""A row of a CSV or XLSX file as the fields of a share job.

Columns are found by name, whatever their case; a column with any other name becomes `data`; an empty cell is
a field that is not set. What spreadsheets do to cells is undone only where nothing is lost: the apostrophe
that forces text. Times without an offset are the merchant's local times, and a date alone means noon of that
day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

from bot.errors import Problem

# Column -> where it stands in a share job.
COLUMNS: dict[str, str] = {
    "id": "id",
    "number": "bill.number",
    "kind": "bill.kind",
    "create": "bill.create",
    "term": "bill.term",
    "amount": "bill.amount",
    "currency": "bill.currency",
    "description": "bill.description",
    "due_at": "bill.due_at",
    "mode": "bill.mode",
    "name": "customer.name",
    "phone": "customer.phone",
    "email": "customer.email",
    "telegram": "customer.telegram",
    "locale": "customer.locale",
    "channels": "route.channels",
    "route": "route.mode",
    "template": "template",
    "additional_contact": "additional_contact",
}

_COLUMN_OF = {path: column for column, path in COLUMNS.items()} | {"customer": "phone", "bill": "number"}
_YES = frozenset({"true", "yes", "1", "y", "ndiyo"})
_NO = frozenset({"false", "no", "0", "n", "hapana"})
_LOCAL = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?))?", re.ASCII)
_YEAR_LAST = re.compile(r"\d{1,2}\s*[-/.]\s*(?:\d{1,2}|[A-Za-z]{3,9})\s*[-/.]\s*\d{2,4}(?!\d)", re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3},\d{3}(\.\d+)?", re.ASCII)
_AMOUNT = ("bill", "amount", "amount")
# Columns whose cells are words, never three digits alone.
_WORDS = (("customer", "name", "name"), ("bill", "description", "description"))
_FORCED_TEXT = re.compile(r"'(?=[=+\-@'0-9])")


def fields(row: Mapping[str, str], zone: tzinfo) -> tuple[dict[str, Any], list[Problem]]:
    """The fields of the share job that `row` (column name -> cell) means, and what is wrong with it."""
    job: dict[str, Any] = {"bill": {}, "customer": {}}
    problems = [*_amount_in_two(row)]
    for name, cell in row.items():
        text = _cell(cell)
        if text:
            _put(job, name, text, zone, problems)
    return job, problems


def _amount_in_two(row: Mapping[str, str]) -> Iterator[Problem]:
    """An amount that its own comma cut in two: 45,000 read as 45 and a name 000."""
    for (name, cell), (following, rest) in pairwise(row.items()):
        cut = f"{_cell(cell)},{_cell(rest)}"
        if _place(name or "") == _AMOUNT and _place(following or "") in _WORDS and _THOUSANDS.fullmatch(cut):
            expected = f"{cut.replace(',', '')}, or quotes around the amount"
            yield Problem(field="amount", message="is cut in two by its comma", given=cut, expected=expected)


def column(path: str) -> str:
    """The column that holds the field at `path`."""
    bare = path.partition("[")[0]
    return _COLUMN_OF.get(bare, bare.removeprefix("data."))


def _cell(cell: object) -> str:
    # The csv module gives None for cells that a short row lacks, and a list for those a long row has too
    # many.
    text = "" if cell is None else str(cell[0] if isinstance(cell, list) else cell).strip()
    return text[1:] if text.startswith("'") and _FORCED_TEXT.match(text) else text


def _put(job: dict[str, Any], name: str | None, text: str, zone: tzinfo, problems: list[Problem]) -> None:
    if not name or not name.strip():
        problems.append(
            Problem(
                field="(no name)", message="a cell has no column name", expected="a heading in the first row"
            )
        )
        return
    place = _place(name)
    if place is None:
        job.setdefault("data", {})[name.strip().lstrip("\ufeff")] = text
        return
    section, leaf, known = place
    target = job if section is None else job.setdefault(section, {})
    if leaf in target:
        problems.append(
            Problem(field=known, message="the column appears twice", expected="one column of each name")
        )
        return
    target[leaf] = _READ[known](text, zone, problems) if known in _READ else text


@lru_cache(maxsize=512)
def _place(name: str) -> tuple[str | None, str, str] | None:
    """Section, field and column that `name` means; None if it is a column of the producer's own."""
    known = name.strip().lstrip("\ufeff").strip().lower()
    if known not in COLUMNS:
        return None
    section, _, leaf = COLUMNS[known].rpartition(".")
    return section or None, leaf, known


def _channels(text: str, zone: tzinfo, problems: list[Problem]) -> list[str] | None:
    if re.search(r"[,;|/+]", text):
        right = " ".join(re.findall(r"\w+", text.lower()))
        message = "are not separated by spaces"
        problems.append(Problem(field="channels", message=message, given=text[:60], expected=right[:60]))
        return None
    return text.lower().split()


def _word(text: str, zone: tzinfo, problems: list[Problem]) -> str:
    return text.lower()


def _local_time(text: str, zone: tzinfo, problems: list[Problem]) -> str | None:
    if _YEAR_LAST.match(text):
        # 01/12 is the first of December to one and the twelfth of January to another: nobody guesses.
        message = "is not written year first, so its day and month could be mistaken"
        expected = "2026-12-01 (year-month-day), or 2026-12-01 09:00"
        problems.append(Problem(field="due_at", message=message, given=text[:60], expected=expected))
        return None
    match = _LOCAL.fullmatch(text)
    if match is None:
        return text
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '12:00'}")
    except ValueError:
        return text
    return moment.replace(tzinfo=zone).isoformat()


def _flag(column: str, text: str, zone: tzinfo, problems: list[Problem]) -> bool:
    lowered = text.lower()
    if lowered not in _YES | _NO:
        problems.append(
            Problem(field=column, message="is neither yes nor no", given=text[:60], expected="true or false")
        )
    return lowered in _YES


_READ: dict[str, Callable[[str, tzinfo, list[Problem]], Any]] = {
    "channels": _channels,
    "route": _word,
    "kind": _word,
    "create": _word,
    "mode": _word,
    "due_at": _local_time,
    "additional_contact": partial(_flag, "additional_contact"),
}
