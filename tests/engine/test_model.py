"""The scripts against a plain model of them: random lives of bills, compared after every step.

`make test` runs a bounded profile that is the same every time. A deeper one, different every time:

    TUMA_MODEL_EXAMPLES=2000 .venv/bin/pytest tests/engine/test_model.py -q

What it finds is printed as a program of steps. A fault found so has a test of its own in test_regressions.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bot.domain.bill import BillKind, BillMode, PaymentEvent
from bot.domain.calendar import from_ms
from bot.domain.message import Lane
from bot.domain.share import Bill, Customer, Reminders, Route, ShareJob
from bot.engine import keys
from bot.engine import scripts as clock
from bot.engine.engine import Engine
from bot.errors import Refused
from channels.base import ChannelName, Delivery, StatusUpdate
from channels.errors import ContentRejected, RecipientInvalid, Unavailable
from tests.conftest import Valkey, start_valkey
from tests.engine.conftest import settings_for
from tests.engine.model import DAY, Model
from tests.engine.model_records import FENCED, KIND, Job, Message, Share

T = TypeVar("T")
EXAMPLES = int(os.environ.get("TUMA_MODEL_EXAMPLES", "0"))
START = 1_793_000_000_000
HOUR = 3_600_000
NUMBERS = ("100", "200", "300")
PEOPLE: tuple[dict[str, str], ...] = (
    {"phone": "+255754000001", "email": "asha@example.com", "telegram": "71"},
    {"phone": "+255754000002", "email": "juma@example.com", "telegram": "72"},
)
ROUTES = (
    ("all", ("sms",)),
    ("all", ("sms", "email", "telegram")),
    ("first", ("whatsapp", "sms")),
    ("first", ("whatsapp", "sms", "email")),
)
RESULTS = ("sent", "sent", "sent", "confirmed", "failed", "invalid", "retry", "unsent", "doubt")
SAYS = {"confirmed": "sent", "invalid": "failed"}
WHY = {"invalid": "invalid address", "failed": "refused by the provider"}
WAITS = (60_000, HOUR, 8 * DAY)
STATES = ("scheduled", "queued", "handed_out", "in_doubt", "done")
_server: Valkey | None = None


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """A server that need not keep anything: what is on disk is for others to prove."""
    global _server
    with tempfile.TemporaryDirectory(prefix="tuma-model-", ignore_cleanup_errors=True) as folder:
        _server = start_valkey(Path(folder), "--appendonly", "no")
        yield
        _server.process.kill()
        _server.process.wait()


@contextmanager
def repeatable(start: int) -> Iterator[SimpleNamespace]:
    """The engine's clock stands still at `start` until it is moved, and the names of shares are counted, not drawn."""
    held = SimpleNamespace(now=start)
    names = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "time", SimpleNamespace(time_ns=lambda: held.now * 1_000_000))
        patch.setattr(keys, "fresh_sid", lambda: f"share{next(names):011}")
        yield held


