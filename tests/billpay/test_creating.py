"""A control number is made once, whatever gets lost: with a ClickPesa that loses it."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from bot.billpay.client import ClickPesa
from bot.billpay.creating import TAKEN, create_many_surely, create_surely
from bot.billpay.errors import ClickPesaAway, ReferenceTaken
from bot.billpay.numbers import Created, ItemRefused, NewNumber
from bot.domain.bill import BillKind
from bot.sandbox.city import Sandbox
from tests.billpay.conftest import client_of
from tests.billpay.test_numbers import customer, order

LOST = ["timeout-before", "timeout-after", "error-before", "error-after", "reset-before", "reset-after"]


def creates(city: Sandbox) -> int:
    """How many create calls arrived."""
    return sum(count for call, count in city.clickpesa.calls.items() if call.startswith("POST /billpay/"))


@pytest.mark.parametrize("new", [order(), customer()])
@pytest.mark.parametrize("fault", LOST)
async def test_an_answer_that_got_lost_is_looked_for_before_anything_is_tried_again(
    city: Sandbox, new: NewNumber, fault: str
) -> None:
    city.faults.next("clickpesa", fault)
    async with client_of(city, timeout_s=0.3) as client:
        assert await create_surely(client, new) == new.reference
    assert list(city.clickpesa.bills) == [new.reference]
    assert creates(city) == (1 if fault.endswith("after") else 2)


async def test_a_try_that_was_cut_off_by_a_crash_is_found(city: Sandbox, billpay: ClickPesa) -> None:
    await billpay.create(order())
    assert await create_surely(billpay, order(), doubtful=True) == order().reference
    assert await create_surely(billpay, order()) == order().reference
    assert len(city.clickpesa.bills) == 1


@pytest.mark.parametrize(
    "other",
    [
        order(amount=Decimal(12501)),
        order(amount=None),
        order(cap=Decimal(20000)),
        order(description="Ada ya Februari"),
    ],
)
@pytest.mark.parametrize("doubtful", [True, False])
async def test_a_reference_of_something_else_is_never_taken_for_ours(
    billpay: ClickPesa, other: NewNumber, doubtful: bool
) -> None:
    await billpay.create(other)
    with pytest.raises(ReferenceTaken):
        await create_surely(billpay, order(), doubtful=doubtful)


async def test_while_clickpesa_is_away_it_stays_unknown(city: Sandbox, billpay: ClickPesa) -> None:
    city.faults.set("clickpesa", "failing")
    with pytest.raises(ClickPesaAway):
        await create_surely(billpay, order())


@pytest.mark.parametrize("fault", LOST)
async def test_many_are_made_once_though_the_answer_got_lost(city: Sandbox, fault: str) -> None:
    city.faults.next("clickpesa", fault)
    new = [order(str(n)) for n in range(5)]
    async with client_of(city, timeout_s=0.3) as client:
        made = await create_many_surely(client, BillKind.ORDER, new)
    assert made == [Created(str(n)) for n in range(5)]
    assert len(city.clickpesa.bills) == 5


async def test_of_many_those_that_exist_already_are_ours_only_with_equal_details(billpay: ClickPesa) -> None:
    await billpay.create(order("1"))
    await billpay.create(order("2", amount=Decimal(7)))
    new = [order(str(n)) for n in range(4)]
    expected = [Created("0"), Created("1"), ItemRefused(TAKEN), Created("3")]
    assert await create_many_surely(billpay, BillKind.ORDER, new) == expected
    assert await create_many_surely(billpay, BillKind.ORDER, new, doubtful=True) == expected


async def test_repeats_at_the_same_time_make_one_number(city: Sandbox, billpay: ClickPesa) -> None:
    made = await asyncio.gather(*(create_surely(billpay, order()) for _ in range(10)))
    assert set(made) == set(city.clickpesa.bills) == {order().reference}
