"""One SMTP connection once it is greeted, encrypted and logged in: commands go out together, answers come in turn.

aiosmtplib opens the connection; after that it would wait for the answer to each command before the next, and look at
every byte of a mail again. A server that offers PIPELINING takes the whole envelope in one go.

Source: RFC 5321 sections 4.2.1 (replies of several lines) and 4.5.2 (transparency); RFC 2920 (DATA ends a group, and
each command of it is answered); aiosmtplib 5.1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from aiosmtplib import SMTP, SMTPResponse, SMTPResponseException, SMTPServerDisconnected, SMTPStatus

# As aiosmtplib bounds a whole reply; an EHLO, the longest there is, has a few KiB.
_LONGEST_REPLY = 32_768


class Wire(asyncio.Protocol):
    """Takes the connection of `smtp` over. `pipelines`: the server takes commands in groups."""

    def __init__(self, smtp: SMTP) -> None:
        self.pipelines = smtp.supports_extension("pipelining")
        self.transport = cast("asyncio.Transport", smtp.transport)
        self._loop = asyncio.get_running_loop()
        self._replies: deque[SMTPResponse] = deque()
        self._owed = 0
        self._buffer = b""
        self._ended: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.transport.set_protocol(self)

    @property
    def is_connected(self) -> bool:
        """Whether something may still be said."""
        return self._ended is None and not self.transport.is_closing()

    def write(self, data: bytes, replies: int = 1) -> None:
        """Say something that is answered by so many replies. Raises SMTPServerDisconnected."""
        if not self.is_connected:
            raise SMTPServerDisconnected("the connection was lost")
        self._owed += replies
        self.transport.write(data)

    async def reply(self) -> SMTPResponse:
        """The next answer. Raises SMTPServerDisconnected, SMTPResponseException when it cannot be read."""
        while not self._replies:
            if self._ended is not None:
                raise self._ended
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._replies.popleft()

    async def say(self, command: bytes) -> SMTPResponse:
        """One command and its answer, which is 250. Raises SMTPResponseException for another."""
        self.write(command + b"\r\n")
        reply = await self.reply()
        if reply.code != SMTPStatus.completed:
            raise SMTPResponseException(reply.code, reply.message)
        return reply

    async def quit(self, timeout_s: float) -> None:
        """Say goodbye, for so long at most. Raises TimeoutError, SMTPServerDisconnected."""
        async with asyncio.timeout(timeout_s):
            self.write(b"QUIT\r\n")
            await self.reply()

    def close(self) -> None:
        """Close the connection; what is not sent yet still goes out."""
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Cut what came into replies."""
        self._buffer += data
        try:
            while (end := _end_of_reply(self._buffer)) is not None:
                reply, self._buffer = _read(self._buffer[:end]), self._buffer[end:]
                if self._owed == 0:
                    # Nobody asked: a server says so that it closes, and no later answer may be taken for it.
                    raise SMTPServerDisconnected("the server spoke without being asked")
                self._owed -= 1
                self._replies.append(reply)
            if len(self._buffer) > _LONGEST_REPLY:
                raise SMTPResponseException(SMTPStatus.invalid_response, "the reply is too long")
        except (SMTPResponseException, SMTPServerDisconnected) as error:
            self._end(error)
            self.transport.close()
        self._wake()

    def eof_received(self) -> bool:
        """The server has said all it will."""
        self._end(SMTPServerDisconnected("the connection was closed"))
        self._wake()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """No answer comes any more."""
        self._end(SMTPServerDisconnected("the connection was lost"))
        self._wake()

    def _end(self, error: Exception) -> None:
        if self._ended is None:
            self._ended = error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _end_of_reply(buffer: bytes) -> int | None:
    """Where the first reply ends; None if more of it must come."""
    start = 0
    while (end := buffer.find(b"\n", start)) >= 0:
        if buffer[start + 3 : start + 4] != b"-":
            return end + 1
        start = end + 1
    return None


def _read(lines: bytes) -> SMTPResponse:
    texts = [line[4:].strip() for line in lines.splitlines()]
    code = lines.splitlines()[-1][:3]
    if not (code.isdigit() and len(code) == 3):
        raise SMTPResponseException(SMTPStatus.invalid_response, "the reply has no code")
    return SMTPResponse(int(code), b"\n".join(texts).decode("utf-8", "surrogateescape"))
