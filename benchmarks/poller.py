"""A day with lost webhooks, simulated: how long until a lost payment is found, at what cost, and who waits meanwhile.

The product's own parts (engine on a real Valkey, client, budget, sweep, reminders) against the sandbox's ClickPesa over
HTTP; only time is simulated, in steps of one sweep. Every bill has one reminder that day, at a time of its own; a tenth
of the bills is paid, two in a hundred webhooks are lost, and for half an hour ClickPesa's API is away.

`python -m benchmarks.poller [BILLS [HOURS]]` prints one JSON object. Times are in simulated seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from statistics import median

import msgspec
import structlog

from benchmarks.drain import settings
from benchmarks.places import valkey
from bot.billpay.client import ClickPesa
from bot.billpay.errors import ClickPesaError
from bot.billpay.poller import NEWS
from bot.billpay.sweeper import Sweeper
from bot.billpay.webhook import parse
from bot.domain.bill import PaymentEvent, SettleResult
from bot.domain.calendar import from_ms
from bot.domain.share import ShareJob, decode
from bot.engine.engine import Engine
from bot.engine.payments import Payments
from bot.engine.scripts import now_ms, put_clock_forward
from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_events import event

STEP_MS = 20_000
PAID, LOST = 0.1, 0.02
OUTAGE = (0.5, timedelta(minutes=30))
WITHIN_S = 600
LATE_MS = 60_000
_BATCH = 500
_DAY_MS = 86_400_000


class Day(msgspec.Struct, kw_only=True):
    """What happened. `found_s` are the times from a lost payment to its finding, without and in the outage."""

    bills: int
    hours: float
    payments: int = 0
    lost: int = 0
    lost_found: int = 0
    found_s_median: float = 0.0
    found_s_most: float = 0.0
    found_s_most_in_outage: float = 0.0
    requests: int = 0
    budget_share: float = 0.0
    reminders: int = 0
    reminders_that_waited: int = 0
    waited_s_most: float = 0.0
    reminded_after_paying_told: int = 0
    reminded_after_paying_lost: int = 0
    real_s: float = 0.0


class Recorded:
    """The engine's payments, with a note of when something was news."""

    def __init__(self, payments: Payments) -> None:
        self._payments, self.at = payments, dict[str, int]()

    async def settle(self, told: PaymentEvent) -> SettleResult:
        """Settle, and note when."""
        result = await self._payments.settle(told)
        if result.outcome in NEWS:
            self.at.setdefault(told.number, now_ms())
        return result


