"""A cluster that loses a primary, or moves slots, under a whole tuma at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from redis.crc import key_slot

from bot.engine import keys
from tests import clusters
from tests.conftest import Valkey
from tests.engine.test_worker import until
from tests.store.conftest import town
from tests.store.servers import ask, kill, servers, wait_until
from tests.store.test_outages import a_bill


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
            made = clusters.node(many.folder())
            stack.callback(made.process.wait)
            stack.callback(made.process.kill)
            return made

        nodes, replica = [node() for _ in range(3)], node()
        clusters.join(nodes, [replica])
        yield Cluster(nodes, replica)


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


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # see _sockets_of_given_up_connects; they may go earlier, too
async def test_all_roles_follow_slots_that_move(cluster: Cluster) -> None:
    async with town(cluster.url, TUMA_PARTITIONS="16") as place:
        await place.serves_a_customer()
        slots = {key_slot(keys.prefix(p).encode()) for p in range(16)}
        moving = sorted(slots & set(clusters.slots_of(1)))
        assert moving
        for slot in moving:
            clusters.move(slot, cluster.nodes[1], cluster.nodes[2])
            await place.serves_a_customer()
        assert (await place.app.engine.ledger.check()).differences == []
