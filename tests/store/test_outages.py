"""Redis goes away in every way it can, under a whole tuma at work: all roles wait, say so, and go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from bot.engine.engine import Engine
from bot.engine.store import guard
from tests.conftest import Valkey, free_port
from tests.engine.conftest import settings_for
from tests.engine.test_worker import until
from tests.store.conftest import Town, town
from tests.store.servers import Servers, ask, kill, wait_until, watched

Outage = Callable[[Servers, Valkey], AbstractContextManager[None]]


@contextmanager
def killed(many: Servers, server: Valkey) -> Iterator[None]:
    """kill -9, and started again with its data."""
    kill(server)
    yield
    many.again(server)


@contextmanager
def slow_to_load(many: Servers, server: Valkey) -> Iterator[None]:
    """Killed, and back at once, but for some seconds it only answers LOADING."""
    kill(server)
    many.loading(server)
    yield


@contextmanager
def read_only(many: Servers, server: Valkey) -> Iterator[None]:
    """The server became a replica, of one that is not there."""
    ask(server, "REPLICAOF", "127.0.0.1", free_port())
    yield
    ask(server, "REPLICAOF", "NO", "ONE")


@contextmanager
def frozen(many: Servers, server: Valkey) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    server.process.send_signal(signal.SIGSTOP)
    yield
    server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("outage", [killed, slow_to_load, read_only, frozen])
async def test_all_roles_wait_say_so_and_go_on(many: Servers, outage: Outage) -> None:
    server = many.primary()
    async with town(server.url) as place:
        await place.serves_a_customer()
        number, phone = await a_bill(place)
        job = place.job()
        with outage(many, server):
            await until(place.is_not_ready, 30)
            assert await place.is_not_ready()
            assert await place.status("/healthz") == 200
            (status, _), payment = await asyncio.gather(place.post("/v1/shares", job), place.pays(number))
            assert status == 503
            # 0: who waits for a webhook's answer no longer than tuma for a frozen Redis has hung up by then.
            assert payment.webhook_status in ((503, 0) if outage is frozen else (503,))
        await until(place.is_ready, 40)
        await place.city.wallet.notify(payment)
        assert (await place.post("/v1/shares", job))[0] == 202
        await until(lambda: place.sees(phone, 2), 40)
        await until(lambda: place.sees(job["customer"]["phone"], 1), 40)
        await place.serves_a_customer()
        assert (await place.app.engine.ledger.check()).differences == []


async def a_bill(place: Town) -> tuple[str, str]:
    """A bill whose instructions have arrived: its number, and whose phone they are on."""
    job = place.job()
    assert (await place.post("/v1/shares", job))[0] == 202
    number, phone = job["bill"]["number"], job["customer"]["phone"]
    await until(lambda: place.sees(phone, 1), 30)
    return number, phone


async def test_a_server_that_forgets_all_scripts_is_told_them_again(many: Servers) -> None:
    server = many.primary()
    async with town(server.url) as place:
        for _ in range(3):
            ask(server, "SCRIPT", "FLUSH")
            await place.serves_a_customer()


async def test_no_idle_connection_fails_once_the_server_is_back(many: Servers) -> None:
    # A provider's callback was answered 503 after the outage, once for every connection that had been idle.
    server = many.primary()
    engine = await Engine.open(settings_for(server.url))
    with guard():
        await asyncio.gather(*(engine.redis.ping() for _ in range(20)))
        kill(server)
        await asyncio.to_thread(many.again, server)
        assert await asyncio.gather(*(engine.redis.ping() for _ in range(20))) == [True] * 20
    await engine.close()


async def test_an_inbox_that_was_deleted_is_made_again(many: Servers) -> None:
    server = many.primary()
    async with town(server.url) as place:
        await place.serves_a_customer()
        ask(server, "DEL", "tuma:inbox")
        await place.serves_a_customer()


async def test_all_roles_follow_a_failover_of_sentinel(many: Servers) -> None:
    pair = watched(many)
    async with town(pair.url) as place:
        await place.serves_a_customer()
        number, phone = await a_bill(place)
        kill(pair.primary)
        await until(place.is_not_ready, 20)
        await until(place.is_ready, 40)
        await place.pays(number)
        await until(lambda: place.sees(phone, 2), 40)
        await place.serves_a_customer()
        # The old primary comes back as a replica of the new one, and nobody is led to it.
        many.again(pair.primary)
        wait_until(lambda: ask(pair.primary, "ROLE")[0] == "slave", 30)
        await place.serves_a_customer()
        assert (await place.app.engine.ledger.check()).differences == []
