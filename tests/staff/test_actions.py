"""What staff do to bills and messages, by role, once, and under their own name."""

from __future__ import annotations

from typing import Any

from bot.domain.bill import AcceptedShare
from bot.engine.keys import AUDIT
from bot.staff.bot import build_router
from bot.staff.people import Role
from tests.engine.endings import INVALID, end, hold
from tests.staff.conftest import ADMIN, OPERATOR, Office
from tests.staff.phone import Phone


async def audit(office: Office) -> list[tuple[str, str, str]]:
    rows: Any = await office.engine.redis.xrange(AUDIT)
    return [(row["by"], row["action"], row["subject"]) for _, row in rows]


async def test_stop_asks_first_and_then_stops_under_the_persons_name(office: Office) -> None:
    accepted = await office.share()
    assert f"Stop {accepted.number}?" in await office.operator.says(f"/stop {accepted.number}")
    assert (await office.engine.bills.get(accepted.number)).status == "open"
    await office.operator.presses("Yes, stop it", sees="Status: stopped")
    assert office.operator.toast == "Stopped. Messages cancelled: 1."
    assert await audit(office) == [(f"telegram:{OPERATOR}", "stop", accepted.number)]


async def test_no_leaves_the_bill_as_it_is(office: Office) -> None:
    accepted = await office.share()
    await office.operator.says(accepted.number)
    await office.operator.presses("⏹ Stop", sees="no instructions will be sent")
    await office.operator.presses("No", sees="Status: not paid")
    assert await audit(office) == []


async def test_stop_by_name_of_several_bills_offers_the_choice(office: Office) -> None:
    await office.share(name="Juma A")
    await office.share(name="Juma B")
    assert "2 bills match" in await office.operator.says("/stop juma")


async def test_viewer_may_not_stop_by_command_or_by_a_forged_button(office: Office) -> None:
    accepted = await office.share()
    assert "Your role (viewer) does not allow" in await office.viewer.says(f"/stop {accepted.number}")
    await office.viewer.forges(f"s:{accepted.number}:1")
    assert office.viewer.toast == "Your role does not allow this."
    assert (await office.engine.bills.get(accepted.number)).status == "open"


async def test_resend_by_the_planned_channel(office: Office) -> None:
    accepted = await office.share()
    await office.operator.says(f"/resend {accepted.number}")
    assert office.operator.labels == ["As planned", "WhatsApp", "SMS", "« Back"]
    await office.operator.presses("As planned", sees="1 message(s) queued")
    assert await audit(office) == [(f"telegram:{OPERATOR}", "resend", accepted.number)]


async def test_resend_by_a_chosen_channel(office: Office) -> None:
    accepted = await office.share()
    await office.operator.says(accepted.number)
    await office.operator.presses("Send again", sees="by which channel")
    await office.operator.presses("SMS", sees="1 message(s) queued")
    share = await office.engine.shares.get(accepted.id)
    assert [m.channel for m in share.messages] == ["whatsapp", "sms"]


async def test_pressing_twice_sends_again_once(office: Office) -> None:
    accepted = await office.share()
    await office.operator.says(f"/resend {accepted.number}")
    office.operator.tap("As planned")
    office.operator.tap("As planned")
    await office.operator.sees("1 message(s) queued")
    await office.operator.says("/help")
    assert len(await audit(office)) == 1


async def test_paid_bill_has_nothing_to_send_again(office: Office) -> None:
    accepted = await office.share()
    await office.pay(accepted.number, 45000)
    assert "has nothing to send again" in await office.operator.says(f"/resend {accepted.number}")


async def test_what_the_engine_refuses_is_told_in_words(office: Office) -> None:
    accepted = await office.share()
    await office.operator.says(f"/resend {accepted.number}")
    await office.pay(accepted.number, 45000)
    await office.operator.presses("As planned", sees="cannot be sent again: paid")


async def test_button_of_a_bill_that_is_gone_says_so(office: Office) -> None:
    await office.operator.says("/help")
    await office.operator.forges("b:999")
    await office.operator.sees("I cannot find that.")


async def test_failed_messages_are_listed_and_replayed(office: Office) -> None:
    accepted = await office.share(route={"mode": "all", "channels": ["sms"]})
    await office.fail_what_waits()
    text = await office.operator.says("/failed")
    assert f"1. {accepted.number} · instructions · SMS" in text
    assert "21602: empty" in text
    await office.operator.presses("Send number 1 again", sees="No failed messages.")
    messages = (await office.engine.shares.get(accepted.id)).messages
    assert [m.state for m in messages] == ["done", "queued"]
    assert (await audit(office))[0][:2] == (f"telegram:{OPERATOR}", "replay")


