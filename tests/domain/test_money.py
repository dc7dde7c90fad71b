from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import money

CURRENCIES = st.sampled_from(["TZS", "USD", "JPY", "UGX", "KWD", "KES"])
MINOR = st.integers(min_value=1, max_value=10**14)


@given(MINOR, CURRENCIES)
def test_minor_units_and_back_lose_nothing(minor: int, currency: str) -> None:
    assert money.to_minor(money.from_minor(minor, currency), currency) == minor


@given(st.integers(min_value=-(10**14), max_value=10**14), CURRENCIES)
def test_plain_text_is_the_exact_amount_without_exponent(minor: int, currency: str) -> None:
    text = money.plain(minor, currency)
    assert Decimal(text) == money.from_minor(minor, currency)
    assert "E" not in text.upper()


@given(st.integers(min_value=1, max_value=10**11), CURRENCIES)
def test_what_plain_writes_parse_amount_reads(minor: int, currency: str) -> None:
    amount = money.parse_amount(money.plain(minor, currency))
    assert money.to_minor(amount, currency) == minor


@given(st.decimals(min_value="0.001", max_value="1000", places=3), CURRENCIES)
def test_an_amount_is_never_rounded(amount: Decimal, currency: str) -> None:
    try:
        assert Decimal(money.to_minor(amount, currency)).scaleb(-money.digits(currency)) == amount
    except ValueError:
        assert amount != round(amount, money.digits(currency))


@pytest.mark.parametrize(("currency", "digits"), [("TZS", 2), ("USD", 2), ("JPY", 0), ("UGX", 0), ("KWD", 3)])
def test_a_currency_has_the_decimals_of_iso_4217(currency: str, digits: int) -> None:
    assert money.digits(currency) == digits


@pytest.mark.parametrize("code", ["XXX", "tzs", "TZ", "", "SHILINGI"])
def test_what_is_no_currency_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="not a currency"):
        money.digits(code)


@pytest.mark.parametrize(
    ("minor", "text"), [(4_500_000, "45000"), (1250, "12.50"), (5, "0.05"), (-1250, "-12.50"), (0, "0")]
)
def test_whole_amounts_are_shown_without_decimals(minor: int, text: str) -> None:
    assert money.plain(minor, "TZS") == text


def test_more_decimals_than_the_currency_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more decimals than TZS has \(2\)"):
        money.to_minor(Decimal("1.005"), "TZS")


@pytest.mark.parametrize("value", ["45000", "45000.00", 45000, Decimal(45000)])
def test_text_whole_numbers_and_decimals_are_amounts(value: str | int | Decimal) -> None:
    assert money.parse_amount(value) == 45000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("4.5E+4", "spreadsheet"),
        ("45e3", "spreadsheet"),
        ("45,000", "thousands separators"),
        ("45 000.50", "thousands separators"),
        ("45.000.000", "thousands separators"),
        ("45.000,50", "thousands separators"),
        ("0", "more than 0"),
        ("0.00", "more than 0"),
        ("-5", "more than 0"),
        (Decimal("NaN"), "more than 0"),
        (Decimal("Infinity"), "more than 0"),
        ("NaN", "not a plain decimal"),
        ("", "not a plain decimal"),
        ("TZS 500", "not a plain decimal"),
        ("1_000", "not a plain decimal"),
        ("٤٥", "not a plain decimal"),
        (10**12, "too large"),
        ("1" * 21, "too large"),
        ("1.00000", "more than 4 decimals"),
    ],
)
def test_what_is_no_plain_positive_amount_is_refused_with_its_reason(value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        money.parse_amount(value)


@pytest.mark.parametrize("value", [45000.0, True, None])
def test_a_float_is_no_amount(value: object) -> None:
    with pytest.raises(ValueError, match="float cannot hold money"):
        money.parse_amount(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "currency", "doubt"),
    [("45.000", "TZS", "thousands"), ("45.0000", "TZS", "more decimals"), ("45.00", "JPY", "more decimals")],
)
def test_decimals_count_even_if_they_are_zeros(written: str, currency: str, doubt: str) -> None:
    with pytest.raises(ValueError, match=doubt):
        money.check_written(Decimal(written), currency)


@pytest.mark.parametrize(("written", "currency"), [("45.00", "TZS"), ("45", "JPY"), ("45.000", "KWD")])
def test_as_many_decimals_as_the_currency_has_may_be_written(written: str, currency: str) -> None:
    money.check_written(Decimal(written), currency)
