"""Delivery reports on their way to the message they are about, and what they say of the SMS provider they come from.

Some providers name only their own ids. Which message they mean is remembered when they take it; a report that is
faster than that waits for a while. With several SMS providers, each arrival counts for the provider, and a report
that blames our account there counts against it and sends the message another way, instead of stopping all SMS.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from bot.engine import keys
from bot.engine.messages import Messages
from bot.engine.records import Records
from bot.engine.store import guard
from bot.errors import NotFound, StoreUnavailable
from bot.settings import Settings
from channels import errors
from channels.base import ChannelName, Delivery, StatusUpdate
from channels.errors import ChannelError, Misconfigured, RecipientInvalid, RecipientOptedOut, Unavailable
from channels.sms_health import WINDOW_MIN, Seen, field_of, minute_of

# Networks report for some days; a report that is early is early by seconds.
REMEMBERED_S = 4 * 86_400
EARLY_S = 3_600
_EARLY_MOST = 10
_BLAME = 20
_ANOTHER_WAY_S = 30.0


class _Early(msgspec.Struct):
    """A report that waits, as it is kept."""

    provider_id: str
    delivery: Delivery
    error: str | None = None
    code: str = ""
    detail: str = ""
    retry_after_s: float | None = None
    most_retries: int | None = None


class SmsBoard:
    """What all processes saw of the SMS providers, by minute."""

    def __init__(self, records: Records) -> None:
        self._client = records.client

    async def add(self, minute: int, counts: Mapping[str, int]) -> None:
        """Add to the counts of a minute. Raises StoreUnavailable."""
        key = keys.sms_minute(minute)
        with guard():
            pipe = self._client.pipeline()
            for name, count in counts.items():
                pipe.hincrby(key, name, count)
            pipe.expire(key, (WINDOW_MIN + 5) * 60)
            await pipe.execute()

    async def read(self, minutes: Sequence[int]) -> list[Mapping[str, int]]:
        """The counts of some minutes, in that order. Raises StoreUnavailable."""
        with guard():
            pipe = self._client.pipeline()
            for minute in minutes:
                pipe.hgetall(keys.sms_minute(minute))
            found = cast(list[dict[str, str]], await pipe.execute())
        return [{name: int(count) for name, count in counts.items()} for counts in found]


class Receipts:
    """The delivery reports of SMS providers."""

    def __init__(self, records: Records, messages: Messages, board: SmsBoard, settings: Settings) -> None:
        self._client = records.client
        self._messages, self._board = messages, board
        self._several = len(settings.sms_route()) > 1

    async def remember(self, provider: str, provider_id: str, message_id: str) -> None:
        """Note that a provider took a message under this id, and apply what came early. Raises StoreUnavailable."""
        with guard():
            await self._client.set(keys.receipt(provider, provider_id), message_id, ex=REMEMBERED_S)
        await self._catch_up(provider, provider_id, message_id)

    async def reported(self, provider: str, update: StatusUpdate) -> bool:
        """Apply a report that names the provider's id alone; True if it changed anything.

        Of an id that is not known it is kept for an hour. Raises StoreUnavailable, and NotFound for a message that
        is gone.
        """
        message_id = await self._named(provider, update.provider_id)
        if message_id is not None:
            return await self.arrived(provider, _of(update, message_id))
        await self._keep(provider, update)
        # It may have become known between the two.
        message_id = await self._named(provider, update.provider_id)
        return message_id is not None and await self._catch_up(provider, update.provider_id, message_id)

    async def arrived(self, provider: str, update: StatusUpdate) -> bool:
        """Apply a report that names our message; True if it changed anything. Raises NotFound, StoreUnavailable."""
        if not self._several:
            return await self._messages.delivery(update)
        view = await self._messages.get(update.message_id or "")
        if view.channel != ChannelName.SMS:
            return await self._messages.delivery(update)
        changed = await self._messages.delivery(_another_way(update))
        if changed:
            sent_s = view.sent_at.timestamp() if view.sent_at else time.time()
            with contextlib.suppress(StoreUnavailable):  # what was said is on record; its moral may be lost
                await self._count(provider, update, sent_s)
        return changed

    async def found(self, update: StatusUpdate, segments: int | None) -> bool:
        """Apply what a provider said when it was asked about a message in doubt.

        False if what was found belongs to another message. Raises NotFound, StoreUnavailable.
        """
        view = await self._messages.get(update.message_id or "")
        several = self._several and view.channel == ChannelName.SMS
        return await self._messages.found(_another_way(update) if several else update, segments)

    async def _count(self, provider: str, update: StatusUpdate, sent_s: float) -> None:
        if isinstance(update.error, Misconfigured):
            await self._board.add(minute_of(time.time()), {field_of(provider, Seen.FAULT): _BLAME})
        elif update.delivery in (Delivery.DELIVERED, Delivery.READ) or isinstance(
            update.error, RecipientInvalid | RecipientOptedOut
        ):
            await self._board.add(minute_of(sent_s), {field_of(provider, Seen.ARRIVED): 1})

    async def _named(self, provider: str, provider_id: str) -> str | None:
        with guard():
            return cast(str | None, await self._client.get(keys.receipt(provider, provider_id)))

    async def _keep(self, provider: str, update: StatusUpdate) -> None:
        key = keys.early(provider, update.provider_id)
        with guard():
            pipe = self._client.pipeline()
            pipe.rpush(key, _kept(update))
            pipe.ltrim(key, -_EARLY_MOST, -1)
            pipe.expire(key, EARLY_S)
            await pipe.execute()

    async def _catch_up(self, provider: str, provider_id: str, message_id: str) -> bool:
        with guard():
            waiting = await self._client.lpop(keys.early(provider, provider_id), _EARLY_MOST)
        changed = False
        for text in waiting or ():
            with contextlib.suppress(NotFound):
                changed |= await self.arrived(provider, _of(_read(text), message_id))
        return changed


def _of(update: StatusUpdate, message_id: str) -> StatusUpdate:
    return StatusUpdate(message_id, update.provider_id, update.delivery, update.error)


def _another_way(update: StatusUpdate) -> StatusUpdate:
    """What blames our account at one provider is, where there are others, worth a try through those."""
    error = update.error
    if not isinstance(error, Misconfigured):
        return update
    softened = Unavailable(error.code, error.detail, retry_after_s=_ANOTHER_WAY_S, most_retries=1)
    return StatusUpdate(update.message_id, update.provider_id, update.delivery, softened, update.attempt)


def _kept(update: StatusUpdate) -> bytes:
    error = update.error
    if error is None:
        return msgspec.json.encode(_Early(update.provider_id, update.delivery))
    return msgspec.json.encode(
        _Early(
            provider_id=update.provider_id,
            delivery=update.delivery,
            error=type(error).__name__,
            code=error.code,
            detail=error.detail,
            retry_after_s=getattr(error, "retry_after_s", None),
            most_retries=getattr(error, "most_retries", None),
        )
    )


def _read(text: str) -> StatusUpdate:
    early = msgspec.json.decode(text, type=_Early)
    return StatusUpdate(None, early.provider_id, early.delivery, _error(early))


def _error(early: _Early) -> ChannelError | None:
    if early.error is None:
        return None
    if early.error == Unavailable.__name__:
        return Unavailable(
            early.code, early.detail, retry_after_s=early.retry_after_s, most_retries=early.most_retries
        )
    kind: type[ChannelError] = getattr(errors, early.error)
    return kind(early.code, early.detail)
