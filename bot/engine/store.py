"""The connection to Redis or Valkey: one server, Sentinel or Cluster by URL.

Commands are not repeated by the client: every caller knows whether its own call may be repeated. What Redis cannot
do now (away, loading, full, read-only) is `StoreUnavailable`, whatever the library calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import hiredis
import redis.exceptions as errors
from redis.asyncio import BlockingConnectionPool, Connection, Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig

from bot.engine import keys
from bot.errors import ConfigError, StoreFull, StoreUnavailable

Client = Redis | RedisCluster
_AWAY = (
    errors.ConnectionError,
    errors.TimeoutError,
    errors.BusyLoadingError,
    errors.ReadOnlyError,
    errors.OutOfMemoryError,
    errors.ClusterError,
    # A slot that moves: MOVED, ASK and TRYAGAIN, where the client does not follow them (subscriptions, pipelines).
    errors.AskError,
    errors.TryAgainError,
    errors.MasterDownError,
    errors.RedisClusterException,
)
_AWAY_WORDS = (
    "OOM",
    "READONLY",
    "MISCONF",
    "LOADING",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MASTERDOWN",
    "BUSY ",
    "UNKILLABLE",
    "NOAUTH",
    # A blocking call on a primary that became a replica, and WAIT there.
    "UNBLOCKED",
    "WAIT cannot be used",
)
_READ_ONLY = "Redis is a read-only replica here: REDIS_URL must lead to the primary"
_FULL = "Redis is full (maxmemory): it takes payments and stops, and nothing new until it has memory"
_OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    # Foreign producers may add bytes that are no UTF-8; the inbox refuses what was replaced here.
    "encoding_errors": "replace",
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "health_check_interval": 30,
    # With them the pool does not look whether an idle connection is still open before it hands it out, so that after a
    # restart of the server every idle connection fails once.
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    # Found out once: by itself each connection that is made reads the package's metadata from the disk again.
    "driver_info": DriverInfo(),
}


@contextmanager
def guard() -> Iterator[None]:
    """Translate what the library raises when Redis cannot take a command now into StoreUnavailable.

    That a newer tuma has taken the data set over is a ConfigError: there is nothing to wait for.
    """
    try:
        yield
    except errors.OutOfMemoryError as error:
        raise StoreFull(_FULL) from error
    except errors.ReadOnlyError as error:
        raise StoreUnavailable(_READ_ONLY) from error
    except _AWAY as error:
        raise StoreUnavailable(f"Redis cannot answer now: {type(error).__name__}") from error
    except errors.ResponseError as error:
        said = _said(error)
        if said.startswith("NEWER"):
            raise ConfigError(f"{said.removeprefix('NEWER ')}: start a newer tuma") from error
        if not said.startswith(_AWAY_WORDS):
            raise
        word = said.split(" ", 1)[0]
        if word == "OOM":
            raise StoreFull(_FULL) from error
        raise StoreUnavailable(f"Redis cannot take this now: {word}") from error
    except (RuntimeError, AttributeError) as error:
        if not _closed_meanwhile(error):
            raise
        raise StoreUnavailable("Redis cannot answer now: the connection was closed") from error


def _said(error: Exception) -> str:
    """What the server said; of a pipeline the library puts the command before it."""
    _, marked, said = str(error).rpartition(" of pipeline caused error: ")
    return said.strip("()',\"") if marked else str(error)


def _closed_meanwhile(error: Exception) -> bool:
    """Whether a connection was closed just as it was written to, for which the library has no error of its own.

    uvloop raises RuntimeError then, and where the library itself has dropped what it uses, that is None.
    """
    if isinstance(error, AttributeError):
        return error.obj is None and _raised_in(error).startswith("redis.")
    return "the handler is closed" in str(error)


def _raised_in(error: Exception) -> str:
    """The name of the module that raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""


@contextmanager
def guard_subscription() -> Iterator[None]:
    """As `guard`, for a subscription: of one whose cluster node is gone the library says RuntimeError."""
    try:
        with guard():
            yield
    except RuntimeError as error:
        raise StoreUnavailable("Redis cannot answer now: the subscription ended") from error


