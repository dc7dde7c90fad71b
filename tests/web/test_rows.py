"""Rows out of bytes, whatever the chunks."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Refused
from bot.settings import Settings
from bot.web.rows import Csv, Lines, Ndjson, Reader, Row

SETTINGS = Settings()


def rows(reader: Reader, data: bytes, size: int = 10_000) -> list[Row]:
    """Feed `data` in chunks of `size`."""
    found: list[Row] = []
    for at in range(0, len(data), size):
        found += reader.feed(data[at : at + size])
    return found + list(reader.close())


def cells(reader: Reader, data: bytes, size: int = 10_000) -> list[object]:
    return [row.source for row in rows(reader, data, size)]


@given(
    st.lists(st.binary().filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))),
    st.integers(1, 7),
)
def test_lines_are_the_same_whatever_the_chunks(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    splitter = Lines(10_000)
    found = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert found + list(splitter.close()) == lines


def test_a_line_over_the_limit_is_dropped_and_the_next_is_read() -> None:
    splitter = Lines(5)
    assert list(splitter.feed(b"1234567890\nab\n123456")) == [None, b"ab"]
    assert list(splitter.feed(b"7\r\nc")) == [None]
    assert list(splitter.close()) == [b"c"]


def test_ndjson_passes_over_blank_lines_and_needs_no_last_line_end() -> None:
    assert cells(Ndjson(), b'{"a":1}\r\n\r\n  \n{"a":2}') == [b'{"a":1}', b'{"a":2}']


# The csv module is the oracle: whatever it writes, the reader reads.
CELL = st.text(st.sampled_from('ab,;"\n\r \u00e9\u2028'), max_size=6).map(lambda t: t.replace("\r", ""))


@given(st.lists(st.tuples(CELL, CELL), max_size=5), st.integers(1, 9), st.sampled_from(",;"))
def test_csv_reads_what_the_csv_module_writes(
    table: list[tuple[str, str]], size: int, delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerows([("x", "y"), *table])
    wanted = [{"x": a, "y": b} for a, b in table if (a or b) and f"{a}{b}".strip(f'{delimiter}" \n')]
    found = cells(Csv(), out.getvalue().encode(), size)
    assert [
        row for row in found if isinstance(row, dict) and "".join(row.values()).strip(f'{delimiter}" \n')
    ] == wanted


def test_the_header_decides_the_delimiter_and_may_carry_a_byte_order_mark() -> None:
    data = "\ufeffid;phone\n1;0754,1\n".encode()
    assert cells(Csv(), data) == [{"id": "1", "phone": "0754,1"}]


def test_a_quote_inside_a_bare_cell_is_only_a_character() -> None:
    assert cells(Csv(), b'id,description\n1,5" pipe\n2,"say ""hi"""\n') == [
        {"id": "1", "description": '5" pipe'},
        {"id": "2", "description": 'say "hi"'},
    ]


def test_a_line_break_in_quotes_belongs_to_the_cell() -> None:
    assert cells(Csv(), b'id,name\n1,"Asha\nJuma"\n2,Neema\n', size=3) == [
        {"id": "1", "name": "Asha\nJuma"},
        {"id": "2", "name": "Neema"},
    ]


def test_a_row_with_too_many_cells_is_refused_by_itself() -> None:
    first, second = rows(Csv(), b"id,name\n1,a,b\n2,c\n")
    with pytest.raises(Refused, match="too many cells"):
        first.job(SETTINGS)
    assert second.source == {"id": "2", "name": "c"}


def test_a_row_that_is_not_utf_8_is_refused_by_itself() -> None:
    first, second = rows(Csv(), b"id,name\n1,\xff\n2,c\n")
    with pytest.raises(Refused, match="not UTF-8"):
        first.job(SETTINGS)
    assert second.source == {"id": "2", "name": "c"}


@pytest.mark.parametrize("reader", [Ndjson, Csv])
def test_a_row_that_is_too_long_is_refused_and_never_kept(reader: type[Ndjson] | type[Csv]) -> None:
    header = b"id,name\n" if reader is Csv else b""
    first, second = rows(reader(), header + b"x" * 200_000 + b"\n" + b'{"id":"2"}\n')
    with pytest.raises(Refused, match="too long"):
        first.job(SETTINGS)
    assert second.source in (b'{"id":"2"}', {"id": '{"id":"2"}'})


@pytest.mark.parametrize(
    ("line", "given"),
    [
        (b'{"id": "inv-1", "unknown": [1]}', "inv-1"),
        (b'{"bill": {"id": "other"}}', None),
        (b'{"id": 7}', None),
        (b'{"id": ""}', None),
        (b'{"id": "' + b"x" * 129 + b'"}', None),
        (b'{"id": "inv-1"', None),
        (b'"inv-1"', None),
        (b'{"id": "\xff"}', None),
    ],
)
def test_the_id_of_an_object_is_known_where_it_can_be_read(line: bytes, given: str | None) -> None:
    assert Row(line).given_id == given


def test_quotes_that_never_close_end_at_the_limit_and_not_with_the_memory() -> None:
    found = rows(Csv(), b'id,name\n1,"' + b"x\n" * 100_000, size=65_536)
    with pytest.raises(Refused, match="too long"):
        found[0].job(SETTINGS)


@pytest.mark.parametrize("header", [b"id,phone,id\n", b"\xff\n", b"x" * 70_000 + b"\n"])
def test_a_header_that_cannot_be_used_refuses_the_file(header: bytes) -> None:
    with pytest.raises(Refused):
        rows(Csv(), header + b"1,2,3\n")
