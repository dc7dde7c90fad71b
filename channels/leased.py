"""The lease check of the HTTP channels, made at the one place where it counts: connected, nothing written yet.

`LeasedConnector` is aiohttp's connection pool with that check. `flight` tells afterwards whether a request that
failed can have reached the provider: before `begun` it certainly did not, from then on nobody knows.

A TraceConfig hook on `on_connection_create_end` or `on_connection_reuseconn` runs at the same moment, but aiohttp
(3.14, `aiohttp/connector.py`) neither closes nor keeps the connection when such a hook raises: it would leak.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from channels.base import check_lease, lease_deadline
from channels.errors import LeaseExpired

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


# A socket closed like this drops what it still holds, and resets. Source: socket(7), SO_LINGER.
_DROP = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Flight:
    """One request on its way. `begun` means that bytes of it may have left, over `transport`."""

    begun: bool = False
    transport: asyncio.Transport | None = None

    @asynccontextmanager
    async def within(self, timeout_s: float) -> AsyncIterator[None]:
        """Give the request so many seconds; then none of it leaves any more. Raises TimeoutError.

        A kernel goes on sending what a closed connection still holds, for minutes if the network is away: a provider
        would take a message long after it was asked about and sent again.
        """
        late = asyncio.get_running_loop().call_later(timeout_s, self.drop)
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            raise
        finally:
            late.cancel()

    def drop(self) -> None:
        """Nothing that the kernel still holds of the request leaves once its connection closes."""
        found = self.transport.get_extra_info("socket") if self.transport is not None else None
        if found is not None:
            with suppress(OSError, ValueError):  # closed already; ValueError is uvloop's
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP)


_flight: ContextVar[Flight] = ContextVar("flight")


@contextmanager
def flight() -> Iterator[Flight]:
    """Follow the request made inside the block."""
    current = Flight()
    token = _flight.set(current)
    try:
        yield current
    finally:
        _flight.reset(token)


@contextmanager
def lease(deadline: float) -> Iterator[None]:
    """Let no request inside the block begin after `deadline` (seconds of `lease_clock`); it raises LeaseExpired."""
    token = lease_deadline.set(deadline)
    try:
        yield
    finally:
        lease_deadline.reset(token)


class LeasedConnector(aiohttp.TCPConnector):
    """A connection pool that hands out no connection once the caller's lease has ended.

    Errors: LeaseExpired; the connection, new or kept, goes back to the pool unused.
    """

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        """Connect or reuse, then check the lease, if the caller has one, and mark the flight as begun."""
        connection = await super().connect(req, traces, timeout)
        try:
            check_lease(lease_deadline.get(math.inf))
        except LeaseExpired:
            connection.release()
            raise
        if (current := _flight.get(None)) is not None:
            current.begun, current.transport = True, connection.transport
        return connection


def why(error: BaseException) -> str:
    """Say in a few words why a connection failed. Never the library's text: it may hold a URL with a token."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name was not found"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return "the connection was refused"
    return "the connection was lost"
