"""Bytes that are made faster than a client takes them, kept on disk instead of in memory.

Many clients send a whole request before they read a byte of the answer. Writing straight to such a client would
stop us reading from it, and both sides would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from tempfile import SpooledTemporaryFile

_IN_MEMORY = 1 << 20
_PIECE = 64 * 1024


class Spool:
    """A first-in first-out of bytes with one writer that never waits and one reader that does."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by `pieces`
        self._written = 0
        self._taken = 0
        self._ended = False
        self._news = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._file.seek(self._written)
        self._written += self._file.write(data)
        self._news.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Everything put, in order, until the end; then the file is gone."""
        with self._file:
            while True:
                self._news.clear()
                while self._taken < self._written:
                    yield self._take()
                if self._ended:
                    return
                await self._news.wait()

    def _take(self) -> bytes:
        self._file.seek(self._taken)
        piece = self._file.read(_PIECE)
        self._taken += len(piece)
        if self._taken == self._written:
            # The reader keeps up: start over, so that a quick client never makes us touch the disk.
            self._file.seek(0)
            self._file.truncate()
            self._taken = self._written = 0
        return piece
