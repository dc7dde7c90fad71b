"""Files as merchants have them: whatever the spreadsheet wrote, or a clear word why not."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from bot.cli.columns import Row
from bot.cli.files import MAX_LINE_BYTES, open_source
from bot.errors import Refused

HEADER = "number,amount,phone\n"


def read(path: Path, content: bytes | str) -> list[Row]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_source(path) as source:
        return list(source.rows())


def notes(path: Path, content: bytes | str) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_source(path) as source:
        return source.notes


def workbook(path: Path, *rows: list[Any], title: str = "Sheet") -> Path:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def cells(path: Path, *rows: list[Any]) -> list[dict[str, str]]:
    with open_source(workbook(path, *rows)) as source:
        return [row.cells or {} for row in source.rows()]


def why(path: Path, content: bytes | str) -> str:
    with pytest.raises(Refused) as caught:
        read(path, content)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bills"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_takes_either_separator(path: Path, delimiter: str) -> None:
    [row] = read(path, f"{HEADER}55,45000,0754123456\n".replace(",", delimiter))
    assert row.cells == {"number": "55", "amount": "45000", "phone": "0754123456"}


def test_rows_are_counted_as_a_spreadsheet_counts_them(path: Path) -> None:
    rows = read(path, HEADER + '55,45000,"two\nlines"\n\n,,\n56,1,0754\n')
    assert [row.number for row in rows] == [2, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_is_read_in_every_form_of_unicode(path: Path, encoding: str) -> None:
    [row] = read(path, "number;name\n55;Zawadi Émile\n".encode(encoding))
    assert row.cells == {"number": "55", "name": "Zawadi Émile"}


def test_csv_in_cp1252_is_read_and_named_as_such(path: Path) -> None:
    content = "number;name\n55;Zawadi Émile\n".encode("cp1252")
    assert [row.cells for row in read(path, content)] == [{"number": "55", "name": "Zawadi Émile"}]
    assert "cp1252" in notes(path, content)[0]


def test_what_is_no_text_is_refused(path: Path) -> None:
    assert "no text that can be read" in why(path, b"number,name\n55,\x81\n")


def test_names_of_columns_may_have_capitals_and_spaces(path: Path) -> None:
    [row] = read(path, "Number,Due at,Additional-Contact,Class\n55,2026-12-01,yes,4B\n")
    assert row.cells == {"number": "55", "due_at": "2026-12-01", "additional_contact": "yes", "Class": "4B"}


def test_the_line_that_names_the_separator_is_passed_over(path: Path) -> None:
    [row] = read(path, "sep=;\nnumber;amount\n55;1\n")
    assert (row.number, row.cells) == (3, {"number": "55", "amount": "1"})


def test_an_error_column_is_ignored(path: Path) -> None:
    [row] = read(path, "number,error,amount\n55,was wrong,1\n")
    assert row.cells == {"number": "55", "amount": "1"}


def test_a_column_that_is_nearly_known_is_asked_about(path: Path) -> None:
    assert notes(path, "number,ammount,\n55,1,\n") == [
        "Column 'ammount' is taken as data. Did you mean 'amount'?"
    ]


@pytest.mark.parametrize(
    ("heading", "meant"),
    [("Control Number", "number"), ("Mobile No.", "phone"), ("Jina", "name"), ("Amount (TZS)", "amount")],
)
def test_a_heading_in_other_words_is_asked_about(path: Path, heading: str, meant: str) -> None:
    assert notes(path, f"id,{heading}\n1,x\n") == [
        f"Column {heading!r} is taken as data. Did you mean {meant!r}?"
    ]


def test_a_heading_is_not_asked_about_where_its_column_is_there(path: Path) -> None:
    assert notes(path, "number,amount,phone,name,Class number,Guardian name\n1,2,3,4,5,6\n") == []


@pytest.mark.parametrize("text", [HEADER, HEADER + "\n , ,\n"])
def test_a_file_with_column_names_alone_is_refused(path: Path, text: str) -> None:
    assert "no bill under them" in why(path, text)


def test_a_short_row_is_a_row(path: Path) -> None:
    [row] = read(path, HEADER + "55\n")
    assert row.cells == {"number": "55"}


def test_a_row_with_too_many_cells_says_so(path: Path) -> None:
    [row] = read(path, HEADER + "55,1,0754123456,Juma, Asha\n")
    assert row.problem is not None
    assert str(row.problem).startswith("row: has 5 cells for 3 columns")


def test_a_file_without_known_columns_is_refused(path: Path) -> None:
    assert "has no column that tuma knows" in why(path, "55,45000,0754123456\n")


def test_two_columns_of_one_name_are_refused(path: Path) -> None:
    assert "more than one column called phone" in why(path, "number,phone,Phone\n")


def test_an_open_quote_is_refused_before_any_row_is_taken(path: Path) -> None:
    problem = why(path, HEADER + '55,1,0754123456\n56,"1,0754123456\n')
    assert str(path) in problem
    assert "after row 2" in problem


def test_an_empty_file_is_refused(path: Path) -> None:
    assert "is empty" in why(path, "\n\n")


def test_an_old_workbook_is_refused_with_a_way_out(path: Path) -> None:
    assert "saved as XLSX" in why(path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


def test_a_damaged_workbook_is_refused(path: Path) -> None:
    assert "damaged" in why(path, b"PK\x03\x04 and no more")


def test_a_json_array_is_refused_with_a_way_out(path: Path) -> None:
    assert "one share job per line" in why(path, '[{"id": "1"}]')


def test_a_workbook_gives_numbers_as_they_were_typed(path: Path) -> None:
    header = ["number", "amount", "phone", "due_at", "additional_contact"]
    [row] = cells(path, header, [55042914871931, 45000.5, 754123456, date(2026, 12, 1), True])
    assert row == {
        "number": "55042914871931",
        "amount": "45000.5",
        "phone": "754123456",
        "due_at": "2026-12-01",
        "additional_contact": "true",
    }


def test_a_time_in_a_workbook_stays_the_merchants_local_time(path: Path) -> None:
    [row] = cells(path, ["number", "due_at"], ["55", datetime(2026, 12, 1, 9, 30)])  # noqa: DTZ001 - as workbooks have it
    assert row["due_at"] == "2026-12-01T09:30:00"


@pytest.mark.parametrize("number", [55042914871931123456, 5504291487193120, 12345678901234567])
def test_a_number_that_lost_digits_in_a_workbook_is_left_in_its_mangled_form(path: Path, number: int) -> None:
    [row] = cells(path, ["number"], [float(number)])
    assert "E+" in row["number"]


@pytest.mark.parametrize("number", [1, 55042914871931, 999999999999999, 5504291487193123])
def test_a_number_that_is_exact_in_a_workbook_is_kept(path: Path, number: int) -> None:
    assert cells(path, ["number"], [float(number)]) == [{"number": str(number)}]


def test_what_a_formula_left_behind_the_15th_digit_is_rounded(path: Path) -> None:
    assert cells(path, ["amount"], [0.1 + 0.2]) == [{"amount": "0.3"}]


def test_a_workbook_may_begin_lower_down(path: Path) -> None:
    content = workbook(path, [], [], [None, "number"], [None, 55]).read_bytes()
    assert [(row.number, row.cells) for row in read(path, content)] == [(4, {"number": "55"})]


def test_a_sheet_is_chosen_by_name(path: Path) -> None:
    workbook(path, ["number"], ["55"], title="Ada")
    with open_source(path, "Ada") as source:
        assert source.total == 1
    with pytest.raises(Refused, match="has no sheet 'Bili'; expected one of Ada"), open_source(path, "Bili"):
        pass


def test_ndjson_keeps_the_job_and_drops_the_error(path: Path) -> None:
    first, second = read(path, '{"id": "1", "error": "old"}\n\n{"id": "2"}\n')
    assert (first.number, first.job, first.original) == (1, {"id": "1"}, {"id": "1", "error": "old"})
    assert (second.number, second.job) == (3, {"id": "2"})


def test_a_line_that_is_no_object_is_a_row_with_a_problem(path: Path) -> None:
    rows = read(path, '{"id": "1"}\n{"id": \n"text"\n')
    assert [row.problem is None for row in rows] == [True, False, False]


def test_a_line_with_a_name_twice_is_a_row_with_a_problem(path: Path) -> None:
    [row] = read(path, '{"id": "1", "bill": {"amount": "5", "amount": "50"}}\n')
    assert row.problem is not None
    assert row.problem.field == "amount"


def test_an_endless_line_is_refused(path: Path) -> None:
    assert "256 KiB in line 1" in why(path, '{"id": "' + "x" * MAX_LINE_BYTES)


@pytest.mark.parametrize("content", [HEADER + "1,2,3\n4,5,6\n", '{"id": "1"}\n{"id": "2"}\n'])
def test_the_number_of_rows_is_known_before_the_first(path: Path, content: str) -> None:
    path.write_text(content)
    with open_source(path) as source:
        assert source.total == 2
