"""The customer's page when an order number closes at a part payment: never the dead number, then the new one."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from bot.app import renderer
from bot.engine.compose import Composer
from bot.engine.scripts import HandedOut, now_ms
from bot.render import invoice as invoices
from bot.render.facts import Facts
from bot.render.look import Look
from bot.web import billpage
from bot.web.embed import snippet
from bot.web.pagewriter import PageWriter
from tests.bills.conftest import Office, Open, at_clickpesa, paid

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
        writer = PageWriter(office.engine.settings, Look(name="Shule"))
        html = snippet(page, "en", ZONE, "https://bili.example", writer)
        assert "A new number is being made" in html
        assert "for a new number" not in html
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
    assert [int(value) for value in (page.total, page.paid, page.amount)] == [45000, 20000, 25000]
    await office.pays(new, 25000)
    page = await office.engine.shares.by_token(token)
    assert billpage.state(page) == "paid"
    assert [each.amount for each in page.payments] == [Decimal(20000), Decimal(25000)]
    assert (page.total, page.paid) == (Decimal(45000), Decimal(45000))


async def test_a_payment_under_the_old_number_that_went_back_is_owed_on_the_new_page(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, 45000)
        token = await token_of(office, old)
        await office.pays(old, 20000)
        new = await office.successor(old)
        page = await office.engine.shares.by_token(token)
        assert page.paid == Decimal(20000)
        [payment] = (await office.engine.bills.get(old)).payments
        await office.engine.payments.settle(paid(old, "20000", id=payment.reference, status="REVERSED"))
    page = await office.engine.shares.by_token(token)
    assert page.number == new
    assert [int(value) for value in (page.total, page.paid, page.amount)] == [45000, 0, 45000]


async def test_a_message_about_the_new_number_names_what_the_old_one_took(office: Office) -> None:
    async with office.making():
        old = await at_clickpesa(office, 45000)
        await office.pays(old, 20000)
        new = await office.successor(old)
    engine = office.engine
    share = (await engine.bills.get(new)).shares[0]
    for [told] in (await facts_handed(office), await resent(office, share)):
        assert [int(value) for value in (told.total, told.paid, told.amount)] == [45000, 20000, 25000]
        made = invoices.of_message(told, "en")
        assert (made.state, made.number) == ("open", new)


async def resent(office: Office, share: str) -> list[Facts]:
    await office.engine.shares.resend(share, by="test")
    return await facts_handed(office)


async def facts_handed(office: Office) -> list[Facts]:
    """What the text messages that are handed out now may say."""
    engine, found = office.engine, list[Facts]()
    composer = Composer(engine.records, renderer(engine.settings), engine.settings)
    for p in range(engine.partitions):
        held: list[HandedOut]
        held, _ = await engine.records.scripts.run(
            engine.records.scripts.hand_out(p, now_ms(), "sms", "test", (100, 100))
        )
        found += [composer.facts(each, None, window_open=False) for each in held]
    return found


async def test_where_no_number_will_come_the_page_says_whom_to_ask(open_office: Open) -> None:
    office = await open_office(balance_number="off")
    async with office.making():
        old = await at_clickpesa(office, 45000)
    token = await token_of(office, old)
    await office.pays(old, 20000)
    values = billpage.values(await office.engine.shares.by_token(token), "en", ZONE, ())
    assert (values["state"], values["note"]) == ("closed", "closed_note")
