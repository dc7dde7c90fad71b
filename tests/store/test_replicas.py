"""What was accepted, paid, stopped or opted out is on a replica before tuma says so, and survives a failover."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from bot.engine import costs, keys
from bot.engine.durability import inspect
from bot.engine.engine import Engine
from bot.errors import NotReplicated, StoreUnavailable
from bot.sandbox.clickpesa_bills import Payment
from tests.conftest import Valkey
from tests.engine.conftest import job, paid, settings_for
from tests.engine.gate import gate
from tests.engine.test_worker import until
from tests.store.conftest import Town, town
from tests.store.servers import Servers, ask, kill, wait_until, watched
from tests.store.test_outages import a_bill

SAME = job("300", id="inv-300")
Do = Callable[[Engine], Awaitable[object]]


@contextmanager
def frozen(server: Valkey) -> Iterator[None]:
    """It is connected, and says nothing."""
    server.process.send_signal(signal.SIGSTOP)
    yield
    server.process.send_signal(signal.SIGCONT)


async def _share(engine: Engine) -> object:
    return await engine.shares.accept(SAME)


async def _pay(engine: Engine) -> object:
    return await engine.payments.settle(paid("100", id="pay-1"))


async def _stop(engine: Engine) -> object:
    return await engine.bills.stop("100", by="cli")


async def _opt_out(engine: Engine) -> object:
    return await engine.contacts.opt_out("sms", "+255754000001", proof="test")


@pytest.fixture
async def pair(many: Servers) -> tuple[Valkey, Valkey]:
    primary = many.primary()
    return primary, many.replica(primary)


@pytest.fixture
async def engine(pair: tuple[Valkey, Valkey]) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(pair[0].url, replica_wait_ms=300))
    await opened.shares.accept(job("100", phone="+255754000001"))
    yield opened
    await opened.close()


@pytest.mark.parametrize("do", [_share, _pay, _stop, _opt_out])
async def test_what_no_replica_has_is_not_promised_and_may_be_repeated(
    engine: Engine, pair: tuple[Valkey, Valkey], do: Do
) -> None:
    with frozen(pair[1]):
        for _ in range(2):  # a repeat, which writes nothing any more, is no way round
            with pytest.raises(NotReplicated):
                await do(engine)
    await do(engine)
    assert (await engine.ledger.check()).differences == []
    assert len((await engine.bills.get("100")).payments) <= 1


@pytest.mark.parametrize(
    ("do", "kinds"),
    [(_share, "asm"), (_pay, "asmp"), (_stop, "asm"), (_opt_out, "k")],
    ids=["share", "pay", "stop", "opt-out"],
)
async def test_what_was_promised_is_on_the_replica(
    engine: Engine, pair: tuple[Valkey, Valkey], do: Do, kinds: str
) -> None:
    await do(engine)
    assert _data(pair[1], kinds) == _data(pair[0], kinds)


def _data(server: Valkey, kinds: str) -> object:
    """All records of some kinds. What only tidies up, or is written again by itself, need not be there at once."""
    names = sorted(ask(server, "KEYS", f"tuma:*:[{kinds}]:*"))
    return {name: _read(server, name) for name in names}


def _read(server: Valkey, name: str) -> object:
    kind = ask(server, "TYPE", name)
    read = {
        "hash": ("HGETALL", name),
        "zset": ("ZRANGE", name, 0, -1, "WITHSCORES"),
        "stream": ("XRANGE", name, "-", "+"),
        "string": ("GET", name),
        "list": ("LRANGE", name, 0, -1),
    }[kind]
    return ask(server, *read)


async def test_a_server_without_replicas_is_asked_for_none(many: Servers) -> None:
    server = many.primary()
    engine = await Engine.open(settings_for(server.url))
    ask(server, "CONFIG", "RESETSTAT")
    for n in range(20):
        await engine.shares.accept(job(f"1{n}"))
        await engine.payments.settle(paid(f"1{n}"))
    calls = ask(server, "INFO", "commandstats")
    await engine.close()
    assert "cmdstat_wait" not in calls
    assert calls["cmdstat_info"]["calls"] <= 4  # not one for each of 40 writes


async def test_a_replica_that_must_be_there_is_missed(many: Servers) -> None:
    server = many.primary()
    engine = await Engine.open(settings_for(server.url, replicas=1, replica_wait_ms=50))
    with pytest.raises(NotReplicated):
        await engine.shares.accept(job("100"))
    await engine.close()


async def test_nobody_is_waited_for_when_told_so(pair: tuple[Valkey, Valkey]) -> None:
    engine = await Engine.open(settings_for(pair[0].url, replicas=0))
    with frozen(pair[1]):
        began = time.monotonic()
        await engine.shares.accept(job("100"))
        assert time.monotonic() - began < 0.9
    await engine.close()


async def test_a_replica_that_comes_or_goes_is_noticed(many: Servers) -> None:
    primary = many.primary()
    engine = await Engine.open(settings_for(primary.url, replica_wait_ms=300))
    await engine.shares.accept(job("100"))
    replica = many.replica(primary)

    async def waits() -> bool:
        await engine.shares.accept(job())
        return "cmdstat_wait" in ask(primary, "INFO", "commandstats")

    await until(waits)
    kill(replica)

    async def waits_no_more() -> bool:
        ask(primary, "CONFIG", "RESETSTAT")
        try:
            await engine.shares.accept(job())
        except NotReplicated:
            return False
        return "cmdstat_wait" not in ask(primary, "INFO", "commandstats")

    await until(waits_no_more)
    await engine.close()


async def test_over_http_an_unreplicated_share_is_503_and_safe_to_repeat(many: Servers) -> None:
    primary = many.primary()
    replica = many.replica(primary)
    async with town(primary.url, TUMA_REPLICA_WAIT_MS="200") as place:
        number, phone = await a_bill(place)
        share = place.job()
        with frozen(replica):
            assert (await place.post("/v1/shares", share))[0] == 503
            payment = await place.pays(number)
            assert payment.webhook_status == 503
        assert (await place.post("/v1/shares", share))[0] == 202
        await place.city.wallet.notify(payment)
        await until(lambda: place.sees(phone, 2), 30)
        await until(lambda: place.sees(share["customer"]["phone"], 1), 30)
        assert (await place.app.engine.ledger.check()).differences == []


async def test_a_share_whose_claim_was_lost_in_a_failover_is_asked_for_again(engine: Engine) -> None:
    url = engine.settings.redis_url or ""
    async with gate(url) as way:
        through = await Engine.open(settings_for(way.url, replicas=0))
        j = job("500")
        claim = keys.ids(engine.records.partition(j.id), j.id)

        async def lose() -> None:
            await engine.records.client.delete(claim)

        await through.shares.accept(job("499"))  # connects
        way.arm(1, lose)
        with pytest.raises(StoreUnavailable):
            await through.shares.accept(j)
        assert way.passed
        assert (await through.shares.accept(j)).repeated
        assert (await through.shares.get(j.id)).id == j.id
        await through.close()


async def test_nothing_that_was_promised_is_lost_in_a_failover(many: Servers) -> None:
    group = watched(many)
    engine = await Engine.open(settings_for(group.url, replica_wait_ms=1000))
    promised: list[str] = []

    async def produce(name: int) -> None:
        for n in range(10_000):
            number = f"{name:02}{n:05}"
            try:
                await engine.shares.accept(job(number, id=f"inv-{number}"))
                promised.append(number)
                await engine.payments.settle(paid(number))
            except StoreUnavailable:
                return

    producers = [asyncio.create_task(produce(name)) for name in range(16)]
    await until(lambda: _reached(promised, 300), 60)
    kill(group.primary)
    await asyncio.gather(*producers)
    wait_until(lambda: ask(group.replica, "ROLE")[0] == "master", 30)
    found = set(ask(group.replica, "KEYS", "tuma:*:a:*"))
    missing = [n for n in promised if f"tuma:{{{engine.records.partition(n)}}}:a:{n}" not in found]
    await engine.close()
    assert missing == []


@pytest.mark.parametrize(("replicas", "promised"), [(0, 10), (1, 0)])
async def test_what_was_promised_while_no_replica_was_connected_is_lost_with_its_server(
    many: Servers, replicas: int, promised: int
) -> None:
    primary = many.primary()
    replica = many.replica(primary)
    engine = await Engine.open(settings_for(primary.url, replicas=replicas, replica_wait_ms=20))
    await engine.shares.accept(job("100"))
    # Frozen, so that it does not come back; cut off, so that nothing waits for it in a buffer of this machine.
    with frozen(replica):
        ask(primary, "CLIENT", "KILL", "TYPE", "replica")
        taken = [await _accepted(engine, f"2{n}") for n in range(10)]
        kill(primary)
    ask(replica, "REPLICAOF", "NO", "ONE")
    assert sum(taken) == promised
    assert ask(replica, "KEYS", "tuma:*:a:2*") == []
    assert len(ask(replica, "KEYS", "tuma:*:a:100")) == 1
    await engine.close()


async def _accepted(engine: Engine, number: str) -> bool:
    try:
        await engine.shares.accept(job(number))
    except NotReplicated:
        return False
    return True


async def _reached(promised: list[str], count: int) -> bool:
    return len(promised) >= count


async def test_a_server_that_refuses_to_write_without_a_replica_is_away_until_it_has_one(
    many: Servers,
) -> None:
    """`min-replicas-to-write`, which keeps a primary that was cut off from handing out what its successor hands out."""
    primary = many.primary()
    replica = many.replica(primary)
    ask(primary, "CONFIG", "SET", "min-replicas-to-write", 1)
    async with town(primary.url, TUMA_REPLICAS="1") as place:
        number, phone = await a_bill(place)
        kill(replica)
        wait_until(lambda: ask(primary, "INFO", "replication")["connected_slaves"] == 0)
        assert (await place.post("/v1/shares", place.job()))[0] == 503
        payment = await place.pays(number)
        assert payment.webhook_status == 503
        with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
            await costs.publish(place.app.engine.records, place.app.engine.settings)  # a pipeline
        await asyncio.sleep(1.5)  # every role meets it
        many.again(replica, "--replicaof", f"127.0.0.1 {primary.port}")
        wait_until(lambda: ask(primary, "INFO", "replication")["connected_slaves"] == 1)
        await until(lambda: _answered(place, payment), 40)
        await until(lambda: place.sees(phone, 2), 40)
        await place.serves_a_customer()
        assert (await place.app.engine.ledger.check()).differences == []


async def test_replicas_without_which_the_server_writes_all_the_same_are_warned_about(many: Servers) -> None:
    primary = many.primary()
    engine = await Engine.open(settings_for(primary.url))
    assert (await inspect(engine.records)).doubts == []
    many.replica(primary)
    [doubt] = (await inspect(engine.records)).doubts
    assert "set it to 1 at every server" in doubt
    ask(primary, "CONFIG", "SET", "min-replicas-to-write", 1)
    assert (await inspect(engine.records)).doubts == []
    await engine.close()


async def _answered(place: Town, payment: Payment) -> bool:
    await place.city.wallet.notify(payment)
    return payment.webhook_status == 200
