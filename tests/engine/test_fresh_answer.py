"""What is sent again on a provider's word that it is not there, and had to wait: that word must still be good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.domain.message import Lane, Outcome, State
from bot.engine import keys
from bot.engine.engine import Engine
from bot.engine.scripts import Freshness, HandedOut, Question, now_ms
from channels.base import Accepted, Delivery, Outgoing, SmsContent, lease_clock
from channels.errors import Throttled, Unaskable, Unavailable
from channels.sms import Sms
from tests.engine.conftest import job, paid
from tests.engine.test_asking import PHONE, Desk, Telling, doomed, doubtful, opened, told, twilio
from tests.engine.test_worker import settled, until, working

FRESH_MS = 400
FRESH = Freshness(1000, 10_000)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def desk(redis_url: str) -> AsyncIterator[Desk]:
    async with opened(redis_url, in_doubt_fresh_ms=FRESH_MS) as made:
        yield made


async def _state(desk: Desk, message: str, state: State, flagged: bool = False) -> bool:
    view = await desk.view(message)
    return (view.state, view.possible_duplicate) == (state, flagged)


async def _taken_late(desk: Desk, message: str) -> str:
    """The first request stood in a stalled provider, which takes it now."""
    view, late = await desk.view(message), Sms(replace(twilio(desk.city), timeout_s=5))
    content = SmsContent(view.text or "")
    first = Outgoing(message, 1, PHONE, content, lease_clock() + 5)
    accepted = await late.send(first)
    await late.close()
    return accepted.provider_id


async def _waits_on_an_old_answer(desk: Desk, lane: Lane = Lane.URGENT) -> str:
    """A message that was asked about four times, is not there, and waits to be sent again in a channel at rest."""
    desk.city.faults.next("twilio", "error-before")
    message = await desk.share(lane=lane)
    async with desk.working():
        await until(lambda: _state(desk, message, State.IN_DOUBT))
        await desk.engine.channels.pause("sms", reason="test", by="cli")
        await until(lambda: _state(desk, message, State.QUEUED, flagged=True))
    await asyncio.sleep(FRESH_MS / 1000)
    return message


@pytest.mark.parametrize("lane", [Lane.URGENT, Lane.BULK])
async def test_what_the_provider_took_after_it_was_asked_is_adopted_and_not_sent_again(
    desk: Desk, lane: Lane
) -> None:
    message = await _waits_on_an_old_answer(desk, lane)
    sid = await _taken_late(desk, message)
    await desk.engine.channels.resume("sms", by="cli")
    async with desk.working():
        await desk.ended()
    view = await desk.view(message)
    assert (view.outcome, view.reason, view.provider_id) == (Outcome.SENT, "found at the provider", sid)
    assert (view.possible_duplicate, view.attempts, desk.taken) == (False, 1, {message: 1})
    stats = await desk.engine.ledger.stats()
    assert (stats.doubts, stats.possible_duplicates) == ({"adopted": 1, "resent": 0}, 0)


async def test_what_is_still_not_there_goes_out_at_once(desk: Desk) -> None:
    message = await _waits_on_an_old_answer(desk)
    await desk.engine.channels.resume("sms", by="cli")
    async with desk.working():
        await desk.ended()
    view = await desk.view(message)
    assert (view.outcome, view.possible_duplicate, view.attempts) == (Outcome.SENT, True, 2)
    assert (desk.taken, await desk.doubts()) == ({message: 1}, {"resent": 1})


async def test_without_a_worker_for_a_while_it_is_asked_about_before_it_goes_out(desk: Desk) -> None:
    """Only the scheduler and who asks were there."""
    message = await _waits_on_an_old_answer(desk)
    await desk.engine.channels.resume("sms", by="cli")
    await asyncio.sleep(FRESH_MS / 1000)
    await _taken_late(desk, message)
    async with desk.working():
        await desk.ended()
    assert (desk.taken, (await desk.view(message)).possible_duplicate) == ({message: 1}, False)


async def test_a_rate_that_holds_it_up_does_not_send_it_on_an_old_answer(redis_url: str) -> None:
    async with opened(redis_url, in_doubt_fresh_ms=FRESH_MS, sms_rate=(("", 3.0),)) as desk:
        message = await _waits_on_an_old_answer(desk)
        others = [job(f"30{n}", phone=f"+25575400020{n}") for n in range(6)]
        await desk.engine.shares.accept_many(others)
        await _taken_late(desk, message)
        await desk.engine.channels.resume("sms", by="cli")
        async with desk.working():
            await desk.ended()
        assert desk.taken[message] == 1
        assert sum(desk.taken.values()) == 1 + len(others)


async def test_nothing_goes_out_while_the_provider_cannot_be_asked_once_more(desk: Desk) -> None:
    message = await _waits_on_an_old_answer(desk)
    await _taken_late(desk, message)
    desk.city.faults.next("twilio", "query-error", 2)
    await desk.engine.channels.resume("sms", by="cli")
    async with desk.working():
        await until(lambda: _state(desk, message, State.IN_DOUBT))
        await desk.ended()
    assert desk.city.faults.counts()["twilio"]["query-error"] == 2
    assert (desk.taken, (await desk.view(message)).possible_duplicate) == ({message: 1}, False)


@pytest.mark.parametrize("there", [True, False])
async def test_a_worker_killed_between_question_and_sending_leaves_it_to_be_asked_again(
    desk: Desk, there: bool
) -> None:
    message = await _waits_on_an_old_answer(desk)
    if there:
        await _taken_late(desk, message)
    desk.city.faults.next("twilio", "query-timeout")
    await desk.engine.channels.resume("sms", by="cli")
    async with doomed(desk):
        await until(lambda: _stalled(desk), 60)
        assert await _state(desk, message, State.IN_DOUBT)
        assert (await desk.engine.ledger.check()).differences == []
    await desk.lost()
    p, local = keys.parse_message_id(message, desk.engine.partitions)
    client = desk.engine.records.client
    assert await client.xlen(f"{keys.prefix(p)}q:sms:u") == 0
    await client.zadd(f"{keys.prefix(p)}ask:sms", {local: now_ms()})  # the lease of its question is over
    async with desk.working():
        await desk.ended()
    view = await desk.view(message)
    assert (view.outcome, view.possible_duplicate, desk.taken) == (Outcome.SENT, not there, {message: 1})


async def _stalled(desk: Desk) -> bool:
    return desk.city.faults.counts().get("twilio", {}).get("query-timeout", 0) == 1


# The scripts alone


async def _stale(engine: Engine) -> tuple[str, Question]:
    """A message whose last answer is old when it comes to its turn, and the question that comes with it."""
    [id] = (await engine.shares.accept(job("100", phone=PHONE))).messages
    await _not_there(engine, id)
    held, questions = await _hand_out(engine, id, now_ms() + 2000)
    assert held == []
    [question] = questions
    assert await _flag(engine, id) == (State.IN_DOUBT, False)
    return id, question


async def _not_there(engine: Engine, id: str) -> None:
    from tests.engine.test_asking import _absent, _due, _in_question

    await _in_question(engine)
    await _absent(engine, id)
    await _due(engine)


async def _flag(engine: Engine, id: str) -> tuple[State, bool]:
    view = await engine.messages.get(id)
    return view.state, view.possible_duplicate


async def _hand_out(
    engine: Engine, id: str, now: int, absent: Question | None = None
) -> tuple[list[HandedOut], list[Question]]:
    p, _ = keys.parse_message_id(id, engine.partitions)
    most = (0, 0) if absent else (10, 10)
    call = engine.records.scripts.hand_out(p, now, "sms", "w", most, None, None, FRESH, absent)
    held, more = await engine.records.scripts.run(call)
    return held, list(more.questions)


async def test_a_fresh_answer_is_good_enough(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _not_there(engine, id)
    held, questions = await _hand_out(engine, id, now_ms())
    assert (len(held), questions) == (1, [])


async def test_what_is_not_there_is_handed_out_to_who_asked(engine: Engine) -> None:
    id, question = await _stale(engine)
    later = now_ms() + 2000
    assert await _hand_out(engine, id, later) == ([], [])  # nobody else gets it
    [held], _ = await _hand_out(engine, id, later, question)
    assert (held.attempt, held.message["dup"], held.message["st"]) == (2, "1", "handed_out")
    assert await _hand_out(engine, id, later, question) == ([], [])
    stats = await engine.ledger.stats()
    assert (stats.possible_duplicates, stats.doubts, stats.asking) == (1, {"resent": 1}, 0)
    assert (await engine.ledger.check()).differences == []


async def test_an_answer_that_comes_after_the_question_s_lease_sends_nothing(engine: Engine) -> None:
    id, question = await _stale(engine)
    assert await _hand_out(engine, id, now_ms() + 2000 + FRESH.lease_ms, question) == ([], [])
    assert await _flag(engine, id) == (State.IN_DOUBT, False)


async def test_who_was_taken_for_dead_meanwhile_sends_nothing(engine: Engine) -> None:
    id, question = await _stale(engine)
    p, _ = keys.parse_message_id(id, engine.partitions)
    scripts = engine.records.scripts
    await scripts.run(scripts.reclaim(p, now_ms(), "sms", idle_ms=0, wait_ms=1))
    assert await _hand_out(engine, id, now_ms() + 2000, question) == ([], [])
    assert (await engine.ledger.check()).differences == []


async def test_payment_while_it_is_asked_about_once_more_ends_it(engine: Engine) -> None:
    id, question = await _stale(engine)
    await engine.payments.settle(paid("100"))
    assert await _hand_out(engine, id, now_ms() + 2000, question) == ([], [])
    view = await engine.messages.get(id)
    assert (view.outcome, view.reason) == (Outcome.CANCELED, "paid, while in doubt")
    assert (await engine.ledger.stats()).waiting["sms.urgent"] == 1  # the receipt
    assert (await engine.ledger.check()).differences == []


async def test_a_callback_while_it_is_asked_about_once_more_ends_it(engine: Engine) -> None:
    id, question = await _stale(engine)
    await engine.messages.delivery(told(id, Delivery.DELIVERED))
    assert await _hand_out(engine, id, now_ms() + 2000, question) == ([], [])
    assert await _flag(engine, id) == (State.DONE, False)
    assert (await engine.ledger.check()).differences == []


async def test_who_opts_out_while_it_is_asked_about_once_more_gets_nothing(engine: Engine) -> None:
    id, question = await _stale(engine)
    await engine.contacts.opt_out("sms", PHONE, proof="test")
    assert await _hand_out(engine, id, now_ms() + 2000, question) == ([], [])
    view = await engine.messages.get(id)
    assert (view.outcome, view.possible_duplicate) == (Outcome.SUPPRESSED, False)
    assert (await engine.ledger.check()).differences == []


async def test_quiet_hours_hold_it_without_a_question(engine: Engine) -> None:
    """In the night nobody is asked; in the morning the answer is an old one."""
    [id] = (await engine.shares.accept(job("100"))).messages
    await _not_there(engine, id)
    p, _ = keys.parse_message_id(id, engine.partitions)
    scripts, morning = engine.records.scripts, now_ms() + 8 * 3_600_000
    held, more = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "w", (9, 9), morning, None, FRESH))
    assert (held, more.questions) == ([], [])
    await scripts.run(scripts.due(p, morning, 100, {"sms": "resend"}, ["sms"]))
    held, questions = await _hand_out(engine, id, morning)
    assert (held, len(questions)) == ([], 1)


# The worker


def _old(engine: Engine) -> None:
    object.__setattr__(engine.settings, "in_doubt_fresh_ms", -1)


@pytest.mark.parametrize(
    ("fifth", "asked"),
    [
        (None, 5),
        (Unavailable("503", "later"), 6),
        (Throttled("20429", "busy", retry_after_s=0.1), 6),
        (Unaskable("local", "does not tell"), 5),
    ],
)
async def test_each_answer_to_the_last_question(engine: Engine, fifth: Exception | None, asked: int) -> None:
    """Whatever is said, it goes out once; what could not be asked is asked again, here on an answer that is good."""
    _old(engine)
    channel = doubtful(answers=[None] * 4 + [fifth])
    [id] = (await engine.shares.accept(job("100"))).messages
    async with working(engine, channel):
        if asked == 6:
            await until(lambda: _asked(channel, 5))
        await until(lambda: settled(engine))
    view = await engine.messages.get(id)
    assert (view.outcome, view.possible_duplicate, len(channel.sent)) == (Outcome.SENT, True, 1)
    assert len(channel.traces) >= asked
    assert (await engine.ledger.check()).differences == []


async def _asked(channel: Telling, count: int) -> bool:
    return len(channel.traces) >= count


async def test_what_a_campaign_left_in_doubt_is_asked_about_as_it_is_sent(engine: Engine) -> None:
    """No faster than slots allow, and none of it twice."""
    _old(engine)
    channel = Telling(doubts_first=True, concurrency=5)
    await engine.shares.accept_many([job(lane=Lane.BULK) for _ in range(30)])
    async with working(engine, channel):
        await until(lambda: settled(engine), 60)
    assert (len(channel.sent), len({each.message_id for each in channel.sent})) == (30, 30)
    assert channel.most_at_once == 1
    assert (await engine.ledger.stats()).doubts == {"resent": 30}


async def test_a_pause_while_it_is_asked_about_holds_it(engine: Engine) -> None:
    _old(engine)
    gate = asyncio.Event()
    channel = doubtful(gate_to_find=gate, gate_after=4)
    [id] = (await engine.shares.accept(job("100"))).messages
    async with working(engine, channel):
        await until(lambda: _asked(channel, 5))
        await engine.channels.pause("sms", reason="test", by="cli")
        gate.set()
        await until(lambda: _queued(engine))
        assert channel.sent == []
        channel.answers = [Accepted("SM9", Delivery.DELIVERED)]
        await engine.channels.resume("sms", by="cli")
        await until(lambda: settled(engine))
    assert ((await engine.messages.get(id)).provider_id, channel.sent) == ("SM9", [])


async def _queued(engine: Engine) -> bool:
    return (await engine.ledger.stats()).queued == 1
