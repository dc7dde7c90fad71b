from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from bot.billpay.client import ClickPesa
from bot.engine.engine import Engine
from bot.sandbox.city import Sandbox
from bot.sandbox.faults import Faults
from tests.billpay.servers import Server, clickpesa_server
from tests.engine.conftest import settings_for


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with clickpesa_server() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ClickPesa]:
    async with server.client() as clickpesa:
        yield clickpesa


@dataclass
class Clock:
    """The sandbox's clock; tests move it."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def city(clock: Clock) -> AsyncIterator[Sandbox]:
    """A ClickPesa to the letter, with checksums on."""
    async with Sandbox(faults=Faults(slow_s=0.2, silence_s=5), clock=clock) as running:
        yield running


def client_of(city: Sandbox, engine: Engine | None = None, timeout_s: float = 10) -> ClickPesa:
    """A client of the sandbox's ClickPesa; with an engine it shares token and budget."""
    account = city.clickpesa.account
    return ClickPesa(
        city.urls["clickpesa"],
        account.client_id,
        account.api_key,
        account.checksum_key,
        token_cache=engine.tokens if engine else None,
        budget=engine.calls if engine else None,
        timeout_s=timeout_s,
    )


@pytest.fixture
async def billpay(city: Sandbox) -> AsyncIterator[ClickPesa]:
    """A client of the sandbox's ClickPesa."""
    async with client_of(city) as made:
        yield made


@pytest.fixture
async def engine(redis_url: str) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(redis_url))
    yield opened
    await opened.close()
