"""Money, dates and numbers in two languages."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.render import locale
from bot.render.segments import is_gsm

ZONE = "Africa/Dar_es_Salaam"


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("45000", "TZS", "TZS 45,000"),
        ("45000.00", "TZS", "TZS 45,000"),
        ("1E+6", "TZS", "TZS 1,000,000"),
        ("12.5", "TZS", "TZS 12.50"),
        ("0.05", "USD", "USD 0.05"),
        ("0", "TZS", "TZS 0"),
    ],
)
def test_money_has_decimals_only_where_there_are_any(amount: str, currency: str, written: str) -> None:
    assert locale.money("sw", Decimal(amount), currency) == written
    assert locale.money("en", Decimal(amount), currency) == written


@given(st.decimals(0, 10**15, places=2), st.sampled_from(["sw", "en", "fr", "sw-TZ", "xx"]))
def test_no_digit_of_an_amount_is_lost(amount: Decimal, language: str) -> None:
    written = locale.money(language, amount, "TZS")
    digits = "".join(c for c in written if c.isdigit())
    assert int(digits) == (int(amount) if amount == int(amount) else int(amount * 100))
    assert is_gsm(written)


def test_dates_are_told_in_the_language_and_in_the_zone() -> None:
    moment = datetime(2026, 11, 30, 22, 30, tzinfo=UTC)
    assert locale.date("sw", moment, ZONE) == "1 Des 2026"
    assert locale.date("en", moment, ZONE) == "1 Dec 2026"


def test_a_long_date_has_weekday_and_time() -> None:
    moment = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
    assert locale.long_date("sw", moment, ZONE) == "Jumanne, 1 Desemba 2026, 09:00"
    assert locale.long_date("en", moment, ZONE) == "Tuesday, 1 December 2026, 09:00"


@pytest.mark.parametrize("hour", ["2026-12-01T00:00:00+03:00", "2026-12-01T23:59:59+03:00"])
def test_a_due_day_is_told_without_a_time(hour: str) -> None:
    assert locale.long_date("en", datetime.fromisoformat(hour), ZONE) == "Tuesday, 1 December 2026"


def test_a_number_is_grouped_for_eyes_without_losing_a_digit() -> None:
    assert locale.group("55042914871931") == "5504 2914 8719 31"
