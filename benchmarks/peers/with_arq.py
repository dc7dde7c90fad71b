"""arq, 50 jobs at once, results not kept. `COUNT` queues so many; without it this is the worker."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from work import CONCURRENCY, Sender, job

SETTINGS = RedisSettings.from_dsn(os.environ["PEER_REDIS"])


async def begin(ctx: dict[str, Any]) -> None:
    """Connections of the worker."""
    ctx["sender"] = Sender(os.environ["PEER_REDIS"], os.environ["PEER_SINK"])


async def send(ctx: dict[str, Any], wanted: dict[str, str]) -> None:
    """One message."""
    await ctx["sender"].send(wanted)


async def fill(count: int) -> None:
    """Queue so many."""
    pool = await create_pool(SETTINGS)
    for n in range(count):
        await pool.enqueue_job("send", job(n), _job_id=f"bench-{n}")
    await pool.aclose()


async def work() -> None:
    """Run until stopped."""
    worker = Worker(
        functions=[send],
        redis_settings=SETTINGS,
        max_jobs=CONCURRENCY,
        keep_result=0,
        poll_delay=0.01,
        on_startup=begin,
        handle_signals=False,
        log_results=False,
    )
    await worker.async_run()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])) if len(sys.argv) > 1 else work())
