from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.billpay.client import ClickPesa
from tests.billpay.servers import Server, clickpesa_server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with clickpesa_server() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ClickPesa]:
    async with server.client() as clickpesa:
        yield clickpesa
