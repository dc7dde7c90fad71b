"""A worker process for the tests of limits: sends to a channel that notes when, and prints the times when it is told
to stop.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

from bot.engine.engine import Engine
from channels.base import Accepted, Outgoing
from tests.engine.conftest import settings_for
from tests.engine.test_worker import Scripted, hands


class Noting(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    async def send(self, outgoing: Outgoing) -> Accepted:
        accepted = await super().send(outgoing)
        self.times.append(time.time())
        return accepted


async def main(url: str, rate: float, name: str) -> None:
    engine = await Engine.open(settings_for(url, sms_rate=(("", rate),)))
    channel, stop = Noting(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker, _ = hands(engine, channel, consumer=name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await worker.run(stop)
    await engine.close()
    sys.stdout.write(json.dumps(channel.times) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
