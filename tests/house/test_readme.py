"""The examples for other programs, taken from the pages and run as they are written."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.app import renderer
from bot.domain.bill import ShareView
from bot.engine.engine import Engine
from bot.engine.inbox import Inbox
from bot.errors import NotFound
from bot.settings import Settings
from bot.web import server
from tests.conftest import free_port

REPO = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^((?:curl|redis-cli) (?:.*\\\n)*.*)", re.MULTILINE)


def examples(program: str, holding: str) -> list[list[str]]:
    """Example commands of all pages, as words."""
    text = "\n".join(page.read_text() for page in [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))])
    words = [shlex.split(found.replace("\\\n", " ")) for found in EXAMPLE.findall(text)]
    return [each for each in words if each[0] == program and holding in " ".join(each)]


def settings(redis_url: str) -> Settings:
    """SMS, WhatsApp and mail are on, so that no example is refused for want of a channel."""
    return Settings(
        redis_url=redis_url,
        api_keys=("a-key-for-this-test",),
        twilio_account_sid="AC" + "0" * 32,
        twilio_auth_token="0" * 32,
        twilio_sms_from="TUMA",
        twilio_whatsapp_from="+255700000000",
        smtp_url="smtp://127.0.0.1:9",
        email_from="bili@shule.example",
    )


@pytest.fixture
async def engine(redis_url: str) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings(redis_url))
    yield opened
    await opened.close()


@pytest.fixture
async def origin(engine: Engine) -> AsyncIterator[str]:
    """Where the API of this engine listens."""
    app = server.build(engine, engine.settings, renderer(engine.settings))
    runner, port = web.AppRunner(app, access_log=None), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def shared(engine: Engine, share_id: str) -> ShareView:
    """The share, as soon as it has been taken."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(NotFound):
                return await engine.shares.get(share_id)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("words", examples("redis-cli", "XADD"), ids=lambda words: words[2])
async def test_an_xadd_of_the_pages_queues_a_share(engine: Engine, words: list[str]) -> None:
    command = words[words.index("XADD") :]
    await engine.redis.execute_command(*command)
    stop = asyncio.Event()
    taking = asyncio.create_task(Inbox(engine.records, engine.shares, engine.settings, "test").run(stop))
    share_id = re.findall(r'"id": "([^"]+)"', command[-1])[0]
    assert (await shared(engine, share_id)).messages
    stop.set()
    await taking


@pytest.mark.parametrize("words", examples("curl", "/v1/shares"), ids=lambda words: words[2])
async def test_a_curl_of_the_pages_is_accepted(origin: str, words: list[str]) -> None:
    path = next(word for word in words if word.startswith("http")).removeprefix("http://127.0.0.1:8000")
    given = [word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H"]
    headers = {name: value.replace("$TUMA_KEY", "a-key-for-this-test") for name, value in given}
    body = words[words.index("-d") + 1]
    async with aiohttp.ClientSession() as http, http.post(origin + path, data=body, headers=headers) as reply:
        assert reply.status == 202, await reply.text()


def test_the_pages_have_both_kinds_of_example() -> None:
    assert len(examples("redis-cli", "XADD")) == 2
    assert len(examples("curl", "/v1/shares")) == 2
