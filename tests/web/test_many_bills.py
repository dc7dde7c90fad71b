"""Several bills on one number: every page adds up, and says where money went that was paid to the oldest first."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from bot.domain.bill_change import BillChange
from bot.engine.pageview import Page
from bot.web import billpage
from tests.engine.conftest import paid
from tests.render.test_invoice import text_of
from tests.web.conftest import Site, a_share, shared
from tests.web.test_pages import get

FIRST, SECOND = {"amount": "30000", "term": "1"}, {"amount": "45000", "term": "2"}


async def two_bills(site: Site, number: str) -> tuple[str, str]:
    """The tokens of two bills of one contact under one customer number."""
    customer = a_share()["customer"]
    tokens = []
    for bill in (FIRST, SECOND):
        answer = await shared(
            site,
            customer=customer,
            bill={"number": number, "kind": "customer", "description": "Fees", **bill},
        )
        tokens.append(answer["token"])
    return tokens[0], tokens[1]


async def next_term(site: Site, number: str) -> str:
    """One bill, 20,000 of it paid, and the next one that carries the rest; the token of both."""
    answer = await shared(site, bill={"number": number, "kind": "customer", **FIRST})
    await site.engine.payments.settle(paid(number, "20000", id="LCPOLD1"))
    await site.engine.changes.apply(number, BillChange(term="2", amount=Decimal(45000)), told=None, by="test")
    return str(answer["token"])


async def page_of(site: Site, token: str) -> Page:
    page = await site.engine.shares.by_token(token)
    assert page.older + page.total - page.paid == page.amount
    return page


async def pdf_of(site: Site, token: str) -> str:
    async with site.stranger.get(f"/pay/{token}/invoice.pdf?lang=en") as response:
        return text_of(await response.read())


async def json_of(site: Site, token: str) -> dict[str, Any]:
    async with site.stranger.get(f"/pay/{token}/bill.json") as response:
        made: dict[str, Any] = await response.json()
        return made


async def test_an_older_debt_is_named_and_asked_for_first(site: Site) -> None:
    _, second = await two_bills(site, "990011")
    page = await get(site, f"/pay/{second}?lang=en")
    assert "Amount to pay TZS 75,000 Left of earlier bills TZS 30,000 This bill TZS 45,000" in page.text
    made = await json_of(site, second)
    assert [made[name] for name in ("amount", "older", "total", "paid")] == ["75000", "30000", "45000", "0"]
    text = await pdf_of(site, second)
    assert "Left of earlier bills TZS 30,000 This bill TZS 45,000" in text
    assert "Still to pay TZS 75,000" in text


async def test_money_that_went_to_the_older_bill_is_on_the_page_that_was_paid_from(site: Site) -> None:
    _, second = await two_bills(site, "990012")
    await site.engine.payments.settle(paid("990012", "45000", id="LCPNEW1"))
    page = await get(site, f"/pay/{second}?lang=en")
    assert "You have paid TZS 15,000" in page.text
    assert "of TZS 45,000 that was paid TZS 15,000" in page.text
    assert (await page_of(site, second)).amount == Decimal(30000)
    assert "of TZS 45,000 that was paid" in await pdf_of(site, second)


async def test_money_that_went_to_the_older_bill_alone_is_named_too(site: Site) -> None:
    _, second = await two_bills(site, "990013")
    await site.engine.payments.settle(paid("990013", "10000", id="LCPNEW2"))
    page = await get(site, f"/pay/{second}?lang=en")
    assert "Left of earlier bills TZS 20,000" in page.text
    assert "TZS 10,000 went to an earlier bill" in page.text
    assert (await json_of(site, second))["amount"] == "65000"


async def test_the_older_bill_asks_for_itself_alone(site: Site) -> None:
    first, second = await two_bills(site, "990014")
    assert (await page_of(site, first)).amount == Decimal(30000)
    await site.engine.payments.settle(paid("990014", "30000"))
    assert billpage.state(await page_of(site, first)) == "paid"
    assert "Amount to pay TZS 45,000" in (await get(site, f"/pay/{second}?lang=en")).text


async def test_a_receipt_lists_what_was_paid_for_its_own_bill(site: Site) -> None:
    first, second = await two_bills(site, "990015")
    await site.engine.payments.settle(paid("990015", "80000", id="LCPALL"))
    for token, amount, over in ((first, 30000, 0), (second, 50000, 5000)):
        page = await page_of(site, token)
        assert [each.amount for each in page.payments] == [Decimal(amount)]
        assert page.credit == Decimal(over)
        text = await pdf_of(site, token)
        assert f"TZS {amount:,}" in text
        assert ("Paid above what was owed TZS 5,000" in text) is bool(over)
        assert "of TZS 80,000 that was paid" in text
        assert ("paid more than was owed" in (await get(site, f"/pay/{token}?lang=en")).text) is bool(over)


async def test_money_above_everything_is_told_on_the_newest_bill_alone(site: Site) -> None:
    first, second = await two_bills(site, "990016")
    await site.engine.payments.settle(paid("990016", "75000", id="LCPA"))
    await site.engine.payments.settle(paid("990016", "1000", id="LCPB"))
    assert [each.amount for each in (await page_of(site, first)).payments] == [Decimal(30000)]
    page = await page_of(site, second)
    assert [int(each.amount) for each in page.payments] == [45000, 1000]
    assert page.credit == Decimal(1000)


async def test_a_bill_that_only_this_page_speaks_for_adds_up(site: Site) -> None:
    token = await next_term(site, "990017")
    page = await page_of(site, token)
    assert [int(value) for value in (page.amount, page.older, page.total, page.paid)] == [
        55000,
        10000,
        45000,
        0,
    ]
    text = (await get(site, f"/pay/{token}?lang=en")).text
    assert "Left of earlier bills TZS 10,000 This bill TZS 45,000" in text
    assert "Payments received" not in text
    await site.engine.payments.settle(paid("990017", "10000", id="LCPNEW3"))
    page = await page_of(site, token)
    assert [(int(each.amount), int(each.whole)) for each in page.payments] == [(0, 10000)]


async def test_readers_hear_when_only_the_older_part_changes(site: Site) -> None:
    _, second = await two_bills(site, "990018")
    async with site.engine.live.watch(second) as (before, word):
        await site.engine.payments.settle(paid("990018", "10000"))
        async with asyncio.timeout(10):
            assert await word
    after = await page_of(site, second)
    assert (before.total, before.paid) == (after.total, after.paid)
    assert before.version != after.version


async def test_readers_who_come_late_hear_that_the_carried_part_changed(site: Site) -> None:
    token = await next_term(site, "990019")
    before = await page_of(site, token)
    await site.engine.payments.settle(paid("990019", "10000"))
    assert (await page_of(site, token)).version != before.version
    async with site.stranger.get(f"/pay/{token}/live?seen={before.version}") as response:
        assert "data: changed" in (await response.content.readuntil(b"changed"))[-20:].decode()


async def test_credit_that_pays_the_next_bill_is_on_its_page_and_off_the_old_one(site: Site) -> None:
    customer = a_share()["customer"]
    tokens = []
    for bill in (FIRST, SECOND):
        answer = await shared(site, customer=customer, bill={"number": "990020", "kind": "customer", **bill})
        tokens.append(answer["token"])
        if bill is FIRST:
            await site.engine.payments.settle(paid("990020", "40000", id="LCPMORE"))
    first, second = [await page_of(site, token) for token in tokens]
    assert [(int(each.amount), int(each.whole)) for each in first.payments] == [(30000, 40000)]
    assert [(int(each.amount), int(each.whole)) for each in second.payments] == [(10000, 40000)]
    assert (first.credit, second.paid, second.amount) == (Decimal(0), Decimal(10000), Decimal(35000))
