"""Mail over ten kept connections, on the full product path, against bare aiosmtplib over ten.

Both hand the same bytes to the same sink, a process that speaks SMTP and keeps nothing. `python -m benchmarks.mail
[MAILS [ROUNDS]]` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import base64
import smtplib
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiosmtplib
import msgspec
import uvloop
from redis import Redis

from benchmarks.drain import reach
from benchmarks.places import cpu_s, free_port, running, until_open, valkey
from bot.domain.share import from_fields
from bot.engine.engine import Engine
from bot.settings import load

CONNECTIONS = 10


class Mailed(msgspec.Struct, frozen=True, kw_only=True):
    """Rates in mails a second, CPU in ms a mail; medians over rounds."""

    mails: int
    tuma: float
    bare: float
    of_bare: float
    cpu_ms: float
    bare_cpu_ms: float


class _Sink(asyncio.Protocol):
    """Takes every mail. Source: RFC 5321; SIZE and 8BITMIME as ordinary servers offer them."""

    last = b""

    def __init__(self) -> None:
        self._data, self._buffer = False, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n.\r\n" if self._data else b"\r\n")
            if end < 0:
                return
            if self._data:
                type(self).last, self._buffer = self._buffer[:end], self._buffer[end + 5 :]
                self._data = False
                self._transport.write(b"250 2.0.0 taken\r\n")
                continue
            line, self._buffer = self._buffer[:end].upper(), self._buffer[end + 2 :]
            self._answer(line)

    def _answer(self, line: bytes) -> None:
        if line.startswith(b"EHLO"):
            self._transport.write(
                b"250-sink\r\n250-SIZE 10485760\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
            )
        elif line == b"DATA":
            self._data = True
            self._transport.write(b"354 go on\r\n")
        elif line == b"QUIT":
            self._transport.write(b"221 2.0.0 bye\r\n")
            self._transport.close()
        elif line == b"VRFY LAST":
            self._transport.write(b"".join(_reply(base64.b64encode(self.last))))
        else:
            self._transport.write(b"250 2.0.0 ok\r\n")


def _reply(text: bytes) -> Iterator[bytes]:
    lines = [text[at : at + 400] for at in range(0, len(text), 400)] or [b""]
    yield from (b"252-" + line + b"\r\n" for line in lines[:-1])
    yield b"252 " + lines[-1] + b"\r\n"


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port)
    await server.serve_forever()


@contextmanager
def _sink() -> Iterator[int]:
    port = free_port()
    with running("-m", "benchmarks.mail", "sink", str(port)):
        until_open(port, 30)
        yield port


def environment(redis_url: str, port: int) -> dict[str, str]:
    """Settings of a merchant who mails through the sink."""
    return {
        "REDIS_URL": redis_url,
        "SMTP_URL": f"smtp://127.0.0.1:{port}",
        "EMAIL_FROM": "Shule ya Amani <bili@shule.example>",
        "MERCHANT_NAME": "Shule ya Amani",
        "PUBLIC_URL": "https://pay.example",
        "TUMA_LOG_LEVEL": "warning",
        "EMAIL_RATE": "0",
    }


async def _fill(redis_url: str, port: int, count: int) -> None:
    settings = load(environment(redis_url, port), dotenv=None)
    engine = await Engine.open(settings)
    made = [from_fields(_job(n), settings=settings) for n in range(count)]
    for start in range(0, count, 500):
        await engine.shares.accept_many(made[start : start + 500])
    await engine.close()


def _job(n: int) -> dict[str, Any]:
    return {
        "id": f"mail-{n}",
        "bill": {"number": f"{88_042_914_870_000 + n}", "amount": "45000"},
        "customer": {"name": f"Asha Juma {n}", "email": f"asha{n}@example.com", "locale": "sw"},
        "route": {"channels": ["email"]},
        "lane": "bulk",
    }


def drain(port: int, mails: int) -> tuple[float, float]:
    """Rate, and CPU in ms a mail, of one worker from a tenth of the mails to the last."""
    with valkey() as (url, _), Redis.from_url(url) as redis:
        asyncio.run(_fill(url, port, mails))
        worker = ("-m", "bot", "up", "--roles", "worker", "--channels", "email")
        with running(*worker, environment=environment(url, port)) as process:
            warm = reach(redis, mails // 10)
            before = time.perf_counter(), cpu_s(process.pid)
            count = reach(redis, mails) - warm
            return count / (time.perf_counter() - before[0]), (cpu_s(process.pid) - before[1]) * 1000 / count


def last_mail(port: int) -> bytes:
    """What the sink took last."""
    with smtplib.SMTP("127.0.0.1", port) as asked:
        return base64.b64decode(asked.docmd("VRFY", "LAST")[1].replace(b"\n", b"")).replace(
            b"\r\n..", b"\r\n."
        )


def bare(port: int, mails: int, content: bytes) -> tuple[float, float]:
    """The limit: ten connections, the same bytes again and again."""

    async def send() -> None:
        left = iter(range(mails))

        async def loop() -> None:
            async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as smtp:
                for n in left:
                    await smtp.sendmail("bili@shule.example", [f"asha{n}@example.com"], content)

        await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))

    begun, cpu = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send())
    return mails / (time.perf_counter() - begun), (time.process_time() - cpu) * 1000 / mails


def measure(mails: int, rounds: int) -> Mailed:
    """Both in turn."""
    ours, limit = [], []
    with _sink() as port:
        for _ in range(rounds):
            ours.append(drain(port, mails))
            limit.append(bare(port, mails, last_mail(port)))
    return Mailed(
        mails=mails,
        tuma=round(statistics.median(rate for rate, _ in ours)),
        bare=round(statistics.median(rate for rate, _ in limit)),
        of_bare=round(statistics.median(a / b for (a, _), (b, _) in zip(ours, limit, strict=True)), 3),
        cpu_ms=round(statistics.median(cpu for _, cpu in ours), 3),
        bare_cpu_ms=round(statistics.median(cpu for _, cpu in limit), 3),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["sink"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(_serve(int(sys.argv[2])))
    else:
        counts = [int(value) for value in sys.argv[1:]] + [5000, 3][len(sys.argv) - 1 :]
        print(msgspec.json.encode(measure(*counts)).decode())
