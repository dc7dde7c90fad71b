"""The pay fence: a payment at every step of a message's life, and nothing is handed out after it."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from bot.domain.bill import BillKind
from bot.engine.engine import Engine
from bot.engine.scripts import HandedOut, now_ms
from channels.base import ChannelName, Outgoing, lease_clock
from channels.errors import LeaseExpired
from tests.engine.conftest import job, paid
from tests.engine.test_worker import Scripted, until, working

SEEDS = 2000
STEPS = 14
ASKING = {"instructions", "reminder", "bill_changed"}
CHANNELS = ("whatsapp", "sms", "email")


@dataclass
class Life:
    """One share, driven by random steps on the real scripts, with a clock of its own."""

    engine: Engine
    rng: random.Random
    number: str
    share: str = ""
    now: int = field(default_factory=now_ms)
    held: list[HandedOut] = field(default_factory=list)
    fenced: set[str] = field(default_factory=set)
    asked_after_payment: list[str] = field(default_factory=list)

    @property
    def p(self) -> int:
        return self.engine.records.partition(self.number)

    async def hand_out(self) -> None:
        call = self.engine.records.scripts.hand_out(
            self.p, self.now, self.rng.choice(CHANNELS), self.number, (10, 10)
        )
        # The streams are shared: any life may be handed any other's messages, and the fence holds for all.
        fenced = set(self.fenced)
        held, _ = await self.engine.records.scripts.run(call)
        self.asked_after_payment += [
            h.id for h in held if h.share["num"] in fenced and h.message["k"] in ASKING
        ]
        self.held += held

    async def finish(self) -> None:
        if not self.held:
            return
        h = self.held.pop(self.rng.randrange(len(self.held)))
        outcome = self.rng.choice(["sent", "failed", "retry", "unsent", "doubt"])
        p = h.partition
        result = {"id": h.id, "a": str(h.attempt), "r": outcome, "why": "x", "err": "x"}
        result |= {
            "pid": "SM1",
            "dl": "queued",
            "dr": "1",
            "seg": "1",
            "txt": "x",
            "ok": self.rng.choice("01"),
        }
        result |= {"at": str(self.now + self.rng.randrange(2000)), "cost": "1", "x": ""}
        await self.engine.records.scripts.run(self.engine.records.scripts.finish(p, self.now, [result]))

    async def time_passes(self) -> None:
        self.now += self.rng.choice([1, 1000, 60_000, 3_600_000, 86_400_000])
        policies = {name: self.rng.choice(["resend", "hold", "blind"]) for name in map(str, ChannelName)}
        asked = self.rng.choice([(), ("sms", "whatsapp")])
        scripts = self.engine.records.scripts
        await scripts.run(scripts.due(self.p, self.now, 50, policies, asked))

    async def ask(self) -> None:
        scripts = self.engine.records.scripts
        for p, id in await self.engine.records.asks("sms", self.now, 2):
            taken = await scripts.run(scripts.ask(p, self.now, "sms", id, 1000))
            answer = self.rng.choice(["absent", "absent", "later", "unaskable", "found", "lost"])
            if taken is None or answer == "lost":
                continue
            if answer == "found":
                status, rank = self.rng.choice([("sent", "3"), ("undelivered", "4")])
                values = [id, f"SM{id}", status, rank, "", "", "", "", "0", "", "1", "1"]
                await scripts.run(scripts.delivery(p, self.now, values))
            else:
                noted = (answer, self.now + 10, 2, 60_000, "")
                await scripts.run(scripts.asked(p, self.now, id, taken.token, noted))

    async def reclaim(self) -> None:
        for name in CHANNELS:
            call = self.engine.records.scripts.reclaim(self.p, self.now, name, idle_ms=0, wait_ms=10)
            await self.engine.records.scripts.run(call)

    async def delivery(self) -> None:
        status, rank = self.rng.choice([("delivered", "5"), ("undelivered", "4"), ("sent", "3")])
        values = [
            f"{self.share}.{self.rng.randint(1, 4)}",
            "SM1",
            status,
            rank,
            "",
            "",
            " ".join(CHANNELS) if rank == "5" else "",
            "",
            "0",
            self.rng.choice(["", "1", "2"]),
            "0",
            "",
        ]
        await self.engine.records.scripts.run(self.engine.records.scripts.delivery(self.p, self.now, values))

    async def resend(self) -> None:
        scripts = self.engine.records.scripts
        await scripts.run(scripts.resend(self.p, self.now, self.share, "", self.now + 10**9))

    async def replay(self) -> None:
        scripts, mode = self.engine.records.scripts, self.rng.choice(["one", "many", "doubt"])
        ids = [f"{self.share}.{n}" for n in range(1, 5)]
        await scripts.run(scripts.replay(self.p, self.now, self.now + 10**9, mode, ids))

    async def arrived(self) -> None:
        scripts = self.engine.records.scripts
        await scripts.run(scripts.arrived(self.p, self.now, f"{self.share}.{self.rng.randint(1, 4)}"))

    async def edit_contact(self) -> None:
        scripts, phone = self.engine.records.scripts, f"+25575400000{self.rng.randint(1, 3)}"
        edit = {"phone": phone, "email": "", "telegram": "", "chat": "", "link": "x", "suppressed": {}}
        await scripts.run(scripts.edit_contact(self.p, self.now, self.share, edit))

    async def suppress(self) -> None:
        scripts, reason = self.engine.records.scripts, self.rng.choice(["opted out", ""])
        await scripts.run(scripts.suppress(self.p, self.now, self.number, "sms", "+255754000001", reason))

    async def pay(self) -> None:
        await self.engine.payments.settle(paid(self.number))
        self.fenced.add(self.number)


async def live(engine: Engine, seed: int, fenced: set[str]) -> Life:
    """One life from accept to long after the payment, which comes at a random step."""
    rng = random.Random(seed)
    life = Life(engine, rng, f"7{seed:09}", fenced=fenced)
    made = job(
        life.number,
        phone="+255754000001",
        email="a@example.com",
        channels=CHANNELS,
        mode=rng.choice(["first", "all"]),
        kind=rng.choice(list(BillKind)),
        confirm_within=timedelta(minutes=rng.choice([1, 60])),
    )
    life.share = (await engine.shares.accept(made)).token.partition("-")[2]
    steps = [life.hand_out, life.hand_out, life.finish, life.finish, life.time_passes, life.reclaim]
    steps += [
        life.ask,
        life.ask,
        life.delivery,
        life.resend,
        life.suppress,
        life.replay,
        life.arrived,
        life.edit_contact,
    ]
    pay_at = rng.randrange(STEPS)
    for step in range(STEPS):
        await (life.pay() if step == pay_at else rng.choice(steps)())
    for _ in range(3):
        await life.time_passes()
        for _ in CHANNELS:
            await life.hand_out()
    return life


async def test_nothing_is_handed_out_after_a_payment_at_any_step(engine: Engine) -> None:
    slots = asyncio.Semaphore(25)
    fenced: set[str] = set()

    async def one(seed: int) -> Life:
        async with slots:
            return await live(engine, seed, fenced)

    for batch in range(0, SEEDS, 100):
        lives = await asyncio.gather(*(one(seed) for seed in range(batch, batch + 100)))
        broken = {life.number: life.asked_after_payment for life in lives if life.asked_after_payment}
        assert broken == {}
    assert (await engine.ledger.check()).differences == []


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        ("a", "st", "settled"),
        ("a", "st", "closed"),
        ("a", "st", "stopped"),
        ("s", "st", "stopped"),
        ("s", "st", "paid"),
    ],
)
async def test_handing_out_looks_at_the_bill_itself(
    engine: Engine, record: str, field: str, value: str
) -> None:
    # Settling ends what waits; what it might not have seen is held back by the second look, here the only one.
    accepted = await engine.shares.accept(job("100"))
    p = engine.records.partition("100")
    place = {"a": "a:100", "s": f"s:{accepted.token.partition('-')[2]}"}[record]
    await engine.records.client.hset(f"tuma:{{{p}}}:{place}", field, value)
    held, _ = await engine.records.scripts.run(
        engine.records.scripts.hand_out(p, now_ms(), "sms", "worker", (10, 10))
    )
    assert held == []
    assert (await engine.messages.get(accepted.messages[0])).outcome == "canceled"


@dataclass
class Slow(Scripted):
    """Takes a random time to connect, then keeps to its lease; notes when each request began."""

    began: list[tuple[str, float]] = field(default_factory=list)

    async def send(self, outgoing: Outgoing):  # type: ignore[no-untyped-def]
        await asyncio.sleep(random.random() * 0.3)
        if lease_clock() >= outgoing.deadline:
            raise LeaseExpired
        self.began.append((outgoing.message_id, time.monotonic()))
        return await super().send(outgoing)


async def test_what_was_handed_out_before_the_payment_leaves_only_within_its_lease(engine: Engine) -> None:
    lease_s = engine.settings.lease_ms / 1000
    channel = Slow(concurrency=40)
    fences: dict[str, float] = {}

    async def customer(number: str) -> None:
        accepted = await engine.shares.accept(
            job(number, due_in=timedelta(seconds=1), before=(timedelta(0),))
        )
        await asyncio.sleep(random.random() * 1.2)
        await engine.payments.settle(paid(number))
        fences[accepted.token] = time.monotonic()

    async with working(engine, channel):
        await asyncio.gather(*(customer(f"8{n:09}") for n in range(150)))
        await until(lambda: _receipts(engine, 150))
    kinds = {id: (await engine.messages.get(id)).kind for id, _ in channel.began}
    late = [
        (id, at - fences[id.rpartition(".")[0]])
        for id, at in channel.began
        if kinds[id] in ASKING and at > fences[id.rpartition(".")[0]] + lease_s
    ]
    assert late == []
    assert (await engine.ledger.check()).differences == []


async def _receipts(engine: Engine, count: int) -> bool:
    stats = await engine.ledger.stats()
    return stats.created >= count * 2 and stats.scheduled + stats.queued + stats.handed_out == 0
