"""What Redis promises about data that it said it took: the part of its configuration that loses bills.

Sources: Redis documentation, "Redis persistence" (appendfsync), "Key eviction" (maxmemory-policy), "NOREPLICAS error"
(min-replicas-to-write, https://redis.io/docs/latest/develop/reference/errors/common/noreplicas/).
"""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import RedisCluster

from bot.engine.records import Records
from bot.engine.store import guard
from bot.errors import StoreUnavailable

FLOOR = (7, 0)
_FSYNC = {
    "always": None,
    "everysec": "appendfsync is everysec: a power cut can lose the last second of what was accepted",
    "no": "appendfsync is no: a power cut can lose half a minute of what was accepted",
}


class Durability(msgspec.Struct, frozen=True, kw_only=True):
    """`losses` are ways to lose what was accepted, `doubts` are smaller ones or what could not be read."""

    server: str
    losses: list[str]
    doubts: list[str]


async def inspect(records: Records) -> Durability:
    """Read version, persistence and eviction policy of the server. Raises StoreUnavailable."""
    client = records.client
    with guard():
        server = _one_node(await client.info("server"))
        replicas = await _replicas(client)
    config = await _config(client)
    losses, doubts = [], []
    version = str(server.get("redis_version", "0"))
    if tuple(map(int, version.split(".")[:2])) < FLOOR:
        losses.append(f"version {version} is older than {'.'.join(map(str, FLOOR))}, which the scripts need")
    if not config:
        doubts.append(
            "the server does not tell its configuration; ask its provider for appendfsync and noeviction"
        )
    else:
        losses += _losses(config)
        doubts += _doubts(config, replicas)
    name = f"Valkey {server['valkey_version']}" if "valkey_version" in server else f"Redis {version}"
    return Durability(server=name, losses=losses, doubts=doubts)


async def _config(client: Any) -> dict[str, str]:
    """The settings that matter; empty where a managed server forbids to ask."""
    from redis.exceptions import RedisError

    try:
        with guard():
            found = await client.config_get(
                "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "min-replicas-to-write"
            )
    except (RedisError, StoreUnavailable):
        return {}
    return {str(key): str(value) for key, value in _one_node(found).items()}


async def _replicas(client: Any) -> int:
    """How many replicas the primary has; of a cluster's primaries the one with most."""
    if not isinstance(client, RedisCluster):
        return int((await client.info("replication")).get("connected_slaves", 0))
    said = [await client.info("replication", target_nodes=node) for node in client.get_primaries()]
    return max((int(one.get("connected_slaves", 0)) for one in said), default=0)


def _one_node(reply: dict[Any, Any]) -> dict[Any, Any]:
    """The answer of one server; a cluster answers with one per node, which are configured alike."""
    first = next(iter(reply.values()), None)
    return first if isinstance(first, dict) else reply


def _losses(config: dict[str, str]) -> list[str]:
    losses = []
    if config.get("appendonly") != "yes":
        losses.append("appendonly is no: a restart loses what was accepted")
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction" and config.get("maxmemory", "0") != "0":
        losses.append(f"maxmemory-policy is {policy}: a full server deletes bills; it must be noeviction")
    return losses


def _doubts(config: dict[str, str], replicas: int) -> list[str]:
    found = _FSYNC.get(config.get("appendfsync", "always")) if config.get("appendonly") == "yes" else None
    doubts = [found] if found else []
    if replicas and config.get("min-replicas-to-write") == "0":
        doubts.append(
            "there are replicas, but min-replicas-to-write is 0: after a failover what was sent last is sent again; "
            "set it to 1 at every server"
        )
    return doubts
