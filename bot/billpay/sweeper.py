"""Finding payments whose webhook was lost: ClickPesa's list, read again and again from where it was last all known.

The list grows at its end, so a look costs one request while nothing much happens. It goes on at the first payment
that is not final, a little before that in fact, and checks that the list has not shifted meanwhile; if it has, and
once a day anyway, it is read again from its beginning, the day before yesterday. Everything final is settled, which
is the same as its webhook and counts once.

`known_until` never passes a payment that is not final, with one exception: what has been pending for half an hour is
followed by itself, so that one stuck payment does not silence all reminders.

Source: ClickPesa docs, "Query all payments" (filters by day, `createdAt` ascending, `skip`, `limit`, `totalCount`).
What is not documented and so not relied on: the largest `limit`, and the time zone of the days.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import date, datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from bot.billpay.budget import Urgency
from bot.billpay.client import PaymentsPage
from bot.billpay.errors import ClickPesaError
from bot.billpay.poller import FINAL, NEWS, Leases, counts, pause_s
from bot.domain.bill import PaymentEvent, SettleResult
from bot.errors import StoreUnavailable

PAGE = 100
OVERLAP = 50
# A payment may be listed a little after the time it bears.
LAG = timedelta(seconds=30)
# Payments from before the first look of all are no business of ours, but for those on their way just then.
BEFORE_FIRST = timedelta(hours=1)
FOLLOW_AFTER = timedelta(minutes=30)
FOLLOW_EVERY = timedelta(minutes=15)
FOLLOW_FOR = timedelta(days=7)
_LEASE = "sweep"
_LEASE_S = 90.0
_MOST_SEEN = 50_000

_log = structlog.get_logger(__name__)


class PaymentLists(Protocol):
    """Who knows what was really paid: `bot.billpay.client.ClickPesa`."""

    async def payments(self, reference: str, *, urgency: Urgency) -> list[PaymentEvent]:
        """All payments on a control number. Raises ClickPesaError."""
        ...

    async def payments_page(
        self, *, start: date | None, skip: int, limit: int, urgency: Urgency
    ) -> PaymentsPage:
        """A page of all payments, the oldest first. Raises ClickPesaError."""
        ...


class Settling(Protocol):
    """Where payments are settled: `Payments` of the engine."""

    async def settle(self, event: PaymentEvent) -> SettleResult:
        """Take one thing said about a payment."""
        ...


class Memory(Protocol):
    """What is remembered between looks: `Sweeps` of the engine."""

    def now(self) -> datetime:
        """The time by which everything goes."""
        ...

    async def load(self) -> str | None:
        """What was saved last."""
        ...

    async def save(self, state: str, known_until: datetime | None) -> None:
        """Keep where to go on, and until when payments are known."""
        ...

    async def not_read(self, why: str) -> None:
        """The list could not be read."""
        ...


class Followed(msgspec.Struct):
    """A number with a payment that stays pending: since when, and when to ask again."""

    since: datetime
    ask_at: datetime


class State(msgspec.Struct):
    """Where the next look goes on.

    The list is read from the day `start`. Its first `skip` items are known, and `last` is the id of the last of these.
    Payments from before `begin` do not count.
    """

    begin: datetime
    start: date
    skip: int = 0
    last: str | None = None
    followed: dict[str, Followed] = msgspec.field(default_factory=dict)

    @classmethod
    def fresh(cls, now: datetime) -> State:
        """For the first look of all."""
        return cls(begin=now - BEFORE_FIRST, start=(now - BEFORE_FIRST).date() - timedelta(days=1))

    def restart(self, start: date) -> None:
        """Read the list again, from `start`."""
        self.start, self.skip, self.last = start, 0, None


class Sweeper:
    """Looks for lost payments every `every_s` seconds; one process at a time does."""

    def __init__(
        self,
        client: PaymentLists,
        payments: Settling,
        memory: Memory,
        leases: Leases,
        *,
        every_s: float = 20.0,
    ) -> None:
        self._client, self._payments, self._memory, self._leases = client, payments, memory, leases
        self._every_s = every_s
        self._owner = secrets.token_hex(8)
        self._seen: dict[str, str] = {}
        self.found = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set; an absent ClickPesa or Redis is waited out."""
        while not stop.is_set():
            try:
                wait_s = await self._turn_or_tell()
            except StoreUnavailable:
                wait_s = 5.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)
        with contextlib.suppress(StoreUnavailable):
            await self._leases.drop(_LEASE, self._owner)

    async def _turn_or_tell(self) -> float:
        """One look; seconds until the next."""
        try:
            await self.turn()
        except ClickPesaError as error:
            wait_s = max(pause_s(error), 1.0)
            _log.warning("payments_not_swept", error=str(error), pause_s=wait_s)
            await self._memory.not_read(str(error))
            return wait_s
        return self._every_s

    async def turn(self) -> bool:
        """One look, to the end of the list; False if another process does it.

        Raises ClickPesaError and StoreUnavailable; what was read until then is kept.
        """
        if not await self._hold():
            return False
        started = self._memory.now()
        saved = await self._memory.load()
        state = msgspec.json.decode(saved, type=State) if saved else State.fresh(started)
        try:
            open_at = await self._read(state, started)
        except ClickPesaError:
            await self._save(state, None)  # the position is true at every moment
            raise
        known = started - LAG if open_at is None else min(started - LAG, open_at - timedelta(milliseconds=1))
        if known.date() - timedelta(days=1) > state.start and open_at is None:
            state.restart(known.date() - timedelta(days=1))
        await self._save(state, known)
        await self._follow(state, started)
        return True

    async def _hold(self) -> bool:
        return await self._leases.hold(_LEASE, self._owner, max(_LEASE_S, 3 * self._every_s))

    async def _save(self, state: State, known: datetime | None) -> None:
        await self._memory.save(msgspec.json.encode(state).decode(), known)

    async def _read(self, state: State, now: datetime) -> datetime | None:
        """Read to the end of the list; when the first payment was made that is not final, None if all are."""
        at, open_at = max(state.skip - OVERLAP, 0), None
        while True:
            page = await self._client.payments_page(
                start=state.start, skip=at, limit=PAGE, urgency=Urgency.SWEEP
            )
            if _shifted(state, at, page):
                _log.info("payment list shifted, read again", start=state.start.isoformat())
                state.restart(state.start)
                at, open_at = 0, None
                continue
            for event in page.events:
                await self._take(event, state)
                if open_at is None and event is not None and self._waits(event, state, now):
                    open_at = event.created_at or now
                at += 1
                if open_at is None and at > state.skip:
                    state.skip, state.last = at, _id(event)
            if not page.events or (page.total is not None and at >= page.total):
                return open_at
            # Whoever goes on after a kill begins here, and not where this look began.
            await self._save(state, None)
            await self._hold()

    def _waits(self, event: PaymentEvent, state: State, now: datetime) -> bool:
        """Whether this payment must become final before it is passed; what is stuck is followed instead."""
        if event.status in FINAL or (event.created_at or now) < state.begin:
            return False
        if event.created_at is None or now - event.created_at < FOLLOW_AFTER:
            return True
        state.followed.setdefault(event.number, Followed(since=now, ask_at=now + FOLLOW_EVERY))
        return False

    async def _take(self, event: PaymentEvent | None, state: State) -> None:
        if event is None or (event.created_at is not None and event.created_at < state.begin):
            return
        if self._seen.get(event.ids[0]) == event.status or not counts(event):
            return
        result = await self._payments.settle(event)
        if result.outcome in NEWS:
            self.found += 1
            _log.info("payment_found_by_sweep", outcome=result.outcome, status=event.status)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[event.ids[0]] = event.status

    async def _follow(self, state: State, now: datetime) -> None:
        """Ask about one number with a payment that stays pending, if its time has come."""
        due = [number for number, each in state.followed.items() if each.ask_at <= now]
        if not due:
            return
        number = due[0]
        events = await self._client.payments(number, urgency=Urgency.SWEEP)
        for event in events:
            await self._take(event, state)
        if all(event.status in FINAL for event in events):
            del state.followed[number]
        elif now - state.followed[number].since > FOLLOW_FOR:
            _log.warning("payment_stays_pending", days=FOLLOW_FOR.days)
            del state.followed[number]
        else:
            state.followed[number].ask_at = now + FOLLOW_EVERY
        await self._save(state, None)


def _id(event: PaymentEvent | None) -> str | None:
    return event.ids[0] if event is not None else None


def _shifted(state: State, at: int, page: PaymentsPage) -> bool:
    """Whether the last known item is not where it was; a page that does not reach so far says nothing."""
    place = state.skip - 1 - at
    if state.last is None or place < 0 or 0 < len(page.events) <= place:
        return False
    return not page.events or _id(page.events[place]) != state.last
