"""Making control numbers while a command runs, so that a file can be taken where no `tuma up` is running."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from bot.engine.engine import Engine

T = TypeVar("T")
# How long a command waits for ClickPesa without any progress.
PATIENCE_MS = 60_000
_LOOK_S = 0.2
_AT_ONCE = 100


@asynccontextmanager
async def making(engine: Engine) -> AsyncIterator[None]:
    """With a number maker at work, if there are credentials of ClickPesa."""
    from bot.app import clickpesa
    from bot.billpay.maker import NumberMaker

    client = clickpesa(engine, engine.settings)
    if client is None:
        yield
        return
    stop = asyncio.Event()
    maker = NumberMaker(client, engine.creations, bulk_wait_ms=engine.settings.create_wait_ms)
    running = asyncio.create_task(maker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await client.close()


async def outcomes(
    look: Callable[[str], Awaitable[T | None]], waiting: Mapping[str, object]
) -> AsyncIterator[tuple[str, T]]:
    """Each of `waiting` (which the caller may shorten) with what `look` found of it, until nothing more comes."""
    moved = time.monotonic()
    while waiting and time.monotonic() - moved < PATIENCE_MS / 1000:
        for name in list(waiting)[:_AT_ONCE]:
            if (found := await look(name)) is not None:
                moved = time.monotonic()
                yield name, found
        await asyncio.sleep(_LOOK_S)
