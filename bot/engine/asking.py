"""Asking providers about messages in doubt, in the processes whose workers can send through them. Any number may run.

What is found is recorded as if a callback had told it, so that a message which the provider took goes out once. What
is not there after several questions is for the policy (lua/due). What is sent again after that, and has waited for
longer than an answer is good for, is asked about once more by the worker that is about to send it (`Desk.absent`).
While a provider cannot be asked it is asked again, more and more slowly, for as long as the message is worth sending. A
question that a lost process took along is asked again when its lease ends.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog

from bot.engine import doubt, keys, views
from bot.engine.compose import Composer, retained
from bot.engine.contacts import Contacts
from bot.engine.receipts import Receipts
from bot.engine.records import Records
from bot.engine.scheduler import every
from bot.engine.scripts import Freshness, Question, now_ms
from bot.errors import NotFound, StoreUnavailable, TemplateError
from bot.settings import Settings
from channels.base import Accepted, Askable, Channel, ChannelName, StatusUpdate, Trace
from channels.errors import ChannelError, Throttled, Unaskable, Unavailable

# Of the requests that a channel may make at once, one in five may be a question.
_PART = 5
_MOST = 10
# One find makes two requests.
_REQUESTS = 2
_LEASE_MARGIN_S = 5.0
_LOOK_S = 1.0
# How long nothing is asked after a question that could not be answered, as parts of the whole wait; it doubles.
_REST, _REST_MOST = 1 / 60, 1 / 2
_log = structlog.get_logger(__name__)


class Asker:
    """Asks over the given channels."""

    def __init__(
        self,
        records: Records,
        contacts: Contacts,
        receipts: Receipts,
        composer: Composer,
        settings: Settings,
        channels: Mapping[ChannelName, Channel],
    ) -> None:
        self._look_s = min(_LOOK_S, max(settings.in_doubt_wait_ms / 10_000, 0.02))
        self.desks = {
            name: Desk(records, contacts, receipts, composer, settings, channel)
            for name, channel in channels.items()
            if name in doubt.ASKED
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until `stop` is set; what is being asked then is still heard."""
        async with asyncio.TaskGroup() as group:
            group.create_task(stop.wait())  # a process without such a channel waits with the others
            for desk in self.desks.values():
                group.create_task(every(self._look_s, partial(desk.clear, stop), stop))


