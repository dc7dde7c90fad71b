"""A request that took too long is over: nothing of it leaves later, whatever the kernel still holds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from channels.errors import Uncertain
from channels.http_exchange import HttpExchange


@pytest.fixture
async def deaf() -> AsyncIterator[socket.socket]:
    """A server that takes connections and reads nothing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


async def received(connection: socket.socket) -> int:
    """Bytes that come until the connection ends, however it ends."""
    total, loop = 0, asyncio.get_running_loop()
    with contextlib.suppress(ConnectionResetError):
        while chunk := await loop.sock_recv(connection, 1 << 20):
            total += len(chunk)
    return total


async def test_a_request_that_timed_out_does_not_go_on_leaving(deaf: socket.socket) -> None:
    size = 200_000  # the sender's kernel takes it all, the receiver's only a part
    exchange = HttpExchange("twilio", "Twilio", timeout_s=0.5, connections=1)
    url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
    try:
        with pytest.raises(Uncertain, match="timed out"):
            await exchange.request("POST", url, {}, b"x" * size)
    finally:
        await exchange.close()
    connection, _ = await asyncio.get_running_loop().sock_accept(deaf)
    with connection:
        connection.setblocking(False)
        async with asyncio.timeout(20):
            assert await received(connection) < size


async def test_a_line_break_in_a_header_never_leaves(deaf: socket.socket) -> None:
    exchange = HttpExchange("twilio", "Twilio", timeout_s=0.5, connections=1)
    url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
    with pytest.raises(ValueError, match="line break"):
        await exchange.request("GET", url, {"apiKey": "secret\r\nHost: elsewhere"})
    await exchange.close()
    with pytest.raises(BlockingIOError):
        deaf.accept()
