"""Share jobs on their way to tuma: half over HTTP, half into the inbox, each told again until it is taken."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from bot.engine import keys
from bot.engine.replicas import Replicas
from bot.engine.store import Client, connect
from bot.errors import StoreUnavailable
from tests.chaos.plan import Customer, Plan, job
from tests.chaos.stores import Store

_AGAIN_S = 0.5


@dataclass(slots=True)
class Feeder:
    """The producer. `taken` are the shares that tuma said it has; `tries` counts answers that were not yes."""

    plan: Plan
    api: str
    key: str
    store: Store
    began_at: datetime
    taken: set[str] = field(default_factory=set)
    tries: Counter[str] = field(default_factory=Counter)

    async def run(self, began: float) -> None:
        """Tell of every bill at its time; returns when all are taken. `began` is on the monotonic clock."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as http,
            aclosing(connect(self.store.url)) as redis,
            asyncio.TaskGroup() as group,
        ):
            await redis.ping()  # a cluster's client learns who has which slot
            replicas = Replicas(redis, self.store.replicas)
            for customer in self.plan.customers:
                await asyncio.sleep(max(began + customer.fed_at_s - time.monotonic(), 0))
                group.create_task(self._feed(customer, http, redis, replicas))

    async def _feed(
        self, customer: Customer, http: aiohttp.ClientSession, redis: Client, replicas: Replicas
    ) -> None:
        told, p = job(customer, self.plan.scale.tempo, self.began_at), customer.index % self.store.partitions
        while not await (self._post(http, told) if customer.by_http else self._add(redis, replicas, p, told)):
            await asyncio.sleep(_AGAIN_S)
        self.taken.add(customer.share)

    async def _post(self, http: aiohttp.ClientSession, told: Mapping[str, Any]) -> bool:
        try:
            async with http.post(f"{self.api}/v1/shares", json=told) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.tries[type(error).__name__] += 1
            return False
        if answer.status in (400, 409, 422):
            raise RuntimeError(f"tuma refused {told['id']}: {text}")
        if answer.status != 202:
            self.tries[f"HTTP {answer.status}"] += 1
        return answer.status == 202

    async def _add(self, redis: Client, replicas: Replicas, p: int, told: Mapping[str, Any]) -> bool:
        """Into the inbox, on a cluster into that of a partition, and onto a replica where there is one."""
        try:
            pipe: Any = (
                redis.pipeline() if isinstance(redis, RedisCluster) else redis.pipeline(transaction=False)
            )
            inbox = keys.inbox(p) if isinstance(redis, RedisCluster) else keys.INBOX
            pipe.execute_command("XADD", inbox, "*", "job", json.dumps(told))
            asked = await replicas.ask(pipe, [keys.prefix(p)])
            _, *replies = await pipe.execute()
            replicas.check(asked, replies)
        except (RedisError, StoreUnavailable, OSError) as error:
            self.tries[type(error).__name__] += 1
            return False
        return True
