"""The limit that sending is measured against: a bare asyncio loop with aiohttp and no queue.

It form-encodes and posts the same fields as a worker does, at the same concurrency, to the same sink.
`python -m benchmarks.bare URL MESSAGES CONCURRENCY` prints one JSON object: messages, seconds, cpu_s.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import msgspec
import uvloop

FORM = {
    "To": "+255754120000",
    "From": "SHULE",
    "Body": "Shule ya Amani: Bili ya Asha Juma TZS 45,000. Namba ya malipo 55042914870000 kabla ya 01 Des 2026. "
    "Jinsi ya kulipa: https://pay.example/pay/3Kf9sLw2QxZ",
    "StatusCallback": "https://pay.example/webhooks/twilio/status?m=3.0Kf9sLw2QxZ.1&a=1",
    "ValidityPeriod": "36000",
}


async def _post(url: str, messages: int, concurrency: int) -> None:
    auth = {"Authorization": aiohttp.encode_basic_auth("AC" + "0" * 32, "secret")}
    left = iter(range(messages))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def loop() -> None:
            for _ in left:
                async with session.post(url, data=FORM, headers=auth) as answer:
                    msgspec.json.decode(await answer.read())

        await asyncio.gather(*(loop() for _ in range(concurrency)))


def main(url: str, messages: int, concurrency: int) -> None:
    """Post so many messages and say how long it took."""
    path = "/2010-04-01/Accounts/AC" + "0" * 32 + "/Messages.json"
    begun, cpu = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_post(url + path, messages, concurrency))
    took = {"messages": messages, "seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}
    print(msgspec.json.encode(took).decode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
