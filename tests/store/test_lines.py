"""Connections that many callers share: each gets its own answers, and nobody waits for another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as TookTooLong

from bot.engine.lines import Lines
from bot.engine.store import connect
from tests.conftest import free_port
from tests.store.servers import Servers

pytestmark = pytest.mark.single
FOREVER = ("BLPOP", "nothing", 0)


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Lines]:
    client: Any = connect(url)
    client.connection_pool.connection_kwargs.update(options)
    lines = Lines(client)
    try:
        yield lines
    finally:
        await lines.close()
        await client.aclose()


async def connections(lines: Lines) -> int:
    return len(str((await lines.ask([("CLIENT", "LIST")]))[0]).splitlines())


async def test_callers_share_one_connection_and_each_gets_its_own_answers(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        before = await connections(lines)
        asked = [lines.ask([("ECHO", n), ("ECHO", f"{n}b")]) for n in range(200)]
        assert await asyncio.gather(*asked) == [[str(n), f"{n}b"] for n in range(200)]
        assert await connections(lines) == before


async def test_a_mistake_stands_among_the_answers(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        said, wrong, found = await lines.ask([("SET", "a", 1), ("HGET", "a", "b"), ("GET", "a")])
        assert (said, found) == ("OK", "1")
        assert isinstance(wrong, ResponseError)
        pipe = lines.pipeline()
        pipe.execute_command("HGET", "a", "b")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await pipe.execute(raise_on_error=True)


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        await lines.ask([("PING",)])
        large = "x" * 3_000_000  # more than a socket takes at once
        gone = [asyncio.ensure_future(lines.ask([("SET", f"k{n}", large)])) for n in range(4)]
        stays = asyncio.ensure_future(lines.ask([("ECHO", "mine")]))
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        assert await stays == ["mine"]
        assert await lines.ask([("STRLEN", "k3"), ("ECHO", "next")]) == [3_000_000, "next"]


async def test_what_takes_long_holds_nobody_up(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        slow = asyncio.ensure_future(lines.ask([FOREVER]))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(5):
            assert await lines.ask([("ECHO", "here")]) == ["here"]
        await lines.ask([("RPUSH", "nothing", "something")])
        assert await slow == [["nothing", "something"]]


async def test_no_answer_in_time_is_said_and_the_next_caller_is_served(redis_url: str) -> None:
    async with opened(redis_url, socket_timeout=0.2) as lines:
        both = await asyncio.gather(lines.ask([FOREVER]), lines.ask([FOREVER]), return_exceptions=True)
        assert [type(error) for error in both] == [TookTooLong, TookTooLong]
        assert await lines.ask([("ECHO", "here")]) == ["here"]


async def test_a_server_that_ends_is_said_and_found_again(many: Servers) -> None:
    server = many.primary()
    async with opened(server.url) as lines:
        waiting = [asyncio.ensure_future(lines.ask([FOREVER])) for _ in range(3)]
        await asyncio.sleep(0.1)
        server.process.kill()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in told] == [Unreachable] * 3
        assert told[0] is not told[1]
        away = await asyncio.gather(*(lines.ask([("PING",)]) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in away] == [Unreachable] * 3
        many.again(server)
        assert await lines.ask([("ECHO", "back")]) == ["back"]


async def test_a_server_that_ended_meanwhile_does_not_fail_the_next_caller(many: Servers) -> None:
    server = many.primary()
    async with opened(server.url) as lines:
        await lines.ask([("PING",)])
        server.process.kill()
        server.process.wait()
        many.again(server)
        await asyncio.sleep(0.1)
        assert await lines.ask([("ECHO", "back")]) == ["back"]


async def test_nobody_there_is_said_to_all_who_ask() -> None:
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as lines:
        told = await asyncio.gather(*(lines.ask([("PING",)]) for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in told] == [Unreachable] * 5


async def test_a_replica_is_left(many: Servers) -> None:
    """Its name may lead to the new primary by now, which only a new connection finds."""
    replica = many.replica(many.primary())
    async with opened(replica.url) as lines:
        [first] = await lines.ask([("CLIENT", "ID")])
        with pytest.raises(ReadOnlyError):
            await lines.ask([("SET", "a", 1)])
        [second] = await lines.ask([("CLIENT", "ID")])
        assert second != first


async def test_waiting_for_a_replica_goes_over_a_connection_of_its_own(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        await lines.ask([("PING",)])
        waiting = asyncio.ensure_future(lines.ask([("SET", "a", 1), ("WAIT", 1, 0)]))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(0.2):
            assert await lines.ask([("ECHO", "here")]) == ["here"]
        waiting.cancel()


@asynccontextmanager
async def pretending(*answers: tuple[bytes, bytes], then_leaves: bool) -> AsyncIterator[str]:
    """A server that knows these words, and leaves after the last of them or stays silent; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b""
        while data := await reader.read(65536):
            said += data
            for word, answer in answers:
                writer.write(answer * said.count(word))
                left = then_leaves and word == answers[-1][0] and word in said
                said = said.replace(word, b"")
                if left:
                    writer.close()
                    return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await server.wait_closed()


