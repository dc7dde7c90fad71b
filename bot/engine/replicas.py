"""Waiting for replicas: what is accepted, settled, stopped or opted out is on one of them before tuma says so.

A replica has what it acknowledged, so a failover to it loses none of that. Where the server has no replica nothing is
waited for, and nothing is asked: who is connected is read again every few seconds at most.

The server answers when the replica has applied the write, which may be before the replica's own disk has it.

Source: Redis and Valkey, "WAIT" and "INFO replication" (connected_slaves).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from redis.asyncio import RedisCluster

from bot.engine.store import Client, guard
from bot.errors import NotReplicated

_LOOK_S = 2.0
# WAIT counts from the last write of its own connection, and a call that was made before writes nothing.
_MARK = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1] .. 'wait', ARGV[1], 'PX', 60000)"


class Replicas:
    """How many replicas must have a write: `wanted`, or one where there is any (None)."""

    def __init__(self, client: Client, wanted: int | None = 0, wait_ms: int = 1000) -> None:
        self._client: Any = client
        self._spread = isinstance(client, RedisCluster)
        self._wanted, self._wait_ms = wanted, wait_ms
        self._connected: dict[str, int] = {}
        self._look_at = 0.0

    async def ask(self, pipe: Any, prefixes: Iterable[str]) -> list[tuple[str, int]]:
        """Add to a pipeline that its writes be waited for: per server its name and how many replicas it takes.

        The last answers of the pipeline, one pair each, are then for `check`. `prefixes` are of the partitions
        written to. Raises StoreUnavailable.
        """
        asked = []
        for name, node, prefix in self._servers(prefixes):
            if wanted := await self._of(name):
                target = {"target_nodes": node} if self._spread else {}
                pipe.execute_command("EVAL", _MARK, 1, prefix, time.time_ns())
                pipe.execute_command("WAIT", wanted, self._wait_ms, **target)
                asked.append((name, wanted))
        return asked

    def check(self, asked: list[tuple[str, int]], replies: list[Any]) -> None:
        """Raise NotReplicated, or what the server said instead, unless enough replicas have it."""
        for (_, wanted), reply in zip(asked, replies[1::2], strict=True):
            if isinstance(reply, Exception):
                with guard():
                    raise reply
            if int(reply) < wanted:
                self._look_at = 0.0
                raise NotReplicated(
                    f"Redis has it, but {wanted} replica(s) did not say so in {self._wait_ms} ms"
                )

    def moved(self, asked: list[tuple[str, int]], prefixes: Iterable[str]) -> bool:
        """Whether a slot went to another server meanwhile, so that the wrong one was waited for."""
        return bool(asked) and {name for name, _, _ in self._servers(prefixes)} != {name for name, _ in asked}

    def _servers(self, prefixes: Iterable[str]) -> list[tuple[str, Any, str]]:
        """The servers behind some partitions, each with one of its partitions."""
        if not self._spread:
            return [("", None, prefix) for prefix in list(prefixes)[:1]]
        found = {}
        for prefix in prefixes:
            with guard():  # nobody may have the slot just now
                node = self._client.get_node_from_key(prefix)
            if node is not None:
                found[node.name] = (node.name, node, prefix)
        return list(found.values())

    async def _of(self, name: str) -> int:
        if self._wanted is not None:
            return self._wanted
        if time.monotonic() >= self._look_at:
            await self._look()
        return min(self._connected.get(name, 0), 1)

    async def _look(self) -> None:
        with guard():
            if self._spread:
                nodes = self._client.get_primaries()
                found = {
                    node.name: await self._client.info("replication", target_nodes=node) for node in nodes
                }
            else:
                found = {"": await self._client.info("replication")}
        self._connected = {name: int(said.get("connected_slaves", 0)) for name, said in found.items()}
        self._look_at = time.monotonic() + _LOOK_S
