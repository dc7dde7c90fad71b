"""A worker: takes what waits, renders, sends, records. Any number of them may run.

It takes only as many messages as it can begin to send at once, and as its sender's rate has tokens for, so that a
lease is spent on the wire and not in a list of ours. On stop it takes nothing more, finishes what it holds and records
it; nothing stays pending.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from bot.domain.calendar import from_ms, quiet_until, to_ms
from bot.engine import doubt, keys
from bot.engine.asking import Desk
from bot.engine.compose import Composer, retained, wallet
from bot.engine.contacts import Contacts
from bot.engine.control import Channels
from bot.engine.limits import Lease, Limits
from bot.engine.messages import SEVERAL, confirms, reason
from bot.engine.records import Records
from bot.engine.scripts import HandedOut, More, Question, now_ms
from bot.engine.wakeups import BULK, SWEEP_S, URGENT, Wakeups, wake_word
from bot.errors import StoreUnavailable, TemplateError
from bot.render.segments import count
from bot.settings import Settings
from channels.base import DELIVERY_RANK, Accepted, Channel, ChannelName, Content, Outgoing, lease_clock
from channels.errors import (
    ChannelError,
    ContentRejected,
    LeaseExpired,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
    Uncertain,
)

_RETRY_MOST_MS = 900_000
_GIVE_UP_S = 30.0
_THROTTLED_MS = 2_000
# A wait that would outlast the message's validity is cut to one last try so long before its end.
_LAST_TRY_MS = 5_000
# Of the slots of a channel, one in five never goes to bulk: a receipt need not wait for a campaign to breathe.
_RESERVED = 5
# So long a claim of bulk waits for more slots than one: messages that were begun together end together.
_MOMENT_S = 0.002
# Providers keep trying no longer than this; Twilio's own limit. Source: Twilio message resource, ValidityPeriod.
_PROVIDER_VALIDITY_S = 36_000
_log = structlog.get_logger(__name__)

Result = dict[str, str]
Chore = Callable[[], Awaitable[object]]


def backoff_ms(tries: int, first_ms: int) -> int:
    """Wait before try `tries` + 2: doubling from `first_ms` up to 15 minutes, a fifth of jitter either way."""
    wait = min(first_ms * 2 ** min(tries, 20), _RETRY_MOST_MS)
    return int(wait * random.uniform(0.8, 1.2))


class Finisher:
    """Records results in batches: what gathers while one batch is on its way is the next.

    Nothing that was put here is lost while the process lives: what could not be recorded, for whatever reason, or was
    interrupted, stands in line again. Recording twice is harmless, the second time is refused as stale.

    It is ended by `end`, never by cancelling its task: Python 3.11's `asyncio.wait_for`, through which the Redis client
    sends, swallows a cancellation that comes just as the send is done, and `run` would go on for ever.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: dict[int, list[Result]] = defaultdict(list)
        self._chores: list[Chore] = []
        self._unrecorded: Counter[str] = Counter()
        self._more = asyncio.Event()
        self._ending = False
        self._give_up_at = math.inf

    def put(self, p: int, result: Result) -> None:
        """Record this soon."""
        self._waiting[p].append(result)
        self._unrecorded[result["id"]] += 1
        self._more.set()

    def unrecorded(self) -> set[str]:
        """Messages whose result is not in Redis yet."""
        return set(+self._unrecorded)

    def also(self, chore: Chore) -> None:
        """Do this before the next batch, again until it succeeds: a pause, a suppression."""
        self._chores.append(chore)
        self._more.set()

    async def run(self) -> None:
        """Record until `end` was called and nothing is left."""
        while True:
            await self._more.wait()
            self._more.clear()
            await self.flush()
            if self._ending:
                return

    def end(self, give_up_s: float) -> None:
        """Nothing more will be put here. What Redis does not take in `give_up_s` seconds is left, in doubt."""
        self._give_up_at = time.monotonic() + give_up_s
        self._ending = True
        self._more.set()

    async def flush(self) -> None:
        """Record all that waits, for as long as Redis is away: what was sent must not be sent again."""
        pause = 0.1
        while self._waiting or self._chores:
            try:
                await self._do_chores()
                await self._record()
                pause = 0.1
            except Exception as error:
                _log.warning(
                    "finish_waits", error=type(error).__name__, messages=sum(map(len, self._waiting.values()))
                )
                if time.monotonic() >= self._give_up_at:
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)

    async def _do_chores(self) -> None:
        while self._chores:
            await self._chores[0]()
            self._chores.pop(0)

    async def _record(self) -> None:
        batch, self._waiting = self._waiting, defaultdict(list)
        scripts, now = self._records.scripts, now_ms()
        try:
            stale = await scripts.run_many([scripts.finish(p, now, results) for p, results in batch.items()])
        except BaseException:
            for p, results in batch.items():
                self._waiting[p] = results + self._waiting[p]
            raise
        self._unrecorded -= Counter(result["id"] for results in batch.values() for result in results)
        for ids in stale:
            if ids:
                _log.warning("stale_finish_refused", messages=ids)