GREETED = (
    (b"PING", b"+PONG\r\n"),
    (b"HELLO", b"%1\r\n$5\r\nproto\r\n:3\r\n"),
    (b"LIB-NAME", b"+OK\r\n"),
    (b"LIB-VER", b"+OK\r\n"),
)


async def test_a_connection_that_is_lost_just_as_it_was_made_is_said_to_all() -> None:
    async with pretending(*GREETED, then_leaves=True) as url, opened(url, socket_timeout=0.5) as lines:
        asked = [asyncio.ensure_future(lines.ask([("GET", "a")])) for _ in range(4)]
        async with asyncio.timeout(5):
            told = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in told] == [Unreachable] * 4


async def test_the_end_comes_while_it_connects() -> None:
    async with pretending(then_leaves=False) as url, opened(url, socket_timeout=0.3) as lines:
        asked = asyncio.ensure_future(lines.ask([("GET", "a")]))
        await asyncio.sleep(0.05)
        await lines.close()
        with pytest.raises((Unreachable, TookTooLong)):
            await asked


async def test_nothing_is_asked_after_the_end_nor_without_a_question(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        assert await lines.ask([]) == []
        assert await lines.ask([("ECHO", "mine")]) == ["mine"]
        await lines.close()
        with pytest.raises(Unreachable, match="closed"):
            await lines.ask([("PING",)])


async def test_a_primary_that_sentinel_no_longer_names_is_left(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        pool: Any = lines._client.connection_pool
        port = int(redis_url.split(":")[2].split("/")[0])
        pool.master_address = ("127.0.0.1", port)
        [[first], [same]] = [await lines.ask([("CLIENT", "ID")]) for _ in range(2)]
        slow = asyncio.ensure_future(lines.ask([FOREVER]))
        await asyncio.sleep(0.05)
        pool.master_address = ("127.0.0.1", 1)
        [other] = await lines.ask([("CLIENT", "ID")])
        assert (first == same, first == other) == (True, False)
        with pytest.raises(Unreachable, match="primary"):
            await slow


async def test_whoever_waits_is_told_of_the_end(redis_url: str) -> None:
    async with opened(redis_url) as lines:
        waiting = asyncio.ensure_future(lines.ask([FOREVER]))
        await asyncio.sleep(0.05)
        await lines.close()
        with pytest.raises(Unreachable, match="closed"):
            await waiting


async def test_the_library_losing_its_connection_is_one_that_broke(redis_url: str) -> None:
    """It says so by AttributeError where it dropped what it writes to."""
    async with opened(redis_url) as lines:
        await lines.ask([("PING",)])
        connection: Any = lines._lines[0]._connection
        asked = asyncio.ensure_future(lines.ask([("ECHO", "lost")]))
        writer, connection._writer = connection._writer, None
        connection.connect_check_health = _does_nothing
        with pytest.raises(Unreachable, match="AttributeError"):
            await asked
        writer.transport.abort()
        assert await lines.ask([("ECHO", "next")]) == ["next"]


async def _does_nothing(**_: bool) -> None:
    return None