class Desk:
    """The questions of one channel. `fresh`: for how long an answer is good, as `Scripts.hand_out` wants it."""

    def __init__(
        self,
        records: Records,
        contacts: Contacts,
        receipts: Receipts,
        composer: Composer,
        settings: Settings,
        channel: Channel,
    ) -> None:
        self._records, self._contacts, self._receipts, self._composer = records, contacts, receipts, composer
        self._channel, self._wait_ms = channel, settings.in_doubt_wait_ms
        self._limit_s = _REQUESTS * channel.request_timeout_s
        self._lease_ms = int((self._limit_s + _LEASE_MARGIN_S) * 1000)
        self.fresh = Freshness(settings.in_doubt_fresh_ms, self._lease_ms)
        self._most = max(1, min(_MOST, channel.concurrency // _PART))
        self._rests_until, self._unanswered = 0.0, 0

    async def clear(self, stop: asyncio.Event) -> None:
        """Ask about everything that is due, unless the provider needs a rest. Raises StoreUnavailable."""
        while not stop.is_set() and time.monotonic() >= self._rests_until:
            # A provider that did not answer is tried with one question.
            taken = await self._take(1 if self._unanswered else self._most)
            if not taken:
                return
            outcomes = await asyncio.gather(*map(self._ask, taken), return_exceptions=True)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    async def _take(self, most: int) -> list[Question]:
        name, scripts = self._channel.name, self._records.scripts
        due = await self._records.asks(name, now_ms(), most)
        chosen = random.sample(due, min(most, len(due)))
        calls = [scripts.ask(p, now_ms(), name, id, self._lease_ms) for p, id in chosen]
        found = await scripts.run_many(calls)
        return [question for question in found if question is not None]

    async def _ask(self, question: Question) -> None:
        if await self._absent(question, self._limit_s):
            await self.not_there(question)

    async def absent(self, question: Question) -> bool:
        """Ask at once, for no longer than a request may take: True if the provider does not have it.

        Whatever else comes of it is on record then. Raises StoreUnavailable.
        """
        rest_s = self._rests_until - time.monotonic()
        if rest_s > 0:
            await self._note(question, "later", int(rest_s * 1000))
            return False
        return await self._absent(question, self._channel.request_timeout_s)

    async def not_there(self, question: Question) -> None:
        """The provider does not have it: count the answer. Raises StoreUnavailable."""
        answers = int(question.held.message.get("aq") or 0) + 1
        await self._note(question, "absent", doubt.pause_ms(answers, self._wait_ms))

    async def _absent(self, question: Question, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                found = await self._find(await self._trace(question))
        except Unaskable as error:
            await self._note(question, "unaskable", 0, str(error))
        except ChannelError as error:
            await self._later(question, error)
        except (StoreUnavailable, TimeoutError) as error:
            await self._later(question, Unavailable("ask", type(error).__name__))
        except Exception as error:
            # Its type is told, its text may hold an address.
            _log.exception("ask_broke", channel=self._channel.name, message=question.held.id)
            await self._later(question, Unavailable("ask", type(error).__name__))
        else:
            self._unanswered = 0
            if found is None:
                return True
            with suppress(NotFound):  # its retention ended meanwhile
                await self._adopt(question, found)
        return False

    async def _find(self, trace: Trace) -> Accepted | None:
        if isinstance(self._channel, Askable):
            return await self._channel.find(trace)
        raise Unaskable("question", "this provider does not tell which messages it has")

    async def _trace(self, question: Question) -> Trace:
        held = question.held
        m, doubtful = held.message, held.message.get("hd") or held.message["hat"]
        on = await self._contacts.numbers_of(m["to"])
        at = views.moment(doubtful)
        assert at is not None  # noqa: S101 - what is in doubt was handed out
        having = (m.get("pv") or "*").split()
        return Trace(
            message_id=keys.message_id(held.partition, held.id),
            to=m["to"],
            text=m.get("txt") or None,
            number=m["num"],
            handed_out_at=at,
            exclude=frozenset(question.owned),
            likely=self._texts(question, await self._composer.username()),
            alone=question.alone,
            providers=None if "*" in having else frozenset(having),
            others=frozenset(on) - {m["num"], m.get("nn", "")},
        )

    def _texts(self, question: Question, username: str | None) -> tuple[str, ...]:
        """What the message would say now: a lost worker took along what it said."""
        now, texts = now_ms(), set[str]()
        for last_inbound in (0, now):
            with suppress(TemplateError):
                texts.add(retained(self._composer.content(question.held, username, last_inbound, now)))
        return tuple(texts)

    async def _adopt(self, question: Question, found: Accepted) -> None:
        held = question.held
        update = StatusUpdate(
            keys.message_id(held.partition, held.id), found.provider_id, found.delivery, found.error
        )
        if not await self._receipts.found(update, found.segments):
            await self._note(question, "later", 0)  # another message was given it meanwhile
            return
        _log.info("found_in_doubt", channel=self._channel.name, message=held.id, delivery=found.delivery)

    async def _later(self, question: Question, error: ChannelError) -> None:
        rest_s = min(_REST * 2**self._unanswered, _REST_MOST) * self._wait_ms / 1000
        if isinstance(error, Throttled | Unavailable) and error.retry_after_s is not None:
            rest_s = max(rest_s, error.retry_after_s)
        self._unanswered = min(self._unanswered + 1, 10)
        self._rests_until = time.monotonic() + rest_s
        _log.warning("cannot_ask", channel=self._channel.name, message=question.held.id, code=error.code)
        await self._note(question, "later", max(int(rest_s * 1000), self._wait_ms // 6), str(error))

    async def _note(self, question: Question, answer: str, after_ms: int, obstacle: str = "") -> None:
        held, now, scripts = question.held, now_ms(), self._records.scripts
        values = (answer, now + after_ms, doubt.TIMES, self._wait_ms, obstacle)
        await scripts.run(scripts.asked(held.partition, now, held.id, question.token, values))