class Worker:
    """Sends over the given channels until stopped."""

    def __init__(
        self,
        records: Records,
        contacts: Contacts,
        control: Channels,
        composer: Composer,
        settings: Settings,
        channels: Mapping[ChannelName, Channel],
        consumer: str,
        desks: Mapping[ChannelName, Desk],
    ) -> None:
        """`desks` of the `Asker` beside it: what is sent again must have been asked about a moment ago."""
        self._records, self._contacts, self._control = records, contacts, control
        self._desks = desks
        self._composer, self._settings, self._channels = composer, settings, channels
        self._consumer = consumer
        self._wakeups = Wakeups(records, channels)
        self._limits = Limits(records, settings, channels, consumer)
        self._finisher = Finisher(records)
        self._sending: dict[ChannelName, set[asyncio.Task[None]]] = {name: set() for name in channels}
        self._not_before: dict[ChannelName, float] = dict.fromkeys(channels, 0.0)
        self._holds: set[str] = set()
        self._unanswered: set[tuple[ChannelName, int]] = set()
        self._claiming = {name: asyncio.Lock() for name in channels}
        self._blaming: dict[ChannelName, set[str]] = {name: set() for name in channels}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is held."""
        finishing = asyncio.create_task(self._finisher.run())
        for name in self._channels:
            for p in range(self._records.partitions):
                for lane in (URGENT, BULK):
                    self._wakeups.mark(wake_word(name, lane), p)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with(finishing, stop))
                group.create_task(self._wakeups.run(stop))
                for channel in self._channels.values():
                    group.create_task(self._pump(channel, stop))
        finally:
            sending = [task for tasks in self._sending.values() for task in tasks]
            await asyncio.gather(*sending, return_exceptions=True)
            self._finisher.end(_GIVE_UP_S)
            await asyncio.gather(finishing, return_exceptions=True)
            await self._finisher.flush()  # what a recorder that broke had left

    async def _end_with(self, finishing: asyncio.Task[None], stop: asyncio.Event) -> None:
        """A worker that cannot record must not go on sending: should the recorder break, so does the worker."""
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([finishing, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if finishing.done():
            await finishing

    async def _pump(self, channel: Channel, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._turn(channel)
            except StoreUnavailable as error:
                _log.warning("worker_waits", channel=channel.name, error=str(error))
                await asyncio.sleep(1)

    async def _turn(self, channel: Channel) -> None:
        sending, name = self._sending[channel.name], channel.name
        pause = self._not_before[name] - time.monotonic()
        if pause > 0:
            await asyncio.sleep(min(pause, 1))
            return
        free = channel.concurrency - len(sending)
        if free <= 0:
            await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
            return
        reserved = max(channel.concurrency // _RESERVED, 1) if channel.concurrency > 1 else 0
        urgent, bulk = self._wakeups.partitions(name)
        # Half of what bulk may have: while one half is claimed, the other is written and sent.
        slots, batch = max(free - reserved, 0), max((channel.concurrency - reserved) // 2, 1)
        if bulk and not urgent and 0 < slots < batch:
            # A claim for one costs nearly as much as one for all that are about to be free.
            await asyncio.sleep(_MOMENT_S)
            free = channel.concurrency - len(sending)
            slots, (urgent, bulk) = max(free - reserved, 0), self._wakeups.partitions(name)
        slots = min(slots, batch)
        lease = await self._limits.lease(name, free if urgent else 0, slots if bulk else 0, len(sending))
        # Urgent first, so that it does not even wait for the other partitions' bulk to be taken.
        for p in dict.fromkeys([*urgent, *bulk]):
            most = (lease.all if p in urgent else lease.bulk, lease.bulk)
            if most[0] and await self._take(channel, p, most):
                return
        await self._rest(channel, lease, no_slot=slots == 0, free=free)

    async def _rest(self, channel: Channel, lease: Lease, *, no_slot: bool, free: int) -> None:
        """Nothing may go now: wait for a word, a slot, or the time at which there are tokens again."""
        name, sending = channel.name, self._sending[channel.name]
        await self._limits.give_back(name, len(sending))
        if no_slot and channel.concurrency - len(sending) > free:
            return  # a slot became free meanwhile
        bulk_may = not no_slot and not lease.bulk_wait_s
        lanes = "" if lease.wait_s else URGENT + (BULK if bulk_may else "")
        waits = [wait for wait in (lease.wait_s, lease.bulk_wait_s) if wait]
        await self._wakeups.wait(name, lanes, min(waits, default=SWEEP_S), sending if no_slot else ())

    async def _take(self, channel: Channel, p: int, most: tuple[int, int]) -> int:
        for lane in (URGENT, BULK) if most[1] else (URGENT,):
            self._wakeups.forget(channel.name, lane, p)
        held, more, deadline = await self._hand_out(channel, p, most)
        for lane in more.lanes:
            self._wakeups.mark(wake_word(channel.name, lane), p)
        taken = len(held) + len(more.questions)
        self._limits.used(channel.name, taken)
        for question in more.questions:
            self._start(channel, self._ask_first(channel, question))
        if held:
            await self._begin(channel, held, deadline)
        return taken

    async def _hand_out(
        self, channel: Channel, p: int, most: tuple[int, int], absent: Question | None = None
    ) -> tuple[list[HandedOut], More, float]:
        """What came, what else may, and the end of its lease on `lease_clock`."""
        desk = self._desks.get(channel.name)
        # One claim at a time: what another one brings just now must not be given back as lost.
        async with self._claiming[channel.name]:
            await self._recover(channel, p)
            # The lease counts from before the claim: it is an upper bound on what Redis recorded.
            deadline, now = lease_clock() + self._settings.lease_ms / 1000, now_ms()
            when = self._quiet_until(now), self._known_from(now)
            fresh = desk.fresh if desk is not None else None
            call = self._records.scripts.hand_out(
                p, now, channel.name, self._consumer, most, *when, fresh, absent
            )
            try:
                # By itself: gathering it with what others ask takes until the messages that just came are written.
                [(held, more)] = await self._records.scripts.run_many([call])
            except StoreUnavailable:
                self._unanswered.add((channel.name, p))
                raise
            self._holds.update(h.id for h in held)
        return held, more, deadline

    async def _ask_first(self, channel: Channel, question: Question) -> None:
        """The last answer about it is too old to send it again on: ask, and send it if it is still not there."""
        desk, p = self._desks[channel.name], question.held.partition
        try:
            if await desk.absent(question):
                held, _, deadline = await self._hand_out(channel, p, (0, 0), question)
                if held:
                    await asyncio.gather(*await self._begin(channel, held, deadline))
                    return
                await desk.not_there(question)  # the channel was paused, or it ended meanwhile
        except StoreUnavailable as error:
            # It is in doubt, and asked about again when the lease of the question ends.
            _log.warning("worker_waits", channel=channel.name, error=str(error))
        self._limits.spent(channel.name, None)

    def _start(self, channel: Channel, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in one of the channel's slots."""
        task = asyncio.create_task(work)
        self._sending[channel.name].add(task)
        task.add_done_callback(self._sending[channel.name].discard)
        return task

    async def _recover(self, channel: Channel, p: int) -> None:
        """A claim whose answer was lost may have been made: what came with it was never sent, and waits again."""
        if (channel.name, p) not in self._unanswered:
            return
        holds = sorted(self._holds | self._finisher.unrecorded())
        call = self._records.scripts.give_back(p, now_ms(), channel.name, self._consumer, holds)
        given = await self._records.scripts.run(call)
        self._unanswered.discard((channel.name, p))
        if given:
            _log.info("claim_given_back", channel=channel.name, messages=given)

    def _quiet_until(self, now: int) -> int | None:
        if self._settings.quiet_hours is None:
            return None
        end = quiet_until(from_ms(now), self._settings.quiet_hours, self._settings.zone)
        return to_ms(end) if end else None

    def _known_from(self, now: int) -> int | None:
        age_s = self._settings.payments_known_within_s
        return None if age_s is None else now - age_s * 1000

    async def _begin(
        self, channel: Channel, held: list[HandedOut], deadline: float
    ) -> list[asyncio.Task[None]]:
        begun: list[asyncio.Task[None]] = []
        try:
            addresses, wallets = [h.message["to"] for h in held], [wallet(h.message) for h in held]
            consents = await self._contacts.at_send(channel.name, addresses, wallets)
            username = await self._composer.username()
            waits = await self._limits.chats(channel.name, [h.message["to"] for h in held])
        except StoreUnavailable:
            for h in held:
                self._holds.discard(h.id)
                self._finisher.put(h.partition, _result(h, "unsent"))
            raise
        for h, (allowed, inbound), wait_s in zip(held, consents, waits, strict=True):
            if wait_s:
                self._wait_for_chat(channel, h, wait_s)
                continue
            work = self._deliver(channel, h, deadline, username, inbound if allowed else -1)
            begun.append(self._start(channel, work))
        return begun

    def _wait_for_chat(self, channel: Channel, held: HandedOut, wait_s: float) -> None:
        self._holds.discard(held.id)
        self._limits.spent(channel.name, None)
        at, why = str(now_ms() + math.ceil(wait_s * 1000)), "its chat was busy until its validity ended"
        self._finisher.put(held.partition, _result(held, "retry", at=at, cost="0", why=why))

    async def _deliver(
        self, channel: Channel, held: HandedOut, deadline: float, username: str | None, inbound: int
    ) -> None:
        try:
            await asyncio.sleep(0)  # the next claim goes out first, and is answered while this is written
            result = await self._attempt(channel, held, deadline, username, inbound)
        finally:
            self._holds.discard(held.id)
        self._finisher.put(held.partition, result)

    async def _attempt(
        self, channel: Channel, held: HandedOut, deadline: float, username: str | None, inbound: int
    ) -> Result:
        content = self._content(channel, held, username, inbound)
        if isinstance(content, dict):
            self._limits.spent(channel.name, None)
            return content
        self._limits.spent(channel.name, content)
        text = retained(content)
        try:
            accepted = await channel.send(self._outgoing(held, content, deadline))
        except ChannelError as error:
            decision = type(error).__name__
            _log.warning(
                "send_failed", channel=channel.name, message=held.id, code=error.code, decision=decision
            )
            if isinstance(error, LeaseExpired):
                self._limits.unsent(channel.name, content)
            return self._failed(channel, held, error, text)
        except Exception as error:
            # Nobody knows how far it came, so it is in doubt.
            _log.exception("send_broke", channel=channel.name, message=held.id)
            return self._doubt(channel, held, type(error).__name__, text)
        self._blaming[channel.name].clear()
        _log.debug("sent", channel=channel.name, message=held.id, kind=held.message["k"], lane=held.lane)
        return self._sent(channel, held, accepted, text)

    def _content(
        self, channel: Channel, held: HandedOut, username: str | None, inbound: int
    ) -> Content | Result:
        """What is to be sent, or why nothing is."""
        if inbound < 0:
            return _result(held, "suppressed", why="opted out", x="opted out")
        try:
            return self._composer.content(held, username, inbound, now_ms())
        except TemplateError as error:
            return _result(held, "failed", why="template", err=str(error))
        except Exception as error:
            # Nothing has left, so this is no doubt; the type is told, the text may hold an address.
            _log.exception("render_broke", channel=channel.name, message=held.id)
            return _result(held, "failed", why="template", err=type(error).__name__)

    def _outgoing(self, held: HandedOut, content: object, deadline: float) -> Outgoing:
        left_s = (int(held.message["val"]) - now_ms()) // 1000
        if held.message.get("rg") == "1":
            left_s = min(left_s, int(held.share["cw"]) // 1000)
        return Outgoing(
            message_id=keys.message_id(held.partition, held.id),
            attempt=held.attempt,
            to=held.message["to"],
            content=content,  # type: ignore[arg-type]
            deadline=deadline,
            validity_s=max(min(left_s, _PROVIDER_VALIDITY_S), 5),
        )

    def _sent(self, channel: Channel, held: HandedOut, accepted: Accepted, text: str) -> Result:
        callbacks = self._settings.public_url is not None
        confirmed = confirms(channel.name, accepted.delivery, receipts=self._settings.sms_receipts)
        return _result(
            held,
            "sent",
            pid=accepted.provider_id,
            dl=accepted.delivery,
            dr=str(DELIVERY_RANK[accepted.delivery]),
            seg=str(accepted.segments or (count(text).segments if channel.name is ChannelName.SMS else "")),
            txt=text,
            # Without callbacks nothing will ever confirm a rung, and every rung would go out.
            ok="1" if confirmed or not callbacks else "0",
        )

    def _failed(self, channel: Channel, held: HandedOut, error: ChannelError, text: str) -> Result:
        match error:
            case LeaseExpired():
                return _result(held, "unsent")
            case RecipientInvalid() | RecipientOptedOut():
                self._silence(channel, held, error)
                outcome = "suppressed" if isinstance(error, RecipientOptedOut) else "failed"
                return _result(held, outcome, why=reason(error), err=str(error), x=reason(error))
            case ContentRejected():
                return _result(held, "failed", why="refused by the provider", err=str(error))
            case Misconfigured():
                return self._misconfigured(channel, held, error)
            case Throttled():
                return self._throttled(channel, held, error)
            case Unavailable():
                return self._later(held, error)
            case Uncertain(provider=provider):
                return self._doubt(channel, held, str(error), text, provider)
            case _:
                return self._doubt(channel, held, str(error), text)

    def _silence(self, channel: Channel, held: HandedOut, error: ChannelError) -> None:
        proof, to = f"provider: {error}", held.message["to"]
        self._finisher.also(
            partial(self._contacts.opt_out, channel.name, to, proof=proof, reason=reason(error))
        )

    def _misconfigured(self, channel: Channel, held: HandedOut, error: Misconfigured) -> Result:
        """Pause the channel and keep the message, unless only this recipient may be at fault so far."""
        blaming = self._blaming[channel.name]
        blaming.add(held.message["to"])
        if error.perhaps_recipient and len(blaming) < SEVERAL:
            return _result(held, "failed", why="refused by the provider", err=str(error))
        _log.error("channel_misconfigured", channel=channel.name, code=error.code, detail=error.detail)
        self._finisher.also(partial(self._control.pause, channel.name, reason=str(error), by="tuma"))
        return _result(held, "unsent")

    def _throttled(self, channel: Channel, held: HandedOut, error: Throttled) -> Result:
        wait_ms = int(error.retry_after_s * 1000) if error.retry_after_s is not None else _THROTTLED_MS
        if error.whole_channel:
            self._not_before[channel.name] = time.monotonic() + wait_ms / 1000
        at = now_ms() + int(wait_ms * random.uniform(1.0, 1.2))
        return _result(
            held, "retry", at=str(at), cost="0", why="throttled until its validity ended", err=str(error)
        )

    def _later(self, held: HandedOut, error: Unavailable) -> Result:
        wait = backoff_ms(int(held.message.get("t") or 0), self._settings.retry_first_ms)
        left = int(held.message["val"]) - now_ms() - _LAST_TRY_MS
        if error.retry_after_s is not None:
            wait = max(wait, int(error.retry_after_s * 1000))
        elif 0 < left < wait:
            wait = left
        return _result(
            held,
            "retry",
            at=str(now_ms() + wait),
            cost="1",
            why="not taken before its validity ended",
            err=str(error),
        )

    def _doubt(
        self, channel: Channel, held: HandedOut, error: str, text: str, provider: str | None = None
    ) -> Result:
        at = now_ms() + doubt.first_ms(channel.name, self._settings.in_doubt_wait_ms)
        return _result(held, "doubt", at=str(at), err=error, txt=text, pv=provider or "*")


def _result(held: HandedOut, outcome: str, **fields: str) -> Result:
    return {"id": held.id, "a": str(held.attempt), "r": outcome, "why": "", "err": "", **fields}
