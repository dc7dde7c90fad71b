"""Files of bills, read row by row: CSV with `,` or `;`, XLSX and NDJSON, from a path or from stdin.

What a file is shows in its first bytes, not in its name. It is read twice: once for its structure (encoding,
quotes, number of rows), so that a broken file is refused before its first row is sent, and once for its rows.
Memory does not grow with the rows, but for a workbook, which is unpacked as a whole. A row keeps its original
form, so that it can be written to an errors file as it came.

Rows are counted as a spreadsheet shows them: the line of column names is row 1. Lines of NDJSON count from 1.

Sources: RFC 4180 (CSV); ECMA-376 (numbers of a workbook are IEEE doubles, and spreadsheets keep 15 digits).
"""

from __future__ import annotations

import codecs
import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from bot.cli.columns import Header, Row
from bot.domain.shape import repeated
from bot.errors import Problem, Refused

MAX_LINE_BYTES = 256 * 1024
_CHUNK = 1 << 20
_XLSX = b"PK\x03\x04"
_XLS = b"\xd0\xcf\x11\xe0"
_CP1252 = "The file is not UTF-8; it is read as Windows-1252 (cp1252). Look at the names with accents."


class Source(Protocol):
    """A file of rows. `columns` is empty for NDJSON, whose lines name their own; `total` counts rows."""

    columns: list[str]
    delimiter: str
    total: int
    notes: list[str]

    def rows(self) -> Iterator[Row]:
        """Every row that is not blank."""
        ...


@contextmanager
def open_source(path: Path | None, sheet: str | None = None) -> Iterator[Source]:
    """The rows of `path`, or of stdin if None. Raises Refused if it cannot be read."""
    with _rewindable(path) as stream:
        try:
            source = _recognised(stream, sheet)
            if not source.total:
                raise _broken("has column names and no bill under them", "one bill per line")
        except Refused as refused:
            named = (msgspec.structs.replace(p, field=str(path or "stdin")) for p in refused.problems)
            raise Refused(*named) from refused
        yield source


def _recognised(stream: IO[bytes], sheet: str | None) -> Source:
    start = stream.read(4096)
    stream.seek(0)
    if start.startswith(_XLSX):
        return XlsxSource(stream, sheet)
    if start.startswith(_XLS):
        raise _broken("is an old XLS workbook", "the workbook saved as XLSX, or as CSV UTF-8")
    first = start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if first == b"{":
        return NdjsonSource(stream)
    if first == b"[":
        raise _broken("is one JSON array", "NDJSON: one share job per line, without the brackets around them")
    return CsvSource(stream)


def _broken(message: str, expected: str | None = None) -> Refused:
    return Refused(Problem(field="file", message=message, expected=expected))


def _rewindable(path: Path | None) -> IO[bytes]:
    """A file that can be read twice; stdin goes through a temporary file, not through memory."""
    try:
        if path is not None:
            return path.open("rb")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.seek(0)
        return spool
    except OSError as error:
        problem = Problem(field=str(path or "stdin"), message=f"cannot be read: {error.strerror}")
        raise Refused(problem) from error


