"""First routes: one rung speaks at a time, whatever comes late, is lost, or waits for the end of an outage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.domain.message import Kind, Outcome
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from channels.base import Delivery, StatusUpdate
from channels.errors import Unavailable
from tests.engine.conftest import job
from tests.engine.test_regressions import FIRST, due, finish, grab, told

_BUSY = Unavailable("30017", "network busy")


async def outcomes(engine: Engine, share: str) -> list[tuple[str, Outcome | None]]:
    return [(m.channel, m.outcome) for m in (await engine.shares.get(share)).messages]


async def test_after_an_outage_a_first_route_speaks_once_whichever_channels_its_rungs_had_come_to(
    engine: Engine,
) -> None:
    # The last reminder went out over SMS while an older one, which SMS had given up, went out by mail.
    away = timedelta(hours=72)
    plan = (timedelta(days=2), timedelta(days=1), timedelta(hours=1))
    route = {"mode": "first", "channels": ("sms", "email"), "email": "asha@example.com"}
    accepted = await engine.shares.accept(job("100", due_in=away, before=plan, **route))  # type: ignore[arg-type]
    await engine.channels.pause("sms", reason="x", by="cli")
    for hours in (25, 49, 72):
        await due(engine, "100", timedelta(hours=hours))
    await engine.channels.resume("sms", by="cli")
    heard = [h.message["k"] for name in ("sms", "email") for h in await grab(engine, "100", name)]
    assert heard == [Kind.REMINDER]
    assert [outcome for _, outcome in (await outcomes(engine, accepted.id))[:-1]] == [Outcome.SUPERSEDED] * 6
    assert (await engine.ledger.check()).differences == []


async def test_a_no_on_one_channel_leaves_the_newer_message_of_a_route_on_another(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", **FIRST))  # type: ignore[arg-type]
    [h] = await grab(engine, "100", "whatsapp")
    await finish(engine, h, "failed")
    [h] = await grab(engine, "100")
    await finish(engine, h, "sent", ok="1")
    await engine.shares.resend(accepted.id, by="cli")  # over SMS, which worked
    await engine.contacts.opt_out("whatsapp", h.message["to"], proof="STOP")
    assert len(await grab(engine, "100")) == 1


@pytest.mark.parametrize("then", ["doubt", "lost", "retry", "unsent", "failed", "sent", "undelivered"])
async def test_a_first_rung_that_arrives_late_is_the_last_word_while_a_worker_holds_the_second(
    engine: Engine, then: str
) -> None:
    # What came back from its worker was sent all the same, and the third rung after it.
    route = {"mode": "first", "channels": ("whatsapp", "sms", "email"), "email": "asha@example.com"}
    accepted = await engine.shares.accept(job("100", **route))  # type: ignore[arg-type]
    [first] = await grab(engine, "100", "whatsapp")
    await finish(engine, first, "sent")
    await due(engine, "100", timedelta(minutes=11))
    [second] = await grab(engine, "100")
    await engine.messages.delivery(told(first, Delivery.DELIVERED))
    if then == "lost":
        scripts = engine.records.scripts
        await scripts.run(scripts.reclaim(second.partition, now_ms(), "sms", idle_ms=0, wait_ms=0))
    else:
        await finish(engine, second, "sent" if then == "undelivered" else then, pid="SM2")
    if then == "undelivered":
        busy = StatusUpdate(told(second, Delivery.SENT).message_id, "SM2", Delivery.UNDELIVERED, _BUSY)
        await engine.messages.delivery(busy)
    await due(engine, "100", timedelta(hours=1))
    await due(engine, "100", timedelta(hours=2))
    assert await grab(engine, "100") == []
    assert len(await outcomes(engine, accepted.id)) == 2
    assert await engine.messages.dead() == []
    assert (await engine.ledger.check()).differences == []


async def test_a_second_rung_in_doubt_is_not_sent_again_once_the_first_arrived(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", **FIRST))  # type: ignore[arg-type]
    [first] = await grab(engine, "100", "whatsapp")
    await finish(engine, first, "sent")
    await due(engine, "100", timedelta(minutes=11))
    [second] = await grab(engine, "100")
    await finish(engine, second, "doubt")
    await engine.messages.delivery(told(first, Delivery.DELIVERED))
    await due(engine, "100", timedelta(hours=1))
    assert await grab(engine, "100") == []
    assert (await outcomes(engine, accepted.id))[1] == ("sms", Outcome.SUPERSEDED)


async def test_a_reminder_that_arrives_late_does_not_end_the_next_one(engine: Engine) -> None:
    plan = (timedelta(days=2), timedelta(days=1))
    soon = timedelta(days=3)
    await engine.shares.accept(job("100", due_in=soon, before=plan, **FIRST))  # type: ignore[arg-type]
    [instructions] = await grab(engine, "100", "whatsapp")
    await finish(engine, instructions, "failed")
    [instructions] = await grab(engine, "100")
    await due(engine, "100", timedelta(hours=25))
    [late] = await grab(engine, "100", "whatsapp")
    await finish(engine, late, "sent", pid="SM7")
    await finish(engine, instructions, "sent", ok="1")  # so the next one begins with SMS
    await due(engine, "100", timedelta(hours=49))
    await engine.messages.delivery(told(late, Delivery.DELIVERED, "SM7"))
    assert [h.message["k"] for h in await grab(engine, "100")] == [Kind.REMINDER]


@pytest.mark.parametrize("refused", ["failed", "suppressed"])
async def test_what_arrived_at_the_first_try_is_done_though_the_second_was_refused(
    engine: Engine, refused: str
) -> None:
    # Whoever got the first and answered STOP got the next channel's, too, or became a dead letter.
    route = {"mode": "first", "channels": ("sms", "email"), "email": "asha@example.com"}
    accepted = await engine.shares.accept(job("100", **route))  # type: ignore[arg-type]
    [h] = await grab(engine, "100")
    await finish(engine, h, "doubt")
    await due(engine, "100", timedelta(seconds=1))
    [again] = await grab(engine, "100")
    await engine.messages.delivery(told(h, Delivery.DELIVERED))
    await finish(engine, again, refused, x="opted out")
    assert await outcomes(engine, accepted.id) == [("sms", Outcome.SENT)]
    assert await engine.messages.dead() == []
    assert (await engine.shares.get(accepted.id)).messages[0].delivery == "delivered"
