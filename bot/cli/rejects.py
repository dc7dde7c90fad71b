"""The errors file: rows that were refused, as they came, each with what is wrong with it.

Written next to the input as `FILE.errors.csv` (from CSV and XLSX) or `FILE.errors.ndjson`, only when there is
something to write. One that is there already may be being corrected, so it is kept and the new one numbered
(`FILE.errors-2.csv`); where no file can be made, the rows go to stderr. It can be corrected and sent again: the column
`error` is ignored on the way in. A cell that a spreadsheet would run as a formula gets an apostrophe in front, which
is taken off again on the way in.

Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from bot.cli.columns import ERROR, Row
from bot.cli.files import Source
from bot.errors import Problem, Refused

_FORMULA = re.compile(r"[=@]|[+-](?![\d\s().-]*$)")


class ErrorsFile:
    """Collects refused rows. `count` says how many; the file exists only if there are any.

    `path` is where they are, known for certain once there is one; None if they went to stderr.
    """

    def __init__(self, source_path: Path | None, source: Source) -> None:
        self._start, self._kind = f"{source_path or 'stdin'}.errors", "csv" if source.columns else "ndjson"
        self.path: Path | None = Path(f"{self._start}.{self._kind}")
        self.count = 0
        self._source = source
        self._file: IO[str] | None = None

    def __enter__(self) -> ErrorsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self._file is not sys.stderr:
            self._file.close()

    @property
    def told(self) -> str:
        """One sentence: where the refused rows are, and what to do with them."""
        if self.path is None:
            return "No file could be made here: the refused rows stand above."
        return f"The refused rows are in {self.path}: correct them there and send that file."

    def add(self, row: Row, problems: Sequence[Problem]) -> None:
        """Write `row` with its problems. Raises Refused if the file cannot be written."""
        said = "; ".join(map(str, problems))
        try:
            if self._file is None:
                self._file = self._begin()
            self._write(self._file, row.original, said)
        except OSError as error:
            problem = Problem(
                field=str(self.path or "stderr"), message=f"cannot be written: {error.strerror}"
            )
            raise Refused(problem) from error
        self.count += 1

    def _begin(self) -> IO[str]:
        file = self._open()
        if not self._source.columns:
            return file
        self._table = csv.writer(file, delimiter=self._source.delimiter)
        self._kept = [place for place, name in enumerate(self._source.columns) if name.lower() != ERROR]
        self._table.writerow([*(self._source.columns[place] for place in self._kept), ERROR])
        return file

    def _open(self) -> IO[str]:
        # The byte order mark makes spreadsheets read it as UTF-8.
        encoding = "utf-8-sig" if self._source.columns else "utf-8"
        for nth in count(1):
            self.path = Path(f"{self._start}{f'-{nth}' if nth > 1 else ''}.{self._kind}")
            try:
                return self.path.open("x", encoding=encoding, newline="")
            except FileExistsError:
                continue
            except OSError:
                break
        self.path = None
        return sys.stderr

    def _write(self, file: IO[str], original: Any, said: str) -> None:
        if self._source.columns:
            width = len(self._source.columns)
            cells = [*original, *[""] * (width - len(original))]
            kept = [guarded(cells[place]) for place in self._kept]
            # Cells beyond the columns stay beyond them: put anywhere else, the row would be taken as it is.
            self._table.writerow([*kept, guarded(said), *map(guarded, cells[width:])])
            return
        line = original | {ERROR: said} if isinstance(original, dict) else {"line": original, ERROR: said}
        file.write(msgspec.json.encode(line).decode() + "\n")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell
