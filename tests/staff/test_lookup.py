"""Staff find a bill by whatever they remember of it, and look at it."""

from __future__ import annotations

from bot.domain.share import from_fields
from tests.engine.endings import DOUBT, end
from tests.staff.conftest import Office


async def test_status_finds_a_bill_by_number_phone_name_and_share(office: Office) -> None:
    accepted = await office.share(name="Juma Kapuya", phone="+255713444555")
    for words in (accepted.number, "0713 444 555", "kapuya", accepted.id):
        text = await office.viewer.says(f"/status {words}")
        assert text.startswith(f"{accepted.number} · Juma Kapuya")
        assert "Owed: TZS 45,000 · paid TZS 0" in text
        assert "+255•••4555" in text


async def test_plain_text_is_a_search(office: Office) -> None:
    accepted = await office.share(name="Neema Mushi")
    assert accepted.number in await office.operator.says("neema")


async def test_several_hits_are_offered_as_buttons(office: Office) -> None:
    numbers = [(await office.share(name=f"Juma {n}")).number for n in "AB"]
    assert "2 bills match “juma”" in await office.viewer.says("/status juma")
    assert sorted(office.viewer.labels) == [
        "Juma A · TZS 45,000 · not paid",
        "Juma B · TZS 45,000 · not paid",
    ]
    await office.viewer.presses("Juma B", sees=f"{numbers[1]} · Juma B")


async def test_nothing_found_says_what_was_looked_for_without_markup_trouble(office: Office) -> None:
    assert await office.viewer.says("/status <b>x & y</b>") == "No bill matches “<b>x & y</b>”."


async def test_status_without_words_asks_for_them(office: Office) -> None:
    assert "Write a control number" in await office.viewer.says("/status")


async def test_viewer_gets_no_buttons_that_change_anything(office: Office) -> None:
    accepted = await office.share()
    await office.viewer.says(accepted.number)
    assert office.viewer.labels == ["✉️ Messages (1)", "↻ Refresh"]
    await office.operator.says(accepted.number)
    assert office.operator.labels == ["🔁 Send again", "⏹ Stop", "💵 Cash", "✉️ Messages (1)", "↻ Refresh"]


async def test_a_message_that_is_being_asked_about_says_how_far_that_is(office: Office) -> None:
    accepted = await office.share(route={"mode": "all", "channels": ["sms"]})
    await end(office.engine, {**DOUBT, "at": "99999999999999"})
    await office.viewer.says(accepted.number)
    await office.viewer.presses("Messages (1)", sees="in doubt; asking the provider (0 of 4)")


async def test_name_with_markup_is_shown_as_it_is(office: Office) -> None:
    accepted = await office.share(name="<i>Asha</i> & Co")
    assert "<i>Asha</i> & Co" in await office.viewer.says(accepted.number)


async def test_refresh_without_a_change_is_no_error(office: Office) -> None:
    accepted = await office.share()
    before = await office.viewer.says(accepted.number)
    await office.viewer.presses("Refresh")
    assert office.viewer.last.text == before


async def test_messages_are_listed_in_pages_newest_first(office: Office) -> None:
    accepted = await office.share(route={"mode": "all", "channels": ["sms"]})
    for _ in range(6):
        await office.engine.shares.resend(accepted.id, by="test")
    await office.viewer.says(accepted.number)
    await office.viewer.presses("Messages (7)", sees="1/2")
    assert office.viewer.text.count("instructions · SMS") == 5
    await office.viewer.presses("Older", sees="2/2")
    assert office.viewer.text.count("instructions · SMS") == 2
    await office.viewer.presses("Newer", sees="1/2")
    await office.viewer.presses("Back", sees="Owed:")


async def test_paid_bill_shows_its_payment_and_no_acts(office: Office) -> None:
    accepted = await office.share()
    await office.pay(accepted.number, 45000)
    text = await office.operator.says(accepted.number)
    assert "Status: paid" in text
    assert "💰 TZS 45,000 · SUCCESS" in text
    assert "⏹ Stop" not in office.operator.labels


async def test_terms_of_one_number_are_told_apart(office: Office) -> None:
    fields = {
        "bill": {"number": "778899", "amount": "1000", "kind": "customer"},
        "customer": {"name": "Asha", "phone": "+255754123456"},
    }
    for term, text in (("1", "First"), ("2", "Second")):
        bill = fields["bill"] | {"term": term, "description": text}
        job = from_fields(
            {"id": f"t{term}", "bill": bill, "customer": fields["customer"]}, settings=office.settings
        )
        await office.engine.shares.accept(job)
    text = await office.viewer.says("778899")
    assert "Owed: TZS 2,000" in text
    assert "Term 2: TZS 1,000, TZS 1,000 left · Second" in text
