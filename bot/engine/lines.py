"""Connections that many callers share: what they ask goes out at once, and each gets the answers to what it asked.

The library lends a connection to one caller at a time; lending it, timing it and taking it back costs a process several
times what asking costs. It still opens these connections, writes to them and reads the answers.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as TookTooLong

# Where an answer takes so long, the server may be gone without a word: others ask on another connection.
_LONG_S = 0.25
_MOST = 8
_ENDED = "the connection was closed"

Words = tuple[str | int, ...]


class Lines:
    """Shared connections to one server, also one behind Sentinel; one of them unless it keeps somebody waiting."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._lines: list[_Line] = []
        self._opening: asyncio.Task[_Line] | None = None
        self._closed = False

    def pipeline(self) -> Batch:
        """Commands to be asked together."""
        return Batch(self)

    async def ask(self, commands: Sequence[Words]) -> list[Any]:
        """The answers in order, errors of the server among them. A caller that gives up takes nothing back.

        Raises the library's errors where the server is away; it may have done what was asked.
        """
        if not commands:
            return []
        if any(words[0] == "WAIT" for words in commands):
            # It holds up whatever else is asked on its connection.
            pipe = self._client.pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words)
            return list(await pipe.execute(raise_on_error=False))
        line = self._free()
        if line is None:
            if self._closed:
                raise Unreachable(_ENDED)
            if self._opening is None:
                self._opening = asyncio.create_task(self._open())
            line = await asyncio.shield(self._opening)
        return await line.ask(commands)

    def _free(self) -> _Line | None:
        # Should Sentinel have named another primary since, the library has left its own connections, too.
        primary: Any = getattr(self._client.connection_pool, "master_address", None)
        for line in self._lines if primary is not None else ():
            line.leave_for(primary)
        self._lines = [line for line in self._lines if not line.ended]
        for line in self._lines:
            if not line.late:
                return line
        return min(self._lines, key=_Line.asked) if len(self._lines) == _MOST else None

    async def _open(self) -> _Line:
        try:
            connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            await connection.connect()
            line = _Line(connection)
            self._lines.append(line)
            return line
        finally:
            self._opening = None

    async def close(self) -> None:
        """Disconnect. Whoever still waits, or asks later, is told that the connection was closed."""
        self._closed = True
        if self._opening is not None:
            # Not cancelled: who waits for it would be, too.
            await asyncio.wait([self._opening])
        for line in self._lines:
            await line.close()


class Batch:
    """Commands for one round trip, as the library's pipelines take them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._commands: list[Words] = []

    def execute_command(self, *words: str | int) -> None:
        """Add one."""
        self._commands.append(words)

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        """See `Lines.ask`."""
        replies = await self._lines.ask(self._commands)
        for reply in replies if raise_on_error else ():
            if isinstance(reply, Exception):
                raise reply
        return replies


class _Asked:
    """What one caller waits for."""

    __slots__ = ("answer", "count", "replies", "since")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.count, self.since = count, loop.time()
        self.replies: list[Any] = []
        self.answer: asyncio.Future[list[Any]] = loop.create_future()


class _Line:
    """One connection, which is connected; it ends at the first thing that goes wrong with it."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.ended = False
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._timeout_s = connection.socket_timeout or 15.0
        # One look at the oldest caller instead of a timer for everything that is written and read.
        connection.socket_timeout = None
        self._asked: deque[_Asked] = deque()
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._reading = asyncio.create_task(self._read())

    @property
    def late(self) -> bool:
        """Whether it keeps somebody waiting for long."""
        return bool(self._asked) and self._loop.time() - self._asked[0].since > _LONG_S

    def asked(self) -> int:
        """How many callers wait."""
        return len(self._asked)

    def leave_for(self, primary: tuple[str, int]) -> None:
        """End it, unless it leads to this server."""
        to = getattr(self._connection, "host", None), getattr(self._connection, "port", None)
        if to != tuple(primary):
            self._end(Unreachable("another server became the primary"))

    def ask(self, commands: Sequence[Words]) -> asyncio.Future[list[Any]]:
        """Send them, in one piece with what other callers ask now. Raises ConnectionError of the library."""
        if self.ended:
            raise Unreachable(_ENDED)  # just as it was made, before who waited for it came to ask
        packed = [piece for words in commands for piece in self._connection.pack_command(*words)]
        asked = _Asked(len(commands), self._loop)
        self._asked.append(asked)
        self._unsent += packed
        if self._sending is None:
            # By a task of its own: a caller that is cancelled must not leave half a command behind.
            self._sending = asyncio.create_task(self._send())
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)
        return asked.answer

    async def _send(self) -> None:
        try:
            while self._unsent and not self.ended:
                packed, self._unsent = self._unsent, []
                await self._connection.send_packed_command(packed, check_health=False)
        except Exception as error:
            self._end(error)
        finally:
            self._sending = None

    async def _read(self) -> None:
        try:
            while True:
                try:
                    reply = await self._connection.read_response(disconnect_on_error=False)
                except ReadOnlyError:
                    raise  # a replica: its name may lead to the new primary by now
                except ResponseError as error:
                    reply = error
                asked = self._asked[0]
                asked.replies.append(reply)
                if len(asked.replies) == asked.count:
                    self._asked.popleft()
                    if not asked.answer.done():
                        asked.answer.set_result(asked.replies)
        except Exception as error:
            self._end(error)
        finally:
            await self._connection.disconnect(nowait=True)

    def _look(self) -> None:
        self._timer = None
        if self._asked:
            left = self._asked[0].since + self._timeout_s - self._loop.time()
            if left > 0:
                self._timer = self._loop.call_later(left, self._look)
            else:
                self._end(TookTooLong(f"no answer within {self._timeout_s:g} s"))

    def _end(self, error: Exception) -> None:
        if self.ended:
            return
        self.ended = True
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
        while self._asked:
            answer = self._asked.popleft().answer
            if not answer.done():
                answer.set_exception(_told(error))
        if self._reading is not asyncio.current_task():
            self._reading.cancel()

    async def close(self) -> None:
        """Disconnect."""
        self._end(Unreachable(_ENDED))
        await asyncio.wait([self._reading])


def _told(error: Exception) -> RedisError:
    """The same for one of several callers. The library has no error of its own for some ways to lose a connection."""
    if isinstance(error, RedisError):
        return copy.copy(error)
    told = Unreachable(f"{type(error).__name__}: {error}")
    told.__cause__ = error
    return told
