"""A worker on a real server, with a channel that does what the test says."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest

from bot.app import renderer
from bot.domain.bill import BillKind
from bot.domain.message import Kind, Lane, Outcome, State
from bot.engine.asking import Asker
from bot.engine.compose import Composer
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms
from bot.engine.worker import Worker, backoff_ms
from channels.base import Accepted, Channel, ChannelName, Delivery, Outgoing, Probe, StatusUpdate, check_lease
from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    Throttled,
    Unavailable,
    Uncertain,
)
from tests.engine.conftest import job, paid


@dataclass
class Scripted:
    """A channel that answers with the next scripted error, or accepts."""

    name: ChannelName = ChannelName.SMS
    concurrency: int = 10
    request_timeout_s: float = 5
    errors: list[ChannelError] = field(default_factory=list)
    sent: list[Outgoing] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def send(self, outgoing: Outgoing) -> Accepted:
        if self.gate is not None:
            await self.gate.wait()
        check_lease(outgoing.deadline)
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(outgoing)
        return Accepted(f"SM{len(self.sent):032}", Delivery.QUEUED, 1)

    async def probe(self) -> Probe:
        return Probe(ok=True, detail="scripted")

    async def close(self) -> None:
        return None


def hands(engine: Engine, *channels: Channel, consumer: str = "test") -> tuple[Worker, Asker]:
    """A worker, and who asks beside it."""
    composer = Composer(engine.records, renderer(engine.settings), engine.settings)
    named = {c.name: c for c in channels}
    asker = Asker(engine.records, engine.contacts, engine.receipts, composer, engine.settings, named)
    parts = engine.records, engine.contacts, engine.channels, composer, engine.settings, named, consumer
    return Worker(*parts, asker.desks), asker


@asynccontextmanager
async def working(engine: Engine, *channels: Channel, schedule: bool = True) -> AsyncIterator[Worker]:
    """A worker and a scheduler at work until the block ends."""
    stop = asyncio.Event()
    worker, asker = hands(engine, *channels)
    tasks = [asyncio.create_task(worker.run(stop)), asyncio.create_task(asker.run(stop))]
    if schedule:
        tasks.append(asyncio.create_task(Scheduler(engine.records, engine.shares, engine.settings).run(stop)))
    try:
        yield worker
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait until a condition holds; fail after a while."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def settled(engine: Engine) -> bool:
    stats = await engine.ledger.stats()
    return stats.scheduled + stats.queued + stats.handed_out + stats.in_doubt == 0


async def test_a_message_is_sent_once_and_recorded(engine: Engine) -> None:
    channel = Scripted()
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    [message] = (await engine.shares.get(accepted.id)).messages
    assert (message.outcome, message.delivery, message.segments) == (Outcome.SENT, "queued", 1)
    assert "100" in (message.text or "")
    assert len(channel.sent) == 1
    assert (await engine.ledger.check()).ok


@pytest.mark.parametrize(
    "error", [Unavailable("smtp 451", "later"), Throttled("429", "slow", retry_after_s=0.05)]
)
async def test_a_passing_failure_is_tried_again(engine: Engine, error: ChannelError) -> None:
    channel = Scripted(errors=[error])
    await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert [o.attempt for o in channel.sent] == [2]


@dataclass
class Slow(Scripted):
    """A channel whose sends end when the test says so."""

    under_way: deque[asyncio.Event] = field(default_factory=deque)
    claims: list[float] = field(default_factory=list)

    async def send(self, outgoing: Outgoing) -> Accepted:
        end = asyncio.Event()
        self.under_way.append(end)
        self.claims.append(outgoing.deadline)  # those of one claim share their lease
        await end.wait()
        return await super().send(outgoing)


async def test_bulk_is_claimed_by_halves_of_its_places_and_for_all_that_become_free_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.engine.worker._MOMENT_S", 0.05)  # a busy machine takes longer to free four
    channel = Slow()
    numbers = [n for n in map(str, range(10**6, 10**6 + 900)) if engine.records.partition(n) == 0][:120]
    await engine.shares.accept_many([job(n, lane=Lane.BULK) for n in numbers])

    async def busy() -> bool:
        return len(channel.under_way) == 8

    async with working(engine, channel, schedule=False):
        await until(busy)
        for _ in range(20):
            for _ in range(4):
                channel.under_way.popleft().set()
                for _ in range(5):  # a worker that claims for each place would claim meanwhile
                    await asyncio.sleep(0)
            await until(busy)
        sizes = [len(list(same)) for _, same in groupby(channel.claims)]
        while not await settled(engine):
            while channel.under_way:
                channel.under_way.popleft().set()
            await asyncio.sleep(0.001)
    assert sizes[:2] == [4, 4]
    assert max(sizes) == 4
    assert statistics.median(sizes) == 4
    assert len(channel.sent) == len(numbers)


async def test_an_invalid_number_fails_suppresses_and_is_dead(engine: Engine) -> None:
    channel = Scripted(errors=[RecipientInvalid("21614", "not a mobile number")])
    await engine.shares.accept(job("100", phone="+255754000001"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    [dead] = await engine.messages.dead()
    assert (dead.outcome, dead.reason, dead.error) == (
        Outcome.FAILED,
        "invalid address",
        "21614: not a mobile number",
    )
    assert [s.reason for s in (await engine.contacts.show("+255754000001")).suppressed] == ["invalid address"]


async def test_a_refused_message_can_be_replayed(engine: Engine) -> None:
    channel = Scripted(errors=[ContentRejected("21617", "too long")])
    await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
        [dead] = await engine.messages.dead()
        again = await engine.messages.replay(dead.id, by="cli")
        await until(lambda: settled(engine))
    assert (await engine.messages.get(again)).outcome is Outcome.SENT
    assert await engine.messages.dead() == []


async def test_wrong_credentials_pause_the_channel_and_keep_the_message(engine: Engine) -> None:
    channel = Scripted(errors=[Misconfigured("20003", "authenticate")])
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: _paused(engine))
        await until(lambda: _waits(engine))
        assert (await engine.shares.get(accepted.id)).messages[0].state is State.QUEUED
        await engine.channels.resume("sms", by="cli")
        await until(lambda: settled(engine))
    assert len(channel.sent) == 1
    kinds = [item.type for item in await engine.news.read("test")]
    assert kinds == ["channel_paused", "channel_resumed"]


async def _paused(engine: Engine) -> bool:
    return "sms" in await engine.channels.paused()


async def _waits(engine: Engine) -> bool:
    return (await engine.ledger.stats()).queued == 1


async def test_an_in_doubt_message_is_sent_again_once_and_flagged(engine: Engine) -> None:
    channel = Scripted(errors=[Uncertain("timeout", "no answer")])
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    [message] = (await engine.shares.get(accepted.id)).messages
    assert (message.outcome, message.possible_duplicate, message.attempts) == (Outcome.SENT, True, 2)
    assert (await engine.ledger.stats()).possible_duplicates == 1


async def test_in_doubt_twice_is_left_to_staff(engine: Engine) -> None:
    channel = Scripted(errors=[Uncertain("timeout", "no answer"), Uncertain("timeout", "no answer")])
    await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert [m.reason for m in await engine.messages.dead()] == ["in doubt twice"]
    assert channel.sent == []


async def test_an_in_doubt_telegram_message_is_held_but_a_receipt_goes_again(engine: Engine) -> None:
    channel = Scripted(name=ChannelName.TELEGRAM, errors=[Uncertain("timeout", "no answer")])
    await engine.shares.accept(job("100", channels=("telegram",), telegram="777"))
    async with working(engine, channel):
        await until(lambda: _dead(engine, 1))
        assert (await engine.ledger.stats()).in_doubt == 1
        channel.errors.append(Uncertain("timeout", "no answer"))
        await engine.payments.settle(paid("100"))
        await until(lambda: _sent(channel, 1))
    assert (await engine.ledger.stats()).possible_duplicates == 1


async def _dead(engine: Engine, count: int) -> bool:
    return len(await engine.messages.dead()) == count


async def _sent(channel: Scripted, count: int) -> bool:
    return len(channel.sent) == count


async def test_a_callback_settles_a_message_in_doubt(engine: Engine) -> None:
    channel = Scripted(errors=[Uncertain("timeout", "no answer")])
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, channel, schedule=False):
        await until(lambda: _in_doubt(engine))
    update = StatusUpdate(accepted.messages[0], "SM1", Delivery.DELIVERED)
    assert await engine.messages.delivery(update)
    message = await engine.messages.get(accepted.messages[0])
    assert (message.outcome, message.delivery, message.possible_duplicate) == (
        Outcome.SENT,
        "delivered",
        False,
    )


async def _in_doubt(engine: Engine) -> bool:
    return (await engine.ledger.stats()).in_doubt == 1


async def test_callbacks_in_any_order_leave_the_highest_rank(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
    changed = [
        await engine.messages.delivery(StatusUpdate(accepted.messages[0], "SM1", status))
        for status in (Delivery.DELIVERED, Delivery.SENT, Delivery.UNDELIVERED, Delivery.DELIVERED)
    ]
    assert changed == [True, False, False, False]
    assert (await engine.messages.get(accepted.messages[0])).delivery == "delivered"


async def test_a_first_route_goes_on_when_a_rung_fails(engine: Engine) -> None:
    whatsapp = Scripted(name=ChannelName.WHATSAPP, errors=[RecipientInvalid("63024", "not a user")])
    sms = Scripted()
    accepted = await engine.shares.accept(job("100", channels=("whatsapp", "sms"), mode="first"))
    async with working(engine, whatsapp, sms):
        await until(lambda: settled(engine))
    assert [m.channel for m in (await engine.shares.get(accepted.id)).messages] == ["whatsapp", "sms"]
    assert len(sms.sent) == 1


async def test_a_first_route_goes_on_when_a_rung_is_not_confirmed_in_time(engine: Engine) -> None:
    whatsapp, sms = Scripted(name=ChannelName.WHATSAPP), Scripted()
    quick = timedelta(milliseconds=100)
    await engine.shares.accept(job("100", channels=("whatsapp", "sms"), mode="first", confirm_within=quick))
    async with working(engine, whatsapp, sms):
        await until(lambda: _sent(sms, 1))
    assert len(whatsapp.sent) == 1


async def test_a_confirmed_rung_is_the_last(engine: Engine) -> None:
    whatsapp, sms = Scripted(name=ChannelName.WHATSAPP), Scripted()
    accepted = await engine.shares.accept(job("100", channels=("whatsapp", "sms"), mode="first"))
    async with working(engine, whatsapp, sms):
        await until(lambda: _sent(whatsapp, 1))
        await engine.messages.delivery(StatusUpdate(accepted.messages[0], "SM1", Delivery.DELIVERED))
        await engine.payments.settle(paid("100"))
        await until(lambda: _sent(whatsapp, 2))
    assert sms.sent == []
    assert not [t for t in await _timers(engine) if t.startswith("c:") and t.endswith(".1")]


async def _timers(engine: Engine) -> list[str]:
    return [
        member
        for p in range(engine.partitions)
        for member in await engine.records.client.zrange(f"tuma:{{{p}}}:timers", 0, -1)
    ]


async def test_reminders_come_when_due_and_stop_at_payment(engine: Engine) -> None:
    channel = Scripted()
    due = timedelta(seconds=5)
    plan = (timedelta(seconds=3), timedelta(seconds=2), timedelta(hours=-1))
    accepted = await engine.shares.accept(job("100", due_in=due, before=plan, kind=BillKind.CUSTOMER))
    async with working(engine, channel):
        await until(lambda: _sent(channel, 3))
        await engine.payments.settle(paid("100"))
        await until(lambda: _sent(channel, 4))
    kinds = [m.kind for m in (await engine.shares.get(accepted.id)).messages]
    assert kinds == [Kind.INSTRUCTIONS, Kind.REMINDER, Kind.REMINDER, Kind.RECEIPT]
    assert await _timers(engine) == []


async def test_after_an_outage_one_reminder_speaks_for_all(engine: Engine) -> None:
    plan = tuple(timedelta(hours=h) for h in (3, 2, 1))
    accepted = await engine.shares.accept(job("100", due_in=timedelta(hours=4), before=plan))
    late = now_ms() + 5 * 3_600_000
    await Scheduler(engine.records, engine.shares, engine.settings).tick(late)
    messages = (await engine.shares.get(accepted.id)).messages
    assert [(m.kind, m.outcome) for m in messages] == [
        (Kind.INSTRUCTIONS, Outcome.SUPERSEDED),
        (Kind.REMINDER, None),
    ]


async def test_a_scheduled_share_waits_for_its_time(engine: Engine) -> None:
    channel = Scripted()
    at = datetime.now(UTC) + timedelta(milliseconds=400)
    accepted = await engine.shares.accept(job("100", send_at=at))
    assert (await engine.messages.get(accepted.messages[0])).state is State.SCHEDULED
    async with working(engine, channel):
        await until(lambda: _sent(channel, 1))
    assert datetime.now(UTC) >= at


async def test_stopping_a_worker_leaves_nothing_pending(engine: Engine) -> None:
    gate = asyncio.Event()
    channel = Scripted(gate=gate)
    await engine.shares.accept_many([job() for _ in range(30)])
    async with working(engine, channel, schedule=False):
        await until(lambda: _handed_out(engine))
        gate.set()
    stats = await engine.ledger.stats()
    assert stats.handed_out == 0
    assert stats.queued + stats.done["sent"] == 30


async def _handed_out(engine: Engine) -> bool:
    return (await engine.ledger.stats()).handed_out > 0


async def test_a_lease_that_runs_out_gives_the_message_back(engine: Engine) -> None:
    gate = asyncio.Event()
    channel = Scripted(gate=gate)
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: _handed_out(engine))
        await asyncio.sleep(engine.settings.lease_ms / 1000 + 0.1)
        gate.set()
        await until(lambda: settled(engine))
    message = await engine.messages.get(accepted.messages[0])
    assert (len(channel.sent), message.attempts, message.possible_duplicate) == (1, 2, False)


async def test_urgent_messages_overtake_bulk(engine: Engine) -> None:
    channel = Scripted(concurrency=1)
    same = [job(lane=Lane.BULK) for _ in range(20)]
    await engine.shares.accept_many(same)
    urgent = await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    place = [o.message_id for o in channel.sent].index(urgent.messages[0])
    assert place <= engine.partitions


def test_backoff_doubles_up_to_a_quarter_of_an_hour() -> None:
    assert all(40 <= backoff_ms(0, 50) <= 60 for _ in range(100))
    assert all(320 <= backoff_ms(3, 50) <= 480 for _ in range(100))
    assert all(720_000 <= backoff_ms(50, 50) <= 1_080_000 for _ in range(100))


async def test_an_undelivered_message_is_tried_again_later_as_often_as_it_is_worth(engine: Engine) -> None:
    channel = Scripted()
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
    lost = Unavailable("30008", "no reason", retry_after_s=300, most_retries=1)
    assert await engine.messages.delivery(
        StatusUpdate(accepted.messages[0], "SM" + "0" * 31 + "1", Delivery.UNDELIVERED, lost)
    )
    [_, again] = (await engine.shares.get(accepted.id)).messages
    assert again.state is State.SCHEDULED
    await Scheduler(engine.records, engine.shares, engine.settings).tick(now_ms() + 301_000)
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert await engine.messages.delivery(
        StatusUpdate(again.id, "SM" + "0" * 31 + "2", Delivery.UNDELIVERED, lost)
    )
    assert [m.id for m in await engine.messages.dead()] == [again.id]


async def test_an_unknown_handset_is_silenced_only_the_second_time(engine: Engine) -> None:
    unknown = RecipientInvalid("30005", "unknown handset")
    for n, silenced in ((1, False), (2, True)):
        accepted = await engine.shares.accept(job(f"10{n}", phone="+255754000001"))
        async with working(engine, Scripted()):
            await until(lambda: settled(engine))
        await engine.messages.delivery(
            StatusUpdate(accepted.messages[0], "SM" + "0" * 31 + "1", Delivery.UNDELIVERED, unknown)
        )
        assert bool((await engine.contacts.show("+255754000001")).suppressed) is silenced


async def test_one_unknown_handset_that_is_told_twice_at_once_is_not_silenced(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", phone="+255754000001"))
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
    unknown = RecipientInvalid("30005", "unknown handset")
    told = StatusUpdate(accepted.messages[0], "SM" + "0" * 31 + "1", Delivery.UNDELIVERED, unknown)
    await asyncio.gather(*(engine.messages.delivery(told) for _ in range(5)))
    assert (await engine.contacts.show("+255754000001")).suppressed == []


async def test_callbacks_of_one_odd_recipient_do_not_pause_a_channel_but_those_of_several_do(
    engine: Engine,
) -> None:
    # One text that a carrier filtered stopped all SMS, again with each of its tries, up to an hour each time.
    shares = [await engine.shares.accept(job()) for _ in range(3)]
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
    filtered = Misconfigured("30007", "filtered", perhaps_recipient=True)
    for n, accepted in enumerate(shares):
        assert ("sms" in await engine.channels.paused()) is False
        view = await engine.messages.get(accepted.messages[0])
        told = StatusUpdate(view.id, str(view.provider_id), Delivery.UNDELIVERED, filtered)
        for _ in range(2):
            await engine.messages.delivery(told)
        assert len(await engine.messages.dead()) == min(n + 1, 2)
    assert "sms" in await engine.channels.paused()
    assert (await engine.ledger.stats()).scheduled == 1


async def test_a_callback_that_blames_our_account_pauses_the_channel(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
    blame = Misconfigured("30007", "filtered")
    await engine.messages.delivery(
        StatusUpdate(accepted.messages[0], "SM" + "0" * 31 + "1", Delivery.FAILED, blame)
    )
    assert "sms" in await engine.channels.paused()
