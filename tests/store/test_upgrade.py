"""A newer tuma takes a data set over: from that moment on an older one changes nothing in it, and says why it ends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.engine.engine import FORMAT, Engine, check_format
from bot.errors import ConfigError
from tests.conftest import Valkey
from tests.engine.conftest import job, paid, settings_for
from tests.store.conftest import town
from tests.store.servers import Servers, ask


@pytest.fixture
async def server(many: Servers) -> Valkey:
    return many.primary()


@pytest.fixture
async def older(server: Valkey) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(server.url))
    yield opened
    await opened.close()


def _everything(server: Valkey) -> dict[str, object]:
    return {
        name: ask(server, "DEBUG", "DIGEST-VALUE", name) for name in sorted(ask(server, "KEYS", "tuma:*"))
    }


async def test_an_older_tuma_changes_nothing_once_a_newer_one_was_here(many: Servers) -> None:
    server = many.primary("--enable-debug-command", "yes")
    older = await Engine.open(settings_for(server.url))
    await older.shares.accept(job("100", phone="+255754000001"))
    await check_format(older.records, FORMAT + 1)
    before = _everything(server)
    for attempt in (
        older.shares.accept(job("200")),
        older.payments.settle(paid("100")),
        older.bills.stop("100", by="cli"),
        older.contacts.opt_out("sms", "+255754000001", proof="test"),
        older.channels.pause("sms", reason="test", by="cli"),
    ):
        with pytest.raises(ConfigError, match="start a newer tuma"):
            await attempt
    assert _everything(server) == before
    await older.close()


async def test_an_older_tuma_does_not_start_there_and_a_newer_one_does(older: Engine) -> None:
    await check_format(older.records, FORMAT + 1)
    with pytest.raises(ConfigError, match=f"format {FORMAT + 1}, this tuma reads up to {FORMAT}"):
        await Engine.open(older.settings)
    await check_format(older.records, FORMAT + 1)


async def test_a_running_older_tuma_ends_and_says_why(server: Valkey) -> None:
    async def taken_over() -> None:
        async with town(server.url) as place:
            await place.serves_a_customer()
            await check_format(place.app.engine.records, FORMAT + 1)
            await place.playing

    with pytest.raises(BaseExceptionGroup) as ended:
        await taken_over()
    assert ended.group_contains(ConfigError, match="start a newer tuma")


def test_scripts_and_engine_know_the_same_format() -> None:
    text = (Path(__file__).parents[2] / "bot/engine/lua/_lib.lua").read_text()
    assert re.findall(r"^local FORMAT = (\d+)$", text, re.MULTILINE) == [str(FORMAT)]


async def test_every_record_carries_its_version(older: Engine, server: Valkey) -> None:
    await older.shares.accept(job("100"))
    await older.payments.settle(paid("100"))
    records = [
        name for name in ask(server, "KEYS", "tuma:*") if re.fullmatch(r"tuma:\{\d+\}:[asmp]:.*", name)
    ]
    assert {name.split(":")[2] for name in records} == set("asmp")
    assert {ask(server, "HGET", name, "v") for name in records} == {"1"}
    ids = [text for name in ask(server, "KEYS", "tuma:*:ids:*") for text in ask(server, "HVALS", name)]
    assert [text.partition(" ")[0] for text in ids] == ["1"]
