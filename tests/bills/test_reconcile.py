"""A day's money adds up, here and against ClickPesa's list, or the difference has a name."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from decimal import Decimal

import msgspec
import pytest

from bot.cli.reconcile import _print, of_day, write_csv
from bot.domain.bill import BillKind
from bot.domain.cash import Cash
from bot.domain.reconciliation import Day, reconcile
from tests.bills.conftest import Office, Open, at_clickpesa
from tests.engine.conftest import job, paid


async def today(office: Office) -> Day:
    zone = office.engine.settings.zone
    return await of_day(office.engine, office.client, datetime.now(zone).date())


async def test_a_messy_day_adds_up(office: Office) -> None:
    async with office.making():
        full, over, part = [await at_clickpesa(office) for _ in range(3)]
        customer = await at_clickpesa(office, kind=BillKind.CUSTOMER)
        await office.pays(full, 45000)
        await office.pays(over, 50000)
        await office.pays(part, 20000)
        await office.successor(part)
        await office.pays(customer, 15000)
        await office.engine.payments.add(
            customer, Cash(id="1", amount=Decimal(5000), note="=HYPERLINK(1)"), by="cli"
        )
    day = await today(office)
    [totals] = day.totals
    assert day.differences == []
    assert (totals.received, totals.cash, totals.by_clickpesa) == (
        Decimal(135000),
        Decimal(5000),
        Decimal(130000),
    )
    assert (totals.on_bills, totals.credit) == (Decimal(130000), Decimal(5000))
    assert (totals.clickpesa_says, totals.adds_up) == (Decimal(130000), True)
    assert (totals.payments, totals.bills, totals.receipts) == (5, 4, 5)


async def test_a_lost_webhook_is_a_difference_until_it_is_found(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office)
    payment = await office.city.wallet.pay(number, 45000, notify=False)
    day = await today(office)
    [difference] = day.differences
    assert (difference.number, difference.what) == (number, "it is not on record here")
    assert (difference.money, day.totals[0].adds_up) == (Decimal(-45000), True)
    await office.engine.payments.settle(paid(number, "45000", ids=(payment.id, payment.reference)))
    assert (await today(office)).differences == []


async def test_what_clickpesa_does_not_have_is_named(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office)
    await office.engine.payments.settle(paid(number, "45000"))
    [difference] = (await today(office)).differences
    assert difference.what == "ClickPesa's list of the day does not have it"


async def test_another_amount_or_a_return_is_named(office: Office) -> None:
    async with office.making():
        one, two = await at_clickpesa(office), await at_clickpesa(office)
    first = await office.city.wallet.pay(one, 45000, notify=False)
    second = await office.city.wallet.pay(two, 45000, notify=False)
    await office.engine.payments.settle(paid(one, "44000", ids=(first.id,)))
    await office.engine.payments.settle(paid(two, "45000", ids=(second.id,)))
    office.city.wallet.restate(second, "REVERSED")
    day = await today(office)
    assert [d.what for d in sorted(day.differences, key=lambda d: d.number == two)] == [
        "here TZS 44000, at ClickPesa TZS 45000",
        "here SUCCESS, at ClickPesa REVERSED",
    ]
    assert day.totals[0].adds_up
    out = io.StringIO()
    write_csv(out, day)
    rows = csv.DictReader(io.StringIO(out.getvalue()))
    assert {row["number"]: (row["state"], row["difference"]) for row in rows} == {
        one: ("counted", "here TZS 44000, at ClickPesa TZS 45000"),
        two: ("counted", "here SUCCESS, at ClickPesa REVERSED"),
    }


async def test_each_currency_has_its_own_differences(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    async with office.making():
        number = await at_clickpesa(office, kind=BillKind.CUSTOMER)
    listed = await office.city.wallet.pay(number, 45000, notify=False)
    await office.engine.payments.settle(paid(number, "45000", ids=(listed.id,), currency="USD"))
    await office.city.wallet.pay(number, 100, notify=False)
    await office.engine.payments.settle(paid(number, "7", currency="USD"))
    day = await today(office)
    assert {each.currency: (each.received, each.differing, each.adds_up) for each in day.totals} == {
        "TZS": (Decimal(0), Decimal(-45100), True),
        "USD": (Decimal(45007), Decimal(45007), True),
    }
    _print(day, to_stderr=True)
    assert capsys.readouterr().err.splitlines() == [
        f"{day.date}: TZS 0 received, 2 difference(s).",
        f"{day.date}: USD 45007 received, 2 difference(s).",
    ]
    out = io.StringIO()
    write_csv(out, day)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert sorted((row["currency"], row["amount"], bool(row["difference"])) for row in rows) == [
        ("TZS", "100", True),
        ("USD", "45000", True),
        ("USD", "7", True),
    ]


async def test_money_that_staff_gave_to_another_bill_counts_once(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office)
    kept = await office.engine.payments.settle(paid("NOBODY7", "50000"))
    assert (await today(office)).totals[0].waiting == Decimal(50000)
    await office.engine.payments.match(kept.payment, number, by="cli")
    [totals] = (await today(office)).totals
    assert (totals.payments, totals.received) == (1, Decimal(50000))
    assert (totals.on_bills, totals.credit, totals.waiting) == (Decimal(45000), Decimal(5000), Decimal(0))


async def test_returned_and_put_aside_have_their_own_lines(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office, kind=BillKind.CUSTOMER)
    first = paid(number, "45000", id="p1")
    await office.engine.payments.settle(first)
    await office.engine.payments.settle(msgspec.structs.replace(first, status="REVERSED"))
    kept = await office.engine.payments.settle(paid("NOBODY7", "7000"))
    await office.engine.payments.dismiss(kept.payment, by="cli")
    [totals] = (await today(office)).totals
    assert (totals.returned, totals.put_aside, totals.on_bills) == (Decimal(45000), Decimal(7000), Decimal(0))
    assert totals.adds_up


async def test_the_csv_has_every_payment_and_runs_nothing(office: Office) -> None:
    async with office.making():
        number = await at_clickpesa(office, kind=BillKind.CUSTOMER)
    cash = Cash(id="1", amount=Decimal(5000), note="=HYPERLINK(1)")
    await office.engine.payments.add(number, cash, by="cli")
    await office.city.wallet.pay(number, 100, notify=False)
    out = io.StringIO()
    write_csv(out, await today(office))
    ours, theirs = csv.DictReader(io.StringIO(out.getvalue()))
    assert (ours["number"], ours["amount"], ours["state"], ours["receipt"][0]) == (
        number,
        "5000",
        "counted",
        "R",
    )
    assert ours["note"] == "'=HYPERLINK(1)"
    assert (theirs["number"], theirs["amount"], theirs["state"]) == (number, "100", "not here")
    assert theirs["difference"] == "it is not on record here"


async def test_without_credentials_only_our_side_is_added_up(office: Office) -> None:
    zone = office.engine.settings.zone
    day = await of_day(office.engine, None, datetime.now(zone).date())
    assert (day.asked, day.differences, day.totals[0].clickpesa_says) == (False, [], None)
    assert day.totals[0].adds_up


@pytest.mark.parametrize("prefix", ["4321", None])
async def test_an_offline_payment_of_a_bill_is_outside_the_list_and_no_difference(
    open_office: Open, prefix: str | None
) -> None:
    office = await open_office(clickpesa_offline_prefix=prefix)
    await office.engine.shares.accept(job("000917"))
    payment = await office.city.wallet.pay_offline("4321000917", 45000)
    result = await office.engine.payments.settle(
        paid("4321000917", "45000", ids=(payment.id, payment.reference))
    )
    if prefix is None:
        await office.engine.payments.match(result.payment, "000917", by="cli")
    deposit = await office.city.wallet.deposit(7000)
    await office.engine.payments.settle(paid(deposit.id, "7000", ids=(deposit.id,), event="deposit"))
    day = await today(office)
    [totals] = day.totals
    assert (day.differences, totals.adds_up) == ([], True)
    assert (totals.by_clickpesa, totals.unlisted, totals.clickpesa_says) == (
        Decimal(52000),
        Decimal(52000),
        Decimal(0),
    )
    assert (totals.on_bills, totals.waiting) == (Decimal(45000), Decimal(7000))
    out = io.StringIO()
    write_csv(out, day)
    assert [row["unlisted"] for row in csv.DictReader(io.StringIO(out.getvalue()))] == ["yes", "yes"]


async def test_an_offline_payment_that_the_list_has_is_recognised(open_office: Open) -> None:
    office = await open_office(clickpesa_offline_prefix="4321")
    await office.engine.shares.accept(job("000917"))
    event = paid("4321000917", "45000", ids=("p1",))
    await office.engine.payments.settle(event)
    zone = office.engine.settings.zone
    books, date = office.engine.books, datetime.now(zone).date()
    theirs = await books.recognise([event], date)
    day = reconcile(date.isoformat(), await books.day(date), theirs)
    assert (day.differences, day.totals[0].unlisted, day.totals[0].adds_up) == ([], Decimal(0), True)
    assert day.totals[0].clickpesa_says == Decimal(45000)
