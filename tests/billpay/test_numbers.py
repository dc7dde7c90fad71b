"""Control numbers made, read and changed at the sandbox's ClickPesa, which checks checksums and members."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bot.billpay.client import ClickPesa
from bot.billpay.errors import ClickPesaNotFound, ClickPesaRefused, ReferenceTaken
from bot.billpay.numbers import Created, ItemRefused, NewNumber, read_bulk
from bot.domain.bill import BillKind, BillMode
from bot.errors import Refused
from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_shapes import Shapes


def order(reference: str | None = "70012345670001", **changed: Any) -> NewNumber:
    values = {"amount": Decimal(12500), "description": "Ada ya Januari", **changed}
    return NewNumber(kind=BillKind.ORDER, reference=reference, **values)


def customer(reference: str | None = "70012345670002", **changed: Any) -> NewNumber:
    values = {
        "amount": Decimal(60000),
        "cap": Decimal(180000),
        "customer_name": "Neema Kileo",
        "customer_phone": "+255713000002",
        **changed,
    }
    return NewNumber(kind=BillKind.CUSTOMER, reference=reference, **values)


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("new", [order(), customer(), order(mode=BillMode.EXACT), order(amount=None)])
async def test_a_number_is_made_under_its_reference_whichever_shape_answers(
    city: Sandbox, billpay: ClickPesa, new: NewNumber, echo: bool
) -> None:
    city.clickpesa.shapes = Shapes(create_echo=echo)
    assert await billpay.create(new) == new.reference
    found = await billpay.details(new.reference or "")
    assert (found.amount, found.cap, found.description) == (new.amount, new.cap, new.description)
    assert (found.customer_name, found.mode) == (new.customer_name, new.mode)


async def test_without_a_reference_clickpesa_chooses_the_number(city: Sandbox, billpay: ClickPesa) -> None:
    number = await billpay.create(order(None))
    assert number in city.clickpesa.bills


async def test_amounts_with_cents_and_letters_outside_ascii_are_signed_as_they_are_sent(
    city: Sandbox, billpay: ClickPesa
) -> None:
    await billpay.create(
        customer(customer_name="José Mwakyembe", amount=Decimal("0.10"), description="Ada – Juni")
    )
    bill = city.clickpesa.bills["70012345670002"]
    assert (bill.customer_name, bill.amount, bill.description) == (
        "Jose Mwakyembe",
        Decimal("0.1"),
        "Ada - Juni",
    )


async def test_without_a_checksum_key_names_stay_as_they_are(city: Sandbox, billpay: ClickPesa) -> None:
    city.clickpesa.switch_checksum(None)
    account = city.clickpesa.account
    async with ClickPesa(city.urls["clickpesa"], account.client_id, account.api_key) as unsigned:
        await unsigned.create(customer(customer_name="José"))
    assert city.clickpesa.bills["70012345670002"].customer_name == "José"


async def test_a_reference_that_is_taken_is_an_error_of_its_own(billpay: ClickPesa) -> None:
    await billpay.create(order())
    with pytest.raises(ReferenceTaken, match="already used"):
        await billpay.create(order())


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (order("with space"), "reference"),
        (order("x" * 21), "reference"),
        (order("ALL"), "reference"),
        (order(amount=Decimal(0)), "amount"),
        (order(amount=Decimal("1.005")), "amount"),
        (order(amount=Decimal("NaN")), "amount"),
        (order(cap=Decimal(100)), "cap"),
        (order(cap=Decimal(20000), mode=BillMode.EXACT), "cap"),
        (order(customer_name="Neema"), "customer"),
        (customer(customer_name=None), "customer_name"),
        (customer(customer_phone=None), "customer_phone"),
        (customer(customer_phone="0713000002"), "customer_phone"),
    ],
)
async def test_what_clickpesa_would_refuse_is_not_even_sent(
    city: Sandbox, billpay: ClickPesa, new: NewNumber, field: str
) -> None:
    with pytest.raises(Refused) as refused:
        await billpay.create(new)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert not city.clickpesa.bills


async def test_many_numbers_are_told_apart_by_reference_though_some_fail(billpay: ClickPesa) -> None:
    await billpay.create(order("2"))
    made = await billpay.create_many(BillKind.ORDER, [order(str(n)) for n in range(50)])
    taken = ItemRefused("Bill reference already used: Use a different reference")
    assert made == [taken if n == 2 else Created(str(n)) for n in range(50)]


async def test_many_customers_are_made_in_one_call(city: Sandbox, billpay: ClickPesa) -> None:
    made = await billpay.create_many(
        BillKind.CUSTOMER, [customer("C1"), customer("C2", customer_email="a@b.example")]
    )
    assert made == [Created("C1"), Created("C2")]
    assert city.clickpesa.bills["C2"].kind == "customer"


def test_the_order_of_made_numbers_means_nothing() -> None:
    answer = {"billPayNumbers": ["c", "A"], "errors": [{"index": 1, "reason": "Samahani, 0754123456"}]}
    assert read_bulk(answer, ["a", "b", "c", "d"]) == [
        Created("A"),
        ItemRefused("Samahani, •••3456"),
        Created("c"),
        ItemRefused(None),
    ]


@pytest.mark.parametrize("answer", [None, [], {}, {"billPayNumbers": 5, "errors": [7]}])
def test_a_bulk_answer_that_names_nothing_made_nothing(answer: object) -> None:
    assert read_bulk(answer, ["a"]) == [ItemRefused(None)]


@pytest.mark.parametrize(
    "new", [[], [order(str(n)) for n in range(51)], [order(None)], [order("A"), order("a")], [customer()]]
)
async def test_a_bulk_call_that_cannot_be_mapped_is_not_made(
    city: Sandbox, billpay: ClickPesa, new: list[NewNumber]
) -> None:
    with pytest.raises(ValueError, match="1 to 50 items"):
        await billpay.create_many(BillKind.ORDER, new)
    assert not city.clickpesa.bills


async def test_an_update_changes_what_is_given_and_nothing_else(city: Sandbox, billpay: ClickPesa) -> None:
    await billpay.create(customer())
    changed = await billpay.update("70012345670002", status="INACTIVE", amount=Decimal("70000.50"))
    assert (changed.status, changed.amount, changed.cap) == ("INACTIVE", Decimal("70000.5"), Decimal(180000))
    bill = city.clickpesa.bills["70012345670002"]
    assert (bill.status, bill.amount, bill.customer_name) == ("INACTIVE", Decimal("70000.5"), "Neema Kileo")


async def test_an_exact_amount_drops_the_cap(billpay: ClickPesa) -> None:
    await billpay.create(customer())
    await billpay.update("70012345670002", mode=BillMode.EXACT)
    found = await billpay.details("70012345670002")
    assert (found.mode, found.cap, found.remaining) == (BillMode.EXACT, None, None)


async def test_what_remains_under_the_cap_is_told(city: Sandbox, billpay: ClickPesa) -> None:
    await billpay.create(customer())
    await city.pay("70012345670002", 60000)
    assert (await billpay.details("70012345670002")).remaining == 120000


@pytest.mark.parametrize("change", [{}, {"description": "x" * 501}, {"amount": Decimal(0)}])
async def test_an_update_that_cannot_be_right_is_not_sent(billpay: ClickPesa, change: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        await billpay.update("70012345670002", **change)


async def test_a_number_that_nobody_made_is_not_found(billpay: ClickPesa) -> None:
    with pytest.raises(ClickPesaNotFound, match="does not exist"):
        await billpay.details("1")
    with pytest.raises(ClickPesaNotFound):
        await billpay.update("1", status="INACTIVE")


async def test_a_wrong_checksum_key_is_told_in_clickpesas_words(city: Sandbox) -> None:
    account = city.clickpesa.account
    async with ClickPesa(city.urls["clickpesa"], account.client_id, account.api_key, "wrong") as client:
        with pytest.raises(ClickPesaRefused, match="Invalid checksum"):
            await client.create(order())


async def test_all_payments_are_paged_the_oldest_first(city: Sandbox, billpay: ClickPesa) -> None:
    await billpay.create(customer())
    paid = [(await city.pay("70012345670002", amount)).id for amount in (1000, 2000, 3000)]
    first = await billpay.payments_page(limit=2)
    second = await billpay.payments_page(skip=2, limit=2)
    found = [event.ids[0] for event in first.events + second.events if event]
    assert (found, first.total, second.total) == (paid, 3, 3)
    assert [event.ids[0] for event in (await billpay.payments_page(descending=True)).events if event] == paid[
        ::-1
    ]