class Simulation:
    """One day from `begin`, in ms."""

    def __init__(self, engine: Engine, city: Sandbox, client: ClickPesa, bills: int, hours: float) -> None:
        self.engine, self.city = engine, city
        self.day = Day(bills=bills, hours=hours)
        self.recorded = Recorded(engine.payments)
        self.sweeper = Sweeper(client, self.recorded, engine.sweeps, engine.leases, every_s=STEP_MS / 1000)
        self.draw = random.Random(1)
        self.begin, self.length = now_ms(), int(hours * 3_600_000)
        self.due = {f"{55_042_914_870_000 + n}": self.moment() for n in range(bills)}
        self.paid: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.reminded: dict[str, int] = {}

    def moment(self) -> int:
        """A time of the day, but for its first quarter of an hour and its last."""
        return self.begin + 900_000 + self.draw.randrange(self.length - 1_800_000)

    async def prepare(self) -> None:
        """Share every bill, and send its instructions."""
        jobs = list(self._jobs())
        for start in range(0, len(jobs), _BATCH):
            await self.engine.shares.accept_many(jobs[start : start + _BATCH])
            await self.send()
        self.payers = sorted(
            (self.moment(), number) for number in self.draw.sample([*self.due], int(len(self.due) * PAID))
        )
        for _, number in self.payers:
            self.city.bill(number, 45000)

    def _jobs(self) -> Iterator[ShareJob]:
        defaults = settings("redis://127.0.0.1", "http://127.0.0.1")
        for n, (number, reminder_at) in enumerate(self.due.items()):
            due = from_ms(reminder_at + _DAY_MS).isoformat()
            body = {
                "id": f"poll-{n}",
                "bill": {"number": number, "amount": "45000", "due_at": due},
                "customer": {"name": "Asha Juma", "phone": f"+25575{n % 10_000_000:07}", "locale": "sw"},
                "route": {"channels": ["sms"]},
                "reminders": {"before_due": ["P1D"], "after_due": [], "max": 1},
                "lane": "bulk",
            }
            yield decode(msgspec.json.encode(body), settings=defaults)

    async def send(self) -> None:
        """What a worker does, with a provider that takes everything at once."""
        scripts, now = self.engine.records.scripts, now_ms()
        for p in range(self.engine.partitions):
            await scripts.run(scripts.due(p, now, 1000, {}))
            while True:
                call = scripts.hand_out(
                    p, now, "sms", "simulation", (1000, 1000), None, now - WITHIN_S * 1000
                )
                held, _ = await scripts.run(call)
                for each in held:
                    if each.message["k"] == "reminder":
                        self._reminded(each.share["num"], now)
                ends = [
                    {
                        "id": h.id,
                        "a": str(h.attempt),
                        "why": "",
                        "err": "",
                        "r": "sent",
                        "pid": "SM",
                        "dl": "sent",
                    }
                    | {"dr": "1", "seg": "1", "txt": "x", "ok": "1"}
                    for h in held
                ]
                if not ends:
                    break
                await scripts.run(scripts.finish(p, now, ends))

    def _reminded(self, number: str, now: int) -> None:
        self.reminded[number] = now
        if number in self.paid:
            if number in self.lost:
                self.day.reminded_after_paying_lost += 1
            else:
                self.day.reminded_after_paying_told += 1

    async def pay(self) -> None:
        """Everybody pays whose time has come."""
        while self.payers and self.payers[0][0] <= now_ms():
            moment, number = self.payers.pop(0)
            payment = await self.city.pay(number, 45000, notify=False)
            self.paid[number] = moment
            if self.draw.random() < LOST:
                self.lost[number] = moment
            else:
                told = msgspec.json.encode(event(self.city.clickpesa, payment))
                await self.engine.payments.settle(parse(told))

    async def run(self) -> Day:
        """The whole day, step by step."""
        began = time.perf_counter()
        outage = self.begin + int(self.length * OUTAGE[0])
        outage_ends = outage + int(OUTAGE[1].total_seconds() * 1000)
        for at in range(self.begin, self.begin + self.length, STEP_MS):
            put_clock_forward(at + STEP_MS - now_ms())
            away = outage <= now_ms() < outage_ends
            self.city.faults.set("clickpesa", "failing" if away else "ok")
            await self.pay()
            await self.send()
            with suppress(ClickPesaError):
                await self.sweeper.turn()
        self.day.real_s = round(time.perf_counter() - began, 1)
        return self._report(outage, outage_ends)

    def _report(self, outage: int, outage_ends: int) -> Day:
        day = self.day
        found = {
            number: self.recorded.at[number] - at
            for number, at in self.lost.items()
            if number in self.recorded.at
        }
        aside = {n for n, at in self.lost.items() if outage - STEP_MS <= at < outage_ends}
        usual = [ms / 1000 for n, ms in found.items() if n not in aside]
        late = [at - self.due[n] for n, at in self.reminded.items() if at - self.due[n] > LATE_MS]
        day.payments, day.lost, day.lost_found = len(self.paid), len(self.lost), len(found)
        day.found_s_median, day.found_s_most = round(median(usual), 1), round(max(usual), 1)
        day.found_s_most_in_outage = round(max((found[n] for n in aside if n in found), default=0) / 1000, 1)
        day.requests = self.city.clickpesa.calls.total()
        day.budget_share = round(
            day.requests / (day.hours * 60 * self.engine.settings.clickpesa_per_minute), 4
        )
        day.reminders, day.reminders_that_waited = len(self.reminded), len(late)
        day.waited_s_most = round(max(late, default=0) / 1000, 1)
        return day


async def simulate(redis_url: str, bills: int, hours: float) -> Day:
    """One day on an empty Redis."""
    engine = await Engine.open(settings(redis_url, "http://127.0.0.1"))
    try:
        async with Sandbox(clock=lambda: from_ms(now_ms())) as city:
            account = city.clickpesa.account
            async with ClickPesa(
                city.urls["clickpesa"],
                account.client_id,
                account.api_key,
                account.checksum_key,
                engine.tokens,
                engine.calls,
            ) as client:
                simulation = Simulation(engine, city, client, bills, hours)
                await simulation.prepare()
                return await simulation.run()
    finally:
        await engine.close()


def main() -> None:
    """Run it and print what happened."""
    bills = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    hours = float(sys.argv[2]) if len(sys.argv) > 2 else 24.0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with valkey("everysec") as (url, _):
        day = asyncio.run(simulate(url, bills, hours))
    print(msgspec.json.format(msgspec.json.encode(day)).decode())


if __name__ == "__main__":
    main()
