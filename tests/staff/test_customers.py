"""What somebody who is not staff can do, and what they can never see."""

from __future__ import annotations

from bot.engine.checks import MOST
from bot.errors import NotFound
from tests.staff.conftest import CUSTOMER, VIEWER, Office
from tests.staff.phone import eventually


async def opted_out(office: Office, chat: int = CUSTOMER) -> bool:
    try:
        contact = await office.engine.contacts.show(str(chat))
    except NotFound:
        return False
    return any(s.channel == "telegram" for s in contact.suppressed)


async def linked(office: Office, **changes: str) -> str:
    """A share whose contact is the customer's chat; its number."""
    accepted = await office.share(route={"mode": "all", "channels": ["sms", "telegram"]}, **changes)
    await office.customer.starts(await office.link_token(accepted))
    return accepted.number


async def test_start_shows_the_menu_in_the_merchants_language(office: Office) -> None:
    assert "Welcome to Shule" in await office.customer.starts()
    assert office.customer.labels == ["📄 My bills", "🌐 Language", "🔕 Stop messages"]


async def test_deep_link_joins_the_chat_to_the_bill_and_sends_what_waited(office: Office) -> None:
    number = await linked(office)
    assert "now linked to your bill from Shule" in office.customer.text
    assert [bill.number for bill in await office.engine.bills.of_chat(str(CUSTOMER))] == [number]
    waiting = (await office.engine.ledger.stats()).waiting
    assert waiting["telegram.urgent"] == 1


async def test_link_of_another_account_is_refused_in_friendly_words(office: Office) -> None:
    accepted = await office.share(route={"mode": "all", "channels": ["sms", "telegram"]})
    token = await office.link_token(accepted)
    await office.customer.starts(token)
    stranger = office.phone(2002)
    assert "already linked to another Telegram account" in await stranger.starts(token)
    assert "No bill is linked" in await stranger.says("/bills")


async def test_unknown_links_are_refused_in_friendly_words(office: Office) -> None:
    for payload in ("0-aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb", "x", "ffff-" + "a" * 16, "'; drop"):
        assert "link is unknown or out of date" in await office.customer.starts(payload)
        assert office.customer.labels


async def test_linking_twice_is_no_error(office: Office) -> None:
    accepted = await office.share(route={"mode": "all", "channels": ["sms", "telegram"]})
    token = await office.link_token(accepted)
    await office.customer.starts(token)
    assert "now linked" in await office.customer.starts(token)


async def share_in(office: Office, locale: str) -> str:
    """The payload of a link for a customer of that language."""
    accepted = await office.share(locale=locale, route={"mode": "all", "channels": ["sms", "telegram"]})
    return await office.link_token(accepted)


async def test_linking_takes_over_the_language_of_the_share(office: Office) -> None:
    assert "imeunganishwa na bili yako" in await office.customer.starts(await share_in(office, "sw"))
    assert await office.engine.contacts.locale(str(CUSTOMER)) == "sw"
    assert "Bili zako" in await office.customer.says("/bills")


async def test_staff_who_link_keep_their_language(office: Office) -> None:
    await office.viewer.starts(await share_in(office, "sw"))
    assert "now linked" in office.viewer.text
    assert await office.engine.contacts.locale(str(VIEWER)) is None


async def test_a_language_that_was_chosen_stays_when_linking(office: Office) -> None:
    await office.engine.contacts.set_locale(str(CUSTOMER), "en")
    assert "now linked" in await office.customer.starts(await share_in(office, "sw"))
    assert await office.engine.contacts.locale(str(CUSTOMER)) == "en"


async def test_help_shows_the_menu(office: Office) -> None:
    for command in ("/help", "/msaada"):
        assert "Welcome to Shule" in await office.customer.says(command)
        assert office.customer.labels == ["📄 My bills", "🌐 Language", "🔕 Stop messages"]


async def test_my_bills_show_amount_number_and_a_copy_button(office: Office) -> None:
    number = await linked(office, due_at="2030-12-01T09:00:00+03:00")
    text = await office.customer.says("/bills")
    assert "TZS 45,000 · not paid yet" in text
    assert number in text
    assert "Pay by: 1 Dec 2030" in text
    assert [b["copy_text"]["text"] for b in office.customer.buttons()] == [number]


async def test_my_bills_button_shows_the_same(office: Office) -> None:
    number = await linked(office)
    assert number in await office.customer.presses("My bills", sees=number)


async def test_number_of_a_paid_bill_is_not_shown_any_more(office: Office) -> None:
    number = await linked(office)
    await office.pay(number, 45000)
    text = await office.customer.says("/bills")
    assert number not in text
    assert f"paid · number ending in {number[-4:]}" in text
    assert not office.customer.labels


async def test_customer_never_sees_the_other_contact_of_a_number(office: Office) -> None:
    number = await linked(office, name="Asha Juma")
    await office.share(number, name="Baba Neema", phone="+255713999888", additional_contact=True)
    text = await office.customer.says("/bills")
    assert "Neema" not in text
    assert "888" not in text


async def test_bills_of_others_are_not_in_my_bills(office: Office) -> None:
    await office.share()
    assert "No bill is linked" in await office.customer.says("/bills")


async def test_stop_words_silence_telegram_and_start_words_undo_it(office: Office) -> None:
    pairs = [
        ("STOP", "START"),
        ("stop.", "Anza"),
        ("ACHA", "/start"),
        ("acheni", "start"),
        ("/stop", "ANZA!"),
    ]
    for stop, start in pairs:
        assert "You stopped messages here" in await office.customer.says(stop)
        assert await opted_out(office)
        assert "You will get bills and receipts here" in await office.customer.says(start)
        assert not await opted_out(office)