@contextmanager
def naming(url: str | None) -> Iterator[None]:
    """Say which server could not be reached, and what to do. Credentials in the address are not said.

    A password that the server refuses is a ConfigError: it does not become right by waiting. None: tuma's own server.
    """
    try:
        yield
    except StoreUnavailable as error:
        if url is None:
            raise
        where = f"REDIS_URL leads to {address(url)}"
        if isinstance(error.__cause__, errors.AuthenticationError):
            raise ConfigError(f"{where}, which refuses its user or password: correct them") from error
        what = "see that the server runs and can be reached from here, or correct the address"
        raise type(error)(f"{error}. {where}: {what}") from error


def address(url: str) -> str:
    """Hosts, ports and path of a Redis URL: nothing that is secret, nor what a log would take for it."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


async def check_ready(client: Client) -> None:
    """Raise StoreUnavailable unless Redis answers, and is no replica, which would take nothing."""
    found: Any = client
    with guard():
        if isinstance(client, RedisCluster):
            await found.ping()
        elif (await found.info("replication")).get("role") == "slave":
            raise StoreUnavailable(_READ_ONLY)


def connect(url: str) -> Client:
    """A client for `url`: redis, rediss, unix, redis+cluster, rediss+cluster or redis+sentinel://host:port/name."""
    parts = urlsplit(url)
    retry = Retry(NoBackoff(), 0)
    if parts.scheme.endswith("+cluster"):
        return RedisCluster.from_url(url.replace("+cluster", "", 1), retry=retry, **_OPTIONS)
    if parts.scheme == "redis+sentinel":
        sentinels = [(host, int(port or 26379)) for host, _, port in _hosts(parts.netloc.rpartition("@")[2])]
        name = parts.path.strip("/")
        if not name:
            raise ConfigError("REDIS_URL: expected redis+sentinel://host:port/master-name")
        auth: dict[str, Any] = (
            {"password": parts.password, "username": parts.username} if parts.password else {}
        )
        sentinel = Sentinel(sentinels, socket_timeout=5)  # type: ignore[no-untyped-call]
        client: Redis = sentinel.master_for(name, retry=retry, **auth, **_OPTIONS)
        return client
    pool = BlockingConnectionPool.from_url(url, max_connections=64, timeout=30, retry=retry, **_OPTIONS)
    pool.connection_class = _packing(_leaving(pool.connection_class))
    return Redis.from_pool(pool)


def _leaving(kind: type[Any]) -> type[Any]:
    """Connections of this kind that end when their server says that it is a replica.

    A name or a virtual address that moves to the new primary is looked up only by a new connection. Those of
    Sentinel do this by themselves.
    """

    async def read_response(self: Connection, *args: Any, **kwargs: Any) -> Any:
        try:
            return await kind.read_response(self, *args, **kwargs)
        except errors.ReadOnlyError:
            await self.disconnect(nowait=True)
            raise

    return type(kind.__name__, (kind,), {"read_response": read_response})


def _packing(kind: type[Any]) -> type[Any]:
    """Connections of this kind whose commands are written by hiredis, as the library does where nothing is awaited.

    Source: redis-py 8.1, `HiredisRespSerializer` of its other client.
    """

    def pack_command(self: Connection, *args: Any) -> list[bytes]:
        try:
            return [hiredis.pack_command((*args[0].encode().split(), *args[1:]))]
        except (AttributeError, TypeError, UnicodeError):
            # Bytes for a name, or what only the library can write.
            packed: list[bytes] = kind.pack_command(self, *args)
            return packed

    return type(kind.__name__, (kind,), {"pack_command": pack_command})


def _hosts(netloc: str) -> Iterator[tuple[str, str, str]]:
    for host in netloc.split(","):
        yield host.partition(":")


async def first(client: Client, key: str, value: int) -> int:
    """The number at `key`, which is `value` if there was none. Only that writes: a full server can still be opened."""
    with guard():
        found = await client.get(key)
        if found is None:
            await client.set(key, value, nx=True)
            found = await client.get(key)
    return int(found or value)


async def fix_partitions(client: Client, wanted: int | None) -> int:
    """The number of partitions of this data set: `wanted` (or the default) at the first start, the stored one after.

    Raises ConfigError if `wanted` contradicts what is stored: every key would be looked for in the wrong place.
    """
    default = 256 if isinstance(client, RedisCluster) else 8
    stored = await first(client, keys.PARTITIONS, wanted or default)
    if wanted is not None and wanted != stored:
        raise ConfigError(
            f"TUMA_PARTITIONS: this data set has {stored} partitions, which cannot change; leave it unset"
        )
    return stored
