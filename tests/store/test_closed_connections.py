"""A connection that is closed just as it is written to, on the event loop that `tuma up` runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from bot.engine.store import connect, guard
from bot.errors import StoreUnavailable


async def _close(connection: Any) -> None:
    """The other side has ended it, and its reader has not said so yet."""
    connection._writer.transport.abort()
    await asyncio.sleep(0.01)


async def _drop(connection: Any) -> None:
    """Another task gives it up, just before the library's own task writes."""
    asyncio.get_running_loop().call_soon(setattr, connection, "_writer", None)


@pytest.mark.single
@pytest.mark.parametrize("end", [_close, _drop])
def test_it_is_redis_that_cannot_answer(redis_url: str, end: Callable[[Any], Awaitable[None]]) -> None:
    """The library lets RuntimeError and AttributeError through; a role that met one would end, a webhook be 500."""

    async def write() -> None:
        client: Any = connect(redis_url)
        connection = await client.connection_pool.get_connection()
        writer = connection._writer
        await end(connection)
        try:
            with guard():
                await connection.send_packed_command(connection.pack_command("PING"), check_health=False)
        finally:
            writer.transport.abort()
            await client.aclose()

    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(StoreUnavailable, match="the connection was closed"),
    ):
        runner.run(write())


def test_our_own_mistakes_are_not_taken_for_it() -> None:
    with pytest.raises(AttributeError), guard():
        None.writelines_of_ours()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError), guard():
        raise RuntimeError("ours")


@pytest.mark.single
async def test_a_connection_that_is_made_looks_nothing_up_on_the_disk(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> str:
        raise AssertionError("the library reads its own metadata")

    monkeypatch.setattr("redis.utils.get_lib_version", look)
    client: Any = connect(redis_url)
    mine = await client.client_info()
    await client.aclose()
    assert (mine["lib-name"], mine["lib-ver"][:1]) == ("redis-py", "8")
