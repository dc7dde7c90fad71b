"""What a person sees while a file is taken: a bar, and the first rows that are wrong. All of it on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.cli.output import note

if TYPE_CHECKING:
    from bot.cli.intake import Refusal

_SHOWN = 20


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar over `total` rows, moved by the function given; none where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    watched = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not watched) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda rows: bar.advance(task, rows)


def show_refusal(refusal: Refusal, nth: int) -> None:
    """Say what is wrong with a row, if it is among the first."""
    if nth <= _SHOWN:
        for problem in refusal.errors:
            note(f"Row {refusal.row}: {problem}")
    elif nth == _SHOWN + 1:
        note("More rows are wrong; the first are shown.")
