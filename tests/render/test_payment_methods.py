"""The ways to pay, as the shipped data file tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import TemplateError
from bot.render.library import templates_dir
from bot.render.payment_methods import Method, companies, methods
from tests.render.examples import renderer, write

ALL = methods("5551234")


def by_id(name: str) -> Method:
    return next(method for method in ALL if method.id == name)


def test_every_wallet_and_bank_with_a_source_is_there() -> None:
    assert [method.name for method in ALL] == ["Mixx by Yas", "M-Pesa", "Airtel Money", "HaloPesa", "CRDB"]


@pytest.mark.parametrize(
    ("name", "code", "company"),
    [
        ("mixx", "*150*01#", "889999"),
        ("mpesa", "*150*00#", "5551234"),
        ("airtel", "*150*60#", "47"),
        ("halopesa", "*150*88#", "889999"),
        ("crdb", "*150*03#", None),
    ],
)
def test_codes_and_company_numbers_are_those_of_the_source(name: str, code: str, company: str | None) -> None:
    assert (by_id(name).ussd_code, by_id(name).company_number) == (code, company)


def test_mpesa_is_left_out_without_the_merchants_own_number() -> None:
    assert "mpesa" not in {method.id for method in methods(None)}


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.id)
@pytest.mark.parametrize("language", ["sw", "en"])
def test_steps_carry_the_number_and_the_amount(method: Method, language: str) -> None:
    for way in ("ussd", "app"):
        steps = method.fill(language, way, number="55042914871931", amount="TZS 45,000")
        assert any("55042914871931" in step for step in steps)
        assert any("TZS 45,000" in step for step in steps)
        assert not any("{" in step for step in steps)
    assert method.ussd_code in method.fill(language, "ussd", number="1", amount="1")[0]


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.id)
def test_every_method_tells_where_it_is_from_and_when_that_was_read(method: Method) -> None:
    assert "ClickPesa" in method.source
    assert method.date_read.year >= 2026
    assert method.last_dialled is None


def test_a_language_without_steps_gets_english_ones() -> None:
    assert by_id("mixx").fill("fr", "ussd", number="1", amount="1")[1] == "Choose 4, Pay bills"


def test_company_numbers_in_brief_name_the_shared_one_first() -> None:
    assert companies(ALL) == ["Mixx/HaloPesa 889999", "M-Pesa 5551234", "Airtel 47"]


def test_a_merchant_may_bring_methods_of_ones_own(tmp_path: Path) -> None:
    shipped = (templates_dir() / "payment_methods.toml").read_text(encoding="utf-8")
    own = renderer(
        overrides=write(tmp_path, "payment_methods.toml", shipped.replace("Airtel Money", "Airtel"))
    )
    assert [method.name for method in own.merchant.methods] == ["Mixx by Yas", "Airtel", "HaloPesa", "CRDB"]


@pytest.mark.parametrize("text", ["[[method]]\nid = 1", "x = 1", "[[method"])
def test_methods_that_make_no_sense_are_refused_at_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError, match=r"payment_methods\.toml"):
        renderer(overrides=write(tmp_path, "payment_methods.toml", text))
