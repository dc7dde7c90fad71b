"""Requests for a server under measurement, made beforehand and written as bytes, so that asking costs little.

Closed: every connection asks again as soon as it has its answer, which gives the rate. Open: requests leave at fixed
times whatever the server does, and latency counts from when a request should have left, so that a server that stops
cannot hide it. Bodies must be answered with Content-Length.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

_HEADERS_END = b"\r\n\r\n"


@dataclass
class Answers:
    """What came back: how often each status, seconds in all, each latency in ms, and if paced when it was due."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    dues: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency in ms that `share` of all answers stayed below."""
        return percentile(self.latencies_ms, share)


def percentile(values: Sequence[float], share: float) -> float:
    """What `share` of the values stayed below."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _HEADERS_END + body


class _Connection(asyncio.Protocol):
    """One kept connection; answers come in the order of its requests."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from asyncio's

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self._transport is not None
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._transport.write(request)
        return answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_HEADERS_END)) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._waiting.popleft().set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        for answer in self._waiting:
            answer.set_exception(exc or ConnectionResetError("the server closed the connection"))
        self._waiting.clear()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


async def _connections(port: int, count: int) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(_Connection, "127.0.0.1", port) for _ in range(count)]
    return [protocol for _, protocol in made]


async def closed(port: int, requests: Iterable[bytes], connections: int) -> Answers:
    """As many as the server answers, `connections` at once."""
    answers, left = Answers(), iter(requests)
    opened = await _connections(port, connections)

    async def ask(connection: _Connection) -> None:
        for request in left:
            begun = time.perf_counter()
            answers.statuses[await connection.ask(request)] += 1
            answers.latencies_ms.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*map(ask, opened))
    answers.seconds = time.perf_counter() - begun
    for connection in opened:
        connection.close()
    return answers


async def paced(port: int, requests: Sequence[bytes], rate: float, connections: int) -> Answers:
    """`rate` requests a second over so many connections in turn, pipelined if the server is late."""
    answers, waiting = Answers(), set()
    opened = await _connections(port, connections)

    async def ask(request: bytes, due: float, connection: _Connection) -> None:
        answers.statuses[await connection.ask(request)] += 1
        answers.latencies_ms.append((time.perf_counter() - due) * 1000)
        answers.dues.append(due)

    begun = time.perf_counter()
    for n, request in enumerate(requests):
        due = begun + n / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.ensure_future(ask(request, due, opened[n % connections]))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)
    answers.seconds = time.perf_counter() - begun
    for connection in opened:
        connection.close()
    return answers
