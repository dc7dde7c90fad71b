"""A bot at work: the sandbox's Bot API over real sockets, a real engine, and people with phones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from bot.app import renderer
from bot.domain.bill import AcceptedShare, PaymentEvent
from bot.domain.share import from_fields
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from bot.sandbox.city import Sandbox
from bot.settings import Settings, load
from bot.staff.bot import StaffBot
from tests.staff.phone import Phone

VIEWER, OPERATOR, ADMIN, CUSTOMER = 1001, 1002, 1003, 2001
STAFF = f"{VIEWER}:viewer,{OPERATOR}:operator,{ADMIN}:admin"


def settings_for(city: Sandbox, redis_url: str, **env: str) -> Settings:
    """Settings that point at the sandbox."""
    values = {
        "REDIS_URL": redis_url,
        "TUMA_PARTITIONS": "4",
        "PUBLIC_URL": "https://lipa.example",
        "MERCHANT_NAME": "Shule",
        "MERCHANT_CONTACT": "0754 000 111",
        "TELEGRAM_STAFF": STAFF,
        "TUMA_LOCALE": "en",
    }
    return load({**city.settings_env(), **values, **env}, dotenv=None)


@dataclass
class Office:
    """A running bot and all around it."""

    city: Sandbox
    engine: Engine
    settings: Settings
    bot: StaffBot
    _serial: Any = field(default_factory=lambda: itertools.count(1))

    def phone(self, chat: int) -> Phone:
        self.city.telegram.chats.begin(chat)
        return Phone(self.city, chat)

    @property
    def customer(self) -> Phone:
        return self.phone(CUSTOMER)

    @property
    def viewer(self) -> Phone:
        return self.phone(VIEWER)

    @property
    def operator(self) -> Phone:
        return self.phone(OPERATOR)

    @property
    def admin(self) -> Phone:
        return self.phone(ADMIN)

    async def share(self, number: str | None = None, **changes: Any) -> AcceptedShare:
        """Accept a share; `changes` are fields of the bill, the customer or the job."""
        n = next(self._serial)
        bill = {"number": number or f"5504291487{n:04}", "amount": "45000", "kind": "order"}
        customer = {"name": "Asha Juma", "phone": f"+25575412{n:04}"}
        job: dict[str, Any] = {"id": f"inv-{n}", "bill": bill, "customer": customer}
        for name, value in changes.items():
            part = bill if name in ("amount", "kind", "description", "due_at") else customer
            (
                part
                if name in ("amount", "kind", "description", "due_at", "name", "phone", "telegram", "locale")
                else job
            )[name] = value
        return await self.engine.shares.accept(from_fields(job, settings=self.settings))

    def payment(self, number: str, amount: int) -> PaymentEvent:
        """What ClickPesa says when somebody paid."""
        return PaymentEvent(
            event="received",
            ids=(f"pay{next(self._serial)}",),
            number=number,
            status="SUCCESS",
            amount=Decimal(amount),
            currency="TZS",
        )

    async def pay(self, number: str, amount: int) -> None:
        """Somebody pays; staff have been told when this returns."""
        async with self.alerted():
            await self.engine.payments.settle(self.payment(number, amount))

    async def link_token(self, accepted: AcceptedShare) -> str:
        """The payload of the deep link that the customer's message carries."""
        partition, _, sid = accepted.token.partition("-")
        fields = await self.engine.records.share(int(partition, 16), sid)
        return f"{accepted.token}-{fields['lt']}"

    async def fail_what_waits(self, channel: str = "sms") -> None:
        """Every message waiting on `channel` is refused by the provider, and staff have been told."""
        async with self.alerted():
            await self._fail(channel)

    @asynccontextmanager
    async def alerted(self) -> AsyncIterator[None]:
        """Wait until what happens in the block was told to the last of the staff."""
        told = len(self.admin.messages)
        yield
        await self.city.world.until(lambda: len(self.admin.messages) > told)

    async def _fail(self, channel: str) -> None:
        scripts = self.engine.records.scripts
        for p in range(self.engine.partitions):
            held, _ = await scripts.run(scripts.hand_out(p, now_ms(), channel, "test", (10, 10)))
            lost = [
                {
                    "id": h.id,
                    "a": str(h.attempt),
                    "r": "failed",
                    "why": "refused",
                    "err": "21602: empty",
                    "x": "",
                }
                for h in held
            ]
            if lost:
                await scripts.run(scripts.finish(p, now_ms(), lost))


@asynccontextmanager
async def at_work(bot: StaffBot) -> AsyncIterator[StaffBot]:
    """A bot that runs until the block ends."""
    stop = asyncio.Event()
    running = asyncio.create_task(bot.run(stop))
    try:
        yield bot
    finally:
        stop.set()
        await asyncio.wait_for(running, 15)


@pytest.fixture
async def city() -> AsyncIterator[Sandbox]:
    async with Sandbox() as opened:
        for chat in (VIEWER, OPERATOR, ADMIN, CUSTOMER):
            opened.telegram.chats.begin(chat)
        yield opened


@pytest.fixture
def settings(city: Sandbox, redis_url: str) -> Settings:
    return settings_for(city, redis_url)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def office(city: Sandbox, engine: Engine, settings: Settings) -> AsyncIterator[Office]:
    bot = StaffBot(engine, settings, renderer(settings))
    async with at_work(bot):
        yield Office(city, engine, settings, bot)
