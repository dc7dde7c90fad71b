"""A worker process for the crash tests: sends to a channel that says when it began, and never ends."""

from __future__ import annotations

import asyncio
import sys

from bot.engine.engine import Engine
from channels.base import Accepted, Outgoing
from tests.engine.conftest import settings_for
from tests.engine.test_worker import Scripted, hands


class Hanging(Scripted):
    async def send(self, outgoing: Outgoing) -> Accepted:
        sys.stdout.write(f"{outgoing.message_id}\n")
        sys.stdout.flush()
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")


async def main(url: str) -> None:
    engine = await Engine.open(settings_for(url))
    worker, _ = hands(engine, Hanging(), consumer="doomed")
    await worker.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
