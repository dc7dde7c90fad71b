"""Urgent messages and receipts do not wait behind a campaign, and a long queue costs no more than a short one."""

from __future__ import annotations

import asyncio

from bot.domain.message import Kind, Lane
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from channels.base import Accepted, Outgoing
from tests.engine.conftest import job, paid
from tests.engine.test_worker import Scripted, until, working


async def campaign(engine: Engine, size: int) -> None:
    for start in range(0, size, 500):
        await engine.shares.accept_many(
            [job(lane=Lane.BULK, before=()) for _ in range(min(500, size - start))]
        )


async def _at_least(channel: Scripted, count: int) -> bool:
    return len(channel.sent) >= count


async def _is_sent(channel: Scripted, message: str) -> bool:
    return any(o.message_id == message for o in channel.sent)


class Slow(Scripted):
    """Holds bulk until the test lets it go; urgent messages pass."""

    def __init__(self, urgent: set[str]) -> None:
        super().__init__(concurrency=10)
        self.urgent, self.go, self.begun = urgent, asyncio.Event(), 0

    async def send(self, outgoing: Outgoing) -> Accepted:
        self.begun += 1
        if outgoing.message_id not in self.urgent:
            await self.go.wait()
        return await super().send(outgoing)


async def test_a_campaign_never_takes_the_last_slots(engine: Engine) -> None:
    await campaign(engine, 40)
    channel = Slow(set())
    async with working(engine, channel, schedule=False):
        await until(lambda: _begun(channel, 8))
        accepted = await engine.shares.accept(job("100", send_at=None))
        channel.urgent.update(accepted.messages)
        await until(lambda: _begun(channel, 9))
        assert channel.begun == 9  # eight of bulk and the urgent one
        channel.go.set()
        await until(lambda: _at_least(channel, 41))


async def _begun(channel: Slow, count: int) -> bool:
    return channel.begun >= count


async def test_urgent_messages_and_receipts_overtake_a_campaign_that_is_being_sent(engine: Engine) -> None:
    await campaign(engine, 3000)
    channel = Scripted()
    async with working(engine, channel, schedule=False):
        await until(lambda: _at_least(channel, 100))
        accepted = await engine.shares.accept(job("100"))
        after = len(channel.sent)
        await until(lambda: _is_sent(channel, accepted.messages[0]))
        place = [o.message_id for o in channel.sent].index(accepted.messages[0])
        # At most what was being taken when it came, and what was taken while its word was heard.
        assert place - after <= 5 * channel.concurrency
        await engine.payments.settle(paid("100"))
        after = len(channel.sent)
        found = (await engine.shares.get(accepted.id)).messages
        [receipt] = [m.id for m in found if m.kind is Kind.RECEIPT]
        await until(lambda: _is_sent(channel, receipt))
        assert [o.message_id for o in channel.sent].index(receipt) - after <= 5 * channel.concurrency
        assert len(channel.sent) < 3000


async def test_handing_out_costs_no_more_behind_a_long_queue(engine: Engine) -> None:
    costs = []
    for size in (100, 2000):
        await campaign(engine, size)
        costs.append(await _cost_of_ten(engine))
    assert costs[0] == costs[1]


async def _cost_of_ten(engine: Engine) -> dict[str, int]:
    """Commands that the server ran to hand out ten bulk messages of one partition."""
    scripts = engine.records.scripts
    before = await engine.records.client.info("commandstats")
    held, more = await scripts.run(scripts.hand_out(0, now_ms(), "sms", "test", (10, 10)))
    after = await engine.records.client.info("commandstats")
    assert (len(held), more.lanes) == (10, "b")
    skipped = {"cmdstat_info", "cmdstat_xgroup", "cmdstat_xgroup|create", "cmdstat_xreadgroup"}
    return {
        name: stats["calls"] - before.get(name, {}).get("calls", 0)
        for name, stats in after.items()
        if name not in skipped and stats["calls"] != before.get(name, {}).get("calls", 0)
    }
