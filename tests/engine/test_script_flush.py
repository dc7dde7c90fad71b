"""A server that forgot its scripts (SCRIPT FLUSH, a restart, a failover) is told them again; nobody notices."""

from __future__ import annotations

import pytest
import redis.asyncio

from bot.domain.share import ShareJob
from bot.engine.engine import Engine
from tests.engine.conftest import job, paid


@pytest.mark.single
@pytest.mark.parametrize("when", ["many", "one"])
async def test_scripts_are_told_again_once_each_and_answers_stay_in_order(
    engine: Engine, redis_url: str, when: str
) -> None:
    jobs: list[ShareJob] = [job(id=f"inv-{n}", number=f"5504291487{n:04}") for n in range(40)]
    first = await engine.shares.accept_many(jobs)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.script_flush()
        before = (await client.info("commandstats")).get("cmdstat_eval", {"calls": 0})["calls"]
        if when == "many":
            again = await engine.shares.accept_many(jobs)
            assert [each.token for each in again] == [each.token for each in first]  # type: ignore[union-attr]
            assert all(each.repeated for each in again)  # type: ignore[union-attr]
        else:
            result = await engine.payments.settle(paid("55042914870007", "45000"))
            assert result.outcome == "settled"
        told = (await client.info("commandstats"))["cmdstat_eval"]["calls"] - before
    assert 1 <= told <= 3
    assert (await engine.ledger.check()).differences == []
