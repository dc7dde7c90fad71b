"""Makes the control numbers that wait to be made, and tells ClickPesa what became of those that exist.

Urgent ones are made at once and one by one, so that one that is refused or slow keeps no other waiting; bulk ones
together, up to 50 in a call. Every reference is on record before its call (see `bot.engine.creations`), and a call that
may have worked is looked up before it is repeated, so nothing is made twice. While ClickPesa is away everything waits.

Source: ClickPesa API reference, "BillPay" (create, bulk create, update).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine
from typing import Any, Protocol

import msgspec
import structlog

from bot.billpay.client import ClickPesa
from bot.billpay.creating import TAKEN, create_many_surely, create_surely
from bot.billpay.errors import (
    ClickPesaError,
    ClickPesaNotFound,
    ClickPesaRefused,
    ClickPesaThrottled,
    ReferenceTaken,
)
from bot.billpay.numbers import MOST_ITEMS, Created, ItemRefused, NewNumber, check
from bot.domain.bill import BillKind
from bot.domain.creation import Made, Telling, Wanted
from bot.errors import Refused, StoreUnavailable

_AT_ONCE = 4  # urgent calls under way; the client allows 8 in all
_REST_S, _LONGEST_REST_S = 2.0, 60.0
# An item that ClickPesa did not make and did not name: asked for again so often, then given up.
_UNNAMED_TRIES = 3
_log = structlog.get_logger(__name__)


class Waiting(Protocol):
    """Where numbers wait to be made: `Creations` of the engine."""

    async def listen(self, stop: asyncio.Event) -> None:
        """Hear of new work until `stop`."""
        ...

    async def wait(self, busy: Collection[asyncio.Task[None]]) -> None:
        """Until there may be work or one of `busy` has ended."""
        ...

    async def urgent(self, most: int) -> list[Wanted]:
        """Take numbers to be made at once."""
        ...

    async def bulk(self, most: int, wait_ms: int) -> list[Wanted]:
        """Take numbers for bulk calls."""
        ...

    async def made(self, wanted: Wanted) -> Made:
        """ClickPesa has it."""
        ...

    async def later(self, wanted: Wanted, seconds: float) -> None:
        """Try again after a while."""
        ...

    async def another(self, wanted: Wanted) -> None:
        """The reference is somebody else's."""
        ...

    async def refused(self, wanted: Wanted, why: str) -> None:
        """ClickPesa will not make it."""
        ...

    async def unwanted(self, wanted: Wanted) -> None:
        """Nobody waited for it, so nobody may pay to it."""
        ...

    async def to_tell(self, most: int) -> list[Telling]:
        """Take what ClickPesa is to be told."""
        ...

    async def told(self, telling: Telling) -> None:
        """ClickPesa knows."""
        ...

    async def tell_later(self, telling: Telling, seconds: float) -> None:
        """ClickPesa could not be told."""
        ...


