"""One aiohttp application on one port, the tasks that outlive a request, and outgoing webhooks.

Promises that `stop` ends every task and socket it began. Retries nothing that a provider does not retry.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

# What does not fit is finished by the kernel up to minutes later, long after whoever connected gave up.
BACKLOG = 1024
T = TypeVar("T")


async def on_first_free(ports: Sequence[int], listen: Callable[[int], Awaitable[T]]) -> T:
    """Listen on the first of `ports` that nobody has; 0 is any free one. Raises OSError if all are taken."""
    for port in ports[:-1]:
        try:
            return await listen(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return await listen(ports[-1])


class LocalServer:
    """An application that listens on `host` and the first of `ports` that is free (0: any)."""

    def __init__(self, app: web.Application, host: str, *ports: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self._host, self._ports = host, ports

    async def start(self) -> str:
        """Listen, and return the origin, such as `http://127.0.0.1:40123`. Raises OSError if every port is taken."""
        await self._runner.setup()
        await on_first_free(
            self._ports, lambda port: web.TCPSite(self._runner, self._host, port, backlog=BACKLOG).start()
        )
        return f"http://{origin_host(self._host)}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the socket and every connection."""
        await self._runner.cleanup()


def origin_host(host: str) -> str:
    """How clients on this machine name a listening address."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)


class Errands:
    """Tasks that go on after the request that began them was answered."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background until it ends or `stop` cancels it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def busy(self) -> int:
        """How many go on."""
        return len(self._tasks)

    async def done(self) -> None:
        """Wait until none goes on."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a webhook's receiver answered. `status` 0: nobody answered. `ms` is how long it took."""

    status: int
    ms: float
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the receiver said 2xx."""
        return 200 <= self.status < 300


class Postman:
    """Makes the providers' outgoing requests; one connection pool for all of them.

    `detours` maps an origin to the one that is really called: a public address to the program on this machine. What
    is signed and said stays the public one.
    """

    def __init__(self) -> None:
        self.detours: dict[str, str] = {}
        self._session: ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; needs a running loop."""
        timeout = ClientTimeout(total=15, sock_connect=5)
        self._session = ClientSession(timeout=timeout, cookie_jar=DummyCookieJar())

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """POST `body` to exactly `url` (nothing is re-encoded). Never raises for what the receiver does."""
        if self._session is None:
            raise RuntimeError("the postman was not started")
        began = time.perf_counter()
        try:
            target = URL(self._detoured(url), encoded=True)
            async with self._session.post(
                target, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return Reply(answer.status, _ms(began), await answer.read())
        except (ClientError, TimeoutError, OSError, ValueError):
            return Reply(0, _ms(began))

    def _detoured(self, url: str) -> str:
        for origin, other in self.detours.items():
            if url == origin or url.startswith((f"{origin}/", f"{origin}?")):
                return other + url[len(origin) :]
        return url

    async def stop(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