class CsvSource:
    """Delimited text with a line of column names."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.notes: list[str] = []
        self._encoding = self._find_encoding()
        self.delimiter = self._find_delimiter()
        self._header_row, names = self._find_header()
        self._header = Header(names)
        self.columns = self._header.names
        self.notes += self._header.notes
        self.total = sum(1 for _ in self._records())

    def rows(self) -> Iterator[Row]:
        """Every row that is not blank."""
        for number, cells in self._records():
            yield self._header.row(number, cells)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        for number, cells in self._all_records():
            if number > self._header_row and any(cell.strip() for cell in cells):
                yield number, cells

    def _find_header(self) -> tuple[int, list[str]]:
        for number, cells in self._all_records():
            if any(cell.strip() for cell in cells) and not _names_separator(self.delimiter.join(cells)):
                return number, cells
        raise _broken("is empty", "a line of column names, then one bill per line")

    def _all_records(self) -> Iterator[tuple[int, list[str]]]:
        self._stream.seek(0)
        text = io.TextIOWrapper(self._stream, encoding=self._encoding, newline="")
        number = 0
        try:
            for number, cells in enumerate(csv.reader(text, delimiter=self.delimiter, strict=True), start=1):
                yield number, cells
        except csv.Error as error:
            expected = "every quote closed, and quotes inside a cell doubled"
            raise _broken(f"cannot be read after row {number}: {error}", expected) from error
        finally:
            text.detach()

    def _find_encoding(self) -> str:
        if self._stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            candidates = ["utf-16"]
        else:
            candidates = ["utf-8-sig", "cp1252"]
        for encoding in candidates:
            if self._decodes(encoding):
                self.notes += [_CP1252] if encoding == "cp1252" else []
                return encoding
        raise _broken("is no text that can be read", "CSV saved as UTF-8, an XLSX workbook, or NDJSON")

    def _decodes(self, encoding: str) -> bool:
        decoder = codecs.getincrementaldecoder(encoding)()
        self._stream.seek(0)
        try:
            while chunk := self._stream.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True

    def _find_delimiter(self) -> str:
        self._stream.seek(0)
        text = io.TextIOWrapper(self._stream, encoding=self._encoding, newline="")
        try:
            lines = [text.readline(MAX_LINE_BYTES) for _ in range(5)]
        finally:
            text.detach()
        names = next((line for line in lines if line.strip() and not _names_separator(line)), "")
        return max(",;", key=lambda delimiter: Header.known([_bare(cell) for cell in names.split(delimiter)]))


def _bare(cell: str) -> str:
    return cell.strip().strip('"')


def _names_separator(line: str) -> bool:
    """Whether this is the line `sep=;` that some spreadsheets put above the column names."""
    return line.strip().lower() in ("sep=,", "sep=;")


class XlsxSource:
    """One sheet of a workbook, whose first row that is not blank names the columns."""

    delimiter = ","

    def __init__(self, stream: IO[bytes], sheet: str | None) -> None:
        self._sheet = _load_sheet(stream, sheet)
        self._header_row, names = self._find_header()
        self._header = Header(names)
        self.columns = self._header.names
        self.notes = self._header.notes
        self.total = sum(1 for _ in self._records())

    def rows(self) -> Iterator[Row]:
        """Every row that is not blank."""
        for number, cells in self._records():
            yield self._header.row(number, cells)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        for number, values in enumerate(self._sheet.iter_rows(), start=1):
            cells = [_cell(value) for value in values]
            if number > self._header_row and any(cell.strip() for cell in cells):
                yield number, cells

    def _find_header(self) -> tuple[int, list[str]]:
        for number, values in enumerate(self._sheet.iter_rows(), start=1):
            cells = [_cell(value) for value in values]
            if any(cell.strip() for cell in cells):
                return number, cells
        raise _broken("has nothing on this sheet", "a row of column names, then one bill per row")


def _load_sheet(stream: IO[bytes], wanted: str | None) -> Any:
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(stream)
        names = book.sheet_names
        if wanted is not None and wanted not in names:
            raise _broken(f"has no sheet {wanted!r}", f"one of {', '.join(names)}")
        return book.get_sheet_by_name(wanted or names[0])
    except (CalamineError, OSError, IndexError) as error:
        raise _broken("is a workbook that is damaged, or locked with a password") from error


def _cell(value: object) -> str:
    """A cell as the text its author meant, or, for a number that lost digits, in a form that says so."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, (date, time)) else str(value)


def _number(value: float) -> str:
    """A workbook's number in plain digits if it is exact, in exponent form if digits of it are lost.

    A whole number of more than 15 digits that ends in 0 was cut by the spreadsheet, as far as one can tell.
    """
    if not value.is_integer():
        return f"{value:.15g}"
    whole = int(value)
    exact = abs(whole) < 10**15 or (abs(whole) < 2**53 and whole % 10 != 0)
    return str(whole) if exact else f"{value:.14E}"


class NdjsonSource:
    """One share job per line."""

    delimiter = ","

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.columns: list[str] = []
        self.notes: list[str] = []
        self.total = sum(1 for _ in self._lines())

    def rows(self) -> Iterator[Row]:
        """Every line that is not blank."""
        for number, line in self._lines():
            yield _json_row(number, line)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        self._stream.seek(0)
        number = 0
        while line := self._stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise _broken(
                    f"has more than {MAX_LINE_BYTES // 1024} KiB in line {number}", "one job per line"
                )
            if text := line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").strip():
                yield number, text


def _json_row(number: int, line: bytes) -> Row:
    try:
        original = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        expected = "one share job per line, as a JSON object"
        problem = Problem(field="$", message="the line is not a JSON object", expected=expected)
        return Row(number, line.decode(errors="replace"), problem=problem)
    if (twice := repeated(line)) is not None:
        return Row(number, line.decode(errors="replace"), problem=twice)
    return Row(number, original, job={key: value for key, value in original.items() if key != "error"})
