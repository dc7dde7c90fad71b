"""From a row to a share job, with an id of its own if the producer gave none.

An id that is made here is the content's fingerprint: the same row sent twice is the same share, and sends and bills
once. A row that was changed is another share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bot.cli.columns import Row
from bot.domain.row import column
from bot.domain.share import ShareJob, from_fields, from_row
from bot.errors import Problem, Refused
from bot.settings import Settings

_UNNAMED = "unnamed"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one row."""

    row: int
    ok: Literal[False] = False
    errors: tuple[Problem, ...]


def job_of(row: Row, settings: Settings) -> ShareJob:
    """The share job that a row of a file means. Raises Refused."""
    if row.problem is not None:
        raise Refused(row.problem)
    if row.cells is not None:
        return from_cells(row.cells, settings)
    return _from_fields(row.job or {}, settings)


def from_cells(cells: Mapping[str, str], settings: Settings, *, one: bool = False) -> ShareJob:
    """The share job that cells (by column name) mean. Raises Refused, whose problems name columns."""
    if cells.get("id", "").strip():
        return from_row(cells, settings=settings, one=one)
    unnamed = from_row({**cells, "id": _UNNAMED}, settings=settings, one=one)
    return from_row({**cells, "id": _id(unnamed)}, settings=settings, one=one)


def _from_fields(fields: dict[str, Any], settings: Settings) -> ShareJob:
    if fields.get("id") is not None:
        return from_fields(fields, settings=settings, one=False)
    unnamed = from_fields({**fields, "id": _UNNAMED}, settings=settings, one=False)
    return from_fields({**fields, "id": _id(unnamed)}, settings=settings, one=False)


def _id(unnamed: ShareJob) -> str:
    return f"auto-{unnamed.digest[:32]}"


class Repeats:
    """The rows of one file that ask for a control number, by id: two of one id would silently be one bill."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def check(self, row: Row, own_id: str) -> None:
        """Note a row. Raises Refused, naming the row before it that asks for the same bill."""
        first = self._first.setdefault(own_id, row.number)
        if first != row.number:
            expected = "an id of its own if it is another bill; else leave it out"
            raise Refused(Problem(field="id", message=f"repeats row {first}", expected=expected))


def refusal(row: Row, refused: Refused) -> Refusal:
    """What is wrong with `row`, by its columns if it has any."""
    if row.job is not None:
        return Refusal(row=row.number, errors=refused.problems)
    named = (msgspec.structs.replace(problem, field=column(problem.field)) for problem in refused.problems)
    return Refusal(row=row.number, errors=tuple(named))
