"""`kill -9` of a worker, of the server, and of whoever accepts: nothing is lost, nothing is sent twice unflagged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from bot.domain.message import Outcome, State
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from bot.errors import StoreUnavailable
from tests.conftest import start_valkey
from tests.engine.conftest import job, settings_for
from tests.engine.test_worker import Scripted, settled, until, working


async def test_another_worker_takes_over_what_a_killed_one_held(engine: Engine) -> None:
    accepted = await engine.shares.accept_many([job() for _ in range(5)])
    await _killed_in_the_middle(engine, len(accepted))
    assert (await engine.ledger.stats()).handed_out == len(accepted)
    for p in range(engine.partitions):
        scripts = engine.records.scripts
        await scripts.run(scripts.reclaim(p, now_ms(), "sms", idle_ms=1, wait_ms=10))
    channel = Scripted()
    async with working(engine, channel):
        await until(lambda: settled(engine))
    views = [await engine.messages.get(a.messages[0]) for a in accepted]  # type: ignore[union-attr]
    assert {(v.outcome, v.possible_duplicate, v.attempts) for v in views} == {(Outcome.SENT, True, 2)}
    assert (await engine.ledger.check()).differences == []


async def _killed_in_the_middle(engine: Engine, messages: int) -> None:
    url = engine.settings.redis_url or ""
    doomed = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.engine.crash_worker", url, stdout=subprocess.PIPE
    )
    assert doomed.stdout is not None
    async with asyncio.timeout(60):
        for _ in range(messages):
            assert await doomed.stdout.readline()
    doomed.kill()
    await doomed.communicate()


async def test_an_idle_consumer_is_not_robbed_before_its_time(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    scripts, p = engine.records.scripts, engine.records.partition("100")
    held, _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "slow", (10, 10)))
    assert len(held) == 1
    assert await scripts.run(scripts.reclaim(p, now_ms(), "sms", idle_ms=60_000, wait_ms=10)) == 0


async def test_a_stale_finish_is_refused(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100"))
    scripts, p = engine.records.scripts, engine.records.partition("100")
    [h], _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "frozen", (10, 10)))
    await scripts.run(scripts.reclaim(p, now_ms(), "sms", idle_ms=0, wait_ms=0))
    await scripts.run(scripts.due(p, now_ms() + 1, 10, {"sms": "resend"}))
    [again], _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "other", (10, 10)))
    stale = {"id": h.id, "a": str(h.attempt), "r": "unsent", "why": "", "err": ""}
    assert await scripts.run(scripts.finish(p, now_ms(), [stale])) == [h.id]
    message = await engine.messages.get(accepted.messages[0])
    assert (again.attempt, message.state, message.possible_duplicate) == (2, State.HANDED_OUT, True)


async def test_what_was_accepted_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")
    server = start_valkey(tmp_path, *options)
    engine = await Engine.open(settings_for(server.url))
    accepted = [await engine.shares.accept(job()) for _ in range(50)]
    server.process.kill()
    server.process.wait()
    with pytest.raises(StoreUnavailable):
        await engine.shares.accept(job())
    again = start_valkey(tmp_path, *options, port=server.port)
    try:
        channel = Scripted()
        async with working(engine, channel):
            await until(lambda: settled(engine))
        assert len(channel.sent) == len(accepted)
        assert (await engine.ledger.check()).differences == []
    finally:
        await engine.close()
        again.process.kill()
        again.process.wait()


async def test_a_claim_left_open_by_a_crash_is_driven_again(engine: Engine) -> None:
    j = job("100")
    await engine.shares._claim([(j, "")])
    for p in range(engine.partitions):
        name = f"tuma:{{{p}}}:open"
        if claim := await engine.records.client.hget(name, j.id):
            await engine.records.client.hset(name, j.id, f"1 {claim.partition(' ')[2]}")
    assert await engine.shares.redrive() == 1
    assert len((await engine.shares.get(j.id)).messages) == 1
    assert await engine.shares.redrive() == 0
