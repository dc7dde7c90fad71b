from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from bot.domain import share
from bot.domain.bill import BillKind, BillMode
from bot.domain.message import Lane
from bot.domain.row import COLUMNS
from bot.errors import Problem, Refused
from bot.settings import Settings

SETTINGS = Settings()
ROW = {"id": "r1", "number": "55042914871931", "amount": "45000", "phone": "0754 123 456"}


def read(**cells: str) -> share.ShareJob:
    return share.from_row({**ROW, **cells}, settings=SETTINGS)


def problems(**cells: str) -> dict[str, Problem]:
    with pytest.raises(Refused) as refused:
        read(**cells)
    return {problem.field: problem for problem in refused.value.problems}


def test_a_row_is_a_bulk_share() -> None:
    job = read()
    assert (job.lane, job.bill.amount, job.customer.phone) == (Lane.BULK, Decimal(45000), "+255754123456")


def test_every_column_reaches_its_field() -> None:
    row = (
        "id,number,kind,term,amount,currency,description,due_at,mode,name,phone,email,telegram,locale,channels,route,"
        "template,additional_contact\n"
        "r1,1,customer,2,12.50,USD,Fees,2026-12-01T09:00:00+03:00,exact,Asha,0754123456,a@example.com,1234567,en,"
        "SMS email,all,school,yes\n"
    )
    (cells,) = csv.DictReader(io.StringIO(row))
    assert {*cells, "create"} == set(COLUMNS)
    made = read(number="", create="Order")
    assert (made.bill.number, made.bill.create) == (None, BillKind.ORDER)
    job = share.from_row(cells, settings=SETTINGS)
    assert (job.bill.kind, job.bill.term, job.bill.mode) == (BillKind.CUSTOMER, "2", BillMode.EXACT)
    assert (job.bill.currency, job.bill.description) == ("USD", "Fees")
    assert (job.customer.telegram, job.customer.locale, job.customer.name) == ("1234567", "en", "Asha")
    assert (job.route.mode, job.route.channels) == ("all", ("sms", "email"))
    assert (job.template, job.additional_contact) == ("school", True)


def test_empty_cells_are_not_set() -> None:
    empty = read(**{column: "  " for column in COLUMNS if column not in ROW})
    assert empty == read()


def test_any_other_column_becomes_data() -> None:
    assert read(Student="Juma A.", form="4B", empty="").data == {"Student": "Juma A.", "form": "4B"}


def test_known_columns_are_found_whatever_their_case_and_byte_order_mark() -> None:
    cells = {"\ufeffID": "r1", " Number ": "1", "AMOUNT": "500", "Phone": "0754123456"}
    assert share.from_row(cells, settings=SETTINGS).bill.number == "1"


@pytest.mark.parametrize(
    ("cell", "hour"),
    [("2026-12-01", 9), ("2026-12-01 09:00", 6), ("2026-12-01T09:00:00", 6), ("2026-12-01T09:00:00Z", 9)],
)
def test_a_time_without_offset_is_the_merchants_and_a_date_is_its_noon(cell: str, hour: int) -> None:
    assert read(due_at=cell).bill.due_at == datetime(2026, 12, 1, hour, tzinfo=UTC)


def test_the_apostrophe_that_forces_text_is_taken_off() -> None:
    job = read(number="'0042", phone="'+255754123456", description="'=1+1")
    assert (job.bill.number, job.customer.phone) == ("0042", "+255754123456")
    assert job.bill.description == "=1+1"


@pytest.mark.parametrize(
    "cell", ["5.5E+13", "5,5E+13", "5.5042914871931e13", "5504291487193.0", "55042914871931.00"]
)
def test_a_number_that_a_spreadsheet_mangled_is_named_as_such(cell: str) -> None:
    problem = problems(number=cell)["number"]
    assert "mangled by a spreadsheet" in problem.message
    assert problem.given == cell


@pytest.mark.parametrize("cell", ["2.55754E+11", "255754123456.0", "754123456.0"])
def test_a_phone_that_a_spreadsheet_mangled_is_named_as_such(cell: str) -> None:
    assert "mangled by a spreadsheet" in problems(phone=cell)["phone"].message


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("id", "a b"),
        ("kind", "invoice"),
        ("amount", "45,000"),
        ("currency", "shilling"),
        ("due_at", "01/12/2026"),
        ("due_at", "2026-02-30"),
        ("mode", "full"),
        ("email", "asha"),
        ("telegram", "@asha"),
        ("channels", "sms fax"),
        ("channels", "sms,whatsapp"),
        ("route", "both"),
        ("template", "../x"),
        ("additional_contact", "maybe"),
        ("Student", "x" * 2001),
    ],
)
def test_a_problem_names_its_column(column: str, cell: str) -> None:
    assert column in problems(**{column: cell})


def test_all_problems_of_a_row_are_told_at_once() -> None:
    assert set(problems(number="5.5E+13", phone="07", amount="0", additional_contact="?")) == {
        "number",
        "phone",
        "amount",
        "additional_contact",
    }


def test_a_row_without_number_or_address_names_the_columns_to_fill() -> None:
    assert problems(number="", phone="").keys() == {"number", "phone"}


def test_cells_beyond_the_headings_are_a_problem() -> None:
    (row,) = csv.DictReader(io.StringIO("id,number,amount,phone\nr1,1,500,0754123456,extra\n"))
    with pytest.raises(Refused, match="no column name"):
        share.from_row(row, settings=SETTINGS)


def test_a_short_row_leaves_its_last_columns_empty() -> None:
    (row,) = csv.DictReader(io.StringIO("id,number,amount,phone,name\nr1,1,500,0754123456\n"))
    assert share.from_row(row, settings=SETTINGS).customer.name is None


def test_a_column_that_appears_twice_is_a_problem() -> None:
    assert "twice" in problems(Phone="0754123457")["phone"].message


@pytest.mark.parametrize("following", ["name", "Description"])
def test_an_amount_that_its_comma_cut_in_two_is_refused(following: str) -> None:
    row = {"id": "r1", "number": "55", "phone": "0754123456", "amount": "45", following: "000"}
    with pytest.raises(Refused) as refused:
        share.from_row(row, settings=SETTINGS)
    [problem] = refused.value.problems
    assert (problem.field, problem.given) == ("amount", "45,000")
    assert share.from_row({**row, following: "Asha"}, settings=SETTINGS).bill.amount == Decimal(45)


@pytest.mark.parametrize(
    "date", ["01/12/2026", "1/12/26", "01-12-2026", "01.12.2026", "01-Dec-2026", "01/12/2026 09:00"]
)
def test_a_date_that_begins_with_its_day_is_refused_with_the_right_way_and_not_guessed(date: str) -> None:
    [problem] = problems(due_at=date).values()
    assert (problem.field, problem.given) == ("due_at", date)
    assert "year first" in problem.message
    assert problem.expected is not None
    assert "2026-12-01" in problem.expected


@pytest.mark.parametrize("channels", ["sms,whatsapp", "SMS, WhatsApp", "sms;whatsapp", "sms|whatsapp"])
def test_channels_that_no_space_separates_are_refused_with_the_right_way(channels: str) -> None:
    [problem] = problems(channels=channels).values()
    assert (problem.field, problem.given, problem.expected) == ("channels", channels, "sms whatsapp")
    assert "spaces" in problem.message
