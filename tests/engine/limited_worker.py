"""A worker process for the tests of limits: sends to a channel that notes when, and prints the times when it is told
to stop.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

from bot.app import renderer
from bot.engine.compose import Composer
from bot.engine.engine import Engine
from bot.engine.worker import Worker
from channels.base import Accepted, ChannelName, Outgoing
from tests.engine.conftest import settings_for
from tests.engine.test_worker import Scripted


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
    composer = Composer(engine.records, renderer(engine.settings), engine.settings)
    channels = {ChannelName.SMS: channel}
    worker = Worker(
        engine.records, engine.contacts, engine.channels, composer, engine.settings, channels, name
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await worker.run(stop)
    await engine.close()
    sys.stdout.write(json.dumps(channel.times) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
