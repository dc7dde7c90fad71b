"""Bytes wait on disk, in order, without waiting for who reads them."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from bot.web.spool import Spool


async def read(spool: Spool) -> bytes:
    return b"".join([piece async for piece in spool.pieces()])


@given(st.lists(st.binary(max_size=100)))
def test_what_goes_in_comes_out_in_order(parts: list[bytes]) -> None:
    async def story() -> bytes:
        spool = Spool()
        for part in parts:
            spool.put(part)
        spool.end()
        return await read(spool)

    assert asyncio.run(story()) == b"".join(parts)


async def test_the_reader_waits_for_more_and_the_writer_for_nobody() -> None:
    spool = Spool()
    reading = asyncio.create_task(read(spool))
    for part in (b"one", b"two", b"three"):
        spool.put(part)
        await asyncio.sleep(0)
    assert not reading.done()
    spool.end()
    assert await reading == b"onetwothree"


async def test_much_more_than_memory_takes_comes_out_whole() -> None:
    spool = Spool()
    parts = [bytes([n % 256]) * 100_000 for n in range(40)]
    for part in parts:
        spool.put(part)
    spool.end()
    assert await read(spool) == b"".join(parts)
