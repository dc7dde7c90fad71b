"""Every script on a real cluster of three primaries, so that none of them leaves its slot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bot.domain.dead import DeadFilter
from bot.engine.engine import Engine
from bot.engine.inbox import Inbox
from bot.engine.offline import renamed
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms
from channels.base import ChannelName, Delivery, StatusUpdate
from tests.engine.conftest import job, paid, settings_for
from tests.engine.endings import DOUBT, INVALID, SENT, end, hold
from tests.engine.test_worker import Scripted, settled, until, working


@pytest.fixture
async def engine(cluster: str) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(cluster, partitions=16))
    yield opened
    await opened.close()


async def test_the_whole_life_of_a_share_on_a_cluster(engine: Engine) -> None:
    channel, jobs = Scripted(), [job(f"9{n:05}") for n in range(24)]
    accepted = await engine.shares.accept_many(jobs)
    assert len({engine.records.partition(j.bill.number or "") for j in jobs}) > 8
    async with working(engine, channel):
        await until(lambda: settled(engine))
        for j in jobs:
            assert (await engine.payments.settle(paid(j.bill.number or ""))).outcome == "settled"
        await until(lambda: _sent(channel, 2 * len(jobs)))
        await until(lambda: settled(engine))
    assert await engine.messages.delivery(StatusUpdate(accepted[0].messages[0], "SM1", Delivery.DELIVERED))  # type: ignore[union-attr]
    assert (await engine.ledger.check()).differences == []


async def _sent(channel: Scripted, count: int) -> bool:
    return len(channel.sent) == count


async def test_staff_and_consent_on_a_cluster(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("9100", phone="+255754000001", name="Neema Kileo"))
    assert await engine.shares.resend(accepted.id, by="cli")
    assert await engine.contacts.opt_out("sms", "+255754000001", proof="test") == 1
    assert await engine.payments.hint("9100")
    await engine.payments.hint_done("9100")
    kept = await engine.payments.settle(paid("9101"))
    assert (await engine.payments.match(kept.payment, "9100", by="cli")).outcome == "settled"
    await engine.channels.pause("sms", reason="test", by="cli")
    await engine.channels.resume("sms", by="cli")
    assert [hit.number for hit in await engine.bills.search("kileo")] == ["9100"]
    stopped = await engine.shares.accept(job("9102"))
    await engine.bills.stop("9102", by="cli")
    link = await _link_of(engine, await engine.shares.accept(job("9103", channels=("sms", "telegram"))))
    assert await engine.contacts.link(link, "777") == "9103"
    scripts = engine.records.scripts
    assert await scripts.run(scripts.reclaim(0, now_ms(), ChannelName.SMS, idle_ms=1, wait_ms=1)) == 0
    assert await Scheduler(engine.records, engine.shares, engine.settings).tick(now_ms()) <= 1
    assert (await engine.shares.get(stopped.id)).state == "stopped"
    assert (await engine.ledger.check()).differences == []


async def test_dead_letters_and_edited_contacts_on_a_cluster(engine: Engine) -> None:
    jobs = [job(f"93{n:02}", phone=f"+2557550100{n:02}", channels=("whatsapp",)) for n in range(20)]
    await engine.shares.accept_many(jobs)
    await end(engine, INVALID, "whatsapp")
    only = DeadFilter(channel=ChannelName.WHATSAPP, reason="invalid")
    found = await engine.messages.dead_page(only, limit=100)
    assert (found.total, {letter.number for letter in found.letters}) == (20, {j.bill.number for j in jobs})
    assert len({letter.id.partition("-")[0] for letter in found.letters}) > 8
    for n, j in enumerate(jobs):
        await engine.shares.edit_contact(j.id, phone=f"+2557550200{n:02}", by="cli")
    assert await engine.contacts.numbers_of("+255755010007") == []
    assert await engine.contacts.numbers_of("+255755020007") == ["9307"]
    first = await engine.messages.replay_many(only, by="cli", limit=12)
    rest = await engine.messages.replay_many(only, by="cli", after=first.next)
    assert (first.replayed, rest.replayed, rest.next) == (12, 8, None)
    assert {held["to"][:9] for held in await end(engine, SENT, "whatsapp")} == {"+25575502"}
    assert (await engine.ledger.check()).differences == []


async def test_a_decision_about_a_message_in_doubt_on_a_cluster(engine: Engine) -> None:
    await engine.shares.accept(job("9399", channels=("telegram",), telegram="888"))
    await hold(engine)
    [held] = await engine.messages.dead(only=DeadFilter(number="9399"))
    assert (await engine.messages.settle_doubt(held.id, True, by="cli")).outcome == "arrived"
    assert (await engine.ledger.check()).differences == []


async def test_asking_about_a_message_in_doubt_on_a_cluster(engine: Engine) -> None:
    accepted = await engine.shares.accept_many([job(f"95{n:02}") for n in range(12)])
    await end(engine, DOUBT)
    scripts, now = engine.records.scripts, now_ms()
    for p in range(engine.partitions):
        await scripts.run(scripts.due(p, now, 100, {"sms": "resend"}, ["sms"]))
    waiting = await engine.records.asks("sms", now_ms(), 10)
    assert len({p for p, _ in waiting}) > 4
    asked = await scripts.run_many([scripts.ask(p, now_ms(), "sms", id, 1000) for p, id in waiting])
    for (p, id), question in zip(waiting, asked, strict=True):
        assert question is not None
        await scripts.run(scripts.asked(p, now_ms(), id, question.token, ("absent", now_ms(), 1, 100, "")))
        await scripts.run(scripts.due(p, now_ms(), 100, {"sms": "resend"}, ["sms"]))
    ids = [one.messages[0] for one in accepted]  # type: ignore[union-attr]
    assert {(await engine.messages.get(id)).possible_duplicate for id in ids} == {True}
    assert len(await end(engine, SENT)) == len(waiting) >= len(ids)
    assert (await engine.ledger.check()).differences == []


async def _link_of(engine: Engine, accepted: object) -> str:
    token = accepted.token  # type: ignore[attr-defined]
    p, _, sid = token.partition("-")
    return f"{token}-{await engine.records.client.hget(f'tuma:{{{int(p, 16)}}}:s:{sid}', 'lt')}"


async def test_the_inbox_of_every_partition_is_read_on_a_cluster(engine: Engine) -> None:
    import asyncio

    inbox, stop = Inbox(engine.records, engine.shares, engine.settings, "test"), asyncio.Event()
    reading = asyncio.create_task(inbox.run(stop))
    text = (
        '{"id": "c-%d", "bill": {"number": "92%02d", "amount": "100"}, "customer": {"phone": "0754000001"}}'
    )
    for p in range(0, 16, 5):
        await engine.records.client.xadd(f"tuma:inbox:{{{p}}}", {"job": text % (p, p)})
    await until(lambda: _known(engine, [f"c-{p}" for p in range(0, 16, 5)]))
    stop.set()
    await reading


async def _known(engine: Engine, ids: list[str]) -> bool:
    from bot.errors import NotFound

    with contextlib.suppress(NotFound):
        return all([await engine.shares.get(id) for id in ids])
    return False


async def test_pages_are_read_watched_and_checked_on_a_cluster(cluster: str) -> None:
    engine = await Engine.open(settings_for(cluster, partitions=None))
    try:
        accepted = await engine.shares.accept(job("88001"))
        async with engine.live.watch(accepted.token) as (page, word):
            assert page.amount == 45000
            await engine.payments.settle(paid("88001"))
            async with asyncio.timeout(20):
                assert await word
        assert (await engine.shares.by_token(accepted.token)).amount == 0
        checked = await engine.checks.ask("88001", "web", "somebody")
        assert checked is not None
        assert checked.status == "settled"
    finally:
        await engine.close()


async def test_what_processes_share_about_clickpesa_on_a_cluster(engine: Engine) -> None:
    assert await engine.calls.take("now") == 0
    await engine.calls.rest(60)
    assert await engine.calls.take("now") > 50
    assert await engine.calls.today() == 1
    assert await engine.leases.hold("sweep", "one", 60)
    assert not await engine.leases.hold("sweep", "other", 60)
    await engine.leases.drop("sweep", "one")
    await engine.tokens.claim("clickpesa", "one", 60)
    known = engine.sweeps.now().replace(microsecond=0)
    await engine.sweeps.save("{}", known)
    assert (await engine.sweeps.load(), await engine.sweeps.known_until()) == ("{}", known)
    await engine.shares.accept(job("4321000917"))
    offline = await renamed(engine.records, paid("000917"), "4321")
    assert offline.number == "4321000917"