class NumberMaker:
    """The loop that makes numbers. `bulk_wait_ms`: how long bulk ones may wait for company."""

    def __init__(self, client: ClickPesa, waiting: Waiting, *, bulk_wait_ms: int) -> None:
        self._client, self._waiting, self._bulk_wait_ms = client, waiting, bulk_wait_ms
        self._tasks: set[asyncio.Task[None]] = set()
        self._bulk: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._rest_s = 0.0
        self._rests_until = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Make numbers until `stop` is set; what is under way is finished."""
        listening = asyncio.create_task(self._waiting.listen(stop))
        try:
            while not stop.is_set():
                try:
                    await self._turn()
                    await self._waiting.wait(self._tasks)
                except StoreUnavailable as error:
                    _log.warning("number_maker_waits", error=str(error))
                    await asyncio.sleep(1)
        finally:
            await asyncio.gather(*self._tasks, listening, return_exceptions=True)

    async def _turn(self) -> None:
        if (rest_s := self._rests_until - time.monotonic()) > 0:
            # Not to be skipped: what waits stays marked, so `wait` returns at once and this loop would never yield.
            await asyncio.sleep(min(rest_s, 1))
            return
        free = _AT_ONCE - sum(1 for task in self._tasks if task not in (self._bulk, self._telling))
        for wanted in await self._waiting.urgent(free) if free > 0 else ():
            self._begin(self._make_one(wanted))
        if self._bulk is None or self._bulk.done():
            batch = await self._waiting.bulk(MOST_ITEMS, self._bulk_wait_ms)
            self._bulk = self._begin(self._make_many(batch)) if batch else None
        if self._telling is None or self._telling.done():
            tellings = await self._waiting.to_tell(MOST_ITEMS)
            self._telling = self._begin(self._tell_all(tellings)) if tellings else None

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._surviving(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _surviving(self, work: Coroutine[Any, Any, None]) -> None:
        """What is not recorded stays taken until its lease ends, and is then looked for and made again."""
        try:
            await work
        except StoreUnavailable as error:
            _log.warning("number_made_unrecorded", error=str(error))
        except Exception as error:
            _log.error("number_maker_failed", error=type(error).__name__, exc_info=error)

    # One by one

    async def _make_one(self, wanted: Wanted) -> None:
        new = _new(wanted)
        try:
            number = await create_surely(self._client, new, doubtful=wanted.tries > 0)
        except ReferenceTaken:
            await self._waiting.another(wanted)
            if wanted.tries:
                # Most likely our own of an earlier try, from before the balance changed: nobody may pay to it.
                await self._waiting.unwanted(wanted)
        except (ClickPesaRefused, Refused) as error:
            await self._give_up(wanted, str(error))
        except ClickPesaError as error:
            await self._waiting.later(wanted, self._rest(error))
        else:
            self._rest_s = 0.0
            if number.lower() == wanted.reference.lower():
                await self._made(wanted)
            else:  # nobody could pay under the reference
                await self._give_up(wanted, f"ClickPesa made {number} instead of {wanted.reference}")

    async def _made(self, wanted: Wanted) -> None:
        made = await self._waiting.made(wanted)
        if made.outcome == "amount" and made.amount is not None:
            # Somebody paid meanwhile: the number asks for what is left, before anybody sees it.
            await self._correct(wanted, made)
        elif made.outcome == "stale":
            await self._waiting.unwanted(wanted)

    async def _correct(self, wanted: Wanted, made: Made) -> None:
        try:
            await self._client.update(wanted.reference, amount=made.amount)
        except ClickPesaError as error:
            await self._waiting.later(wanted, self._rest(error))
        else:
            await self._made(msgspec.structs.replace(wanted, amount=made.amount or wanted.amount))

    async def _give_up(self, wanted: Wanted, why: str) -> None:
        _log.warning("number_refused", member=wanted.member[:1], error=why)
        await self._waiting.refused(wanted, why)

    def _rest(self, error: ClickPesaError) -> float:
        """How long everything waits after this error, in seconds."""
        asked = error.retry_after_s if isinstance(error, ClickPesaThrottled) else None
        if time.monotonic() >= self._rests_until:  # several that fail together are one failure
            self._rest_s = min(max(self._rest_s * 2, _REST_S), _LONGEST_REST_S)
        pause = min(asked or self._rest_s, _LONGEST_REST_S)
        self._rests_until = max(self._rests_until, time.monotonic() + pause)
        _log.warning("numbers_wait_for_clickpesa", error=str(error), pause_s=pause)
        return pause

    # Together

    async def _make_many(self, batch: list[Wanted]) -> None:
        for kind in BillKind:
            of_kind = [wanted for wanted in batch if wanted.kind is kind]
            fit = [wanted for wanted in of_kind if await self._fits(wanted)]
            if fit:
                await self._make_bulk(kind, fit)

    async def _fits(self, wanted: Wanted) -> bool:
        """One item that cannot be right would spoil the call for all."""
        try:
            check(_new(wanted))
        except Refused as refused:
            await self._give_up(wanted, str(refused))
            return False
        return True

    async def _make_bulk(self, kind: BillKind, batch: list[Wanted]) -> None:
        doubtful = any(wanted.tries for wanted in batch)
        try:
            results = await create_many_surely(
                self._client, kind, [_new(wanted) for wanted in batch], doubtful=doubtful
            )
        except (ClickPesaRefused, Refused):
            # The call as a whole was refused: whose fault it is shows one by one.
            for wanted in batch:
                await self._make_one(wanted)
            return
        except ClickPesaError as error:
            pause = self._rest(error)
            for wanted in batch:
                await self._waiting.later(wanted, pause)
            return
        self._rest_s = 0.0
        for wanted, result in zip(batch, results, strict=True):
            await self._item(wanted, result)

    async def _item(self, wanted: Wanted, result: Created | ItemRefused) -> None:
        if isinstance(result, Created):
            await self._made(wanted)
        elif result.reason == TAKEN:
            await self._waiting.another(wanted)
        elif result.reason is None and wanted.tries < _UNNAMED_TRIES:
            await self._waiting.later(wanted, _REST_S)
        else:
            await self._give_up(
                wanted, f"ClickPesa: {result.reason or 'it was not made, and no reason given'}"
            )

    # Telling

    async def _tell_all(self, tellings: list[Telling]) -> None:
        for telling in tellings:
            try:
                await self._tell(telling)
            except ClickPesaError as error:
                await self._waiting.tell_later(telling, self._rest(error))

    async def _tell(self, telling: Telling) -> None:
        try:
            if telling.status is not None or telling.amount is not None:
                await self._client.update(
                    telling.number,
                    status=telling.status,
                    amount=telling.amount,
                    description=telling.description,
                    mode=telling.mode,
                )
        except ClickPesaNotFound:
            pass  # a number of another system: there is nobody to tell
        except (ClickPesaRefused, Refused) as error:
            _log.warning("clickpesa_refuses_change", number=telling.number, error=str(error))
        await self._waiting.told(telling)


def _new(wanted: Wanted) -> NewNumber:
    return NewNumber(
        kind=wanted.kind,
        reference=wanted.reference,
        amount=wanted.amount,
        description=wanted.description,
        mode=wanted.mode,
        customer_name=wanted.name,
        customer_phone=wanted.phone,
        customer_email=wanted.email,
    )
