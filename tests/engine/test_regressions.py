"""Faults that were found once, each at the smallest size that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from bot.domain.bill import BillKind
from bot.domain.bill_change import BillChange
from bot.domain.message import Kind, Outcome, State
from bot.engine import keys
from bot.engine.changes import BillChanges
from bot.engine.engine import Engine
from bot.engine.scripts import HandedOut, now_ms
from bot.errors import Refused
from channels.base import ChannelName, Delivery, StatusUpdate
from channels.errors import ChannelError, Misconfigured, Unavailable
from tests.engine.conftest import job, paid
from tests.engine.endings import DOUBT, REFUSED, SENT, end, give, take
from tests.engine.test_worker import Scripted, hands, settled, until, working

FIRST = {"mode": "first", "channels": ("whatsapp", "sms")}


def test_no_link_ends_with_a_dash_that_phones_leave_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Android's Linkify ends a link at a word's boundary: "/pay/1-abc-" before a line break opened "/pay/1-abc"."""
    drawn = iter(["a" * 15 + "-", "b" * 16, "c" * 15 + "-", "d" * 16])
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: next(drawn))
    assert keys.fresh_sid() == "b" * 16
    assert keys.fresh_secret() == "d" * 16


async def grab(engine: Engine, number: str, channel: str = "sms") -> Sequence[HandedOut]:
    scripts, p = engine.records.scripts, engine.records.partition(number)
    held, _ = await scripts.run(scripts.hand_out(p, now_ms(), channel, "test", (10, 10)))
    return held


async def finish(engine: Engine, h: HandedOut, outcome: str, **fields: str) -> None:
    result = {
        "id": h.id,
        "a": str(h.attempt),
        "r": outcome,
        "why": "x",
        "err": "x",
        "at": str(now_ms()),
        "x": "",
    }
    sent = {"pid": "SM1", "dl": "queued", "dr": "1", "seg": "1", "txt": "x", "ok": "0", "cost": "1"}
    scripts = engine.records.scripts
    assert await scripts.run(scripts.finish(h.partition, now_ms(), [{**result, **sent, **fields}])) == []


async def due(engine: Engine, number: str, after: timedelta) -> None:
    scripts, p = engine.records.scripts, engine.records.partition(number)
    at = now_ms() + int(after.total_seconds() * 1000)
    await scripts.run(scripts.due(p, at, 100, {"sms": "resend", "whatsapp": "resend"}))


def told(h: HandedOut, delivery: Delivery, sid: str = "SM1") -> StatusUpdate:
    return StatusUpdate(keys.message_id(h.partition, h.id), sid, delivery)


async def test_a_worker_that_stops_records_everything_it_sent(engine: Engine) -> None:
    for n in range(5):
        gate, stop = asyncio.Event(), asyncio.Event()
        channel = Scripted(gate=gate)
        await engine.shares.accept_many([job(f"{n}{i}") for i in range(8)])
        worker, _ = hands(engine, channel, consumer=f"w{n}")
        running = asyncio.create_task(worker.run(stop))
        await until(lambda: _handed_out(engine, 8))
        stop.set()
        gate.set()
        await running
        assert (await engine.ledger.stats()).handed_out == 0
        assert len(channel.sent) == 8


async def _handed_out(engine: Engine, count: int) -> bool:
    return (await engine.ledger.stats()).handed_out == count