async def test_stop_and_start_again_by_button(office: Office) -> None:
    await office.customer.starts()
    await office.customer.presses("Stop messages", sees="You stopped messages here")
    assert await opted_out(office)
    await office.customer.presses("Start again", sees="You will get bills")
    assert not await opted_out(office)


async def test_language_is_remembered_per_chat(office: Office) -> None:
    await office.customer.says("/language")
    await office.customer.presses("Kiswahili", sees="Karibu Shule")
    assert "Hakuna bili" in await office.customer.says("/bills")
    assert "No bill" in await office.phone(2002).says("/bills")


async def test_blocking_the_bot_is_an_opt_out_and_unblocking_an_opt_in(office: Office) -> None:
    await linked(office)
    office.city.telegram.chats.block(CUSTOMER, blocked=True)
    await eventually(lambda: opted_out(office))
    [said] = (await office.engine.contacts.show(str(CUSTOMER))).suppressed
    assert said.proof == "blocked the bot"
    office.city.telegram.chats.block(CUSTOMER, blocked=False)
    await eventually(lambda: _not(opted_out(office)))


async def test_unblocking_does_not_undo_what_the_person_wrote(office: Office) -> None:
    await linked(office)
    await office.customer.says("STOP")
    office.city.telegram.chats.block(CUSTOMER, blocked=True)
    office.city.telegram.chats.block(CUSTOMER, blocked=False)
    office.city.telegram.chats.updates.push(message=_hello(office))
    await office.customer.sees("I do not understand")
    assert await opted_out(office)


def _hello(office: Office) -> dict[str, object]:
    user = {"id": CUSTOMER, "is_bot": False, "first_name": "Asha"}
    chat = {"id": CUSTOMER, "type": "private", "first_name": "Asha"}
    return {"message_id": 990, "date": 1, "chat": chat, "from": user, "text": "habari"}


async def _not(claim: object) -> bool:
    return not await claim  # type: ignore[misc]


async def test_staff_commands_look_unknown_to_customers(office: Office) -> None:
    nonsense = await office.customer.says("/nosuchcommand")
    for command in (
        "/share 1 0754123456 1",
        "/status 1",
        "/resend 1",
        "/stats",
        "/queue",
        "/failed",
    ):
        assert await office.customer.says(command) == nonsense


async def test_free_text_gets_the_menu_and_whom_to_ask(office: Office) -> None:
    text = await office.customer.says("<b>habari</b> & yako?")
    assert (
        text == "I do not understand that. Please choose below.\nFor questions, contact Shule: 0754 000 111"
    )


async def test_forged_staff_button_does_nothing_for_a_customer(office: Office) -> None:
    accepted = await office.share()
    await office.customer.starts()
    await office.customer.forges(f"s:{accepted.number}:1")
    assert office.customer.toast == "This button no longer works."
    assert (await office.engine.bills.get(accepted.number)).status == "open"


async def test_group_chats_are_not_answered(office: Office) -> None:
    user = {"id": 1003, "is_bot": False, "first_name": "Admin"}
    group = {"id": -500, "type": "group", "title": "Shule"}
    office.city.telegram.updates.push(
        message={"message_id": 7, "date": 1, "chat": group, "from": user, "text": "/stats"}
    )
    await office.admin.says("/help")
    assert len(office.admin.messages) == 1
    assert not [m for m in office.city.world.messages if m.address == "-500"]


async def test_anybody_can_check_whether_a_number_is_real(office: Office) -> None:
    await office.share("55042914871931", description="Fees of Juma")
    said = await office.customer.says("/check 5504 2914 8719 31")
    assert "Yes, this is a bill from Shule. Amount to pay: TZS 45,000." in said
    assert "Asha" not in said
    assert "Juma" not in said
    assert "Shule has no such number" in await office.customer.says("/hakiki 55042914871932")
    assert "/check 55042914871931" in await office.customer.says("/check")


async def test_a_paid_a_closed_and_a_stopped_number_are_told_as_such(office: Office) -> None:
    for number, amount in (("5601", 45000), ("5602", 20000), ("5603", None)):
        await office.share(number)
        if amount:
            await office.pay(number, amount)
    await office.engine.bills.stop("5603", by="test")
    assert "has been paid" in await office.customer.says("/check 5601")
    assert "is closed. Do not pay to it" in await office.customer.says("/check 5602")
    assert "has been stopped" in await office.customer.says("/check 5603")


async def test_a_chat_cannot_check_for_ever_and_another_still_can(office: Office) -> None:
    await office.share("5604")
    for _ in range(MOST["telegram"]):
        await office.customer.says("/check 5604")
    assert "checked many times" in await office.customer.says("/check 5604")
    assert "Yes, this is a bill" in await office.phone(2002).says("/check 5604")


async def test_a_number_is_found_among_other_words(office: Office) -> None:
    await office.share("55042914871931")
    assert "Yes, this is a bill" in await office.customer.says("/check namba 5504 2914 8719 31 tafadhali")
    assert "/check 55042914871931" in await office.customer.says("/check my bill please")


async def test_a_number_alone_is_asked_about_too(office: Office) -> None:
    await office.share("55042914871931")
    assert "Yes, this is a bill" in await office.customer.says("5504 2914 8719 31")
    assert "Shule has no such number" in await office.customer.says("55042914871932")
    assert "Yes, this" not in await office.customer.says("hello")


async def test_asking_how_to_check_has_an_end_too(office: Office) -> None:
    for _ in range(MOST["telegram"]):
        assert "/check 55042914871931" in await office.customer.says("/check")
    assert "checked many times" in await office.customer.says("/check")
    before = len(office.customer.messages)
    office.city.telegram.chats.write(office.customer.chat, "/check")
    await office.customer.says("/bills")
    assert len(office.customer.messages) == before + 1
