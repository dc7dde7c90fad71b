"""Reading what staff type on a phone."""

from __future__ import annotations

import pytest

from bot.staff.drafts import bare_amount, one_line


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("5504 0754123456 45000", ("5504", "0754123456", "45000", "")),
        ("5504 0754 123 456 45000 Asha", ("5504", "0754 123 456", "45000", "Asha")),
        ("5504 +255-754-123456 45,000/= Asha Juma", ("5504", "+255-754-123456", "45000", "Asha Juma")),
        ("5504 0754123456 TZS 45,000 Asha", ("5504", "0754123456", "45000", "Asha")),
        ("INV7 (0754)123456 12.50 Ng'ombe Ltd", ("INV7", "(0754)123456", "12.50", "Ng'ombe Ltd")),
    ],
)
def test_one_line_is_told_apart(line: str, fields: tuple[str, ...]) -> None:
    assert one_line(line) == dict(zip(("number", "phone", "amount", "name"), fields, strict=True))


@pytest.mark.parametrize("line", ["5504", "5504 0754123456", "5504 Asha 45000"])
def test_line_with_too_little_is_not_guessed(line: str) -> None:
    assert one_line(line) is None


def test_empty_line_begins_the_dialogue() -> None:
    assert one_line("  ") == {}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("45000", "45000"),
        ("45,000", "45000"),
        ("1,045,000.50", "1045000.50"),
        ("TZS 45,000", "45000"),
        ("Tsh. 45000/=", "45000"),
        ("45000/-", "45000"),
        ("4,50", "4,50"),
        ("1e5", "1e5"),
        ("-5", "-5"),
    ],
)
def test_amounts_as_people_write_them(text: str, amount: str) -> None:
    assert bare_amount(text) == amount
