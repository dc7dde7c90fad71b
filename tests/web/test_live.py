"""A bill's page is told when it changes, by server-sent events."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.engine.conftest import paid
from tests.web.conftest import Site, shared

SOON_S = 10


async def version(site: Site, token: str) -> str:
    return (await site.engine.shares.by_token(token)).version


async def test_a_page_that_is_up_to_date_hears_of_a_payment(site: Site) -> None:
    answer = await shared(site)
    path = f"/pay/{answer['token']}/live?seen={await version(site, answer['token'])}"
    async with asyncio.timeout(SOON_S), site.stranger.get(path) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert (await response.content.readuntil(b"\n\n")).startswith(b"retry: ")
        await site.engine.payments.settle(paid(answer["number"]))
        assert await response.content.read() == b"data: changed\n\n"


async def test_a_page_that_is_behind_hears_so_at_once(site: Site) -> None:
    answer = await shared(site)
    seen = await version(site, answer["token"])
    await site.engine.payments.settle(paid(answer["number"]))
    async with (
        asyncio.timeout(SOON_S),
        site.stranger.get(f"/pay/{answer['token']}/live?seen={seen}") as response,
    ):
        assert (await response.read()).endswith(b"data: changed\n\n")


async def test_an_unknown_page_is_never_told(site: Site) -> None:
    async with site.stranger.get("/pay/0-aaaaaaaaaaaaaaaa/live?seen=x") as response:
        assert response.status == 404


async def test_a_server_that_stops_sends_its_readers_away_at_once(site: Site) -> None:
    answer = await shared(site)
    path = f"/pay/{answer['token']}/live?seen={await version(site, answer['token'])}"
    async with asyncio.timeout(SOON_S), site.stranger.get(path) as response:
        await response.content.readuntil(b"\n\n")
        await site.engine.live.close()
        assert await response.content.read() == b""


async def test_a_reader_who_leaves_is_forgotten_without_a_complaint(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await shared(site, bill={"number": "8851", "kind": "customer", "amount": "45000"})
    path = f"/pay/{answer['token']}/live?seen={await version(site, answer['token'])}"
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as leaving,
        leaving.get(path) as response,
    ):
        await response.content.readuntil(b"\n\n")
        assert len(site.engine.live._readers) == 1
        assert response.connection is not None
        transport = response.connection.transport
        assert transport is not None
        transport.abort()
    async with asyncio.timeout(SOON_S):
        while site.engine.live._readers:
            await site.engine.payments.settle(paid("8851", "1"))
            await asyncio.sleep(0.02)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
