"""Whoever works ends when told to, at whatever moment, and what a recorder was given is on record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.domain.message import Outcome
from bot.engine import wakeups, worker
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from bot.engine.worker import Finisher
from tests.engine.conftest import job
from tests.engine.test_worker import Scripted, hands

_SOON_S = 5
# Rounds of the event loop between a result and the end: enough to meet every step of its way to Redis.
_ROUNDS = 60


async def test_a_recorder_ended_at_any_step_has_recorded_everything(engine: Engine) -> None:
    for rounds in range(_ROUNDS):
        accepted = await engine.shares.accept(job())
        p, result = await _sent(engine, accepted.number)
        finisher = Finisher(engine.records)
        running = asyncio.create_task(finisher.run())
        finisher.put(p, result)
        for _ in range(rounds):
            await asyncio.sleep(0)
        finisher.end(give_up_s=_SOON_S)
        await asyncio.wait_for(running, _SOON_S)
        view = await engine.messages.get(accepted.messages[0])
        assert view.outcome is Outcome.SENT, f"ended {rounds} rounds after the result"


async def _sent(engine: Engine, number: str) -> tuple[int, dict[str, str]]:
    """Hand a message out, and the result of sending it."""
    scripts, p = engine.records.scripts, engine.records.partition(number)
    [held], _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "test", (1, 1)))
    facts = {"pid": "SM1", "dl": "queued", "dr": "1", "seg": "1", "txt": "x", "ok": "0", "why": "", "err": ""}
    return p, {"id": held.id, "a": str(held.attempt), "r": "sent", **facts}


async def test_a_worker_that_waits_for_work_ends_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(*_: Any, **__: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(wakeups.Wakeups, "_next", silence)
    monkeypatch.setattr(wakeups, "SWEEP_S", 60)
    monkeypatch.setattr(worker, "SWEEP_S", 60)
    stop = asyncio.Event()
    idle, _ = hands(engine, Scripted())
    running = asyncio.create_task(idle.run(stop))
    await asyncio.sleep(0.5)
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, _SOON_S)
