"""tuma's engine and its number maker against a ClickPesa that listens on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest

from bot.app import clickpesa
from bot.billpay.client import ClickPesa
from bot.billpay.maker import NumberMaker
from bot.domain.bill import BillKind, PaymentEvent, SettleResult, ShareView
from bot.domain.share import ShareJob
from bot.engine.engine import Engine
from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_bills import Bill
from bot.sandbox.faults import Faults
from bot.settings import Settings
from tests.engine.conftest import job, paid, settings_for

Found = TypeVar("Found")


@dataclass
class Office:
    """An engine, its client of ClickPesa, and ClickPesa itself. `make` runs the number maker for a while."""

    engine: Engine
    client: ClickPesa
    city: Sandbox

    @property
    def bills(self) -> Mapping[str, Bill]:
        """The numbers that exist at ClickPesa."""
        return self.city.clickpesa.bills

    @asynccontextmanager
    async def making(self) -> AsyncIterator[None]:
        """With a number maker at work."""
        stop = asyncio.Event()
        maker = NumberMaker(self.client, self.engine.creations, bulk_wait_ms=100)
        running = asyncio.create_task(maker.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running

    async def made(self, share_id: str) -> ShareView:
        """A share as soon as its number exists."""
        return await until_found(lambda: self._made(share_id))

    async def _made(self, share_id: str) -> ShareView | None:
        share = await self.engine.shares.get(share_id)
        return share if share.state != "creating" else None

    async def pays(self, number: str, amount: int) -> SettleResult:
        """A customer pays at ClickPesa, and its webhook arrives."""
        payment = await self.city.wallet.pay(number, amount, notify=False)
        event: PaymentEvent = paid(number, str(amount), ids=(payment.id, payment.reference))
        return await self.engine.payments.settle(event)

    async def successor(self, number: str) -> str:
        """The number that came after `number`, as soon as it is known."""
        return await until_found(lambda: self._successor(number))

    async def _successor(self, number: str) -> str | None:
        return (await self.engine.records.account(number)).get("next")


async def until_found(look: Callable[[], Awaitable[Found | None]], seconds: float = 20) -> Found:
    """What `look` finds as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while True:
        if found := await look():
            return found
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


def settings_at(city: Sandbox, redis_url: str, **changes: Any) -> Settings:
    """Settings that point ClickPesa's client at the sandbox."""
    account = city.accounts.clickpesa
    values = {
        "clickpesa_client_id": account.client_id,
        "clickpesa_api_key": account.api_key,
        "clickpesa_checksum_key": account.checksum_key,
        "clickpesa_api_base": city.urls["clickpesa"],
        **changes,
    }
    return settings_for(redis_url, **values)


Open = Callable[..., Awaitable[Office]]


@pytest.fixture
async def city() -> AsyncIterator[Sandbox]:
    async with Sandbox(faults=Faults(slow_s=0.2)) as sandbox:
        yield sandbox


@pytest.fixture
async def open_office(city: Sandbox, redis_url: str) -> AsyncIterator[Open]:
    """Opens offices with changed settings."""
    opened: list[Office] = []

    async def start(**changes: Any) -> Office:
        engine = await Engine.open(settings_at(city, redis_url, **changes))
        office = Office(engine, clickpesa(engine, engine.settings), city)
        opened.append(office)
        return office

    yield start
    for office in opened:
        if office.client is not None:
            await office.client.close()
        await office.engine.close()


@pytest.fixture
async def office(open_office: Open) -> Office:
    return await open_office()


def to_make(kind: BillKind = BillKind.ORDER, **changes: Any) -> ShareJob:
    """A share job whose number is to be made."""
    made = job(**changes)
    return msgspec.structs.replace(
        made, bill=msgspec.structs.replace(made.bill, number=None, create=kind, kind=kind)
    )


async def at_clickpesa(office: Office, amount: int = 45000, **changes: Any) -> str:
    """A share with a number that exists at ClickPesa; the number."""
    kind = changes.pop("kind", BillKind.ORDER)
    accepted = await office.engine.shares.accept(to_make(kind, amount=str(amount), **changes))
    return (await office.made(accepted.id)).number


__all__ = ["Decimal", "Office", "Open", "at_clickpesa", "job", "paid", "timedelta", "to_make", "until_found"]
