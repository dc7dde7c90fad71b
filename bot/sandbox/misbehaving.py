"""Faults on the wire of an HTTP provider: silence, a reset connection, an answer that is lost or wrong.

    return await act_out(request, fault, faults, take, word)

`take` does what was asked and answers; `word` says an error in the provider's own protocol. A request that `take`
refuses is refused: only what was taken can lose its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from bot.sandbox.fault_kinds import How, Kind
from bot.sandbox.faults import Faults

Take = Callable[[], Awaitable[web.StreamResponse]]
Word = Callable[[Kind], web.StreamResponse]
_LOOK_S = 0.05
# Closing with data unsent and no time to linger is a reset. Source: socket(7), SO_LINGER.
_AT_ONCE = struct.pack("ii", 1, 0)


async def act_out(
    request: web.Request, fault: Kind | None, faults: Faults, take: Take, word: Word
) -> web.StreamResponse:
    """Answer one request as `fault` has it; None: as it should be."""
    if fault is None:
        return await take()
    if fault.how is How.SLOW:
        await asyncio.sleep(faults.slow_s)
        return await take()
    if fault.taken:
        answer = await take()
        if answer.status >= 400:
            return answer
    if fault.how is How.SILENCE:
        await _be_silent(request, faults.silence_s)
    if fault.how in {How.SILENCE, How.RESET}:
        reset(request.transport)
        return web.Response()  # nobody is there to read it
    return word(fault)


async def _be_silent(request: web.Request, most_s: float) -> None:
    """Say nothing until the client gives up, or for `most_s`."""
    end = time.monotonic() + most_s
    while _open(request.transport) and time.monotonic() < end:  # noqa: ASYNC110 - aiohttp has no event
        await asyncio.sleep(_LOOK_S)


def _open(transport: asyncio.Transport | None) -> bool:
    return transport is not None and not transport.is_closing()


def reset(transport: asyncio.BaseTransport | None) -> None:
    """End a connection by RST, as a machine does that crashed."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