async def held(office: Office) -> AcceptedShare:
    """A bill whose one Telegram message is held in doubt; staff have been told."""
    accepted = await office.share(telegram="2001", route={"mode": "all", "channels": ["telegram"]})
    async with office.alerted():
        await hold(office.engine)
    return accepted


async def test_a_failed_message_says_what_would_mend_it(office: Office) -> None:
    await office.share(route={"mode": "all", "channels": ["sms"]})
    async with office.alerted():
        await end(office.engine, INVALID)
    text = await office.viewer.says("/failed")
    assert "21614: not a mobile number\n   → correct the customer's contact, then send again" in text


async def test_a_message_in_doubt_is_said_to_have_arrived(office: Office) -> None:
    accepted = await held(office)
    text = await office.operator.says("/failed")
    assert "ask the customer: send again, or say that it arrived" in text
    await office.operator.presses("Number 1 arrived", sees="No failed messages.")
    assert office.operator.toast == "Noted as arrived."
    [message] = (await office.engine.shares.get(accepted.id)).messages
    assert message.outcome == "sent"
    assert (await audit(office))[0][:2] == (f"telegram:{OPERATOR}", "arrived")


async def test_a_message_in_doubt_is_sent_again_flagged(office: Office) -> None:
    accepted = await held(office)
    await office.operator.says("/failed")
    await office.operator.presses("Send number 1 again", sees="No failed messages.")
    messages = (await office.engine.shares.get(accepted.id)).messages
    assert [(m.outcome, m.possible_duplicate) for m in messages] == [("superseded", False), (None, True)]


async def test_the_alert_of_a_message_in_doubt_lets_an_operator_decide(office: Office) -> None:
    accepted = await held(office)
    assert "nobody knows whether it arrived" in office.operator.text
    await office.operator.presses("It arrived", sees=f"{accepted.number}: the message is noted as arrived.")
    assert "It arrived" not in str(office.viewer.labels)
    assert await office.engine.messages.dead() == []


async def test_viewer_cannot_say_by_a_forged_button_that_a_message_arrived(office: Office) -> None:
    [message] = (await held(office)).messages
    await office.viewer.forges(f"ar:{message}:0")
    assert office.viewer.toast == "Your role does not allow this."
    assert len(await office.engine.messages.dead()) == 1


async def test_viewer_sees_failed_messages_but_cannot_replay(office: Office) -> None:
    await office.share(route={"mode": "all", "channels": ["sms"]})
    await office.fail_what_waits()
    await office.viewer.says("/failed")
    assert [label[:4] for label in office.viewer.labels] == ["📄 Op"]


async def test_failed_list_turns_pages(office: Office) -> None:
    for _ in range(6):
        await office.share(route={"mode": "all", "channels": ["sms"]})
    await office.fail_what_waits()
    await office.viewer.says("/failed")
    await office.viewer.presses("Older", sees="page 2")
    assert "6. " in office.viewer.last.text
    await office.viewer.presses("Newer", sees="page 1")


async def test_admin_pauses_and_resumes_a_channel(office: Office) -> None:
    await office.admin.says("/queue")
    await office.admin.presses("⏸ SMS", sees="Pause SMS?")
    await office.admin.presses("Yes, pause SMS", sees="paused since")
    pause = (await office.engine.channels.paused())["sms"]
    assert pause.by == f"telegram:{ADMIN}"
    await office.admin.presses("▶️ SMS", sees="SMS goes on.")
    assert await office.engine.channels.paused() == {}


async def test_only_admins_have_the_switches(office: Office) -> None:
    await office.operator.says("/queue")
    assert office.operator.labels == ["↻ Refresh"]
    await office.operator.forges("p:sms:1")
    assert office.operator.toast == "Your role does not allow this."
    assert await office.engine.channels.paused() == {}


async def test_somebody_taken_off_the_list_loses_old_buttons(office: Office) -> None:
    accepted = await office.share()
    former = Phone(office.city, 1999)
    office.city.telegram.chats.begin(1999)
    await former.starts()
    for data in (f"s:{accepted.number}:1", f"rs:{accepted.token}:", "u:sms", f"b:{accepted.number}"):
        await former.forges(data)
        assert former.toast == "This button no longer works."
    assert accepted.number not in former.text


async def test_every_staff_handler_says_which_role_it_needs() -> None:
    staff = next(router for router in build_router().sub_routers if router.name == "staff")
    handlers = [h for r in staff.chain_tail for o in (r.message, r.callback_query) for h in o.handlers]
    assert len(handlers) > 15
    assert all(isinstance(h.flags.get("needs"), Role) for h in handlers)
