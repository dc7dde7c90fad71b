"""The customer's page when an order number closes at a part payment: never the dead number, then the new one."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from bot.web import billpage
from tests.bills.conftest import Office, Open, at_clickpesa

ZONE = "Africa/Dar_es_Salaam"


async def token_of(office: Office, number: str) -> str:
    bill = await office.engine.bills.get(number)
    return (await office.engine.shares.get(bill.shares[0])).token


async def test_the_page_says_that_a_number_comes_and_is_told_when_it_is_there(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, 45000)
    token = await token_of(office, old)
    await office.pays(old, 20000)
    async with office.engine.live.watch(token) as (page, word):
        values = billpage.values(page, "en", ZONE, ())
        assert (values["state"], values["note"], values["number"]) == ("closed", "renewing", "")
        assert page.amount == Decimal(25000)
        async with office.making():
            new = await office.successor(old)
        async with asyncio.timeout(10):
            assert await word
    page = await office.engine.shares.by_token(token)
    values = billpage.values(page, "en", ZONE, ())
    assert (values["state"], values["number"], values["amount"]) == ("open", new, "TZS 25,000")
    assert old not in str(values)
    [before] = page.payments
    assert before.amount == Decimal(20000)
    assert (before.reference or "").startswith("R")
    await office.pays(new, 25000)
    page = await office.engine.shares.by_token(token)
    assert billpage.state(page) == "paid"
    assert [each.amount for each in page.payments] == [Decimal(20000), Decimal(25000)]


async def test_where_no_number_will_come_the_page_says_whom_to_ask(open_office: Open) -> None:
    office = await open_office(balance_number="off")
    async with office.making():
        old = await at_clickpesa(office, 45000)
    token = await token_of(office, old)
    await office.pays(old, 20000)
    values = billpage.values(await office.engine.shares.by_token(token), "en", ZONE, ())
    assert (values["state"], values["note"]) == ("closed", "closed_note")
