"""What has no TTL of its own is tidied away, and an older tuma leaves newer records alone."""

from __future__ import annotations

import pytest

from bot.engine import keys
from bot.engine.engine import FORMAT, Engine
from bot.engine.retention import Retention
from bot.engine.scripts import now_ms
from bot.errors import ConfigError, NotFound
from tests.engine.conftest import job, settings_for
from tests.engine.endings import REFUSED, end
from tests.engine.test_worker import Scripted, settled, until, working


async def turns(engine: Engine) -> None:
    retention = Retention(engine.records)
    for _ in range(engine.partitions):
        await retention.turn()


async def test_names_of_bills_that_are_gone_are_forgotten(engine: Engine) -> None:
    await engine.shares.accept(job("100", name="Neema Kileo"))
    await engine.shares.accept(job("200", name="Neema Mrema"))
    await engine.records.client.delete(f"tuma:{{{engine.records.partition('100')}}}:a:100")
    await turns(engine)
    names = [
        name
        for p in range(engine.partitions)
        for name in await engine.records.client.lrange(f"tuma:{{{p}}}:called", 0, -1)
    ]
    assert [name.partition("\x1f")[0] for name in names] == ["neema mrema"]


async def test_an_id_is_known_for_400_days_and_then_forgotten(engine: Engine) -> None:
    new = job("200", id="new")
    for one in (job("100", id="old"), new):
        await engine.shares.accept(one)
    client = engine.records.client
    for name, days in (("old", 401), ("new", 399)):
        place = keys.ids(engine.records.partition(name), name)
        _, _, rest = (await client.hget(place, name)).split(" ", 2)
        await client.hset(place, name, f"1 {now_ms() // 86_400_000 - days} {rest}")
    retention = Retention(engine.records, ids_step=keys.IDS // 2)
    for _ in range(2 * engine.partitions):
        await retention.turn()
    assert (await engine.shares.accept(new)).repeated
    with pytest.raises(NotFound):
        await engine.shares.get("old")


async def test_a_dead_letter_stays_while_its_bill_is_unpaid_and_leaves_the_index_with_its_record(
    engine: Engine,
) -> None:
    client = engine.records.client
    await engine.shares.accept(job("100"))
    await end(engine, REFUSED)
    [letter] = await engine.messages.dead()
    p, _, local = letter.id.partition("-")
    await client.zadd(f"tuma:{{{int(p, 16)}}}:dead", {local: 1, "gone.1": now_ms()})
    await turns(engine)
    assert await client.zrange(f"tuma:{{{int(p, 16)}}}:dead", 0, -1) == [local]


async def test_a_consumer_with_work_pending_is_never_deleted(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    scripts, p = engine.records.scripts, engine.records.partition("100")
    await scripts.run(scripts.hand_out(p, now_ms(), "sms", "gone", (10, 10)))
    stream = f"tuma:{{{p}}}:q:sms:u"
    await engine.records.client.xgroup_createconsumer(stream, "w", "idle")
    retention = Retention(engine.records, consumer_gone_ms=0)
    for _ in range(engine.partitions):
        await retention.turn()
    consumers = await engine.records.client.xinfo_consumers(stream, "w")
    assert [c["name"] for c in consumers] == ["gone"]


async def test_what_is_done_has_a_lifetime(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
    p, _, local = accepted.messages[0].partition("-")
    assert await engine.records.client.ttl(f"tuma:{{{int(p, 16)}}}:m:{local}") > 0


async def test_an_older_tuma_leaves_newer_records_alone(engine: Engine, redis_url: str) -> None:
    await engine.records.client.set("tuma:format", FORMAT + 1)
    with pytest.raises(ConfigError, match="start a newer tuma"):
        await Engine.open(settings_for(redis_url))
