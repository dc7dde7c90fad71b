"""The lease check of the HTTP channels, made at the one place where it counts: connected, nothing written yet.

`LeasedConnector` is aiohttp's connection pool with that check. `flight` tells afterwards whether a request that
failed can have reached the provider: before `begun` it certainly did not, from then on nobody knows.

A TraceConfig hook on `on_connection_create_end` or `on_connection_reuseconn` runs at the same moment, but aiohttp
(3.14, `aiohttp/connector.py`) neither closes nor keeps the connection when such a hook raises: it would leak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
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


@dataclass(slots=True)
class Flight:
    """One request on its way. `begun` means that bytes of it may have left."""

    begun: bool = False


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
    """Let no request inside the block begin after `deadline` (monotonic seconds); it raises LeaseExpired."""
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
            current.begun = True
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