class Lives(RuleBasedStateMachine):
    """Bills, payments, people and faults in any order."""

    def __init__(self) -> None:
        super().__init__()
        assert _server is not None
        self.runner = asyncio.Runner()
        self._clock = repeatable(START)
        self.time = self._clock.__enter__()
        self.model = Model(START)
        self.engine = self.run(self._open(_server.url))
        self.held: dict[str, tuple[int, str]] = {}
        self.serial = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _open(self, url: str) -> Engine:
        engine = await Engine.open(settings_for(url, partitions=1, sms_receipts=True))
        await engine.records.client.flushall()
        await engine.close()
        return await Engine.open(settings_for(url, partitions=1, sms_receipts=True))

    def teardown(self) -> None:
        self.run(self.engine.close())
        self.runner.close()
        self._clock.__exit__(None, None, None)

    def next(self) -> int:
        self.serial += 1
        return self.serial

    # Shares

    @rule(
        number=st.sampled_from(NUMBERS),
        odd=st.sampled_from((False, False, False, True)),
        term=st.sampled_from(("1", "1", "2")),
        amount=st.sampled_from((1000, 1000, 1000, 2000)),
        exact=st.sampled_from((False, False, True)),
        person=st.integers(0, 1),
        route=st.sampled_from(ROUTES),
        lane=st.sampled_from(("u", "b")),
        due_in=st.sampled_from((0, 2 * DAY, 5 * DAY)),
        additional=st.booleans(),
    )
    def share(
        self, number: str, odd: bool, term: str, amount: int, exact: bool, person: int,
        route: tuple[str, tuple[str, ...]], lane: str, due_in: int, additional: bool,
    ) -> None:  # fmt: skip
        """A producer asks for a bill to be sent; what contradicts an earlier one is refused."""
        id, due = f"inv-{self.next()}", self.time.now + due_in
        kind = "order" if (number == "100") != odd else "customer"
        plan = [due - 3 * DAY, due - DAY, due + DAY] if due_in else []
        job = Job(
            id, number, kind, term, amount * 100, exact, PEOPLE[person], list(route[1]), route[0], lane, plan,
            600_000, additional,
        )  # fmt: skip
        refusal = self.model.refusal(self.model.bills.get(number), job)
        try:
            accepted = self.run(self.engine.shares.accept(_job(job, due if due_in else None)))
        except Refused:
            assert refusal is not None, "the engine refused what can be taken"
            return
        assert refusal is None, f"the engine took what it should refuse: {refusal}"
        asks = self.model.accept(job, accepted.token.partition("-")[2])
        assert accepted.settled is not asks

    def shares_for(self, data: st.DataObject) -> Share:
        return data.draw(st.sampled_from(self.model.shares))

    @precondition(lambda self: self.model.shares)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        """Staff send the instructions again."""
        share = self.shares_for(data)
        try:
            self.run(self.engine.shares.resend(share.id, by="cli"))
            took = True
        except Refused:
            took = False
        assert took == self.model.resend(share)

    @precondition(lambda self: self.model.bills)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """Staff stop a number."""
        number = data.draw(st.sampled_from(sorted(self.model.bills)))
        assert self.run(self.engine.bills.stop(number, by="cli")) == self.model.stop(number)

    # Sending

    @rule(
        channel=st.sampled_from(list(ChannelName)),
        consumer=st.sampled_from(("w1", "w2")),
        most=st.sampled_from((1, 3, 100)),
        bulk=st.sampled_from((0, 1, 100)),
        night=st.sampled_from((None, 8 * HOUR)),
    )
    def hand_out(self, channel: str, consumer: str, most: int, bulk: int, night: int | None) -> None:
        """A worker takes what it has room for."""
        self._take(channel, consumer, (most, bulk), None if night is None else self.time.now + night)

    def _take(self, channel: str, consumer: str, most: tuple[int, int], quiet: int | None) -> None:
        call = self.engine.records.scripts.hand_out(0, self.time.now, channel, consumer, most, quiet)
        held, _ = self.run(self.engine.records.scripts.run(call))
        for h in held:
            m = self.model.message(h.id)
            assert not m.fenced or (m.share.bill.asks(m.share) and m.newest), "it passed the fence"
            assert h.message["to"] == m.share.address(channel), "somebody else's address"
        voices = Counter(h.share["sid"] for h in held if h.message["k"] in FENCED)
        assert max(voices.values(), default=0) <= 1, "two voices"
        assert [h.id for h in held] == self.model.hand_out(channel, consumer, *most, quiet)
        self.held.update({h.id: (h.attempt, h.message["to"]) for h in held})

    @precondition(lambda self: self.held)
    @rule(data=st.data(), result=st.sampled_from(RESULTS), wait=st.sampled_from(WAITS))
    def finish(self, data: st.DataObject, result: str, wait: int) -> None:
        """A worker records what became of one message, maybe long after it was taken for dead."""
        self._give(data.draw(st.sampled_from(self._holds())), result, wait)

    @rule(
        results=st.lists(st.tuples(st.sampled_from(RESULTS), st.sampled_from(WAITS)), min_size=1, max_size=4)
    )
    def work(self, results: list[tuple[str, int]]) -> None:
        """Workers of all channels take everything and record it: the first result for the first message, and so on."""
        for channel in ChannelName:
            self._take(channel, "w1", (100, 100), None)
        for local, (result, wait) in zip(self._holds(), itertools.cycle(results), strict=False):
            self._give(local, result, wait)

    def _holds(self) -> list[str]:
        return sorted(self.held)

    def _give(self, local: str, result: str, wait: int) -> None:
        attempt, to = self.held.pop(local)
        at, why = self.time.now + wait, WHY.get(result, "")
        if result == "invalid":
            self._silence(self.model.message(local).channel, to, why)
        own = {"id": local, "a": str(attempt), "r": SAYS.get(result, result), "why": why, "err": "x"}
        sent = {"pid": f"SM{local}", "dl": "queued", "dr": "1", "seg": "1", "txt": "x"}
        other = {"x": why if result == "invalid" else "", "at": str(at), "cost": "1", "txt": "x"}
        own |= {**sent, "ok": str(int(result == "confirmed"))} if own["r"] == "sent" else other
        stale = self.run(
            self.engine.records.scripts.run(self.engine.records.scripts.finish(0, self.time.now, [own]))
        )
        taken = self.model.finish(local, attempt, own["r"], at=at, why=why, confirms=result == "confirmed")
        assert stale == ([] if taken else [local])

    @rule(channel=st.sampled_from(list(ChannelName)), wait=st.sampled_from((1000, HOUR)))
    def lose_workers(self, channel: str, wait: int) -> None:
        """The workers of a channel are taken for dead; some of them will still speak."""
        call = self.engine.records.scripts.reclaim(0, self.time.now, channel, idle_ms=0, wait_ms=wait)
        assert self.run(self.engine.records.scripts.run(call)) == self.model.lost(channel, wait)

    @rule(channel=st.sampled_from(list(ChannelName)), consumer=st.sampled_from(("w1", "w2")))
    def lose_an_answer(self, channel: str, consumer: str) -> None:
        """The answer of a hand_out was lost: what came with it waits again."""
        call = self.engine.records.scripts.give_back(0, self.time.now, channel, consumer, [])
        assert self.run(self.engine.records.scripts.run(call)) == self.model.give_back(channel, consumer)
        self.held.clear()

    @rule(channel=st.sampled_from(("sms", "whatsapp")))
    def pause_or_resume(self, channel: str) -> None:
        """Staff pull the switch of a channel, or push it back."""
        if channel in self.model.paused:
            self.run(self.engine.channels.resume(channel, by="cli"))
        else:
            self.run(self.engine.channels.pause(channel, reason="test", by="cli"))
        self.model.paused ^= {channel}

    # Time

    @rule(
        step=st.sampled_from((1000, 60_000, 660_000, HOUR, DAY, 3 * DAY)),
        policy=st.sampled_from(("resend", "hold")),
    )
    def time_passes(self, step: int, policy: str) -> None:
        """Some time passes, and the scheduler looks at its timers."""
        self._pass(step)
        chosen = tuple((channel, policy) for channel in KIND)
        policies = dataclasses.replace(self.engine.settings, in_doubt=chosen).in_doubt_policies()
        call = self.engine.records.scripts.due(0, self.time.now, 500, policies)
        handled, _ = self.run(self.engine.records.scripts.run(call))
        assert handled == self.model.due(dict(chosen))

    def _pass(self, ms: int) -> None:
        self.time.now += ms
        self.model.now = self.time.now

    # Payments

    @rule(
        data=st.data(),
        number=st.sampled_from(NUMBERS),
        amount=st.sampled_from((1000, 1000, 400, 1500, 0)),
        status=st.sampled_from(("SUCCESS", "SUCCESS", "SETTLED", "FAILED", "PROCESSING", "REVERSED")),
    )
    def told_of_payment(self, data: st.DataObject, number: str, amount: int, status: str) -> None:
        """ClickPesa tells something about a payment: a new one, or one that was told before."""
        self._pass(1)
        known = sorted(id for at, id in self.model.payments if at == number)
        id = data.draw(st.sampled_from([*known, f"pay-{self.next()}"]))
        event = PaymentEvent(
            event="received", ids=(id, f"ref-{id}"), number=number, status=status, amount=Decimal(amount),
            currency="TZS", channel=None, payer_name=None, payer_phone=None, created_at=from_ms(self.time.now),
        )  # fmt: skip
        told = self.run(self.engine.payments.settle(event))
        assert told.outcome == self.model.settle(number, id, amount * 100, status, self.time.now)

    @rule(number=st.sampled_from(NUMBERS), answered=st.booleans())
    def hint(self, number: str, answered: bool) -> None:
        """Somebody says, unproven, that a number was paid; later ClickPesa answers."""
        bill = self.model.bills.get(number)
        if answered:
            self.run(self.engine.payments.hint_done(number))
            if bill:
                bill.hold = 0
            return
        is_open = bill is not None and bill.state == "open"
        assert self.run(self.engine.payments.hint(number)) == is_open
        if bill and is_open and bill.hold <= self.time.now and bill.hinted + DAY <= self.time.now:
            bill.hinted, bill.hold = self.time.now, self.time.now + 600_000

    # Reports, staff and people

    @precondition(lambda self: self._reportable())
    @rule(
        data=st.data(),
        what=st.sampled_from(("sent", "delivered", "read", "absent", "filtered", "invalid")),
        known=st.booleans(),
    )
    def report(self, data: st.DataObject, what: str, known: bool) -> None:
        """The provider reports on a message, in any order and any number of times."""
        m = data.draw(st.sampled_from(self._reportable()))
        provider_id = f"SM{m.id}" if known else "SMother"
        delivery, error, rank = _REPORTS[what]
        again = self.time.now + 300_000 * 2**m.again if what == "absent" else None
        if what == "invalid":
            self.model.opt_out(m.channel, m.to, "invalid address")
        update = StatusUpdate(f"0-{m.id}", provider_id, delivery, error)
        changed = self.run(self.engine.messages.delivery(update))
        confirms = rank >= 5 or (rank == 3 and m.channel in ("email", "telegram"))
        assert changed == self.model.delivered(m, provider_id, rank, confirms=confirms, again=again)

    def _reportable(self) -> list[Message]:
        return [m for m in self.model.messages if m.attempt and (not m.waits or m.maybe_second)]

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Staff send a dead letter again, or try to."""
        m = data.draw(st.sampled_from(self._likely_dead()))
        try:
            self.run(self.engine.messages.replay(f"0-{m.id}", by="cli"))
            took = True
        except Refused:
            took = False
        before = m.id in self.model.dead
        answer = self.model.replay(m)
        assert took == (answer == "ok")
        if answer == "closed" and before and m.fenced:
            self.model.dead.discard(m.id)

    def _likely_dead(self) -> list[Message]:
        return [m for m in self.model.messages if m.id in self.model.dead] or self.model.messages

    @rule(person=st.sampled_from(PEOPLE), channel=st.sampled_from(list(ChannelName)), back=st.booleans())
    def consent(self, person: dict[str, str], channel: str, back: bool) -> None:
        """A person says no on a channel, or yes again."""
        address = person[KIND[channel]]
        if back:
            self.run(self.engine.contacts.opt_in(channel, address, proof="test"))
            self.model.opt_in(channel, address)
        else:
            self._silence(channel, address, "opted out")

    def _silence(self, channel: str, address: str, why: str) -> None:
        self.run(self.engine.contacts.opt_out(channel, address, proof="test", reason=why))
        self.model.opt_out(channel, address, why)

    @precondition(lambda self: self.model.shares)
    @rule(
        data=st.data(), kind=st.sampled_from(("phone", "email")), fresh=st.booleans(), other=st.integers(0, 1)
    )
    def edit_contact(self, data: st.DataObject, kind: str, fresh: bool, other: int) -> None:
        """Staff correct an address: a new one, or one that may be somebody else's."""
        share = self.shares_for(data)
        n = self.next()
        new = (
            {"phone": f"+255755{n:06}", "email": f"new{n}@example.com"}[kind]
            if fresh
            else PEOPLE[other][kind]
        )
        try:
            self.run(self.engine.shares.edit_contact(share.id, **{kind: new}, by="cli"))
            took = True
        except Refused:
            took = False
        assert took == self.model.edit(share, kind, new)

    # What is compared

    @invariant()
    def same_as_the_model(self) -> None:
        """Every record says what the model says."""
        self.run(self._compare())

    async def _compare(self) -> None:
        records = self.engine.records
        messages, shares, bills = self.model.messages, self.model.shares, list(self.model.bills.values())
        names = (
            [f"m:{m.id}" for m in messages]
            + [f"s:{s.sid}" for s in shares]
            + [f"a:{b.number}" for b in bills]
        )
        found = iter(await records.hashes([f"tuma:{{0}}:{name}" for name in names]))
        for m in messages:
            f = next(found)
            there = (f["k"], f["ch"], f["st"], f.get("o", ""), int(f.get("a", 0)), f.get("dup") == "1")
            assert there == (m.kind, m.channel, m.state, m.outcome, m.attempt, m.maybe_second), m.id
        for s in shares:
            f = next(found)
            assert (f["st"], int(f["n"]), f["ch"].split()) == (s.state, len(s.messages), s.channels), s.id
        for b in bills:
            f = next(found)
            paid = {term: int(f.get(f"tp:{term}", 0)) for term in b.amounts}
            assert paid == {term: b.paid.get(term, 0) for term in b.amounts}, b.number
            money = (f["st"], int(f.get("credit", 0)), int(f.get("kept", 0)))
            assert money == (b.state, b.credit, b.undecided), b.number
        await self._compare_lists()

    async def _compare_lists(self) -> None:
        client = self.engine.records.client
        timers = await client.zrange("tuma:{0}:timers", 0, -1, withscores=True)
        dead, unmatched = [await client.zrange(f"tuma:{{0}}:{name}", 0, -1) for name in ("dead", "um")]
        assert {(m[0], m[2:]): int(at) for m, at in timers} == self.model.timers
        assert set(dead) == self.model.dead
        assert len(unmatched) == sum(p.for_staff for p in self.model.payments.values())

    @invariant()
    def the_books_add_up(self) -> None:
        """Counters, records and streams agree, with each other and with the model."""
        report = self.run(self.engine.ledger.check())
        assert report.differences == []
        stats = report.stats
        there = {state: getattr(stats, state) for state in STATES[:-1]} | {"done": sum(stats.done.values())}
        assert there == self.model.counts(STATES)
        assert (stats.possible_duplicates, stats.dead) == (self.model.duplicates, len(self.model.dead))

    @invariant()
    def receipts_once(self) -> None:
        """No address gets two receipts for one payment over one channel, but for possible duplicates and new tries."""
        got = Counter(
            (m.payment, m.channel, m.to)
            for m in self.model.messages
            if m.kind == "receipt" and m.outcome == "sent" and m.rank != 4 and not m.maybe_second
        )
        assert max(got.values(), default=0) <= 1, got


