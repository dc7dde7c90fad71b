"""The page in a real browser: what arrives is seen, what is pressed happens, what strangers wrote stays text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
from playwright.async_api import Error, Page, expect
from pytest_asyncio import fixture

from bot.sandbox.city import Sandbox
from tests.browser import NEEDS_BROWSER, started
from tests.plain import PLAIN
from tests.sandbox.conftest import Clock, Tuma, running_city, running_tuma

ASHA, CHAT, BILL = "+255754000001", 700_123_456, "55042914871931"


pytestmark = NEEDS_BROWSER


@fixture(scope="module", loop_scope="module")
async def tab() -> AsyncIterator[Page]:
    """One for all tests: each new one costs Chromium a second of processor time. Every city is an origin of its own."""
    async with started() as browser:
        yield await browser.new_page()


@fixture(loop_scope="module")
async def city() -> AsyncIterator[Sandbox]:
    async with running_city(Clock()) as sandbox:
        yield sandbox


@fixture(loop_scope="module")
async def tuma() -> AsyncIterator[Tuma]:
    async with running_tuma() as receiver:
        yield receiver


@fixture(loop_scope="module")
async def page(tab: Page, city: Sandbox, tuma: Tuma) -> AsyncIterator[Page]:
    city.connect(tuma.url)
    city.world.person("Asha Juma", phone=ASHA, email="asha@example.com", chat=CHAT)
    city.telegram.chats.begin(CHAT)
    faults: list[str] = []

    def note(error: Error) -> None:
        faults.append(str(error))

    tab.on("pageerror", note)
    await tab.set_viewport_size({"width": 1280, "height": 720})
    await tab.goto(city.urls["page"])
    await expect(tab.locator("#live")).to_have_text("Live")
    yield tab
    await tab.goto("about:blank")
    tab.remove_listener("pageerror", note)
    assert faults == []


async def sms(city: Sandbox, text: str) -> None:
    account = city.accounts.twilio
    url = f"{city.urls['twilio']}/2010-04-01/Accounts/{account.sid}/Messages.json"
    async with httpx.AsyncClient(verify=PLAIN, auth=(account.sid, account.token)) as http:
        await http.post(url, data={"To": ASHA, "From": "TUMA", "Body": text})


async def telegram(city: Sandbox, **message: object) -> None:
    url = f"{city.urls['telegram']}/bot{city.accounts.telegram.token}/sendMessage"
    async with httpx.AsyncClient(verify=PLAIN) as http:
        answer = await http.post(url, json={"chat_id": CHAT, "parse_mode": "HTML", **message})
    assert answer.json()["ok"]


async def test_an_sms_appears_while_the_page_is_open(city: Sandbox, page: Page) -> None:
    await sms(city, f"SHULE: lipa TZS 45,000 kwa {BILL}")
    await expect(page.get_by_label("SMS messages")).to_contain_text(f"lipa TZS 45,000 kwa {BILL}")
    await expect(page.locator(f'[data-bill="{BILL}"] .owed')).to_have_text("TZS 45,000 to pay")


async def test_what_a_customer_or_template_wrote_is_never_markup(city: Sandbox, page: Page) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    await sms(city, evil)
    await expect(page.get_by_label("SMS messages")).to_contain_text(evil)
    assert await page.locator(".thread img, .thread script").count() == 0
    assert await page.title() == "tuma sandbox"


async def test_a_bill_is_paid_by_pressing_and_the_page_says_what_followed(
    city: Sandbox, page: Page, tuma: Tuma
) -> None:
    city.bill(BILL, 45000)
    await sms(city, f"SHULE: lipa TZS 45,000 kwa {BILL}")
    await page.locator('[data-pay="full"]').click()
    note = page.locator(f'[data-bill="{BILL}"] .note')
    await expect(note).to_contain_text("Paid TZS 45,000 at")
    await expect(note).to_contain_text("Webhook answered 200")
    await expect(note).to_contain_text("No receipt yet.")
    await sms(city, f"SHULE: asante, TZS 45,000 kwa {BILL}")
    await expect(note).to_contain_text("Answered by SMS after")
    await expect(note).to_contain_text("No reminder since")
    assert json.loads(tuma.calls[0].body)["data"]["collectedAmount"] == "45000"
    assert await page.locator('[data-pay="full"]').count() == 0


async def test_a_part_then_a_failure_then_too_much_are_paid_by_pressing(
    city: Sandbox, page: Page, tuma: Tuma
) -> None:
    city.bill(BILL, 45000, kind="customer")
    box = page.locator(f'[data-bill="{BILL}"]')
    await box.locator('[data-pay="part"]').click()
    await expect(box).to_contain_text("Part paid")
    await box.locator('[data-pay="fail"]').click()
    await expect(box).to_contain_text("Insufficient balance")
    await box.locator('[data-pay="too much"]').click()
    await expect(box).to_contain_text("Paid")
    assert [json.loads(call.body)["event"] for call in tuma.calls] == [
        "PAYMENT RECEIVED",
        "PAYMENT FAILED",
        "PAYMENT RECEIVED",
    ]


async def test_a_refused_payment_is_explained(city: Sandbox, page: Page) -> None:
    city.bill(BILL, 45000, exact=True)
    box = page.locator(f'[data-bill="{BILL}"]')
    await box.get_by_label(f"Other amount for {BILL}").fill("100")
    await box.get_by_role("button", name="Pay", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("only exactly 45000")


async def test_a_provider_is_made_to_fail_with_a_key(city: Sandbox, page: Page) -> None:
    email = page.locator('[data-provider="smtp"]')
    await email.get_by_label("OK").focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    await expect(email.get_by_label("Failing")).to_be_checked()
    await city.world.until(lambda: city.faults.modes()["smtp"] == "failing")


async def test_a_fault_is_given_a_rate_and_its_count_is_seen(city: Sandbox, page: Page) -> None:
    twilio = page.locator('[data-provider="twilio"]')
    await twilio.locator("summary").click()
    await twilio.get_by_label("answered 5xx, not taken", exact=True).select_option("Always")
    await city.world.until(lambda: city.faults.rates() == {"twilio": {"error-before": 1.0}})
    await sms(city, "Habari")
    await expect(twilio.locator("#met-twilio-error-before")).to_have_text("met 1")
    await expect(twilio.locator("summary")).to_have_text("Faults: 1 on, 1 met")
    assert city.world.accepted() == []


async def test_the_next_request_is_met_on_demand(city: Sandbox, page: Page) -> None:
    twilio = page.locator('[data-provider="twilio"]')
    await twilio.locator("summary").click()
    await twilio.get_by_label("Next request: answered 5xx, not taken").click()
    await expect(twilio.locator("#met-twilio-error-before")).to_have_text("next 1")
    await sms(city, "moja")
    await sms(city, "mbili")
    await expect(page.get_by_label("SMS messages")).to_contain_text("mbili")
    assert [each.text for each in city.world.accepted()] == ["mbili"]


async def test_one_customer_is_out_of_luck(city: Sandbox, page: Page) -> None:
    asha = page.locator(".person", has_text="Asha Juma")
    await asha.locator(".faults.own summary").click()
    await asha.get_by_label("Fault for this customer").select_option("twilio error-before")
    await asha.get_by_role("button", name="Set rate").click()
    await expect(asha.locator(".faults.own li")).to_contain_text("always")
    assert [(plan.contact, plan.rate) for plan in city.faults.plans()] == [(ASHA, 1.0)]
    await asha.get_by_role("button", name="Take back").click()
    await expect(asha.locator(".faults.own li")).to_have_count(0)


async def test_the_weather_is_chosen_with_a_seed(city: Sandbox, page: Page) -> None:
    await page.get_by_label("Seed").fill("42")
    await page.get_by_label("Weather").select_option("bad-day")
    await expect(page.locator("#about")).to_contain_text("One request in twelve")
    assert (city.faults.profile, city.faults.seed) == ("bad-day", 42)
    await page.get_by_role("button", name="Clear all faults").click()
    await expect(page.get_by_label("Weather")).to_have_value("calm")
    assert city.faults.rates() == {}


async def test_a_telegram_button_can_be_pressed(city: Sandbox, page: Page) -> None:
    keyboard = {"inline_keyboard": [[{"text": "Acha", "callback_data": "stop:1"}]]}
    await telegram(city, text="<b>Bili</b> &lt;yako&gt;", reply_markup=keyboard)
    chat = page.get_by_label("Telegram messages")
    await expect(chat.locator("b")).to_have_text("Bili")
    await expect(chat).to_contain_text("Bili <yako>")
    await chat.get_by_role("button", name="Acha").click()
    await city.world.until(
        lambda: bool(city.telegram.chats.pressed)
    ) if not city.telegram.chats.pressed else None
    assert city.telegram.updates.pending == 1


async def test_a_deep_link_in_an_sms_starts_the_bot(city: Sandbox, page: Page) -> None:
    link = f"https://t.me/{city.accounts.telegram.username}?start=3-abc_DEF"
    await sms(city, f"Telegram: {link}")
    await page.get_by_role("link", name=link).click()
    await expect(page.get_by_label("Telegram messages")).to_contain_text("/start 3-abc_DEF")


async def test_the_bot_is_blocked_and_unblocked(city: Sandbox, page: Page) -> None:
    await telegram(city, text="Habari")
    await page.get_by_role("button", name="Block the bot").click()
    await expect(page.get_by_role("button", name="Unblock the bot")).to_be_visible()
    assert city.telegram.chats.of(CHAT).blocked


async def test_a_customer_writes_on_whatsapp(city: Sandbox, page: Page, tuma: Tuma) -> None:
    await city.carrier.write(ASHA, "Habari")
    box = page.get_by_label("Write to the merchant")
    await box.fill("ACHA")
    await box.press("Enter")
    await expect(page.get_by_label("WhatsApp messages")).to_contain_text("ACHA")
    assert (await tuma.wait_for(2))[-1].form["Body"] == "ACHA"


async def test_a_mail_is_shown_without_running_its_scripts(city: Sandbox, page: Page) -> None:
    import aiosmtplib

    host, _, port = city.urls["smtp"].removeprefix("smtp://").rpartition(":")
    body = (
        "From: bili@shule.test\r\nTo: asha@example.com\r\nSubject: Ada ya muhula\r\nContent-Type: text/html\r\n\r\n"
        "<h1>Habari Asha</h1><script>parent.document.title='owned';document.body.innerHTML='owned'</script>"
    )
    async with aiosmtplib.SMTP(hostname=host, port=int(port)) as smtp:
        await smtp.sendmail("bili@shule.test", ["asha@example.com"], body)
    await expect(page.locator(".letter summary")).to_contain_text("Ada ya muhula")
    await expect(page.frame_locator(".letter iframe").locator("h1")).to_have_text("Habari Asha")
    assert await page.title() == "tuma sandbox"


async def test_the_page_fits_a_small_phone(city: Sandbox, page: Page) -> None:
    await page.set_viewport_size({"width": 320, "height": 640})
    for summary in await page.locator(".faults summary").all():
        await summary.click()
    await sms(city, f"SHULE: lipa TZS 45,000 kwa {BILL} http://127.0.0.1:8000/pay/3-{'x' * 60}")
    await expect(page.get_by_label("SMS messages")).to_contain_text(BILL)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320


async def test_any_number_is_paid_on_the_page_from_a_chosen_wallet(
    city: Sandbox, page: Page, tuma: Tuma
) -> None:
    city.bill(BILL, 45000, exact=True)
    await page.get_by_label("Number", exact=True).fill(BILL)
    await page.get_by_label("Amount", exact=True).fill("1,000")
    await page.locator("#pay-wallet").select_option("CRDB")
    await page.get_by_label("Payer", exact=True).fill("Babu")
    await page.locator("#pay-now").click()
    says = page.locator("#pay-says")
    await expect(says).to_contain_text("only exactly 45000")
    await page.get_by_role("button", name="Try without money").click()
    await expect(says).to_contain_text("FAILED. Webhook answered 200.")
    await page.get_by_label("Amount", exact=True).fill("45,000")
    await page.get_by_label("Lose the webhook").check()
    await page.locator("#pay-now").click()
    await expect(says).to_contain_text("SUCCESS. No webhook was answered.")
    assert len(tuma.calls) == 1
    [_, paid] = city.clickpesa.bills[BILL].payments
    assert (paid.wallet, paid.payer_name) == ("CRDB", "Babu")


async def test_the_weather_says_what_was_set_by_hand(page: Page) -> None:
    about = page.locator("#about")
    await expect(about).to_have_text("Nothing goes wrong.")
    await page.locator("label:has(#mode-twilio-failing)").click()
    await expect(about).to_have_text("Set by hand: Twilio is failing.")
    await page.locator("label:has(#mode-twilio-ok)").click()
    await expect(about).to_have_text("Nothing goes wrong.")


async def test_on_a_phone_customers_come_before_providers(page: Page) -> None:
    async def top(selector: str) -> float:
        box = await page.locator(selector).bounding_box()
        assert box is not None
        return box["y"]

    assert await top("#providers-title") < await top("#people-title")
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await top("#people-title") < await top("#providers-title")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_the_kind_of_a_number_that_was_only_read_is_not_claimed(city: Sandbox, page: Page) -> None:
    await sms(city, f"SHULE: lipa TZS 45,000 kwa {BILL}")
    await expect(page.locator(f'[data-bill="{BILL}"] .facts')).to_contain_text("its kind is not known here")
    city.bill("55042914871955", 100, kind="customer")
    await expect(page.locator('[data-bill="55042914871955"] .facts')).to_have_text("customer number")
    async with httpx.AsyncClient(verify=PLAIN) as http:
        state = (await http.get(f"{city.urls['page']}/api/state")).json()
    [mine] = [bill for person in state["people"] for bill in person["bills"]]
    assert (mine["number"], mine["kind"]) == (BILL, None)
