"""Ends for messages without a worker: what a provider might have said of everything that waits."""

from __future__ import annotations

from bot.engine.engine import Engine
from bot.engine.scripts import now_ms

INVALID = {
    "r": "failed",
    "why": "invalid address",
    "err": "21614: not a mobile number",
    "x": "invalid address",
}
REFUSED = {"r": "failed", "why": "refused by the provider", "err": "21617: too long", "x": ""}
TEMPLATE = {"r": "failed", "why": "template", "err": "sw/instructions.sms: name is missing", "x": ""}
SENT = {"r": "sent", "pid": "SM1", "dl": "queued", "dr": "1", "seg": "1", "txt": "x", "ok": "1"}
DOUBT = {"r": "doubt", "err": "timeout: no answer", "at": "1", "txt": "x"}
HOLD = dict.fromkeys(("sms", "whatsapp", "email", "telegram"), "hold")


async def take(engine: Engine, channel: str = "sms", now: int | None = None) -> list[dict[str, str]]:
    """Hand out everything that waits on a channel: what a result needs to name it, its number and its address."""
    held = []
    for p in range(engine.partitions):
        call = engine.records.scripts.hand_out(p, now or now_ms(), channel, "test", (1000, 1000))
        handed, _ = await engine.records.scripts.run(call)
        held += [
            {"p": str(p), "id": h.id, "a": str(h.attempt), "to": h.message["to"], "num": h.share["num"]}
            for h in handed
        ]
    return held


async def give(engine: Engine, held: list[dict[str, str]], result: dict[str, str]) -> None:
    """Record one result for all that were handed out."""
    for h in held:
        own = {"id": h["id"], "a": h["a"], "why": "", "err": "", **result}
        await engine.records.scripts.run(engine.records.scripts.finish(int(h["p"]), now_ms(), [own]))


async def end(engine: Engine, result: dict[str, str], channel: str = "sms") -> list[dict[str, str]]:
    """Hand out and end everything that waits on a channel."""
    held = await take(engine, channel)
    await give(engine, held, result)
    return held


async def hold(engine: Engine, channel: str = "telegram") -> None:
    """Everything that waits on a channel is in doubt, and held for staff."""
    await end(engine, DOUBT, channel)
    for p in range(engine.partitions):
        await engine.records.scripts.run(engine.records.scripts.due(p, now_ms(), 100, HOLD))
