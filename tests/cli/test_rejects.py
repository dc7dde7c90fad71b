"""The errors file: as the rows came, with the reason, fit to be sent again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bot.cli.files import open_source
from bot.cli.intake import job_of
from bot.cli.rejects import ErrorsFile
from bot.errors import Problem, Refused
from bot.settings import Settings
from tests.cli.test_files import workbook

WRONG = (Problem(field="amount", message="is missing"),)


def rejected(path: Path) -> Path:
    with open_source(path) as source, ErrorsFile(path, source) as rejects:
        for row in source.rows():
            rejects.add(row, WRONG)
    assert rejects.path is not None
    return rejects.path


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "bills.csv"
    path.write_text(text)
    return rejected(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")


def test_it_stands_next_to_the_input_and_keeps_its_columns_and_separator(tmp_path: Path) -> None:
    assert (
        written(tmp_path, "Number;my class\n55;4B\n") == "Number;my class;error\n55;4B;amount: is missing\n"
    )
    assert (tmp_path / "bills.csv.errors.csv").exists()


def test_an_old_error_is_replaced(tmp_path: Path) -> None:
    assert written(tmp_path, "error,number\nold,55\n") == "number,error\n55,amount: is missing\n"


def test_too_many_cells_lose_nothing(tmp_path: Path) -> None:
    assert (
        written(tmp_path, "number,name\n55,Juma, Asha\n").splitlines()[1]
        == "55,Juma,amount: is missing, Asha"
    )


def test_a_row_that_was_refused_is_refused_again_if_nobody_corrects_it(tmp_path: Path) -> None:
    path = tmp_path / "bills.csv"
    path.write_text("number,phone,amount,name\n55042914872020,0754123456,45,000,Asha\n")
    for _ in range(3):
        path = rejected(path)
        with open_source(path) as source:
            [row] = source.rows()
        with pytest.raises(Refused) as refused:
            job_of(row, Settings())
        [problem] = refused.value.problems
        assert problem.field == "row"
        assert problem.expected is not None
        assert "an amount without a comma" in problem.expected


def test_a_formula_is_defused_and_a_phone_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bills.csv"
    path.write_text('number,name,phone\n55,"=HYPERLINK(""x"")",+255 754 123 456\n')
    again = rejected(path)
    assert "\"'=HYPERLINK" in again.read_text()
    assert ",+255 754" in again.read_text()


def test_a_workbook_gets_a_csv(tmp_path: Path) -> None:
    path = rejected(workbook(tmp_path / "bills.xlsx", ["number", "amount"], [55042914871931, 1.5]))
    assert path.name == "bills.xlsx.errors.csv"
    assert path.read_text(encoding="utf-8-sig").splitlines()[1] == "55042914871931,1.5,amount: is missing"


def test_ndjson_gets_ndjson(tmp_path: Path) -> None:
    path = tmp_path / "bills.ndjson"
    path.write_text('{"id": "1", "error": "old"}\nnonsense\n')
    lines = [msgspec.json.decode(line) for line in rejected(path).read_text().splitlines()]
    assert lines == [
        {"id": "1", "error": "amount: is missing"},
        {"line": "nonsense", "error": "amount: is missing"},
    ]


def test_without_errors_there_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "bills.csv"
    path.write_text("number\n55\n")
    with open_source(path) as source, ErrorsFile(path, source):
        pass
    assert [found.name for found in tmp_path.iterdir()] == ["bills.csv"]


def test_a_file_that_is_being_corrected_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "bills.csv"
    path.write_text("number\n55\n")
    names = [rejected(path).name for _ in range(3)]
    assert names == ["bills.csv.errors.csv", "bills.csv.errors-2.csv", "bills.csv.errors-3.csv"]


def test_where_no_file_can_be_made_the_rows_go_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bills.csv"
    path.write_text("number\n55\n")
    with open_source(path) as source, ErrorsFile(tmp_path / "nowhere" / "bills.csv", source) as rejects:
        rejects.add(next(source.rows()), WRONG)
    assert capsys.readouterr().err.splitlines() == ["number,error", "55,amount: is missing"]
    assert "stand above" in rejects.told


@pytest.mark.parametrize("name", ["=Asha", "+Asha", "-Asha", "@Asha"])
def test_the_quote_in_front_of_a_formula_is_taken_off_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bills.csv"
    path.write_text(f"number,amount,phone,name\n55,1,0754123456,{name}\n")
    with open_source(rejected(path)) as source:
        [row] = source.rows()
    assert row.cells is not None
    assert row.cells["name"] == f"'{name}"
    assert job_of(row, Settings()).customer.name == name
