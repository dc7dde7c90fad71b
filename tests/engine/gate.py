"""A way to the server with a gate in it: something else happens just before the n-th request passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Gate:
    """Forwards connections; `arm` it for one request to come. A pipeline counts as one request."""

    def __init__(self, target: str) -> None:
        self._host, self._port = urlsplit(target).hostname or "", urlsplit(target).port or 0
        self._left = 0
        self._action: Callable[[], Awaitable[object]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def arm(self, nth: int, action: Callable[[], Awaitable[object]]) -> None:
        """Do `action` before the request after `nth` more of them."""
        self._left, self._action = nth, action

    @property
    def passed(self) -> bool:
        """Whether the action was done."""
        return self._action is None

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection, both ways."""
        task = asyncio.create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(self._host, self._port)
        answers = asyncio.create_task(_pump(back, writer))
        try:
            while data := await reader.read(1 << 20):
                await self._pass()
                forth.write(data)
        finally:
            forth.close()
            await answers

    async def ended(self) -> None:
        """Wait until whoever was connected has left."""
        await asyncio.gather(*self._tasks)

    async def _pass(self) -> None:
        if self._action is not None:
            self._left -= 1
            if self._left < 0:
                action, self._action = self._action, None
                await action()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 20):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def gate(target: str) -> AsyncIterator[Gate]:
    """A gate before the server at `target`."""
    made = Gate(target)
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
        await made.ended()
