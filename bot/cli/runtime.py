"""What commands run on: settings, logs, the engine, and who is at the keyboard."""

from __future__ import annotations

import gc
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from bot.cli.output import show_times_in

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

T = TypeVar("T")


def settings() -> Settings:
    """All settings, from the environment and `.env`. Raises ConfigError."""
    from bot.settings import load

    chosen = load()
    show_times_in(chosen.zone)
    return chosen


def with_engine(work: Callable[[Engine], Awaitable[T]], chosen: Settings | None = None) -> T:
    """Open the engine, do `work`, close it. Raises StoreUnavailable when Redis is away."""
    import asyncio

    return asyncio.run(_with_engine(work, chosen or settings()))


async def _with_engine(work: Callable[[Engine], Awaitable[T]], chosen: Settings) -> T:
    async with open_engine(chosen) as engine:
        return await work(engine)


@asynccontextmanager
async def open_engine(chosen: Settings) -> AsyncIterator[Engine]:
    """The engine, for as long as the context lasts. Raises ConfigError, StoreUnavailable."""
    from bot.engine.engine import Engine

    quiet_logs(chosen)
    engine = await Engine.open(chosen)
    try:
        yield engine
    finally:
        await engine.close()


def collect_only_new() -> None:
    """Let the garbage collector look at what comes from now on alone, and less often.

    What is loaded by now stays; a look at all of it stops a process for a tenth of a second. What a request or a row
    needs is freed without the collector as it ends, save for cycles, such as those of tracebacks.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def quiet_logs(chosen: Settings) -> None:
    """Logs as someone at a terminal wants them: on stderr, and only what is wrong, unless settings say debug."""
    from bot.log import configure

    level = "warning" if chosen.log_level == "info" else chosen.log_level
    configure(replace(chosen, log_level=level, log_format="console"))


def operator() -> str:
    """Who acts, for the records: the name of the user at this machine."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return "cli"
