"""taskiq with its Redis streams broker, which acknowledges. `fill URL COUNT`, or started by taskiq's own worker."""

from __future__ import annotations

import asyncio
import os
import sys

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker
from work import Sender, job

broker = RedisStreamBroker(url=os.environ["PEER_REDIS"])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def begin(state: TaskiqState) -> None:
    """Connections of the worker."""
    state.sender = Sender(os.environ["PEER_REDIS"], os.environ["PEER_SINK"])


@broker.task
async def send(wanted: dict[str, str]) -> None:
    """One message."""
    await broker.state.sender.send(wanted)


async def fill(count: int) -> None:
    """Queue so many."""
    await broker.startup()
    for n in range(count):
        await send.kiq(job(n))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
