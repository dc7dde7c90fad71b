"""saq, 50 jobs at once, results not kept. `COUNT` queues so many; without it this is the worker."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from saq import Queue, Worker
from work import CONCURRENCY, Sender, job


async def begin(ctx: dict[str, Any]) -> None:
    """Connections of the worker."""
    ctx["sender"] = Sender(os.environ["PEER_REDIS"], os.environ["PEER_SINK"])


async def send(ctx: dict[str, Any], *, wanted: dict[str, str]) -> None:
    """One message."""
    await ctx["sender"].send(wanted)


async def fill(count: int) -> None:
    """Queue so many."""
    queue = Queue.from_url(os.environ["PEER_REDIS"])
    await queue.connect()
    for n in range(count):
        await queue.enqueue("send", wanted=job(n), key=f"bench-{n}", ttl=-1, timeout=60)
    await queue.disconnect()


async def work() -> None:
    """Run until stopped."""
    queue = Queue.from_url(os.environ["PEER_REDIS"])
    await Worker(queue, functions=[send], concurrency=CONCURRENCY, startup=begin).start()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])) if len(sys.argv) > 1 else work())
