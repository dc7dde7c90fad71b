"""A cluster that loses a primary, or moves slots, under a whole tuma at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from redis.crc import key_slot

from bot.engine import keys
from tests.conftest import Valkey, start_valkey
from tests.engine.test_cluster import _low_port
from tests.engine.test_worker import until
from tests.store.conftest import town
from tests.store.servers import ask, kill, servers, wait_until
from tests.store.test_outages import a_bill

_SLOTS = 16384


@dataclass(frozen=True)
class Cluster:
    """Three primaries, the first of which has a replica."""

    nodes: list[Valkey]
    replica: Valkey

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[2].port}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with servers() as many, ExitStack() as stack:

        def node() -> Valkey:
            port = _low_port()
            options = ["--cluster-enabled", "yes", "--cluster-port", str(port + 1)]
            options += ["--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"]
            made = start_valkey(many.folder(), *options, port=port)
            stack.callback(made.process.wait)
            stack.callback(made.process.kill)
            return made

        nodes = [node() for _ in range(3)]
        bounds = [_SLOTS * n // 3 for n in range(4)]
        for made, first, last in zip(nodes, bounds, bounds[1:], strict=False):
            ask(made, "CLUSTER", "ADDSLOTSRANGE", first, last - 1)
        replica = node()
        for made in [*nodes[1:], replica]:
            ask(made, "CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].port + 1)
        wait_until(lambda: all(_well(made) for made in [*nodes, replica]), 40)
        ask(replica, "CLUSTER", "REPLICATE", ask(nodes[0], "CLUSTER", "MYID"))
        wait_until(lambda: ask(replica, "INFO", "replication").get("master_link_status") == "up", 30)
        yield Cluster(nodes, replica)


def _well(node: Valkey) -> bool:
    info = str(ask(node, "CLUSTER", "INFO"))
    return "cluster_state:ok" in info and "cluster_known_nodes:4" in info


async def test_all_roles_follow_the_failover_of_a_primary(cluster: Cluster) -> None:
    async with town(cluster.url, TUMA_PARTITIONS="16") as place:
        await place.serves_a_customer()
        bills = [await a_bill(place) for _ in range(8)]
        kill(cluster.nodes[0])
        wait_until(lambda: ask(cluster.replica, "ROLE")[0] == "master", 30)
        for number, phone in bills:
            payment = await place.pays(number)

            async def told(payment: object = payment) -> bool:
                await place.city.wallet.notify(payment)  # type: ignore[arg-type]
                return getattr(payment, "webhook_status", None) == 200

            await until(told, 40)
            await until(lambda phone=phone: place.sees(phone, 2), 40)  # type: ignore[misc]
        for _ in range(4):
            await place.serves_a_customer()
        assert (await place.app.engine.ledger.check()).differences == []


async def test_all_roles_follow_slots_that_move(cluster: Cluster) -> None:
    async with town(cluster.url, TUMA_PARTITIONS="16") as place:
        await place.serves_a_customer()
        bounds = [_SLOTS * n // 3 for n in range(4)]
        slots = {key_slot(keys.prefix(p).encode()) for p in range(16)}
        moving = sorted(slot for slot in slots if bounds[1] <= slot < bounds[2])
        target = ask(cluster.nodes[2], "CLUSTER", "MYID")
        assert moving
        for slot in moving:
            ask(cluster.nodes[1], "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target)
            wait_until(lambda slot=slot: _owns(cluster.nodes[2], slot), 30)  # type: ignore[misc]
            await place.serves_a_customer()
        assert (await place.app.engine.ledger.check()).differences == []


def _owns(node: Valkey, slot: int) -> bool:
    rows = ask(node, "CLUSTER", "SLOTS")
    return any(first <= slot <= last and int(owner[1]) == node.port for first, last, owner, *_ in rows)