async def test_what_an_unanswered_claim_took_waits_again_and_what_is_held_does_not(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    [h] = await grab(engine, "100")
    scripts = engine.records.scripts
    assert await scripts.run(scripts.give_back(h.partition, now_ms(), "sms", "test", [h.id])) == 0
    assert await scripts.run(scripts.give_back(h.partition, now_ms(), "sms", "other", [])) == 0
    assert await scripts.run(scripts.give_back(h.partition, now_ms(), "sms", "test", [])) == 1
    [again] = await grab(engine, "100")
    assert (again.attempt, again.message.get("dup")) == (2, None)


async def test_a_rung_in_doubt_that_was_only_sent_still_has_its_clock(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", **FIRST))  # type: ignore[arg-type]
    [h] = await grab(engine, "100", "whatsapp")
    await finish(engine, h, "doubt")
    await engine.messages.delivery(told(h, Delivery.SENT))
    await due(engine, "100", timedelta(days=1))
    assert [m.channel for m in (await engine.shares.get(accepted.id)).messages] == ["whatsapp", "sms"]


@pytest.mark.parametrize("stuck", ["paused", "retried"])
async def test_a_rung_that_never_gets_out_is_given_up(engine: Engine, stuck: str) -> None:
    accepted = await engine.shares.accept(job("100", **FIRST))  # type: ignore[arg-type]
    if stuck == "paused":
        await engine.channels.pause("whatsapp", reason="x", by="cli")
    else:
        [h] = await grab(engine, "100", "whatsapp")
        await finish(engine, h, "retry", at=str(now_ms() + 86_400_000))
    await due(engine, "100", timedelta(hours=1))
    messages = (await engine.shares.get(accepted.id)).messages
    assert [(m.channel, m.outcome) for m in messages] == [("whatsapp", Outcome.SUPERSEDED), ("sms", None)]


async def test_a_delivered_callback_stops_the_duplicate_that_waits(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    [h] = await grab(engine, "100")
    await finish(engine, h, "doubt")
    await due(engine, "100", timedelta(seconds=1))
    await engine.messages.delivery(told(h, Delivery.DELIVERED))
    assert await grab(engine, "100") == []


async def test_a_failed_callback_of_an_earlier_attempt_says_nothing_of_the_next(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    [h] = await grab(engine, "100")
    await finish(engine, h, "doubt")
    await due(engine, "100", timedelta(seconds=1))
    [again] = await grab(engine, "100")
    await finish(engine, again, "sent", pid="SM2")
    assert not await engine.messages.delivery(told(h, Delivery.UNDELIVERED))
    assert (await engine.messages.get(keys.message_id(h.partition, h.id))).delivery == "queued"


async def test_a_message_held_in_doubt_ends_with_its_bill(engine: Engine) -> None:
    await engine.shares.accept(job("100", channels=("telegram",), telegram="777"))
    [h] = await grab(engine, "100", "telegram")
    await finish(engine, h, "doubt")
    await due(engine, "100", timedelta(seconds=1))
    assert len(await engine.messages.dead()) == 1
    await engine.payments.settle(paid("100"))
    message = await engine.messages.get(keys.message_id(h.partition, h.id))
    assert (message.outcome, message.reason) == (Outcome.CANCELED, "paid, while in doubt")
    assert await engine.messages.dead() == []


async def test_what_staff_send_again_from_doubt_is_flagged_and_only_once(engine: Engine) -> None:
    await engine.shares.accept(job("100", channels=("telegram",), telegram="777"))
    [h] = await grab(engine, "100", "telegram")
    await finish(engine, h, "doubt")
    await due(engine, "100", timedelta(seconds=1))
    old = keys.message_id(h.partition, h.id)
    new = await engine.messages.replay(old, by="cli")
    assert (await engine.messages.get(new)).possible_duplicate
    assert await engine.messages.replay(old, by="cli") == new


async def test_what_staff_send_again_from_doubt_stays_here_once_the_first_is_known_to_have_arrived(
    engine: Engine,
) -> None:
    await engine.shares.accept(job("100"))
    [h] = await grab(engine, "100")
    for after in (1, 2):
        await finish(engine, h, "doubt")
        await due(engine, "100", timedelta(seconds=after))
        again = await grab(engine, "100")
        h = again[0] if again else h
    new = await engine.messages.replay(keys.message_id(h.partition, h.id), by="cli")
    assert await engine.messages.delivery(told(h, Delivery.DELIVERED))
    assert await grab(engine, "100") == []
    second = await engine.messages.get(new)
    assert (second.outcome, second.possible_duplicate) == (Outcome.SUPERSEDED, False)
    assert (await engine.ledger.check()).differences == []


async def test_nobody_is_told_of_a_failed_attempt_after_paying(engine: Engine) -> None:
    await engine.shares.accept(job("100"))
    await grab(engine, "100")
    await engine.payments.settle(paid("100", None, id="f", event="failed", status="FAILED", currency=None))
    await engine.payments.settle(paid("100"))
    assert [h.message["k"] for h in await grab(engine, "100")] == [Kind.RECEIPT]


async def test_a_late_whatsapp_receipt_stops_the_sms_one_that_waits(engine: Engine) -> None:
    await engine.shares.accept(job("100", **FIRST))  # type: ignore[arg-type]
    [h] = await grab(engine, "100", "whatsapp")
    await finish(engine, h, "sent", ok="1")
    await engine.payments.settle(paid("100"))
    [receipt] = await grab(engine, "100", "whatsapp")
    await finish(engine, receipt, "sent")
    await due(engine, "100", timedelta(hours=1))
    await engine.messages.delivery(told(receipt, Delivery.DELIVERED))
    assert await grab(engine, "100", "sms") == []


async def test_two_shares_of_one_contact_bring_one_receipt(engine: Engine) -> None:
    for _ in range(2):
        await engine.shares.accept(job("100", phone="+255754000001", **FIRST))  # type: ignore[arg-type]
    assert (await engine.payments.settle(paid("100"))).receipts == 1


async def test_an_event_reported_late_does_not_drop_the_one_behind_it(engine: Engine) -> None:
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER, callback_url="https://shop.example/hook"))
    for _ in range(2):
        await engine.payments.settle(paid("100", "1000"))
    [event] = await engine.events.take(5)
    await engine.events.delivered(event)
    await engine.events.delivered(event)
    [behind] = await engine.events.take(5)
    assert behind.id != event.id


async def test_one_odd_recipient_does_not_pause_a_channel_but_several_do(engine: Engine) -> None:
    no_route: list[ChannelError] = [
        Misconfigured("21612", "no route", perhaps_recipient=True) for _ in range(4)
    ]
    channel = Scripted(concurrency=1, errors=no_route[:1])
    await engine.shares.accept(job("100"))
    async with working(engine, channel):
        await until(lambda: settled(engine))
        assert await engine.channels.paused() == {}
        channel.errors = no_route[1:]
        await engine.shares.accept_many([job() for _ in range(3)])
        await until(lambda: _paused(engine))
    assert len(await engine.messages.dead()) == 2


async def _paused(engine: Engine) -> bool:
    return ChannelName.SMS in await engine.channels.paused()


async def test_a_claim_that_outlived_its_share_refuses_one_job_and_not_the_batch(engine: Engine) -> None:
    j = job("100")
    accepted = await engine.shares.accept(j)
    p, _, sid = accepted.token.partition("-")
    await engine.records.client.delete(f"tuma:{{{int(p, 16)}}}:s:{sid}")
    old, new = await engine.shares.accept_many([j, job("200")])
    assert isinstance(old, Refused)
    assert not isinstance(new, Refused)


async def test_a_message_that_waits_while_staff_decide_still_expires(engine: Engine) -> None:
    accepted = await engine.shares.accept(job("100", bill_mode="exact", due_in=None))
    await engine.payments.settle(paid("100", "1"))
    scripts, p = engine.records.scripts, engine.records.partition("100")
    assert await grab(engine, "100") == []
    late = now_ms() + 8 * 86_400_000
    await scripts.run(scripts.due(p, late, 10, {}))
    await scripts.run(scripts.hand_out(p, late, "sms", "test", (5, 5)))
    message = await engine.messages.get(accepted.messages[0])
    assert (message.state, message.outcome) == (State.DONE, Outcome.EXPIRED)


async def test_a_rung_that_is_reported_undelivered_after_the_next_one_was_made_is_not_sent_again(
    engine: Engine,
) -> None:
    # Two rungs of one route asked for the same money, when the first failed late, or was reported twice.
    await engine.shares.accept(job("100", channels=("whatsapp", "sms"), mode="first"))
    [failed] = await end(engine, REFUSED, "whatsapp")
    update = StatusUpdate(
        f"{int(failed['p']):x}-{failed['id']}", "SM1", Delivery.UNDELIVERED, Unavailable("30017", "busy")
    )
    assert await engine.messages.delivery(update)
    stats = await engine.ledger.stats()
    assert (stats.created, stats.queued, stats.scheduled, stats.dead) == (2, 1, 0, 0)


@pytest.mark.parametrize("ending", ["doubt", "lost"])
async def test_what_was_reported_delivered_is_not_in_doubt_when_its_worker_is_lost(
    engine: Engine, ending: str
) -> None:
    # The report was faster than the worker: the message was sent a second time all the same.
    await engine.shares.accept(job("100"))
    [held] = await take(engine)
    p = int(held["p"])
    await engine.messages.delivery(StatusUpdate(f"{p:x}-{held['id']}", "SM1", Delivery.DELIVERED))
    if ending == "lost":
        scripts = engine.records.scripts
        await scripts.run(scripts.reclaim(p, now_ms(), "sms", idle_ms=0, wait_ms=0))
    else:
        await give(engine, [held], DOUBT)
    message = await engine.messages.get(f"{p:x}-{held['id']}")
    assert (message.outcome, message.delivery, message.possible_duplicate) == ("sent", "delivered", False)
    assert (await engine.ledger.check()).differences == []


async def _two_terms(engine: Engine) -> tuple[str, str]:
    """A customer number with a bill for each of two terms."""
    first = job("700", kind=BillKind.CUSTOMER, phone="+255754990101")
    following = job("700", kind=BillKind.CUSTOMER, term="2", amount="10000", phone="+255754990101")
    for each in (first, following):
        await engine.shares.accept(each)
    return first.id, following.id


async def test_money_that_goes_back_is_asked_for_though_another_term_stayed_open(engine: Engine) -> None:
    first, _ = await _two_terms(engine)
    await engine.payments.settle(paid("700", "45000", id="p1"))
    assert (await engine.shares.get(first)).state == "paid"
    await engine.payments.settle(paid("700", "45000", id="p1", status="REVERSED"))
    share = await engine.shares.get(first)
    assert (share.state, share.next_reminder_at is not None) == ("active", True)
    assert (await engine.ledger.check()).differences == []


async def test_what_staff_stopped_does_not_begin_anew_because_money_went_back(engine: Engine) -> None:
    await engine.shares.accept(job("700", id="inv-stopped", kind=BillKind.CUSTOMER, phone="+255754990101"))
    await engine.bills.stop("700", by="cli")
    again = job("700", kind=BillKind.CUSTOMER, term="2", amount="10000", phone="+255754990101")
    await engine.shares.accept(again)
    await engine.payments.settle(paid("700", "55000", id="p1"))
    await engine.payments.settle(paid("700", "55000", id="p1", status="REVERSED"))
    assert (await engine.shares.get("inv-stopped")).state == "stopped"
    assert (await engine.shares.get(again.id)).state == "active"


async def test_a_correction_goes_to_whom_the_receipt_went(engine: Engine) -> None:
    first, second = await _two_terms(engine)
    await engine.payments.settle(paid("700", "45000", id="p1"))
    await engine.payments.settle(paid("700", "45000", id="p1", status="REVERSED"))
    told = [[m.kind for m in (await engine.shares.get(share)).messages] for share in (first, second)]
    assert told == [[Kind.INSTRUCTIONS, Kind.RECEIPT, Kind.CORRECTION], [Kind.INSTRUCTIONS]]


async def test_a_paid_term_that_is_owed_more_is_asked_for_beside_an_open_one(engine: Engine) -> None:
    first, _ = await _two_terms(engine)
    await engine.payments.settle(paid("700", "45000", id="p1"))
    changes = BillChanges(engine.records, engine.settings)
    await changes.apply("700", BillChange(term="1", amount=Decimal(60000)), told=None, by="cli")
    assert (await engine.shares.get(first)).state == "active"


async def test_a_dead_letter_that_its_provider_had_after_all_is_not_sent_by_staff_too(engine: Engine) -> None:
    """In doubt twice, and then a callback says that the network was busy: it is tried again, once."""
    await engine.shares.accept(job("100", kind=BillKind.CUSTOMER))
    await end(engine, SENT)
    await engine.payments.settle(paid("100"))
    [receipt] = await end(engine, DOUBT)
    id = keys.message_id(int(receipt["p"]), receipt["id"])
    await due(engine, "100", timedelta(seconds=1))
    await end(engine, DOUBT)
    await due(engine, "100", timedelta(seconds=2))
    assert [letter.id for letter in await engine.messages.dead()] == [id]
    busy = StatusUpdate(id, "SM9", Delivery.UNDELIVERED, Unavailable("30017", "network busy"))
    assert await engine.messages.delivery(busy)
    assert await engine.messages.dead() == []
    again = await engine.messages.replay(id, by="cli")
    share = await engine.shares.get((await engine.messages.get(id)).share)
    receipts = [m for m in share.messages if m.kind is Kind.RECEIPT]
    assert [(m.id, m.state) for m in receipts] == [(id, State.DONE), (again, State.SCHEDULED)]
    assert (await engine.ledger.check()).differences == []
