"""How a replay goes: bills go out, whatever moves comes to rest, time jumps to the next timer, some customers pay.

Time jumps only when nothing is on its way, so that a reminder, a retry or the end of quiet hours comes in the order in
which it would have come. Who pays, and after how many messages, follows from the seed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice

import msgspec

from bot.domain.bill import AcceptedShare
from bot.domain.calendar import from_ms
from bot.domain.share import ShareJob
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms, put_clock_forward
from bot.errors import NotFound, Refused
from bot.replay.stage import Options, Row, Stage
from bot.sandbox.clickpesa_bills import Declined, Payment
from bot.sandbox.world import Message

_BATCH = 200
_GATHER_MS = 60_000  # timers this close to each other come at once
_HORIZON_MS = 400 * 86_400_000
_PATIENCE_S = 60.0
_LOOK_S = 0.02
# After how many messages that ask for money somebody pays who does: most at once, some late.
_PATIENCE_OF_PAYERS = (1, 1, 1, 2, 2, 3)


class Play:
    """One replay. `accepted` and `refused` are by row; `payments` what customers paid, `pauses` of channels.

    `stuck` says what did not come to rest, None if everything did. `began` is on tuma's clock.
    """

    def __init__(self, stage: Stage, options: Options, tell: Callable[[str], None]) -> None:
        self.stage, self.options, self._tell = stage, options, tell
        self.engine: Engine = stage.app.engine
        self.rows: list[Row] = []
        self.accepted: dict[int, AcceptedShare] = {}
        self.refused: dict[int, Refused] = {}
        self.payments: list[Payment] = []
        self.pauses: Counter[str] = Counter()
        self.stuck: str | None = None
        self.began = now_ms()
        self._real = time.monotonic()
        self._scheduler = Scheduler(self.engine.records, self.engine.shares, stage.settings)
        self._payers: dict[str, int] = {}
        self._day: date | None = None

    @property
    def seconds(self) -> float:
        """Real time so far."""
        return time.monotonic() - self._real

    async def run(self, rows: Sequence[Row]) -> None:
        """Play from the first message to the last timer."""
        self.rows = [Row(row.number, _private(row.job)) for row in rows]
        self._seat()
        await self._share()
        await self._come_to_rest()
        while not self.stuck and await self._step():
            await self._come_to_rest()

    # The beginning

    def _seat(self) -> None:
        """Give every customer a phone, a mailbox and a chat, and every number a bill at ClickPesa."""
        city = self.stage.city
        for row in self.rows:
            customer, bill = row.job.customer, row.job.bill
            chat = int(customer.telegram) if customer.telegram else None
            city.world.person(customer.name, phone=customer.phone, email=customer.email, chat=chat)
            if chat:
                city.telegram.chats.begin(chat)
            if bill.number and bill.number not in city.clickpesa.bills:
                city.bill(bill.number, bill.amount, kind=bill.kind)
                self._choose(bill.number, bill.currency)

    def _choose(self, number: str, currency: str) -> None:
        dice = random.Random(f"{self.options.seed}:{number}")
        if dice.random() < self.options.paying and currency == "TZS":
            self._payers[number] = dice.choice(_PATIENCE_OF_PAYERS)

    async def _share(self) -> None:
        waiting = iter(self.rows)
        while batch := list(islice(waiting, _BATCH)):
            answers = await self.engine.shares.accept_many([row.job for row in batch])
            for row, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Refused):
                    self.refused[row.number] = answer
                else:
                    self.accepted[row.number] = answer
        self._tell(f"{len(self.accepted)} bill(s) accepted, {len(self.refused)} refused")

    # Time

    async def _step(self) -> bool:
        """Let customers pay who would by now; else jump to the next timer. False when nothing is left."""
        if await self._pay(self._ready()):
            return True
        due = await self._scheduler.next_due()
        if due is None or due - self.began > _HORIZON_MS:
            return await self._pay(dict(self._payers))  # they were waiting for a reminder that never comes
        put_clock_forward(due + _GATHER_MS - now_ms())
        self._tell_of_the_day()
        await self._scheduler.tick(now_ms())
        return True

    def _tell_of_the_day(self) -> None:
        today = from_ms(now_ms()).astimezone(self.stage.settings.zone).date()
        if today != self._day:
            self._day = today
            taken = sum(self.stage.city.world.counts.values())
            self._tell(f"{today}: {taken} message(s) taken so far")

    async def _come_to_rest(self) -> None:
        """Until nothing is on its way, in tuma or in the city."""
        seen, until = -1, time.monotonic() + _PATIENCE_S
        while True:
            moving = await self._moving()
            if moving is None:
                return
            version = self.stage.city.world.version
            if version != seen:
                seen, until = version, time.monotonic() + _PATIENCE_S
            if time.monotonic() > until:
                self.stuck = moving
                return
            await asyncio.sleep(_LOOK_S)

    async def _moving(self) -> str | None:
        """What is still on its way, in words; None when all is at rest. A channel that tuma paused is resumed."""
        stats, paused = await asyncio.gather(self.engine.ledger.stats(), self.engine.channels.paused())
        for channel in paused:
            self.pauses[channel] += 1
            await self.engine.channels.resume(channel, by="replay")
        if stats.handed_out or stats.queued:
            return f"{stats.queued} queued and {stats.handed_out} handed out"
        if stats.asking:
            return f"{stats.asking} in doubt, to be asked about"
        if self.stage.city.busy:
            return f"{self.stage.city.busy} message(s) or webhook(s) of the sandbox"
        return None

    # Money

    def _ready(self) -> dict[str, int]:
        """Payers who have been asked as often as they wait for."""
        shared = self.stage.city.world.shared
        return {
            number: patience
            for number, patience in self._payers.items()
            if number in shared and len(_moments(shared[number].messages)) >= patience
        }

    async def _pay(self, payers: dict[str, int]) -> bool:
        paid = [await self._pay_one(number) for number in payers]
        return any(paid)

    async def _pay_one(self, number: str) -> bool:
        del self._payers[number]
        try:
            owed = Decimal((await self.engine.bills.get(number)).balance)
            if owed <= 0:
                return False
            self.payments.append(await self.stage.city.pay(number, owed))
        except (Declined, NotFound):
            return False
        return True


def _private(job: ShareJob) -> ShareJob:
    """The job without the one thing in it that would reach a system of the merchant's."""
    return msgspec.structs.replace(job, callback_url=None)


def _moments(messages: Sequence[Message]) -> set[datetime]:
    """When messages came, by the minute: what goes out on several channels at once is one time of asking."""
    return {each.at.replace(second=0, microsecond=0) for each in messages}
