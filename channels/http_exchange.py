"""One request to a provider over HTTP: our pool, our deadline, our lease check, and what a failure means.

Promises: every request ends within `timeout_s` and none of it leaves later; nothing is sent twice, followed elsewhere
or logged; a failure tells whether the request can have been taken (Unavailable or Uncertain). Status codes and headers
are left to the caller. Texts of errors name the provider and never an address.

aiohttp connects, keeps connections and reads answers; the request is written here, because its ClientSession costs two
to three times as much per request as everything else that a worker does for a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from channels.errors import ChannelError, Unavailable, Uncertain
from channels.leased import Flight, LeasedConnector, flight, why

# A request has its deadline as a whole; aiohttp adds none of its own.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
# A header that asks for more is broken, and must not bury a message for good.
LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider answered. `headers` ignore case."""

    status: int
    text: str
    headers: Mapping[str, str]


class HttpExchange:
    """A provider's connections. Made anywhere, opened on first use inside a running loop.

    Units: `timeout_s` seconds for one whole request, `connections` sockets at most. `code` begins the codes of its
    errors ("twilio"), `provider` is its name for people ("Twilio").
    """

    def __init__(self, code: str, provider: str, *, timeout_s: float, connections: int) -> None:
        self._code, self._provider = code, provider
        self._timeout_s, self._connections = timeout_s, connections
        self._connector: LeasedConnector | None = None
        self._origins: dict[URL, aiohttp.ClientRequest] = {}

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Make one request. Errors: LeaseExpired, Unavailable (never left us), Uncertain (may have been taken).

        A header with a line break is a ValueError, and nothing is sent.
        """
        origin, head = _head(method, url, tuple(headers.items()))
        length = b"\r\n" if body is None else b"Content-Length: %d\r\n\r\n" % len(body)
        with flight() as current:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._exchange(current, origin, head + length + (body or b""))
            except (
                aiohttp.ClientError,
                HttpProcessingError,
                OSError,
            ) as error:  # a TimeoutError is an OSError
                failure = self._failure(current, error)
        raise failure

    async def close(self) -> None:
        """Close every connection."""
        if self._connector is not None:
            await self._connector.close()
            self._connector = None

    async def _exchange(self, current: Flight, origin: URL, request: bytes) -> Answer:
        connection = await self._pool().connect(self._origin(origin), [], _NO_TIMEOUT)
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(read_until_eof=True)
            transport.write(request)
            message, content = await protocol.read()
            while 100 <= message.code < 200:
                message, content = await protocol.read()
            text = (await content.read()).decode("utf-8", "replace")
        except BaseException:
            # What the transport still holds must not leave either, and a plain close would wait for it.
            current.drop()
            if connection.transport is not None:
                connection.transport.abort()
            connection.close()
            raise
        connection.release()
        return Answer(message.code, text, message.headers)

    def _pool(self) -> LeasedConnector:
        if self._connector is None:
            self._connector = LeasedConnector(limit=self._connections)
        return self._connector

    def _origin(self, origin: URL) -> aiohttp.ClientRequest:
        """What the connector must know of a server; one request stands for all of them."""
        if origin not in self._origins:
            self._origins[origin] = aiohttp.ClientRequest("GET", origin, loop=asyncio.get_running_loop())
        return self._origins[origin]

    def _failure(self, current: Flight, error: BaseException) -> ChannelError:
        code = f"{self._code} connection"
        if current.begun:
            return Uncertain(code, f"no answer to a request that may have been taken: {why(error)}")
        return Unavailable(code, f"{self._provider} was not reached: {why(error)}")


# The requests of a campaign differ in their bodies alone.
@lru_cache(maxsize=16)
def _head(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[URL, bytes]:
    """Whom to connect to, and the lines of a request that its body does not change. Source: RFC 9112."""
    target = URL(url)
    fields = {"Host": target.host_port_subcomponent, "User-Agent": "tuma", **dict(headers)}
    lines = [
        f"{method} {target.raw_path_qs} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header of a request holds a line break")
    return target.origin(), f"{head}\r\n".encode()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read a Retry-After header, in seconds from now, whether it holds seconds or a date. None if there is none.

    Source: RFC 9110 section 10.2.3. No provider here promises the header; it is honoured when it comes.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), LONGEST_WAIT_S)
