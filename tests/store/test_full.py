"""A Redis that is full (`maxmemory`, `noeviction`): what was accepted goes on, new shares are refused as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from bot.app import open_app
from bot.domain.message import Outcome
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from bot.errors import ConfigError, NotFound, StoreFull
from channels.errors import Misconfigured, RecipientInvalid
from tests.cli.conftest import clean_environment
from tests.conftest import Valkey
from tests.engine.conftest import job, paid, settings_for
from tests.engine.gate import gate
from tests.engine.test_worker import Scripted, settled, until, working
from tests.store.conftest import town
from tests.store.servers import Servers, ask
from tests.store.test_outages import a_bill


@contextmanager
def full(server: Valkey) -> Iterator[None]:
    """No memory is left."""
    ask(server, "CONFIG", "SET", "maxmemory", 1)
    yield
    ask(server, "CONFIG", "SET", "maxmemory", 0)


@pytest.fixture
async def server(many: Servers) -> Valkey:
    return many.primary()


@pytest.fixture
async def engine(server: Valkey) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(server.url))
    yield opened
    await opened.close()


async def test_payments_settle_and_receipts_go_out_while_redis_is_full(server: Valkey) -> None:
    async with town(server.url) as place:
        number, phone = await a_bill(place)
        refused = place.job()
        with full(server):
            status, problem = await place.post("/v1/shares", refused)
            assert (status, "full" in problem["detail"]) == (503, True)
            assert (await place.pays(number)).webhook_status == 200
            await until(lambda: place.sees(phone, 2), 30)
            assert await place.is_ready()
        assert await place.status(f"/v1/shares/{refused['id']}") == 404
        assert (await place.post("/v1/shares", refused))[0] == 202
        assert (await place.app.engine.ledger.check()).differences == []


async def test_staff_and_customers_can_stop_what_asks_for_money(engine: Engine, server: Valkey) -> None:
    await engine.shares.accept(job("100"))
    await engine.shares.accept(job("200", phone="+255754000001"))
    with full(server):
        assert await engine.bills.stop("100", by="cli") == 1
        assert await engine.contacts.opt_out("sms", "+255754000001", proof="test") == 1
        await engine.channels.pause("sms", reason="test", by="cli")
        assert await engine.channels.paused()
        await engine.channels.resume("sms", by="cli")
        await engine.contacts.opt_in("sms", "+255754000001", proof="test")
    assert await settled(engine)
    assert (await engine.ledger.check()).differences == []


@pytest.mark.parametrize("error", [None, RecipientInvalid("21614", "x"), Misconfigured("20003", "x")])
async def test_a_worker_sends_and_records_what_was_accepted(
    engine: Engine, server: Valkey, error: Exception | None
) -> None:
    # A result that cannot be recorded ends in doubt, and is sent a second time.
    accepted = await engine.shares.accept(job("100"))
    channel = Scripted(errors=[error] if error else [])  # type: ignore[list-item]
    with full(server):
        async with working(engine, channel):
            await until(
                lambda: _came_back(engine, accepted.messages[0], paused=isinstance(error, Misconfigured))
            )
    assert (await engine.ledger.check()).differences == []


async def _came_back(engine: Engine, message: str, *, paused: bool) -> bool:
    found = await engine.messages.get(message)
    return bool(await engine.channels.paused()) if paused else found.outcome in (Outcome.SENT, Outcome.FAILED)


async def test_a_share_that_redis_has_no_room_for_leaves_nothing_behind(server: Valkey) -> None:
    j = job("100")
    async with gate(server.url) as way:
        through = await Engine.open(settings_for(way.url))

        async def fill() -> None:
            ask(server, "CONFIG", "SET", "maxmemory", 1)

        for nth in range(5):
            way.arm(nth, fill)
            try:
                await through.shares.accept(j)
            except StoreFull:
                claims = [ask(server, "HLEN", f"tuma:{{{p}}}:open") for p in range(through.partitions)]
                made = ask(server, "KEYS", "tuma:*:s:*")
                # Either the share was made, and its open claim is driven on; or nothing of it is left.
                assert sum(claims) == len(made), nth
                if not made:
                    with pytest.raises(NotFound):
                        await through.shares.get(j.id)
            ask(server, "CONFIG", "SET", "maxmemory", 0)
            if way.passed and ask(server, "KEYS", "tuma:*:s:*"):
                break
        assert way.passed
        assert (await through.shares.accept(j)).id == j.id
        assert len(ask(server, "KEYS", "tuma:*:s:*")) == 1
        await through.close()


async def test_the_command_line_refuses_a_share_and_still_stops_a_number(
    engine: Engine, server: Valkey
) -> None:
    await engine.shares.accept(job("100"))
    with full(server):
        refused = _tuma(server, "share", "--number", "200", "--amount", "100", "--phone", "+255754000001")
        stopped = _tuma(server, "stop", "100")
    assert (refused.returncode, "full" in refused.stderr) == (1, True), refused.stderr
    assert stopped.returncode == 0, stopped.stderr
    ids = sum(ask(server, "HLEN", name) for name in ask(server, "KEYS", "tuma:*:ids:*"))
    assert len(ask(server, "KEYS", "tuma:*:s:*")) == ids == 1


def _tuma(server: Valkey, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {
        **clean_environment(),
        "REDIS_URL": server.url,
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "secret",
        "TWILIO_SMS_FROM": "SHULE",
    }
    command = [sys.executable, "-m", "bot", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


async def test_timers_wait_until_there_is_room(engine: Engine, server: Valkey) -> None:
    await engine.shares.accept(job("100"))
    scripts, p = engine.records.scripts, engine.records.partition("100")
    later = now_ms() + 30 * 86_400_000
    with full(server), pytest.raises(StoreFull):
        await scripts.run(scripts.due(p, later, 100, {"sms": "resend"}))
    handled, _ = await scripts.run(scripts.due(p, later, 100, {"sms": "resend"}))
    assert handled == 1


async def test_money_counts_once_although_it_was_told_while_full(engine: Engine, server: Valkey) -> None:
    await engine.shares.accept(job("100"))
    event = paid("100")
    with full(server):
        assert (await engine.payments.settle(event)).outcome == "settled"
        assert (await engine.payments.settle(event)).outcome == "repeated"


async def test_a_server_that_evicts_is_refused_at_start(many: Servers) -> None:
    server = many.primary("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError, match="noeviction"):
        async with open_app(settings_for(server.url)):
            pass
