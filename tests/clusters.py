"""Clusters of three primaries on this machine, and what moves in them."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.conftest import Valkey, start_valkey
from tests.store.servers import ask, wait_until

SLOTS = 16384
_PRIMARIES = 3
_BOUNDS = [SLOTS * n // _PRIMARIES for n in range(_PRIMARIES + 1)]


def node(folder: Path, *options: str, timeout_ms: int = 1000, port: int | None = None) -> Valkey:
    """A server that can be part of a cluster, or one that died and comes back with what it knew."""
    port = port or _port_pair()
    own = ["--cluster-enabled", "yes", "--cluster-port", str(port + 1)]
    own += ["--cluster-node-timeout", str(timeout_ms), "--repl-diskless-sync-delay", "0"]
    return start_valkey(folder, *own, *options, port=port)


def _port_pair() -> int:
    """A free pair of neighbouring ports; the second is the cluster bus. Others look for one at the same time."""
    for port in random.sample(range(17000, 19000, 2), 1000):
        with contextlib.suppress(OSError), socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", port))
            b.bind(("127.0.0.1", port + 1))
            return port
    raise RuntimeError("no free ports")


def join(primaries: Sequence[Valkey], replicas: Sequence[Valkey] = ()) -> str:
    """Make one cluster of three primaries and a replica for the first of them each; its URL."""
    every = [*primaries, *replicas]
    for made, first, last in zip(primaries, _BOUNDS, _BOUNDS[1:], strict=False):
        ask(made, "CLUSTER", "ADDSLOTSRANGE", first, last - 1)
    for made in every[1:]:
        ask(made, "CLUSTER", "MEET", "127.0.0.1", primaries[0].port, primaries[0].port + 1)
    wait_until(lambda: all(_well(made, len(every)) for made in every), 60)
    for replica, of in zip(replicas, primaries, strict=False):
        ask(replica, "CLUSTER", "REPLICATE", ask(of, "CLUSTER", "MYID"))
    for replica in replicas:
        wait_until(lambda replica=replica: follows(replica), 60)  # type: ignore[misc]
    return f"redis+cluster://127.0.0.1:{primaries[-1].port}"


def _well(made: Valkey, nodes: int) -> bool:
    info = str(ask(made, "CLUSTER", "INFO"))
    return "cluster_state:ok" in info and f"cluster_known_nodes:{nodes}" in info


def leads(server: Valkey) -> bool:
    """Whether a server answers, as a primary."""
    return _says(server, "role") == "master"


def follows(server: Valkey) -> bool:
    """Whether a server is a replica that has caught up."""
    return _says(server, "master_link_status") == "up"


def _says(server: Valkey, what: str) -> str | None:
    try:
        return str(ask(server, "INFO", "replication").get(what))
    except (redis.ConnectionError, redis.BusyLoadingError):
        return None


def slots_of(nth: int) -> range:
    """The slots that the nth primary begins with."""
    return range(_BOUNDS[nth], _BOUNDS[nth + 1])


def owns(server: Valkey, slot: int) -> bool:
    """Whether this server knows the slot as its own."""
    rows = ask(server, "CLUSTER", "SLOTS")
    return any(first <= slot <= last and int(owner[1]) == server.port for first, last, owner, *_ in rows)


def move(slot: int, source: Valkey, target: Valkey) -> None:
    """Let a slot move; returns when the target has it."""
    there = ask(target, "CLUSTER", "MYID")
    ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", there)
    wait_until(lambda: owns(target, slot), 30)
