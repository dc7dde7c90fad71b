"""/share: a look first, then the bill, once."""

from __future__ import annotations

import pytest

from bot.errors import NotFound
from tests.staff.conftest import Office

NUMBER = "55042914871931"
LINE = f"/share {NUMBER} 0754 123 456 45,000/= Asha Juma"


async def is_known(office: Office, number: str = NUMBER) -> bool:
    try:
        await office.engine.bills.get(number)
    except NotFound:
        return False
    return True


async def test_one_line_shows_the_sms_before_anything_is_sent(office: Office) -> None:
    text = await office.operator.says(LINE)
    assert f"Number: {NUMBER} (order number)" in text
    assert "To: Asha Juma +255754123456" in text
    assert "Amount: TZS 45,000" in text
    assert "Channels: WhatsApp, SMS" in text
    assert "Shule" in text.partition("SMS:\n")[2]
    assert NUMBER in text.partition("SMS:\n")[2]
    assert not await is_known(office)


async def test_send_button_hands_the_share_in(office: Office) -> None:
    await office.operator.says(LINE)
    await office.operator.presses("✅ Send", sees=f"✅ {NUMBER} accepted. Channels: WhatsApp, SMS.")
    bill = await office.engine.bills.get(NUMBER)
    assert (bill.balance, bill.kind, bill.customer) == ("45000", "order", "Asha Juma")
    await office.operator.presses(f"Open {NUMBER}", sees="Status: not paid")


async def test_pressing_send_twice_shares_once(office: Office) -> None:
    await office.operator.says(LINE)
    office.operator.tap("✅ Send")
    office.operator.tap("✅ Send")
    await office.operator.sees("accepted")
    await office.operator.says("/help")
    assert len((await office.engine.bills.get(NUMBER)).shares) == 1


async def test_cancel_sends_nothing_and_kills_the_draft(office: Office) -> None:
    await office.operator.says(LINE)
    send = next(b["callback_data"] for b in office.operator.buttons() if "Send" in b["text"])
    await office.operator.presses("Cancel", sees="Nothing was sent")
    await office.operator.forges(send)
    assert "This draft has expired" in office.operator.toast
    assert not await is_known(office)


async def test_older_preview_cannot_send_a_newer_draft(office: Office) -> None:
    await office.operator.says(LINE)
    old = next(b["callback_data"] for b in office.operator.buttons() if "Send" in b["text"])
    await office.operator.says("/share 7788 0754123456 10")
    await office.operator.forges(old)
    assert "This draft has expired" in office.operator.toast
    assert not await is_known(office)
    assert not await is_known(office, "7788")


async def test_kind_and_language_can_be_changed_in_the_preview(office: Office) -> None:
    await office.operator.says(LINE)
    await office.operator.presses("order → customer", sees="(customer number)")
    await office.operator.presses("English → Kiswahili", sees="lipa TZS 45,000")
    await office.operator.presses("✅ Send", sees="accepted")
    assert (await office.engine.bills.get(NUMBER)).kind == "customer"


async def test_dialogue_asks_question_by_question(office: Office) -> None:
    phone = office.operator
    assert "Control number?" in await phone.says("/share")
    assert "customer's phone?" in await phone.says(NUMBER)
    assert "Amount?" in await phone.says("0754 123 456")
    assert "name?" in await phone.says("TZS 45,000")
    assert "To: Asha Juma +255754123456" in await phone.says("Asha Juma")
    await phone.presses("✅ Send", sees="accepted")
    assert (await office.engine.bills.get(NUMBER)).balance == "45000"


async def test_dialogue_without_a_name(office: Office) -> None:
    for text in ("/share", NUMBER, "0754123456", "45000"):
        await office.operator.says(text)
    await office.operator.presses("No name", sees="Check before you send")
    await office.operator.presses("✅ Send", sees="accepted")
    assert (await office.engine.bills.get(NUMBER)).customer is None


async def test_wrong_answers_are_asked_again(office: Office) -> None:
    await office.operator.says("/share")
    questions = [
        (["55 04", "5.5E+13"], "is not a control number", NUMBER),
        (["022 211 1111", "asha"], "is not a mobile phone", "0754123456"),
        (["elfu tano", "0"], "is not an amount", "45000"),
    ]
    for wrong, complaint, right in questions:
        for text in wrong:
            assert complaint in await office.operator.says(text)
        assert "is not" not in await office.operator.says(right)


async def test_one_line_with_faults_names_each(office: Office) -> None:
    text = await office.operator.says("/share 55.04 0222111111 0")
    assert "“55.04” is not a control number" in text
    assert "“0222111111” is not a mobile phone" in text
    assert "“0” is not an amount" in text
    assert "Example: /share" in text


async def test_command_in_the_middle_ends_the_dialogue(office: Office) -> None:
    await office.operator.says("/share")
    assert "Queues" in await office.operator.says("/queue")
    assert "No bill matches" in await office.operator.says("0754123456")


async def test_stop_word_in_the_middle_cancels_and_is_no_opt_out(office: Office) -> None:
    await office.operator.says("/share")
    assert "Nothing was sent" in await office.operator.says("acha")
    with pytest.raises(NotFound):
        await office.engine.contacts.show(str(office.operator.chat))


async def test_number_on_record_keeps_its_kind_and_says_so(office: Office) -> None:
    accepted = await office.share(kind="customer", phone="+255754123456")
    text = await office.operator.says(f"/share {accepted.number} 0754123456 45000 Asha Juma")
    assert "(customer number)" in text
    assert "known already: not paid, TZS 45,000 owed" in text
    assert not [label for label in office.operator.labels if "Kind" in label]


async def test_refusal_of_the_engine_is_told_and_nothing_is_sent(office: Office) -> None:
    accepted = await office.share(phone="+255754123456")
    await office.operator.says(f"/share {accepted.number} 0754123456 99 Asha Juma")
    await office.operator.presses("✅ Send", sees="Not accepted:")
    assert "another amount" in office.operator.text
    assert len((await office.engine.bills.get(accepted.number)).shares) == 1


async def test_draft_waits_in_redis_for_a_quarter_of_an_hour(office: Office) -> None:
    await office.operator.says("/share")
    keys = [key async for key in office.engine.redis.scan_iter(match="tuma:bot:*:fsm:*")]
    assert len(keys) == 2
    assert all([0 < await office.engine.redis.ttl(key) <= 900 for key in keys])


async def test_viewer_may_not_share(office: Office) -> None:
    assert "does not allow this command" in await office.viewer.says(LINE)
