"""Messages in doubt against the sandbox's Twilio, whose records say how often each was taken. Callbacks never come."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest

from bot.domain.bill import BillKind, MessageView
from bot.domain.message import Kind, Outcome, State
from bot.engine import keys
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from bot.sandbox.city import Sandbox
from bot.sandbox.twilio_carrier import Fate, Pace
from channels.africastalking import AfricasTalking
from channels.base import Accepted, Delivery, Outgoing, StatusUpdate, Trace
from channels.config import (
    AfricasTalkingConfig,
    SmsConfig,
    SmsProvider,
    SmtpConfig,
    TelegramConfig,
    TwilioConfig,
)
from channels.email import Email
from channels.errors import ChannelError, Throttled, Unaskable, Unavailable, Uncertain
from channels.sms import Sms
from channels.sms_router import SmsRouter
from channels.telegram import Telegram
from channels.whatsapp import WhatsApp
from tests.engine.conftest import job, paid, settings_for
from tests.engine.endings import end
from tests.engine.test_worker import Scripted, settled, until, working

PHONE = "+255754000001"
# Where no callback is ever taken, so that the sandbox knows which message each of its own is.
NOWHERE = "http://127.0.0.1:1/status"


def twilio(city: Sandbox, **changes: object) -> TwilioConfig:
    """How to reach the sandbox, by somebody who has little time."""
    account = city.accounts.twilio
    values = {"timeout_s": 0.7, "status_callback": NOWHERE, **changes}
    return TwilioConfig(
        account_sid=account.sid,
        auth_token=account.token,
        sms_from=account.sms_from,
        whatsapp_from=account.whatsapp_from,
        api_base=city.urls["twilio"],
        **values,  # type: ignore[arg-type]
    )


@dataclass
class Desk:
    """An engine whose SMS and WhatsApp go to a sandbox."""

    engine: Engine
    city: Sandbox
    sms: Sms
    whatsapp: WhatsApp

    @property
    def taken(self) -> dict[str | None, int]:
        """How often each message was taken."""
        return {each.message: each.times for each in self.city.world.verdict().taken}

    async def share(self, number: str = "100", **changes: object) -> str:
        made = job(number, **{"phone": PHONE, **changes})  # type: ignore[arg-type]
        return (await self.engine.shares.accept(made)).messages[0]

    async def view(self, message: str) -> MessageView:
        return await self.engine.messages.get(message)

    async def doubts(self) -> dict[str, int]:
        return (await self.engine.ledger.stats()).doubts

    async def in_doubt(self) -> bool:
        return (await self.engine.ledger.stats()).in_doubt > 0

    async def ended(self) -> None:
        """Wait until nothing moves; the books are in order then."""
        await until(lambda: settled(self.engine), 30)
        assert (await self.engine.ledger.check()).differences == []

    async def lost(self) -> None:
        """Take over what lost workers held."""
        scripts = self.engine.records.scripts
        for p in range(self.engine.partitions):
            for channel in ("sms", "whatsapp"):
                await scripts.run(scripts.reclaim(p, now_ms(), channel, idle_ms=0, wait_ms=1))

    @asynccontextmanager
    async def working(self, askers: int = 1) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for n in range(askers):
                await stack.enter_async_context(
                    working(self.engine, self.sms, self.whatsapp, schedule=n == 0)
                )
            yield


@asynccontextmanager
async def opened(redis_url: str, **settings: object) -> AsyncIterator[Desk]:
    engine = await Engine.open(settings_for(redis_url, **{"in_doubt_wait_ms": 600, **settings}))
    async with Sandbox(pace=Pace(60, 60, 60, 60)) as city:
        sms, whatsapp = Sms(twilio(city)), WhatsApp(twilio(city))
        try:
            yield Desk(engine, city, sms, whatsapp)
        finally:
            await sms.close()
            await whatsapp.close()
            await engine.close()


@pytest.fixture
async def desk(redis_url: str) -> AsyncIterator[Desk]:
    async with opened(redis_url) as made:
        yield made


@pytest.mark.parametrize("fault", ["timeout-after", "error-after", "reset-after"])
@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
async def test_what_twilio_took_is_adopted_and_goes_out_once(desk: Desk, fault: str, channel: str) -> None:
    desk.city.world.person("Asha", phone=PHONE)
    await desk.engine.contacts.inbound("whatsapp", PHONE)
    desk.city.faults.next("twilio", fault)
    message = await desk.share(channels=(channel,))
    async with desk.working():
        await desk.ended()
    [sid] = desk.city.twilio.messages
    view = await desk.view(message)
    assert (view.outcome, view.reason, view.provider_id) == (Outcome.SENT, "found at the provider", sid)
    assert (view.possible_duplicate, view.attempts) == (False, 1)
    assert desk.taken == {message: 1}
    assert await desk.doubts() == {"adopted": 1}


@pytest.mark.parametrize("fault", ["timeout-before", "error-before", "reset-before"])
async def test_what_twilio_never_took_is_sent_once_more_and_flagged(desk: Desk, fault: str) -> None:
    desk.city.faults.next("twilio", fault)
    message = await desk.share()
    async with desk.working():
        await desk.ended()
    view = await desk.view(message)
    assert (view.outcome, view.possible_duplicate, view.attempts) == (Outcome.SENT, True, 2)
    assert desk.taken == {message: 1}
    assert await desk.doubts() == {"resent": 1}


async def test_a_second_doubt_is_asked_about_too(desk: Desk) -> None:
    desk.city.faults.next("twilio", "error-before")
    message = await desk.share()
    async with desk.working():
        await until(lambda: _attempts(desk, message, 2))
        await desk.ended()
    assert desk.taken == {message: 1}
    desk.city.faults.next("twilio", "error-before", contact="+255754000002")
    again = await desk.share("101", phone="+255754000002")
    async with desk.working():
        await until(lambda: _flagged(desk, again))
        desk.city.faults.next("twilio", "error-after", contact="+255754000002")
        await desk.ended()
    view = await desk.view(again)
    assert (view.outcome, view.attempts, desk.taken[again]) == (Outcome.SENT, 2, 1)


async def _attempts(desk: Desk, message: str, count: int) -> bool:
    return (await desk.view(message)).attempts == count


async def _flagged(desk: Desk, message: str) -> bool:
    # The fault that waits for the second attempt must not be spent on the first.
    view = await desk.view(message)
    return view.asking is not None and view.asking.answers >= 1


async def test_nothing_is_sent_while_twilio_cannot_be_asked(desk: Desk) -> None:
    desk.city.faults.next("twilio", "error-before")
    for fault, count in (("query-error", 2), ("query-reset", 2), ("query-throttle", 2)):
        desk.city.faults.next("twilio", fault, count)
    message = await desk.share()
    async with desk.working():
        await until(lambda: _obstacle(desk, message))
        assert desk.taken == {}
        await desk.ended()
    met = desk.city.faults.counts()["twilio"]
    assert [met[name] for name in ("query-error", "query-reset", "query-throttle")] == [2, 2, 2]
    assert ((await desk.view(message)).possible_duplicate, desk.taken) == (True, {message: 1})


async def _obstacle(desk: Desk, message: str) -> bool:
    view = await desk.view(message)
    if view.asking is None or view.asking.obstacle is None:
        return False
    assert (view.state, view.asking.answers, view.asking.of) == (State.IN_DOUBT, 0, 4)
    return "Twilio" in view.asking.obstacle or "20429" in view.asking.obstacle


async def test_what_was_taken_is_adopted_as_soon_as_twilio_can_be_asked_again(desk: Desk) -> None:
    desk.city.faults.next("twilio", "reset-after")
    message = await desk.share()
    desk.city.faults.next("twilio", "query-error", 3)
    async with desk.working():
        await desk.ended()
    assert ((await desk.view(message)).possible_duplicate, desk.taken) == (False, {message: 1})


async def test_blind_does_not_wait_for_a_provider_that_cannot_be_asked(redis_url: str) -> None:
    async with opened(redis_url, in_doubt=(("sms", "blind"),)) as desk:
        desk.city.faults.next("twilio", "error-before")
        desk.city.faults.rate("twilio", "query-error", 1.0)
        message = await desk.share()
        async with desk.working():
            await desk.ended()
        assert ((await desk.view(message)).possible_duplicate, desk.taken) == (True, {message: 1})


async def test_hold_leaves_what_is_not_there_to_staff_but_a_receipt_goes_again(redis_url: str) -> None:
    async with opened(redis_url, in_doubt=(("sms", "hold"),)) as desk:
        desk.city.faults.next("twilio", "error-before", 2)
        message = await desk.share()
        async with desk.working():
            await until(lambda: _dead(desk, 1))
            [letter] = await desk.engine.messages.dead()
            assert (letter.id, letter.held, letter.asking) == (message, True, None)
            await desk.engine.payments.settle(paid("100"))
            await desk.ended()
        assert list(desk.taken.values()) == [1]
        assert (await desk.view(message)).outcome is Outcome.CANCELED
        assert await desk.doubts() == {"held": 1, "resent": 1}


async def _dead(desk: Desk, count: int) -> bool:
    return len(await desk.engine.messages.dead()) == count


# Lost workers


@asynccontextmanager
async def doomed(desk: Desk) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A worker process that sends to the sandbox, and is killed at the end of the block."""
    command = [sys.executable, "-m", "tests.engine.doomed_worker"]
    settings = desk.engine.settings
    changes = {name: getattr(settings, name) for name in ("public_url", "in_doubt_fresh_ms")}
    process = subprocess.Popen(
        [*command, settings.redis_url or "", desk.city.urls["twilio"], json.dumps(changes)]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _met(desk: Desk, fault: str, count: int) -> bool:
    return desk.city.faults.counts().get("twilio", {}).get(fault, 0) == count


async def test_what_a_killed_worker_had_sent_is_adopted(desk: Desk) -> None:
    desk.city.faults.next("twilio", "timeout-after", 6)
    messages = [
        await desk.share(f"20{n}", phone=f"+25575400010{n}", locale="en" if n % 2 else "sw") for n in range(6)
    ]
    async with doomed(desk):
        await until(lambda: _met(desk, "timeout-after", 6), 60)
    await desk.lost()
    async with desk.working():
        await desk.ended()
    assert desk.taken == dict.fromkeys(messages, 1)
    assert {(await desk.view(message)).possible_duplicate for message in messages} == {False}
    assert await desk.doubts() == {"adopted": 6}


async def test_what_a_killed_worker_had_not_sent_goes_out_flagged(desk: Desk) -> None:
    desk.city.faults.next("twilio", "timeout-before", 3)
    messages = [await desk.share(f"20{n}", phone=f"+25575400010{n}") for n in range(3)]
    async with doomed(desk):
        await until(lambda: _met(desk, "timeout-before", 3), 60)
    await desk.lost()
    async with desk.working():
        await desk.ended()
    assert desk.taken == dict.fromkeys(messages, 1)
    assert {(await desk.view(message)).possible_duplicate for message in messages} == {True}


async def test_a_receipt_of_a_lost_worker_is_never_taken_for_the_instructions(desk: Desk) -> None:
    """Both name the number, were with a lost worker at about the same time, and only the instructions were taken."""
    desk.city.faults.next("twilio", "timeout-after")
    await desk.share(kind=BillKind.CUSTOMER)
    async with doomed(desk):
        await until(lambda: _met(desk, "timeout-after", 1), 60)
        await desk.engine.payments.settle(paid("100"))
        desk.city.faults.next("twilio", "timeout-before")
        await until(lambda: _met(desk, "timeout-before", 1), 30)
    await desk.lost()
    async with desk.working():
        await desk.ended()
    share = await desk.engine.shares.get((await desk.engine.bills.get("100")).shares[0])
    receipt = next(m for m in share.messages if m.kind is Kind.RECEIPT)
    assert (desk.taken[receipt.id], receipt.possible_duplicate) == (1, True)
    assert sum(desk.taken.values()) == 2


# Two bills of one person


async def _two_lost(desk: Desk, first: str, second: str, description: str = "") -> list[str]:
    """Two bills alike to one phone, with a worker that was killed. Twilio meets them with these faults."""
    messages = []
    async with doomed(desk):
        for number, fault in (("5504291487", first), ("5504291488", second)):
            desk.city.faults.next("twilio", fault)
            made = job(number, phone=PHONE, due_in=None)
            about = f"{description} 5504291488" if description and number == "5504291487" else "Term 2 fees"
            made = msgspec.structs.replace(made, bill=msgspec.structs.replace(made.bill, description=about))
            messages.append((await desk.engine.shares.accept(made)).messages[0])
            await until(lambda fault=fault: _met(desk, fault, 1), 60)  # type: ignore[misc]
    await desk.lost()
    async with desk.working():
        await desk.ended()
    return messages


@pytest.mark.parametrize("taken", [0, 1])
@pytest.mark.parametrize("description", ["", "Deni"])
async def test_of_two_bills_to_one_phone_only_what_was_taken_is_adopted(
    redis_url: str, taken: int, description: str
) -> None:
    """Also where the description of one names the number of the other. No links: those would tell them apart."""
    async with opened(redis_url, public_url=None) as desk:
        faults = ["timeout-before", "timeout-before"]
        faults[taken] = "timeout-after"
        messages = await _two_lost(desk, faults[0], faults[1], description)
        assert desk.taken == dict.fromkeys(messages, 1)
        flagged = [(await desk.view(message)).possible_duplicate for message in messages]
        assert flagged == [taken != 0, taken != 1]


async def test_of_two_receipts_to_one_phone_only_the_one_taken_is_adopted(redis_url: str) -> None:
    async with opened(redis_url, public_url=None) as desk:
        for number in ("5504291487", "5504291488"):
            await desk.share(number)
        async with desk.working():
            await desk.ended()
        async with doomed(desk):
            for number, fault in (("5504291487", "timeout-before"), ("5504291488", "timeout-after")):
                desk.city.faults.next("twilio", fault)
                await desk.engine.payments.settle(paid(number))
                await until(lambda fault=fault: _met(desk, fault, 1), 60)  # type: ignore[misc]
        await desk.lost()
        async with desk.working():
            await desk.ended()
        assert set(desk.taken.values()) == {1}
        assert sum(desk.taken.values()) == 4
        assert await desk.doubts() == {"adopted": 1, "resent": 1}


# Several who ask, and what comes in between


@dataclass
class Telling(Scripted):
    """A channel that is asked: it answers with the next scripted answer, else that it does not have the message."""

    answers: list[Accepted | ChannelError | None] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    gate_to_find: asyncio.Event | None = None
    gate_after: int = 0
    asked_now: dict[str, int] = field(default_factory=dict)
    most_at_once: int = 0
    doubts_first: bool = False

    async def send(self, outgoing: Outgoing) -> Accepted:
        if self.doubts_first and outgoing.attempt == 1:
            raise Uncertain("timeout", "no answer")
        return await super().send(outgoing)

    async def find(self, trace: Trace) -> Accepted | None:
        self.traces.append(trace)
        self.asked_now[trace.message_id] = self.asked_now.get(trace.message_id, 0) + 1
        self.most_at_once = max(self.most_at_once, *self.asked_now.values())
        try:
            await asyncio.sleep(0)
            if self.gate_to_find is not None and len(self.traces) > self.gate_after:
                await self.gate_to_find.wait()
            answer = self.answers.pop(0) if self.answers else None
        finally:
            self.asked_now[trace.message_id] -= 1
        if isinstance(answer, ChannelError):
            raise answer
        return answer


def doubtful(count: int = 1, **options: object) -> Telling:
    return Telling(errors=[Uncertain("timeout", "no answer") for _ in range(count)], **options)  # type: ignore[arg-type]


async def test_two_askers_ask_about_a_message_in_turn(engine: Engine) -> None:
    first = Telling(doubts_first=True)
    second = Telling(doubts_first=True, traces=first.traces, asked_now=first.asked_now)
    await engine.shares.accept_many([job() for _ in range(12)])
    async with working(engine, first), working(engine, second, schedule=False):
        await until(lambda: settled(engine), 30)
    assert max(first.most_at_once, second.most_at_once) == 1
    times = Counter(trace.message_id for trace in first.traces)
    assert Counter(times.values()) == {4: 12}
    assert len(first.sent) + len(second.sent) == 12


async def test_a_question_that_a_lost_process_took_along_is_asked_again(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    p, local = keys.parse_message_id(id, engine.partitions)
    scripts = engine.records.scripts
    lost = await scripts.run(scripts.ask(p, now_ms(), "sms", local, 300))
    assert lost is not None
    assert await scripts.run(scripts.ask(p, now_ms(), "sms", local, 300)) is None
    again = await scripts.run(scripts.ask(p, now_ms() + 301, "sms", local, 300))
    assert again is not None
    stale = ("absent", now_ms(), 1, 100, "")
    assert not await scripts.run(scripts.asked(p, now_ms(), local, lost.token, stale))
    assert await scripts.run(scripts.asked(p, now_ms(), local, again.token, stale))


async def _in_question(engine: Engine, policy: str = "resend") -> None:
    """Everything that waits is in doubt, and to be asked about now."""
    await end(engine, {"r": "doubt", "err": "timeout", "at": "1", "txt": "x"})
    await _due(engine, policy)


async def _due(engine: Engine, policy: str = "resend", now: int | None = None) -> None:
    scripts = engine.records.scripts
    for p in range(engine.partitions):
        await scripts.run(scripts.due(p, now or now_ms(), 100, {"sms": policy}, ["sms"]))


async def test_payment_while_a_question_is_on_its_way_ends_it(engine: Engine) -> None:
    gate = asyncio.Event()
    channel = doubtful(gate_to_find=gate)
    [id] = (await engine.shares.accept(job("100"))).messages
    async with working(engine, channel):
        await until(lambda: _asked(channel, 1))
        await engine.payments.settle(paid("100"))
        gate.set()
        await until(lambda: settled(engine))
    view = await engine.messages.get(id)
    assert (view.outcome, view.reason) == (Outcome.CANCELED, "paid, while in doubt")
    assert [outgoing.message_id == id for outgoing in channel.sent] == [False]  # the receipt
    assert len(channel.traces) == 1
    assert await engine.records.asks("sms", now_ms() + 10**9, 10) == []


async def _asked(channel: Telling, count: int) -> bool:
    return len(channel.traces) >= count


async def test_payment_between_the_last_answer_and_the_resending_ends_it(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    await _absent(engine, id)
    await engine.payments.settle(paid("100"))
    await _due(engine)
    assert (await engine.messages.get(id)).outcome is Outcome.CANCELED


async def _absent(engine: Engine, message: str) -> None:
    """The provider does not have it, and is believed."""
    p, local = keys.parse_message_id(message, engine.partitions)
    scripts = engine.records.scripts
    question = await scripts.run(scripts.ask(p, now_ms(), "sms", local, 1000))
    assert question is not None
    assert await scripts.run(
        scripts.asked(p, now_ms(), local, question.token, ("absent", now_ms(), 1, 100, ""))
    )


async def test_a_newer_message_ends_the_question_about_an_older_one(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    await _in_question(engine)
    await engine.shares.resend(accepted.id, by="cli")
    assert (await engine.messages.get(accepted.messages[0])).outcome is Outcome.SUPERSEDED
    assert (await engine.ledger.stats()).asking == 0


async def test_somebody_who_opts_out_while_it_is_asked_gets_nothing_more(engine: Engine) -> None:
    await engine.shares.accept(job("100", phone=PHONE))
    channel = doubtful()
    async with working(engine, channel):
        await until(lambda: _asked(channel, 2))
        await engine.contacts.opt_out("sms", PHONE, proof="test")
        await until(lambda: settled(engine))
    assert channel.sent == []


async def test_a_paused_channel_is_asked_and_sends_nothing(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    channel = doubtful()
    async with working(engine, channel):
        await until(lambda: _asked(channel, 1))
        await engine.channels.pause("sms", reason="x", by="cli")
        await until(lambda: _queued(engine))
        assert (len(channel.traces), channel.sent) == (4, [])
        await engine.channels.resume("sms", by="cli")
        await until(lambda: settled(engine))
    assert ((await engine.messages.get(id)).outcome, len(channel.sent)) == (Outcome.SENT, 1)


async def _queued(engine: Engine) -> bool:
    return (await engine.ledger.stats()).queued == 1


async def test_without_anybody_who_can_ask_a_doubt_stays_until_its_validity_ends(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100", due_in=None, before=()))).messages
    await _in_question(engine)
    await _due(engine, now=now_ms() + 6 * 86_400_000)
    assert (await engine.messages.get(id)).state is State.IN_DOUBT
    await _due(engine, now=now_ms() + 8 * 86_400_000)
    [letter] = await engine.messages.dead()
    assert (letter.id, letter.outcome, letter.reason) == (id, Outcome.EXPIRED, "in doubt")


async def test_who_cannot_be_asked_at_all_leaves_it_to_the_policy(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    channel = doubtful(answers=[Unaskable("local question", "does not tell")])
    async with working(engine, channel):
        await until(lambda: settled(engine))
    view = await engine.messages.get(id)
    assert (len(channel.traces), view.possible_duplicate, view.outcome) == (1, True, Outcome.SENT)


async def test_the_provider_that_may_have_it_is_named_to_whoever_asks(engine: Engine) -> None:
    lost = Uncertain("timeout", "no answer")
    lost.provider = "twilio"
    channel = Telling(errors=[lost])
    await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: _asked(channel, 1))
    assert channel.traces[0].providers == frozenset({"twilio"})
    [id] = (await engine.shares.accept(job("101"))).messages
    await _in_question(engine)  # a result that names nobody, as of a lost worker
    async with working(engine, channel):
        await until(lambda: _traced(channel, id))
    assert next(t for t in channel.traces if t.message_id == id).providers is None


async def _traced(channel: Telling, message: str) -> bool:
    return any(trace.message_id == message for trace in channel.traces)


async def test_a_throttled_question_rests_as_long_as_it_is_told(engine: Engine) -> None:
    busy = Throttled("20429", "too many", retry_after_s=0.4)
    channel = doubtful(5, answers=[busy])
    channel.concurrency = 5  # one question at a time
    await engine.shares.accept_many([job() for _ in range(5)])
    times: list[float] = []
    async with working(engine, channel):
        await until(lambda: _asked(channel, 1))
        times.append(asyncio.get_running_loop().time())
        await until(lambda: _asked(channel, 2))
        times.append(asyncio.get_running_loop().time())
        await until(lambda: settled(engine), 30)
    assert times[1] - times[0] > 0.3
    assert len(channel.sent) == 5


async def test_what_another_message_owns_is_not_adopted(engine: Engine) -> None:
    owner = await engine.shares.accept(job("100", phone=PHONE, kind=BillKind.CUSTOMER))
    async with working(engine, Scripted()):
        await until(lambda: settled(engine))
    sid = (await engine.messages.get(owner.messages[0])).provider_id
    again = await engine.shares.resend(owner.id, by="cli")
    channel = doubtful(answers=[Accepted(sid or "", Delivery.SENT)])
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert {trace.exclude for trace in channel.traces} == {frozenset({sid or ""})}
    view = await engine.messages.get(again[0])
    assert (view.possible_duplicate, view.provider_id) == (True, "SM" + "0" * 31 + "1")


async def test_of_two_alike_in_doubt_and_one_taken_one_is_adopted_and_one_sent(redis_url: str) -> None:
    async with opened(redis_url, public_url=None) as desk:  # no link, or each text would have its own
        desk.city.faults.next("twilio", "error-after")
        desk.city.faults.next("twilio", "error-before")
        both = [await desk.share(kind=BillKind.CUSTOMER), await desk.share(kind=BillKind.CUSTOMER)]
        async with desk.working(askers=2):
            await desk.ended()
        views = [await desk.view(message) for message in both]
        assert views[0].text == views[1].text
        assert {view.provider_id for view in views} == set(desk.city.twilio.messages)
        assert sum(desk.taken.values()) == 2
        assert await desk.doubts() == {"adopted": 1, "resent": 1}


async def _twins(engine: Engine) -> tuple[str, str]:
    """Two messages alike, both in doubt. Twilio has the first, and it was found there as the second."""
    share = await engine.shares.accept(job("100", phone=PHONE))
    await end(engine, {"r": "doubt", "err": "timeout", "at": "1", "txt": "x"})
    [second] = await engine.shares.resend(share.id, by="cli")
    await end(engine, {"r": "doubt", "err": "timeout", "at": "1", "txt": "x"})
    assert await engine.messages.found(told(second, Delivery.QUEUED), 1)
    return share.messages[0], second


async def test_what_failed_under_an_older_name_is_sent_again_for_the_one_that_was_found_so(
    engine: Engine,
) -> None:
    first, second = await _twins(engine)
    lost = StatusUpdate(first, "SM1", Delivery.UNDELIVERED, Unavailable("30003", "unreachable"))
    assert await engine.messages.delivery(lost)
    assert not await engine.messages.delivery(lost)
    views = (await engine.shares.get((await engine.messages.get(second)).share)).messages
    assert [(view.outcome, view.delivery, view.state) for view in views] == [
        (Outcome.SUPERSEDED, "undelivered", State.DONE),
        (Outcome.SENT, "undelivered", State.DONE),
        (None, None, State.SCHEDULED),
    ]
    assert (await engine.ledger.check()).differences == []


async def test_what_arrived_under_an_older_name_arrived_for_the_one_that_was_found_so(engine: Engine) -> None:
    first, second = await _twins(engine)
    assert await engine.messages.delivery(told(first, Delivery.DELIVERED))
    assert [(await engine.messages.get(id)).delivery for id in (first, second)] == ["delivered"] * 2
    assert (await engine.ledger.check()).differences == []


# How it ended at the provider


async def test_what_is_found_failed_counts_as_if_twilio_had_called_back(desk: Desk) -> None:
    desk.city.carrier.fates[PHONE] = Fate(30006, "failed")
    desk.city.carrier.pace = Pace(0, 0, 0, 0)
    desk.city.faults.next("twilio", "timeout-after")
    message = await desk.share()
    async with desk.working():
        await desk.ended()
    view = await desk.view(message)
    assert (view.outcome, view.delivery, view.possible_duplicate) == (Outcome.SENT, "failed", False)
    assert [s.channel for s in (await desk.engine.contacts.show(PHONE)).suppressed] == ["sms"]
    assert [letter.id for letter in await desk.engine.messages.dead()] == [message]


async def test_a_rung_found_undelivered_goes_on_to_the_next(desk: Desk) -> None:
    """Nobody has WhatsApp here."""
    desk.city.world.person("Asha", phone=PHONE).whatsapp = False
    desk.city.carrier.pace = Pace(0, 0, 0, 0)
    await desk.engine.contacts.inbound("whatsapp", PHONE)
    desk.city.faults.next("twilio", "timeout-after")
    message = await desk.share(channels=("whatsapp", "sms"), mode="first", confirm_within=timedelta(hours=1))
    async with desk.working():
        await desk.ended()
    assert (await desk.view(message)).delivery in ("failed", "undelivered")
    assert sorted(desk.taken.values()) == [1, 1]


async def test_the_last_rung_is_asked_about_for_longer_than_it_is_worth_waiting(engine: Engine) -> None:
    quick = timedelta(milliseconds=50)
    [id] = (await engine.shares.accept(job("100", mode="first", confirm_within=quick))).messages
    channel = doubtful(answers=[None, Accepted("SM9", Delivery.DELIVERED)])
    async with working(engine, channel):
        await until(lambda: settled(engine))
    assert (await engine.messages.get(id)).provider_id == "SM9"
    assert await engine.messages.dead() == []


# Callbacks that come late


def told(message: str, delivery: Delivery, sid: str = "SM1", attempt: int | None = None) -> StatusUpdate:
    return StatusUpdate(message, sid, delivery, attempt=attempt)


async def test_a_callback_while_it_is_asked_ends_the_question(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    assert await engine.messages.delivery(told(id, Delivery.SENT))
    stats, view = await engine.ledger.stats(), await engine.messages.get(id)
    assert (stats.asking, stats.in_doubt, stats.doubts) == (0, 0, {"confirmed": 1})
    assert (view.outcome, view.provider_id, view.asking) == (Outcome.SENT, "SM1", None)


async def test_a_callback_before_the_second_one_left_keeps_it_from_leaving(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    await _absent(engine, id)
    await _due(engine)
    assert (await engine.messages.get(id)).possible_duplicate
    await engine.messages.delivery(told(id, Delivery.QUEUED, attempt=1))
    view = await engine.messages.get(id)
    assert (view.outcome, view.possible_duplicate, view.attempts) == (Outcome.SENT, False, 1)
    assert (await engine.ledger.stats()).possible_duplicates == 0
    assert await end(engine, {"r": "sent"}) == []


async def test_taken_twice_is_known_by_the_callback_of_the_first(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    await _absent(engine, id)
    await _due(engine)
    await end(
        engine, {"r": "sent", "pid": "SM2", "dl": "queued", "dr": "1", "seg": "1", "txt": "x", "ok": "0"}
    )
    for _ in range(2):
        await engine.messages.delivery(told(id, Delivery.DELIVERED, attempt=1))
    assert not await engine.messages.delivery(told(id, Delivery.UNDELIVERED, attempt=1))
    view = await engine.messages.get(id)
    assert (view.outcome, view.delivery, view.possible_duplicate) == (Outcome.SENT, "delivered", True)
    assert (await engine.ledger.stats()).doubts == {"resent": 1, "twice": 1}


async def test_a_callback_of_the_first_while_the_second_is_on_its_way_settles_both(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    await _absent(engine, id)
    await _due(engine)
    [second] = await _taken(engine)
    await engine.messages.delivery(told(id, Delivery.SENT, attempt=1))
    await _finish(engine, second, {"r": "doubt", "err": "timeout", "at": "1", "txt": "x"})
    view = await engine.messages.get(id)
    assert (view.outcome, view.provider_id) == (Outcome.SENT, "SM1")


async def _taken(engine: Engine) -> list[dict[str, str]]:
    from tests.engine.endings import take

    return await take(engine)


async def _finish(engine: Engine, held: dict[str, str], result: dict[str, str]) -> None:
    from tests.engine.endings import give

    await give(engine, [held], result)


@pytest.mark.parametrize("how", ["finish", "reclaim"])
async def test_a_callback_that_was_faster_than_a_lost_answer_leaves_no_doubt(
    engine: Engine, how: str
) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    [held] = await _taken(engine)
    await engine.messages.delivery(told(id, Delivery.SENT))
    if how == "finish":
        await _finish(engine, held, {"r": "doubt", "err": "timeout", "at": "1", "txt": "Habari"})
        assert (await engine.messages.get(id)).text == "Habari"
    else:
        scripts = engine.records.scripts
        call = scripts.reclaim(int(held["p"]), now_ms(), "sms", idle_ms=0, wait_ms=1)
        assert await scripts.run(call) == 1
    view = await engine.messages.get(id)
    assert (view.outcome, view.provider_id, view.delivery) == (Outcome.SENT, "SM1", "sent")
    assert (await engine.ledger.check()).ok


async def test_a_frozen_worker_that_knows_it_was_taken_keeps_the_second_from_leaving(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    [held] = await _taken(engine)
    scripts = engine.records.scripts
    await scripts.run(scripts.reclaim(int(held["p"]), now_ms(), "sms", idle_ms=0, wait_ms=0))
    await _due(engine)
    await _absent(engine, id)
    await _due(engine)
    assert (await engine.messages.get(id)).state is State.QUEUED
    sent = {"r": "sent", "pid": "SM1", "dl": "queued", "dr": "1", "seg": "1", "txt": "x", "ok": "0"}
    await _finish(engine, held, sent)
    assert (await engine.messages.get(id)).outcome is Outcome.SENT
    assert await _taken(engine) == []
    assert (await engine.ledger.stats()).possible_duplicates == 0


async def test_a_failure_of_the_first_says_nothing_of_the_second_in_doubt(engine: Engine) -> None:
    [id] = (await engine.shares.accept(job("100"))).messages
    await _in_question(engine)
    await _absent(engine, id)
    await _due(engine)
    await _in_question(engine)
    assert not await engine.messages.delivery(told(id, Delivery.FAILED, attempt=1))
    assert (await engine.messages.get(id)).state is State.IN_DOUBT
    assert await engine.messages.delivery(told(id, Delivery.FAILED, "SM2", attempt=2))
    assert (await engine.messages.get(id)).delivery == "failed"


# Who cannot be asked


async def test_a_mail_in_doubt_is_sent_again_with_the_same_message_id(redis_url: str) -> None:
    async with opened(redis_url, in_doubt_wait_ms=100) as desk:
        desk.city.faults.next("smtp", "drop-after")
        config = SmtpConfig(url=desk.city.mail.login_url(desk.city.urls["smtp"]), sender="bili@shule.test")
        channel = Email(config)
        message = await desk.share(email="asha@example.com", channels=("email",))
        async with working(desk.engine, channel):
            await desk.ended()
        await channel.close()
        [twice] = desk.city.world.verdict().twice
        assert (twice.message, twice.times) == (message, 2)
        view = await desk.view(message)
        assert (view.possible_duplicate, view.asking) == (True, None)


async def test_telegram_holds_instructions_and_repeats_receipts(redis_url: str) -> None:
    async with opened(redis_url, in_doubt_wait_ms=100) as desk:
        desk.city.telegram.chats.begin(777)
        token, base = desk.city.accounts.telegram.token, desk.city.urls["telegram"]
        channel = Telegram(TelegramConfig(token=token, api_base=base, timeout_s=0.5))
        desk.city.faults.next("telegram", "error-after", 2)
        message = await desk.share(telegram="777", channels=("telegram",))
        async with working(desk.engine, channel):
            await until(lambda: _dead(desk, 1))
            await desk.engine.payments.settle(paid("100"))
            await desk.ended()
        await channel.close()
        assert await desk.doubts() == {"held": 1, "resent": 1}
        assert (await desk.view(message)).attempts == 1


async def test_sms_left_with_twilio_is_asked_there_and_sms_left_with_the_other_follows_the_policy(
    redis_url: str,
) -> None:
    async with opened(redis_url) as desk:
        account = desk.city.accounts.africastalking
        config = AfricasTalkingConfig(
            username=account.username,
            api_key=account.api_key,
            api_base=desk.city.urls["africastalking"],
            timeout_s=0.7,
        )
        local = AfricasTalking(config)
        providers = {
            "twilio": SmsProvider(config=twilio(desk.city), weight=1),
            "africastalking": SmsProvider(config=config, weight=0),
        }
        router = SmsRouter(SmsConfig(providers=providers), {"twilio": desk.sms, "africastalking": local})
        desk.city.faults.next("twilio", "error-after")
        asked = await desk.share("100")
        async with working(desk.engine, router):
            await desk.ended()
        view = await desk.view(asked)
        assert (view.possible_duplicate, view.reason) == (False, "found at the provider")
        desk.city.faults.set("twilio", "throttling")
        desk.city.faults.next("africastalking", "error-after")
        left = await desk.share("101", phone="+255754000002")
        async with working(desk.engine, router):
            await desk.ended()
        await local.close()
        assert (await desk.view(left)).possible_duplicate
        assert desk.city.world.counts == {"twilio": 1, "africastalking": 2}
