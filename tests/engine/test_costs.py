"""The cost cap per bill: what asks for money stops at it, receipts do not, staff are told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from bot.domain.bill import BillKind
from bot.domain.message import Kind, Outcome
from bot.engine import costs
from bot.engine.engine import Engine
from bot.engine.scheduler import Scheduler
from bot.engine.scripts import now_ms
from channels.base import Delivery, StatusUpdate
from channels.errors import Unavailable
from tests.engine.conftest import job, paid
from tests.engine.endings import DOUBT, INVALID, REFUSED, SENT, end, take

HOUR = 3_600_000
PLAN = tuple(timedelta(hours=h) for h in (5, 4, 3, 2))


@pytest.fixture
async def capped(engine: Engine) -> Engine:
    """A cap of two SMS; WhatsApp costs more, mail nothing."""
    settings = replace(
        engine.settings,
        cost_cap=Decimal(50),
        prices=(("sms", Decimal(25)), ("whatsapp", Decimal(40)), ("email", Decimal(0))),
    )
    await costs.publish(engine.records, settings)
    return engine


async def remind(engine: Engine, hours: float) -> None:
    await Scheduler(engine.records, engine.shares, engine.settings).tick(now_ms() + int(hours * HOUR))


async def kinds(engine: Engine, share: str) -> list[tuple[str, str]]:
    return [(m.kind, m.channel) for m in (await engine.shares.get(share)).messages]


async def told(engine: Engine) -> list[str]:
    return [item.type for item in await engine.news.read("test")]


async def test_reminders_end_at_the_cap_and_staff_are_told_once(capped: Engine) -> None:
    accepted = await capped.shares.accept(
        job("100", due_in=timedelta(hours=6), before=PLAN, kind=BillKind.CUSTOMER)
    )
    await end(capped, SENT)
    for hours in (1.1, 2.1, 3.1, 4.1):
        await remind(capped, hours)
        await end(capped, SENT)
    assert await kinds(capped, accepted.id) == [(Kind.INSTRUCTIONS, "sms"), (Kind.REMINDER, "sms")]
    [term] = (await capped.bills.get("100")).terms
    assert term.cost == "50"
    assert term.cost_cap_reached_at is not None
    assert await told(capped) == ["cost_cap"]
    await capped.payments.settle(paid("100", "20000"))
    assert (await kinds(capped, accepted.id))[-1] == (Kind.RECEIPT, "sms")
    assert (await capped.ledger.check()).differences == []


async def test_channels_that_cost_nothing_go_on(capped: Engine) -> None:
    accepted = await capped.shares.accept(
        job("100", due_in=timedelta(hours=6), before=PLAN, channels=("sms", "email"), email="a@example.com")
    )
    for hours in (1.1, 2.1, 3.1):
        await end(capped, SENT)
        await end(capped, SENT, "email")
        await remind(capped, hours)
    assert await kinds(capped, accepted.id) == [
        *[(Kind.INSTRUCTIONS, "sms"), (Kind.INSTRUCTIONS, "email")],
        *[(Kind.REMINDER, "sms"), (Kind.REMINDER, "email")],
        *[(Kind.REMINDER, "email"), (Kind.REMINDER, "email")],
    ]


async def test_what_never_left_costs_nothing(capped: Engine) -> None:
    await capped.shares.accept(job("100", due_in=timedelta(hours=6), before=PLAN))
    await remind(capped, 1.1)  # supersedes the instructions that still wait
    await remind(capped, 2.1)
    [term] = (await capped.bills.get("100")).terms
    assert (term.cost, term.cost_cap_reached_at) == ("25", None)
    await capped.bills.stop("100", by="cli")
    assert (await capped.bills.get("100")).terms[0].cost == "0"


async def test_the_segments_of_a_text_are_paid_for_and_so_is_a_possible_duplicate(capped: Engine) -> None:
    accepted = await capped.shares.accept(job("100"))
    await end(capped, {**SENT, "seg": "3"})
    assert (await capped.bills.get("100")).terms[0].cost == "75"
    again = await capped.shares.accept(job("200"))
    p, _, local = again.messages[0].partition("-")
    await capped.records.client.hset(f"tuma:{{{int(p, 16)}}}:m:{local}", "dup", "1")
    await end(capped, SENT)
    assert (await capped.bills.get("200")).terms[0].cost == "50"
    assert (await capped.messages.get(accepted.messages[0])).outcome is Outcome.SENT


async def test_the_segments_of_a_text_that_was_found_at_its_provider_are_paid_for(capped: Engine) -> None:
    [message] = (await capped.shares.accept(job("100"))).messages
    await end(capped, DOUBT)
    assert (await capped.bills.get("100")).terms[0].cost == "25"
    await capped.messages.found(StatusUpdate(message, "SM1", Delivery.SENT), 3)
    assert (await capped.bills.get("100")).terms[0].cost == "75"


async def test_the_next_rung_must_be_within_the_cap(capped: Engine) -> None:
    accepted = await capped.shares.accept(
        job("100", channels=("whatsapp", "sms", "email"), email="a@example.com", mode="first")
    )
    [held] = await take(capped, "whatsapp")
    p = int(held["p"])
    # Taken, but never confirmed: WhatsApp's 40 are spent, an SMS would make it 65, mail is free.
    sent = {**SENT, "ok": "0", "id": held["id"], "a": held["a"], "why": "", "err": ""}
    await capped.records.scripts.run(capped.records.scripts.finish(p, now_ms(), [sent]))
    await remind(capped, 0.2)
    assert await kinds(capped, accepted.id) == [(Kind.INSTRUCTIONS, "whatsapp"), (Kind.INSTRUCTIONS, "email")]


async def test_a_rung_without_an_affordable_next_one_is_not_given_up(capped: Engine) -> None:
    accepted = await capped.shares.accept(job("100", channels=("whatsapp", "sms"), mode="first"))
    await end(capped, {"r": "retry", "at": str(now_ms() + HOUR), "cost": "1"}, "whatsapp")
    await remind(capped, 0.5)
    [message] = (await capped.shares.get(accepted.id)).messages
    assert (message.channel, message.outcome) == ("whatsapp", None)


async def test_a_rung_that_fails_at_the_cap_is_a_dead_letter(capped: Engine) -> None:
    await costs.publish(
        capped.records, replace(capped.settings, cost_cap=Decimal(20), prices=(("sms", Decimal(25)),))
    )
    await capped.shares.accept(job("100", channels=("whatsapp", "sms"), mode="first"))
    await end(capped, REFUSED, "whatsapp")
    assert [letter.reason for letter in await capped.messages.dead()] == ["refused by the provider"]
    assert sorted(await told(capped)) == ["cost_cap", "dead"]


async def test_an_undelivered_sms_is_not_tried_again_beyond_the_cap(capped: Engine) -> None:
    accepted = await capped.shares.accept(job("100"))
    for _ in range(2):
        [held] = await end(capped, SENT)
        message = f"{int(held['p']):x}-{held['id']}"
        lost = Unavailable("30008", "no reason", retry_after_s=1)
        await capped.messages.delivery(StatusUpdate(message, "SM1", Delivery.UNDELIVERED, lost))
        await remind(capped, 1)
    assert await kinds(capped, accepted.id) == [(Kind.INSTRUCTIONS, "sms")] * 2
    assert len(await capped.messages.dead()) == 1


async def test_two_shares_of_a_bill_share_its_cap_and_receipts_pass_it(capped: Engine) -> None:
    plan: dict[str, Any] = {"due_in": timedelta(hours=6), "before": PLAN, "kind": BillKind.CUSTOMER}
    first = await capped.shares.accept(job("100", **plan))
    second = await capped.shares.accept(job("100", additional_contact=True, **plan))
    await end(capped, SENT)
    await remind(capped, 1.1)
    assert await take(capped) == []
    await capped.payments.settle(paid("100"))
    assert len(await end(capped, SENT)) == 2
    for share in (first, second):
        assert [kind for kind, _ in await kinds(capped, share.id)] == [Kind.INSTRUCTIONS, Kind.RECEIPT]


async def test_without_a_cap_nothing_is_counted(engine: Engine) -> None:
    await costs.publish(engine.records, engine.settings)
    await engine.shares.accept(job("100"))
    await end(engine, INVALID)
    [term] = (await engine.bills.get("100")).terms
    assert (term.cost, term.cost_cap_reached_at) == (None, None)
