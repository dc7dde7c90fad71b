"""What a person reads in a message."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.sandbox import reading


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Lipa TZS 45,000 kwa 55042914871931.", ["55042914871931"]),
        ("Piga 0754123456 au 255754123456 au +255754123456", []),
        ("Namba 5504 2914 8719 31, TZS 45000", ["55042914871931"]),
        ("Kumbukumbu SOMA0001", ["SOMA0001"]),
        ("Kumbukumbu OTHER001", []),
        ("http://127.0.0.1/pay/123456789012", []),
        ("Kampuni 889999, namba 99887766554433", ["99887766554433"]),
        ("Kiasi 123,456,789 tu", []),
    ],
)
def test_control_numbers_are_found(text: str, numbers: list[str]) -> None:
    assert reading.control_numbers(text, {"55042914871931", "SOMA0001"}) == numbers


@pytest.mark.parametrize(
    ("text", "amount"),
    [("Lipa TZS 45,000 leo", Decimal(45000)), ("TSh 12,500.50", Decimal("12500.50")), ("Asante", None)],
)
def test_the_amount_is_found(text: str, amount: Decimal | None) -> None:
    assert reading.amount(text) == amount


def test_links_end_before_the_full_stop() -> None:
    assert reading.links("Soma https://a.test/out/3-x. Au http://b.test/y?z=1!") == [
        "https://a.test/out/3-x",
        "http://b.test/y?z=1",
    ]