_REPORTS: dict[str, tuple[Delivery, Any, int]] = {
    "sent": (Delivery.SENT, None, 3),
    "delivered": (Delivery.DELIVERED, None, 5),
    "read": (Delivery.READ, None, 6),
    "absent": (Delivery.UNDELIVERED, Unavailable("30017", "network busy"), 4),
    "filtered": (Delivery.UNDELIVERED, ContentRejected("30007", "filtered"), 4),
    "invalid": (Delivery.UNDELIVERED, RecipientInvalid("30006", "no such number"), 4),
}


def _job(job: Job, due: int | None) -> ShareJob:
    made = ShareJob(
        id=job.id,
        bill=Bill(
            number=job.number, create=None, kind=BillKind(job.kind), term=job.term, amount=Decimal(job.amount) / 100,
            currency="TZS", description=None, due_at=from_ms(due) if due else None,
            mode=BillMode.EXACT if job.exact else BillMode.PARTIAL,
        ),
        customer=Customer(name="Asha Juma", locale="sw", **job.at),
        route=Route(
            mode=job.route,  # type: ignore[arg-type]
            channels=tuple(map(ChannelName, job.channels)),
            confirm_within=timedelta(milliseconds=job.confirm_within),
        ),
        reminders=Reminders(
            before_due=(timedelta(days=3), timedelta(days=1)), after_due=(timedelta(days=1),), max=5
        ),
        additional_contact=job.additional,
        send_at=None,
        lane=Lane.URGENT if job.lane == "u" else Lane.BULK,
        template="default",
        callback_url=None,
        data={},
        digest="",
    )  # fmt: skip
    return msgspec.structs.replace(made, digest=job.id)


@pytest.mark.timeout(0 if EXAMPLES else 240)
def test_the_scripts_do_what_the_model_says() -> None:
    profile = settings(
        max_examples=EXAMPLES or 40,
        stateful_step_count=60 if EXAMPLES else 40,
        derandomize=not EXAMPLES,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Lives, settings=profile)
