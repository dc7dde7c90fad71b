"""A request that took too long is over: nothing of it leaves later, whatever the kernel still holds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest
import uvloop

from channels.base import EmailContent, check_lease, lease_clock
from channels.config import SmtpConfig
from channels.email import Email
from channels.errors import LeaseExpired, Uncertain
from channels.http_exchange import HttpExchange
from tests.channels.rigs import EmailRig


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


def test_a_machine_that_slept_through_a_lease_does_not_send(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline, clock = lease_clock() + 2, time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda id: clock(id) + 3600 * (id == time.CLOCK_BOOTTIME))
    with pytest.raises(LeaseExpired):
        check_lease(deadline)


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


async def greets_and_falls_silent(listener: socket.socket) -> socket.socket:
    """An SMTP server that takes an envelope, asks for the text and reads nothing of it; its connection."""
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listener)
    connection.setblocking(False)
    for reply in ("220 here", "250 hello", "250 sender", "250 recipient", "354 go on"):
        await loop.sock_sendall(connection, f"{reply}\r\n".encode())
        if not reply.startswith("354"):
            await loop.sock_recv(connection, 1024)
    return connection


async def test_a_mail_that_timed_out_does_not_go_on_leaving(deaf: socket.socket) -> None:
    size = 200_000
    silent = asyncio.create_task(greets_and_falls_silent(deaf))
    config = SmtpConfig(
        url=f"smtp://127.0.0.1:{deaf.getsockname()[1]}", sender="ada@shule.example", timeout_s=0.5
    )
    channel, outgoing = Email(config), EmailRig().outgoing()
    assert isinstance(outgoing.content, EmailContent)
    content = dataclasses.replace(outgoing.content, text="Lipa\n" * (size // 5))
    try:
        with pytest.raises(Uncertain, match="no answer"):
            await channel.send(dataclasses.replace(outgoing, content=content))
    finally:
        await channel.close()
    await asyncio.sleep(0)  # the loop closes a socket in its next round
    with await silent as connection:
        async with asyncio.timeout(20):
            assert await received(connection) < size


def test_a_reset_is_a_doubt_on_uvloop_too(deaf: socket.socket) -> None:
    """Its sockets say ValueError once they are closed."""

    async def ask() -> None:
        exchange = HttpExchange("twilio", "Twilio", timeout_s=5, connections=1)
        asking = asyncio.create_task(
            exchange.request("GET", f"http://127.0.0.1:{deaf.getsockname()[1]}/", {})
        )
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(deaf)
        await loop.sock_recv(connection, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        try:
            await asking
        finally:
            await exchange.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(Uncertain):
        runner.run(ask())
