"""What staff are told without asking: once, by whoever is there, and not in a flood."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.app import renderer
from bot.engine.control import NewsItem
from bot.engine.engine import Engine
from bot.engine.scripts import now_ms
from bot.sandbox.city import Sandbox
from bot.settings import Settings
from bot.staff.alerts import Notice, bundle, digest, one
from bot.staff.bot import StaffBot
from bot.staff.speech import Speech
from tests.staff.conftest import ADMIN, OPERATOR, VIEWER, Office, at_work
from tests.staff.phone import Phone, eventually


def item(type: str, **data: str) -> NewsItem:
    return NewsItem(id="1-1", partition=0, type=type, at=datetime.now(UTC), data=data)


def say(locale: str = "en") -> Speech:
    return Speech(locale, "Africa/Dar_es_Salaam")


async def test_payment_is_told_to_all_staff_with_a_button(office: Office) -> None:
    accepted = await office.share(kind="customer")
    await office.pay(accepted.number, 20000)
    for phone in (office.viewer, office.operator, office.admin):
        await phone.sees(f"💰 {accepted.number}: TZS 20,000 paid. TZS 25,000 left.")
    await office.viewer.presses(f"Open {accepted.number}", sees="Owed: TZS 25,000")


async def test_customers_get_no_alerts(office: Office) -> None:
    accepted = await office.share()
    await office.pay(accepted.number, 45000)
    assert office.customer.messages == []


async def test_failed_message_can_be_replayed_from_its_alert(office: Office) -> None:
    accepted = await office.share(route={"mode": "all", "channels": ["sms"]})
    await office.fail_what_waits()
    assert f"⚠️ {accepted.number}: instructions by SMS failed: refused." in office.operator.text
    await office.operator.presses("Send this message again", sees="1 message(s) queued")
    assert (await office.engine.ledger.stats()).waiting == {"sms.urgent": 1}
    assert "Send this message again" not in str(office.viewer.labels)


async def test_unmatched_payment_asks_for_a_decision(office: Office) -> None:
    await office.pay("NOBODY7", 5000)
    assert "❓ A payment to NOBODY7 waits for a decision: unknown number." in office.viewer.text


async def test_number_that_no_button_can_carry_is_told_without_one(office: Office) -> None:
    await office.pay("a:b " + "9" * 70, 5000)
    assert "a:b 999" in office.viewer.last.text
    assert office.viewer.labels == []


async def test_paused_channel_offers_admins_to_resume(office: Office) -> None:
    async with office.alerted():
        await office.engine.channels.pause("sms", reason="20003: authenticate", by="tuma")
    assert "⏸ SMS is paused: 20003: authenticate." in office.viewer.text
    assert office.viewer.labels == []
    await office.admin.presses("▶️ SMS", sees="SMS goes on.")
    assert await office.engine.channels.paused() == {}


async def test_reminders_that_wait_for_clickpesa_are_told_of(
    city: Sandbox, engine: Engine, settings: Settings
) -> None:
    office = Office(city, engine, settings, StaffBot(engine, settings, renderer(settings)))
    await engine.records.tell(
        0, "payments_unknown", now_ms(), {"why": "ClickPesa answered 403: Invalid API-Key"}
    )
    async with at_work(office.bot):
        await office.admin.sees(
            "Reminders wait: ClickPesa's list of payments cannot be read. ClickPesa answered 403"
        )


async def test_many_payments_become_one_message(city: Sandbox, engine: Engine, settings: Settings) -> None:
    office = Office(city, engine, settings, StaffBot(engine, settings, renderer(settings)))
    for n in range(5):
        accepted = await office.share(name=f"Mteja {n}")
        await engine.payments.settle(office.payment(accepted.number, 45000))
    async with at_work(office.bot):
        await office.admin.sees("Payments: 5, TZS 225,000 in all")
    assert len(office.admin.messages) == 1


async def test_staff_who_blocked_the_bot_do_not_keep_others_from_being_told(office: Office) -> None:
    office.city.telegram.chats.block(VIEWER, blocked=True)
    accepted = await office.share()
    await office.pay(accepted.number, 45000)
    assert accepted.number in office.admin.text


async def test_alert_that_telegram_did_not_take_comes_again(office: Office) -> None:
    await office.admin.says("/help")
    accepted = await office.share()
    office.city.faults.set("telegram", "failing")
    await office.engine.payments.settle(office.payment(accepted.number, 45000))
    redis: Any = office.engine.redis
    news = f"tuma:{{{office.engine.records.partition(accepted.number)}}}:news"

    async def taken() -> bool:
        return bool((await redis.xpending(news, "staff"))["pending"])

    await eventually(taken)
    office.city.faults.set("telegram", "ok")
    [left] = await redis.xpending_range(news, "staff", "-", "+", 1)
    # As if a minute had passed, after which whatever was left unacknowledged is given out again.
    await redis.xclaim(news, "staff", "staff", 0, [left["message_id"]], idle=61_000)
    await office.admin.sees(accepted.number)


async def test_two_processes_tell_each_notice_once(office: Office) -> None:
    second = StaffBot(office.engine, office.settings, renderer(office.settings))
    async with at_work(second):
        numbers = [(await office.share()).number for _ in range(3)]
        for number in numbers:
            await office.pay(number, 45000)
    told = [m.text for m in Phone(office.city, OPERATOR).messages]
    assert sorted(told) == sorted(
        f"💰 {number}: TZS 45,000 paid. Nothing is owed any more." for number in numbers
    )


async def test_alert_is_in_the_language_of_each_chat(office: Office) -> None:
    await office.engine.contacts.set_locale(str(ADMIN), "sw")
    await office.pay("NOBODY7", 5000)
    assert "yanasubiri uamuzi" in office.admin.text
    assert "waits for a decision" in office.viewer.text


def test_few_are_told_one_by_one_and_many_together() -> None:
    items = [item("paid", number=str(n)) for n in range(4)] + [item("late", number="9")] * 2
    assert [(n.type, len(n.items)) for n in bundle(items)] == [("late", 1), ("late", 1), ("paid", 4)]


def test_digest_of_payments_adds_up_by_currency() -> None:
    paid = [item("paid", number=str(n), amount_minor="100000", currency="TZS") for n in range(7)]
    text = digest(say(), Notice("paid", paid))
    assert text.startswith("<b>Payments</b>: 7, TZS 7,000 in all")
    assert "… and 2 more" in text


def test_kind_of_news_that_is_not_known_yet_is_still_told() -> None:
    assert one(say(), item("campaign_done", number="77")) == "ℹ️ campaign_done <code>77</code>"


def test_words_of_a_provider_are_escaped() -> None:
    text = one(say(), item("dead", number="1", kind="receipt", channel="sms", why="<script>"))
    assert "&lt;script&gt;" in text
