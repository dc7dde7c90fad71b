"""Scripts that handle many messages at once write counters once, whatever happens to one of them; and carry little."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from bot.engine import library
from bot.engine.engine import Engine
from bot.engine.scripts import HandedOut, now_ms
from tests.engine.conftest import job


def outcome(held: HandedOut, attempt: int | None = None) -> dict[str, str]:
    fields = {"id": held.id, "a": str(attempt or held.attempt), "r": "sent", "why": "", "err": ""}
    return fields | {"pid": f"SM-{held.id}", "dl": "queued", "dr": "1", "seg": "1", "txt": "", "ok": "0"}


async def test_a_record_that_breaks_a_batch_costs_no_other_message_its_place_in_the_ledger(
    engine: Engine,
) -> None:
    scripts, client = engine.records.scripts, engine.records.client
    number = "55042914871931"
    p = engine.records.partition(number)
    for term in ("1", "2", "3"):
        await engine.shares.accept(job(number, term=term, kind="customer", additional_contact=True))
    held, _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "test", (10, 10)))
    assert len(held) == 3
    await client.hdel(f"tuma:{{{p}}}:m:{held[1].id}", "ch")
    with pytest.raises(ResponseError):
        await scripts.run(scripts.finish(p, now_ms(), [outcome(h) for h in held]))
    counts = await client.hgetall(f"tuma:{{{p}}}:n")
    assert (counts["o:sent"], counts["done"]) == ("1", "1")
    streams = f"tuma:{{{p}}}:q:sms:u"
    assert held[0].entry not in {entry for entry, _ in await client.xrange(streams)}


async def test_what_is_handed_out_is_what_is_recorded(engine: Engine) -> None:
    await engine.shares.accept(job("55042914871931"))
    p, scripts, client = (
        engine.records.partition("55042914871931"),
        engine.records.scripts,
        engine.records.client,
    )
    [held], _ = await scripts.run(scripts.hand_out(p, now_ms(), "sms", "test", (10, 10)))
    prefix = f"tuma:{{{p}}}:"
    assert dict(held.message) == await client.hgetall(f"{prefix}m:{held.id}")
    assert dict(held.share) == await client.hgetall(f"{prefix}s:{held.share['sid']}")
    assert dict(held.account) == await client.hgetall(f"{prefix}a:55042914871931")
    assert (held.attempt, held.message["a"], held.message["st"]) == (1, "1", "handed_out")


def test_a_script_carries_the_helpers_it_needs_and_no_others() -> None:
    text = library.text("hand_out")
    assert text.startswith("#!lua flags=allow-oom\n")
    assert "local function payable(" in text
    assert "local function balance(" in text  # which payable needs
    assert "local function receipts(" not in text
    assert "FORMAT" in library.text("know")  # no script runs on records of a newer tuma
