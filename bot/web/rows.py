"""Rows out of a stream of bytes: NDJSON or CSV, whatever the chunks, in the memory of one row.

A reader is fed chunks and gives back whole rows; it never looks ahead further than the row it is in. A row longer
than the limit is dropped and reported, and the rows after it are still read. CSV takes `,` or `;`, the way the header
does, quoted cells with line breaks, and a byte order mark.

Source: RFC 4180 for CSV; NDJSON as lines of RFC 8259 JSON.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Protocol

import msgspec

from bot.domain.share import LARGEST_JOB_BYTES, ShareJob, decode, from_row
from bot.errors import Problem, Refused
from bot.settings import Settings

_LONGEST_ID = 128
_TOO_LONG = Problem(field="$", message="this row is too long", expected=f"at most {LARGEST_JOB_BYTES} bytes")
_NOT_UTF8 = Problem(field="$", message="this row is not UTF-8", expected="text in UTF-8")


class Lines:
    """Splits bytes at line ends, and drops lines longer than `limit` bytes: those come out as None."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._dropping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Whole lines, without their ends."""
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield self._finish(line)
        self._keep(rest)

    def close(self) -> Iterator[bytes | None]:
        """The last line, if nothing ended it."""
        if self._rest or self._dropping:
            yield self._finish(b"")

    def _keep(self, part: bytes) -> None:
        if not self._dropping:
            self._rest += part
        if len(self._rest) > self._limit:
            self._dropping = True
            self._rest.clear()

    def _finish(self, part: bytes) -> bytes | None:
        self._keep(part)
        line, dropped = bytes(self._rest).rstrip(b"\r"), self._dropping
        self._rest.clear()
        self._dropping = False
        return None if dropped else line


class Row:
    """One row, not yet decoded."""

    def __init__(self, source: bytes | dict[str, str] | Problem) -> None:
        self.source = source

    @property
    def given_id(self) -> str | None:
        """The row's id as far as it can be read, so that even a row that is refused can be named."""
        match self.source:
            case dict():
                return self.source.get("id") or None
            case bytes():
                return _id_in(self.source)
            case _:
                return None

    def job(self, settings: Settings) -> ShareJob:
        """The share job that the row means. Raises Refused."""
        match self.source:
            case bytes():
                return decode(self.source, settings=settings, one=False)
            case dict():
                return from_row(self.source, settings=settings, one=False)
            case _:
                raise Refused(self.source)


class _Named(msgspec.Struct, frozen=True):
    """What is looked for in an object that is no share job."""

    id: str | None = None


def _id_in(line: bytes) -> str | None:
    try:
        given = msgspec.json.decode(line, type=_Named).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return given if given and len(given) <= _LONGEST_ID else None


class Reader(Protocol):
    """Bytes in, rows out."""

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """Every row that is whole now."""
        ...

    def close(self) -> Iterator[Row]:
        """The last row, if nothing ended it."""
        ...


class Ndjson:
    """One JSON object a line; blank lines are passed over."""

    def __init__(self) -> None:
        self._lines = Lines(LARGEST_JOB_BYTES)

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """Every row that is whole now."""
        return filter(None, map(self._row, self._lines.feed(chunk)))

    def close(self) -> Iterator[Row]:
        """The last row, if nothing ended it."""
        return filter(None, map(self._row, self._lines.close()))

    def _row(self, line: bytes | None) -> Row | None:
        if line is None:
            return Row(_TOO_LONG)
        return Row(line) if line.strip() else None


class Csv:
    """A header, then one row of cells a record; blank records are passed over."""

    def __init__(self) -> None:
        self._lines = Lines(LARGEST_JOB_BYTES)
        self._header: list[str] | None = None
        self._delimiter = ","
        self._begin()

    def _begin(self) -> None:
        self._record: list[str] = []
        self._size = 0
        self._quotes = Quotes()

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """Every row that is whole now. Raises Refused if the header cannot be used."""
        for line in self._lines.feed(chunk):
            yield from self._take(line)

    def close(self) -> Iterator[Row]:
        """The last row, also one whose quotes were never closed. Raises Refused as `feed` does."""
        for line in self._lines.close():
            yield from self._take(line)
        yield from self._whole()

    def _take(self, line: bytes | None) -> Iterator[Row]:
        try:
            text = None if line is None else line.decode()
        except UnicodeDecodeError:
            yield self._broken(_NOT_UTF8)
            return
        if text is None or self._size + len(text) > LARGEST_JOB_BYTES:
            yield self._broken(_TOO_LONG)
            return
        self._record.append(text)
        self._size += len(text) + 1
        self._quotes.feed(text, self._delimiter)
        if not self._quotes.open:
            yield from self._whole()

    def _broken(self, problem: Problem) -> Row:
        self._begin()
        if self._header is None:
            raise Refused(problem)
        return Row(problem)

    def _whole(self) -> Iterator[Row]:
        record = "\n".join(self._record)
        self._begin()
        if not record.strip():
            return
        if self._header is None:
            self._read_header(record.removeprefix("\ufeff"))
        else:
            yield from self._read_row(self._header, record)

    def _read_header(self, record: str) -> None:
        self._delimiter = ";" if record.count(";") > record.count(",") else ","
        try:
            names = [name.strip() for name in self._cells(record)]
        except csv.Error as error:
            raise Refused(Problem(field="$", message=f"the header is not CSV: {error}")) from error
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise Refused(*(Problem(field=name, message="the column appears twice") for name in twice))
        self._header = names

    def _read_row(self, header: list[str], record: str) -> Iterator[Row]:
        try:
            cells = self._cells(record)
        except csv.Error as error:
            yield Row(Problem(field="$", message=f"this row is not CSV: {error}"))
            return
        if any(cells[len(header) :]):
            given, right = (
                f"{len(cells)} cells",
                f"{len(header)} cells, as in the header; no comma in an amount",
            )
            yield Row(Problem(field="$", message="this row has too many cells", given=given, expected=right))
        elif any(cells):
            yield Row(dict(zip(header, cells, strict=False)))

    def _cells(self, record: str) -> list[str]:
        return next(csv.reader([record], delimiter=self._delimiter))


class Quotes:
    """Whether a record, fed line by line, is inside a quoted cell.

    A quote inside a bare cell (a 5" pipe) is only a character; a doubled one inside quotes is a quote.
    """

    def __init__(self) -> None:
        self.open = False
        self._may_open = True

    def feed(self, text: str, delimiter: str) -> None:
        """Read on."""
        if '"' not in text:
            self._may_open = not self.open and text.endswith(delimiter)
            return
        for character in text:
            if character == '"' and (self.open or self._may_open):
                self.open = not self.open
                # Right after a closing quote another one opens again: that is how a quote is doubled.
                self._may_open = not self.open
            else:
                self._may_open = not self.open and character == delimiter
