"""What tuma's data lies on in a run: one server, one with a replica under a Sentinel, or a cluster with replicas.

An outage kills a primary. A single server is started again; of a pair the replica is promoted, and the killed one comes
back as its replica some time later, without anybody's help, as after a power cut. Every second time the replica is cut
off a moment before: what was written in that time dies with the primary.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from redis.crc import key_slot

from bot.engine import keys
from tests import clusters
from tests.chaos.plan import StoreName
from tests.conftest import Valkey, start_valkey
from tests.store.servers import ask, start_sentinel, wait_until

_DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
_GUARD = ("--min-replicas-to-write", "1")
# Long enough for a server that a busy machine keeps waiting not to be taken for dead.
_DEAD_MS = 2000
_PATIENCE_S = 90.0
_BEHIND_S = 1.0
_PARTITIONS = 16
NAMED: Mapping[str, str] = {
    "single": "a real Valkey (fsync `always`)",
    "sentinel": "a Valkey with a replica (fsync `always`), watched by a Sentinel",
    "cluster": "a cluster of three Valkeys, each with a replica (fsync `always`)",
}


class Store(Protocol):
    """`settings` are those that the processes of tuma need for it; `replicas`: how many a write is waited for."""

    url: str
    settings: Mapping[str, str]
    replicas: int
    partitions: int

    async def outage(self, lasts_s: float) -> float:
        """Kill a primary, for so many seconds; how long it took until a replica led instead, 0 if there is none."""
        ...

    async def migrate(self) -> float:
        """Let the slot of a partition move to another server."""
        ...

    def guard(self) -> None:
        """Let servers refuse writes while they have no replica."""
        ...

    def kill(self) -> None:
        """End everything as a power cut does."""
        ...


class Single:
    """A Valkey with fsync `always`, on one port and one folder however often it dies."""

    settings: Mapping[str, str] = {}
    replicas, partitions = 0, 8

    def __init__(self, folder: Path) -> None:
        self._valkey = _started(folder / "server")
        self.url = self._valkey.url

    async def outage(self, lasts_s: float) -> float:
        """Kill it, and start it again after so many seconds."""
        self.kill()
        await asyncio.sleep(lasts_s)
        self._valkey = await asyncio.to_thread(_again, self._valkey)
        return 0.0

    async def migrate(self) -> float:
        """There is nowhere to go."""
        return 0.0

    def guard(self) -> None:
        """It never has one."""

    def kill(self) -> None:
        """End it."""
        _kill(self._valkey)


class Watched:
    """A primary, its replica, and a Sentinel that decides alone."""

    settings: Mapping[str, str] = {"TUMA_REPLICAS": "1"}
    replicas, partitions = 1, 8

    def __init__(self, folder: Path) -> None:
        first = _started(folder / "server-1")
        second = _started(folder / "server-2", "--replicaof", f"127.0.0.1 {first.port}")
        self._pair = [first, second]
        self._outages, self._guarded = 0, False
        wait_until(lambda: clusters.follows(second))
        (folder / "sentinel").mkdir()
        self._sentinel, name = start_sentinel(folder / "sentinel", first, _DEAD_MS)
        self.url = f"redis+sentinel://127.0.0.1:{self._sentinel.port}/{name}"

    async def outage(self, lasts_s: float) -> float:
        """Kill the primary of now."""
        self._outages += 1
        return await _fail_over(self._pair, lasts_s, behind=self._outages % 2 == 0, guarded=self._guarded)

    async def migrate(self) -> float:
        """There are no slots."""
        return 0.0

    def guard(self) -> None:
        """Both, as either may lead."""
        self._guarded = True
        _guard(self._pair)

    def kill(self) -> None:
        """End all of them."""
        for each in (self._sentinel, *self._pair):
            _kill(each)


class Clustered:
    """Three primaries with a replica each."""

    settings: Mapping[str, str] = {"TUMA_REPLICAS": "1", "TUMA_PARTITIONS": str(_PARTITIONS)}
    replicas, partitions = 1, _PARTITIONS

    def __init__(self, folder: Path) -> None:
        nodes = [_node(folder / f"server-{n}") for n in range(1, 7)]
        self.url = clusters.join(nodes[:3], nodes[3:])
        self._shards = [[nodes[n], nodes[n + 3]] for n in range(3)]
        self._outages, self._moves, self._guarded = 0, 0, False

    async def outage(self, lasts_s: float) -> float:
        """Kill a primary, each of the three in its turn."""
        self._outages += 1
        shard, behind = self._shards[self._outages % 3], self._outages % 2 == 0
        return await _fail_over(shard, lasts_s, behind=behind, guarded=self._guarded, cluster=True)

    async def migrate(self) -> float:
        """Move a partition to the primary after its own."""
        self._moves += 1
        slot = key_slot(keys.prefix(self._moves * 5 % _PARTITIONS).encode())
        await asyncio.to_thread(self._move, slot)
        return 0.0

    def _move(self, slot: int) -> None:
        primaries = [next(filter(clusters.leads, shard)) for shard in self._shards]
        at = next(n for n, each in enumerate(primaries) if clusters.owns(each, slot))
        clusters.move(slot, primaries[at], primaries[(at + 1) % 3])

    def guard(self) -> None:
        """All of them, as any may lead."""
        self._guarded = True
        _guard(node for shard in self._shards for node in shard)

    def kill(self) -> None:
        """End all of them."""
        for each in (node for shard in self._shards for node in shard):
            _kill(each)


async def _fail_over(
    pair: list[Valkey], lasts_s: float, *, behind: bool, guarded: bool, cluster: bool = False
) -> float:
    old = next(n for n, each in enumerate(pair) if clusters.leads(each))
    new = pair[1 - old]
    if behind:
        # Frozen, so that it does not come back; cut off, so that nothing waits for it in a buffer of this machine.
        new.process.send_signal(signal.SIGSTOP)
        ask(pair[old], "CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(_BEHIND_S)
    _kill(pair[old])
    new.process.send_signal(signal.SIGCONT)
    killed = time.monotonic()
    await asyncio.to_thread(wait_until, lambda: clusters.leads(new), _PATIENCE_S)
    promoted_s = time.monotonic() - killed
    await asyncio.sleep(lasts_s)
    options = _GUARD if guarded else ()
    pair[old] = await asyncio.to_thread(_node_again if cluster else _again, pair[old], *options)
    back = pair[old]
    await asyncio.to_thread(wait_until, lambda: clusters.follows(back), _PATIENCE_S)
    return promoted_s


def _started(folder: Path, *options: str) -> Valkey:
    folder.mkdir(parents=True)
    return start_valkey(folder, *_DURABLE, *options)


def _again(gone: Valkey, *options: str) -> Valkey:
    return start_valkey(gone.folder, *_DURABLE, *options, port=gone.port)


def _guard(servers: Iterable[Valkey]) -> None:
    for server in servers:
        ask(server, "CONFIG", "SET", _GUARD[0].removeprefix("--"), _GUARD[1])


def _node(folder: Path) -> Valkey:
    folder.mkdir(parents=True)
    return clusters.node(folder, *_DURABLE[:4], timeout_ms=_DEAD_MS)


def _node_again(gone: Valkey, *options: str) -> Valkey:
    return clusters.node(gone.folder, *_DURABLE[:4], *options, timeout_ms=_DEAD_MS, port=gone.port)


def _kill(server: Valkey) -> None:
    server.process.kill()
    server.process.wait()


def start(name: StoreName, folder: Path, *, guarded: bool) -> Store:
    """Start what the plan names, in `folder`; `guarded`: servers with a replica write only while they have it."""
    store = _start(name, folder)
    if guarded:
        store.guard()
    return store


def _start(name: StoreName, folder: Path) -> Store:
    kinds: dict[StoreName, Callable[[Path], Store]] = {
        "single": Single,
        "sentinel": Watched,
        "cluster": Clustered,
    }
    return kinds[name](folder)
