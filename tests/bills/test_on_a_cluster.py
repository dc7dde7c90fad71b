"""Every step of making, changing and renumbering bills on a real cluster, so that no script leaves its slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from bot.app import clickpesa
from bot.billpay.desk import BillDesk
from bot.domain.bill import BillKind
from bot.domain.bill_change import BillChange
from bot.domain.bill_job import bill_job
from bot.domain.cash import Cash
from bot.engine.engine import Engine
from bot.sandbox.city import Sandbox
from tests.bills.conftest import Office, at_clickpesa, settings_at, until_found
from tests.engine.conftest import paid


@pytest.fixture
async def office(city: Sandbox, cluster: str) -> AsyncIterator[Office]:
    engine = await Engine.open(settings_at(city, cluster, partitions=16))
    client = clickpesa(engine, engine.settings)
    yield Office(engine, client, city)
    await client.close()
    await engine.close()


async def test_a_bill_goes_its_whole_way(office: Office) -> None:
    engine, fields = office.engine, {"id": "b-1", "create": "order", "amount": "1000"}
    desk = BillDesk(office.client, engine.changes, engine.bills)
    async with office.making():
        made = await engine.bill_claims.create(bill_job(fields, settings=engine.settings), wait_ms=20_000)
        await engine.payments.add(made.number, Cash(id="1", amount=Decimal(400), note=None), by="cli")
        await until_found(lambda: _asks(office, made.number, 600))
        old = await at_clickpesa(office)
        await office.pays(old, 20000)
        new = await office.successor(old)
        await engine.payments.settle(paid(old, "5000"))
        await until_found(lambda: _asks(office, new, 20000))
        customer = await at_clickpesa(office, kind=BillKind.CUSTOMER)
        await desk.change(customer, BillChange(term="2", amount=Decimal(500)), by="cli")
        await desk.change(new, BillChange(status="INACTIVE"), by="cli")
        await until_found(lambda: _closed(office, new))
        first = paid(customer, "45000", id="p1")
        await engine.payments.settle(first)
        await engine.payments.settle(paid(customer, "45000", id="p1", status="REVERSED"))
        [kept] = await engine.payments.unmatched()
        await engine.payments.dismiss(kept.id, by="cli")
    assert (await engine.bills.get(customer)).balance == "45500"
    assert (await engine.ledger.check()).differences == []


async def _asks(office: Office, number: str, amount: int) -> bool:
    return office.bills[number].amount == Decimal(amount)


async def _closed(office: Office, number: str) -> bool:
    return office.bills[number].status == "INACTIVE"
