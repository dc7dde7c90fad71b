"""The sandbox in a process of its own, and its customers: they read, and pay as planned.

Started as `python -m tests.chaos.city SPEC.json`; the first line written is the announcement of `tuma sandbox --json`,
then one line a second says how far things are. SIGTERM ends it; by then its records are in the file that SPEC names:
they are what the run is judged by.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_bills import Declined, Payment
from bot.sandbox.faults import Faults
from bot.sandbox.profiles import find
from bot.sandbox.world import Message
from tests.chaos.plan import Customer, Scale, plan

STAFF_CHAT = 900_000_001
_LOOK_S, _LAG_S = 1.0, 0.05
_TELL_AGAIN_S = 2.0


class Spec(msgspec.Struct, frozen=True):
    """What the city is told at its start. `tuma`: the address of the api; `records`: where to write at the end."""

    seed: int
    scale: Scale
    tuma: str
    records: str


class Progress(msgspec.Struct, frozen=True):
    """How far things are. `lag_ms`: the longest that the city's loop was late in the last second.

    `untold`: payments whose webhook was not answered yet; `busy`: statuses and webhooks to come.
    """

    taken: int
    payments: int
    untold: int
    busy: int
    lag_ms: int


class Records(msgspec.Struct, frozen=True):
    """What providers took, what customers paid, and what went wrong on purpose."""

    accepted: list[Message]
    payments: list[Payment]
    faults: dict[str, dict[str, int]]


class Customers:
    """Everybody who was billed."""

    def __init__(self, city: Sandbox, people: Iterable[Customer]) -> None:
        self._city, self._people = city, list(people)
        self.payments: list[Payment] = []

    def seat(self) -> None:
        """Give everybody a phone, a mailbox and a chat, and every number a bill at ClickPesa."""
        for one in self._people:
            self._city.world.person(None, phone=one.phone, email=one.email, chat=one.chat)
            self._city.telegram.chats.begin(one.chat)
            self._city.bill(one.number, one.amount, kind=one.kind)

    async def live(self) -> None:
        """Let everybody do as planned."""
        async with asyncio.TaskGroup() as group:
            for one in self._people:
                if one.act != "none":
                    group.create_task(self._act(one))

    async def _act(self, one: Customer) -> None:
        await asyncio.sleep(one.fed_at_s + one.patience_s)
        while one.number not in self._city.world.shared:  # nobody pays what they have not heard of
            await asyncio.sleep(_LOOK_S)
        match one.act:
            case "fail":
                await self._tell(await self._city.wallet.fail(one.number, notify=False), 0)
                await asyncio.sleep(_LOOK_S)
                await self._pay(one, one.amount)
            case "halves":
                await self._pay(one, one.amount // 2)
                await asyncio.sleep(_LOOK_S)
                await self._pay(one, one.amount - one.amount // 2)
            case "part":
                await self._pay(one, one.amount // 2)
            case _:
                await self._pay(one, one.amount)

    async def _pay(self, one: Customer, amount: int) -> None:
        with contextlib.suppress(Declined):
            payment = await self._city.wallet.pay(one.number, Decimal(amount), notify=False)
            self.payments.append(payment)
            await self._tell(payment, one.doubles)

    async def _tell(self, payment: Payment, doubles: int) -> None:
        """Send the webhook until it is answered 200, then some more times."""
        await self._city.wallet.notify(payment)
        while payment.told is None:
            await asyncio.sleep(_TELL_AGAIN_S)
            await self._city.wallet.notify(payment)
        for _ in range(doubles):
            await asyncio.sleep(_LOOK_S)
            await self._city.wallet.notify(payment)


class Lag:
    """How late the loop is: what providers took is stamped by it."""

    def __init__(self) -> None:
        self.most_s = 0.0

    async def watch(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await asyncio.sleep(_LAG_S)
            self.most_s = max(self.most_s, clock() - began - _LAG_S)

    def take(self) -> int:
        """The most since the last call, in ms."""
        most, self.most_s = self.most_s, 0.0
        return round(most * 1000)


async def main(spec: Spec) -> None:
    """Run until SIGTERM, then write the records."""
    gc.disable()  # a pass over all that was ever taken would hold every provider up for seconds
    faults = Faults(seed=spec.seed)
    faults.use(find("storm"))
    begin = asyncio.Event()
    async with Sandbox(faults=faults) as city:
        city.connect(spec.tuma)
        city.world.person("Staff", chat=STAFF_CHAT, staff=True)
        city.telegram.chats.begin(STAFF_CHAT)
        customers = Customers(city, plan(spec.seed, spec.scale).customers)
        customers.seat()
        _say(city.urls | {"env": city.settings_env()})
        async with _signalled(begin) as stop:
            await begin.wait()
            async with _background(customers.live()):
                await _tell_progress(city, customers, stop)
        records = Records(
            [_bare(each) for each in city.world.accepted()], customers.payments, faults.counts()
        )
        Path(spec.records).write_bytes(msgspec.json.encode(records))


async def _tell_progress(city: Sandbox, customers: Customers, stop: asyncio.Event) -> None:
    lag = Lag()
    async with _background(lag.watch()):
        while not stop.is_set():
            untold = sum(payment.told is None for payment in customers.payments)
            taken = sum(city.world.counts.values())
            _say(Progress(taken, len(customers.payments), untold, city.busy, lag.take()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)


@contextlib.asynccontextmanager
async def _background(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _signalled(begin: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """SIGUSR1 begins the customers' time, SIGTERM ends it."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, begin.set)
    loop.add_signal_handler(signal.SIGTERM, _end, begin, stop)
    yield stop


def _end(begin: asyncio.Event, stop: asyncio.Event) -> None:
    begin.set()
    stop.set()


def _bare(message: Message) -> Message:
    """A message without what nobody judges by, such as a mail's HTML."""
    message.extra = {name: message.extra[name] for name in ("sent",) if name in message.extra}
    return message


def _say(value: Any) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def read(path: Path) -> Records:
    """The records of a run."""
    return msgspec.json.decode(path.read_bytes(), type=Records)


def since(began: datetime, at: datetime) -> float:
    """Seconds from the start of the storm."""
    return (at - began).total_seconds()


if __name__ == "__main__":
    # Not on uvloop: that accepts one connection a round of its loop, and a busy sandbox would keep the others waiting.
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)))
