"""Is this bill real? The public page, and what WhatsApp is answered."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from aiohttp.test_utils import make_mocked_request

from bot.engine.checks import MOST
from bot.web.check import asker
from bot.web.problems import MEDIA_TYPE
from tests.engine.conftest import paid
from tests.web.conftest import Lonely, Serve, Site, a_share, shared
from tests.web.test_pages import Page
from tests.web.test_twilio import FORM, message, sign

INBOUND = "/webhooks/twilio/inbound"


async def ask(site: Site, number: str, *, status: int = 200, through: str | None = None) -> Page:
    path, headers = "/check?lang=en", {"X-Forwarded-For": through} if through else {}
    async with site.stranger.post(path, data={"number": number}, headers=headers) as response:
        assert response.status == status
        return Page(await response.text())


async def write(site: Site, text: str, sender: str = "whatsapp:+255754123456") -> str | None:
    """Write on WhatsApp (or from a number by SMS); what Twilio is told to answer, None if nothing."""
    form = message(text, sender)
    headers = {**FORM, "X-Twilio-Signature": sign(INBOUND, form)}
    async with site.stranger.post(INBOUND, data=urlencode(form), headers=headers) as response:
        assert response.status == 200
        tree = ElementTree.fromstring(await response.text())
    return tree.findtext("Message")


async def test_the_page_asks_for_a_number_in_both_languages(site: Site) -> None:
    for lang, words in (("sw", "Bili hii ni ya kweli?"), ("en", "Is this bill real?")):
        async with site.stranger.get(f"/check?lang={lang}") as response:
            assert words in Page(await response.text()).text


async def test_a_number_of_ours_is_told_with_merchant_amount_and_status_and_no_name(site: Site) -> None:
    job = a_share(bill={"number": "55042914871931", "amount": "45000", "description": "Fees of Juma"})
    await shared(site, **job)
    page = await ask(site, "5504 2914 8719 31")
    assert "Yes, this is a bill from Shule. Amount to pay: TZS 45,000." in page.text
    for secret in ("Asha", "Juma", "Fees", job["customer"]["phone"], job["customer"]["email"]):
        assert secret not in page.html


@pytest.mark.parametrize(
    ("amount", "words"), [("45000", "has been paid. Do not pay again"), ("20000", "Do not pay to it")]
)
async def test_a_number_not_to_be_paid_is_told_as_such(site: Site, amount: str, words: str) -> None:
    answer = await shared(site)
    await site.engine.payments.settle(paid(answer["number"], amount))
    assert words in (await ask(site, answer["number"])).text


async def test_every_number_that_is_not_ours_gets_the_same_answer(site: Site) -> None:
    await shared(site, bill={"number": "8831", "amount": "1"})
    answers = set()
    for number in ("8832", "not a number", "x" * 39):
        page = await ask(site, number)
        answers.add(page.html.replace(number, ""))
    assert len(answers) == 1
    assert "Shule has no such number" in answers.pop()


async def test_what_was_typed_cannot_become_markup(site: Site) -> None:
    page = await ask(site, '"><script>alert(1)</script>')
    assert "<script>alert" not in page.html


async def test_who_asks_too_often_must_wait_and_others_need_not(serve: Serve) -> None:
    site = await serve(proxies=1)
    await shared(site, bill={"number": "8833", "amount": "1"})
    for n in range(MOST["web"]):
        await ask(site, f"{n}", through="198.51.100.7")
    page = await ask(site, "8833", status=429, through="203.0.113.9, 198.51.100.7")
    assert "try again in an hour" in page.text
    assert "TZS" not in page.text
    assert "Yes, this is a bill" in (await ask(site, "8833", through="198.51.100.8")).text


async def tell(site: Site, body: object, status: int = 200) -> dict[str, Any]:
    """Ask as a program does; the answer, whatever it is."""
    async with site.stranger.post("/check?lang=en", json=body) as response:
        assert response.status == status, await response.text()
        assert response.content_type == ("application/json" if status == 200 else MEDIA_TYPE)
        answer: dict[str, Any] = await response.json()
        return answer


async def test_a_program_that_asks_in_json_is_answered_in_json(site: Site) -> None:
    await shared(site, bill={"number": "55042914871931", "amount": "45000", "description": "Fees of Juma"})
    assert await tell(site, {"number": "5504 2914 8719 31"}) == {
        "merchant": "Shule",
        "known": True,
        "status": "open",
        "amount": "45000",
        "currency": "TZS",
        "text": "Yes, this is a bill from Shule. Amount to pay: TZS 45,000.",
    }
    await site.engine.bills.stop("55042914871931", by="test")
    told = await tell(site, {"number": "55042914871931"})
    assert (told["status"], told["amount"]) == ("stopped", None)


async def test_a_program_learns_nothing_of_a_number_that_is_not_ours(site: Site) -> None:
    told = await tell(site, {"number": "8832"})
    assert (told["known"], told["status"], told["amount"], told["currency"]) == (False, None, None, None)
    assert "Shule has no such number" in told["text"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "as text"),
        ({"number": 55042914871931}, 422, "as text"),
        ({"number": " "}, 422, "as text"),
        ([], 400, "object"),
        ({"number": "x" * 5000}, 413, "4096"),
    ],
)
async def test_a_program_that_asks_wrongly_is_told_what_is_right(
    site: Site, body: object, status: int, words: str
) -> None:
    assert words in str(await tell(site, body, status))


@pytest.mark.parametrize("media", ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
async def test_a_question_in_another_form_is_told_which_ones_are_taken(site: Site, media: str) -> None:
    headers = {"Content-Type": media}
    async with site.stranger.post("/check", data=b"number=8833", headers=headers) as response:
        assert (response.status, response.content_type) == (415, MEDIA_TYPE)
        detail = (await response.json())["detail"]
    assert "application/x-www-form-urlencoded" in detail
    assert "application/json" in detail


async def test_programs_are_counted_with_the_pages_askers(site: Site) -> None:
    for n in range(MOST["web"] - 1):
        await ask(site, f"{n}")
    await tell(site, {"number": "8833"})
    async with site.stranger.post("/check", json={"number": "8833"}) as response:
        assert (response.status, response.content_type) == (429, MEDIA_TYPE)
        assert response.headers["Retry-After"] == "3600"
    await ask(site, "8833", status=429)


async def test_a_program_too_is_asked_to_wait_while_redis_is_away(lonely: Lonely) -> None:
    site, server = lonely
    server.process.kill()
    assert (await tell(site, {"number": "8833"}, 503))["type"] == "/docs#unavailable"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        (0, "198.51.100.7", "127.0.0.1"),
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "198.51.100.7, 10.0.0.1", "198.51.100.7"),
        (1, "2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        (1, "2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        (1, "::ffff:198.51.100.7", "198.51.100.7"),
        (1, "198.51.100.7:4711", "198.51.100.7"),
        (1, "[2001:db8:1:2::5]:4711", "2001:db8:1:2::/64"),
        (1, "nonsense", "127.0.0.1"),
        (1, "unknown", "127.0.0.1"),
        (1, "", "127.0.0.1"),
    ],
)
def test_who_asks_is_seen_through_the_merchants_own_proxies_alone(
    proxies: int, forwarded: str, seen: str
) -> None:
    request = make_mocked_request("GET", "/check", headers={"X-Forwarded-For": forwarded})
    request = request.clone(remote="127.0.0.1")
    assert asker(request, proxies) == seen


@pytest.mark.parametrize(
    "text", ["HAKIKI 55042914871931", "hakiki: 5504 2914 8719 31", " Hakiki 55042914871931? "]
)
async def test_a_keyword_on_whatsapp_is_answered_in_its_language(site: Site, text: str) -> None:
    await shared(site, bill={"number": "55042914871931", "amount": "45000"})
    assert await write(site, text) == "Ndiyo, ni bili ya Shule. Kiasi cha kulipa: TZS 45,000."


async def test_the_english_keyword_too_and_without_a_number_it_is_explained(site: Site) -> None:
    await shared(site, bill={"number": "8841", "amount": "45000"})
    assert await write(site, "CHECK 8841") == "Yes, this is a bill from Shule. Amount to pay: TZS 45,000."
    assert "Shule has no such number" in str(await write(site, "check 8842"))
    assert "Type the control number" in str(await write(site, "Check"))


@pytest.mark.parametrize(
    "text",
    [
        "Hakiki namba 55042914871931 tafadhali",
        "check my bill please: 5504 2914 8719 31",
        "HAKIKI\u200b 5504\u200b2914\u200b8719\u200b31",
        "\u200fCHECK \u206855042914871931\u2069",
        "hakiki namba:55042914871931, kiasi 45000",
        "CHECK (55042914871931)?",
        "hakiki\n55042914871931\nasante",
    ],
)
async def test_a_number_is_found_in_what_people_write_around_it(site: Site, text: str) -> None:
    await shared(site, bill={"number": "55042914871931", "amount": "45000"})
    assert "TZS 45,000" in str(await write(site, text))


@pytest.mark.parametrize(
    "text", ["check my bill please", "Hakiki malipo yangu", "check", "Hakiki?", "CHECK\u200b", "check at 5"]
)
async def test_words_without_a_number_are_never_told_no_such_number(site: Site, text: str) -> None:
    answer = await write(site, text)
    alone = len(text.split()) == 1
    assert bool(answer) is alone
    assert not alone or "control number" in str(answer)


@pytest.mark.parametrize("text", ["Habari", "checking in", "please check 8841", "STOP", "hakika"])
async def test_other_words_are_not_answered(site: Site, text: str) -> None:
    assert await write(site, text) is None


async def test_an_sms_is_not_answered(site: Site) -> None:
    await shared(site, bill={"number": "8843", "amount": "1"})
    assert await write(site, "CHECK 8843", sender="+255754123456") is None


async def test_on_whatsapp_too_many_questions_are_told_once(site: Site) -> None:
    for _ in range(MOST["whatsapp"]):
        assert await write(site, "CHECK 1")
    assert "try again in an hour" in str(await write(site, "CHECK 1"))
    assert await write(site, "CHECK 1") is None
    assert await write(site, "CHECK 1", sender="whatsapp:+255754999999")


async def test_asking_how_to_ask_counts_too(site: Site) -> None:
    answers = [await write(site, "HAKIKI") for _ in range(14)]
    assert [bool(answer) for answer in answers] == [True] * 11 + [False] * 3


async def test_a_merchant_with_markup_in_its_name_is_no_markup_on_whatsapp(serve: Serve) -> None:
    site = await serve(merchant_name="A & B <Ltd>")
    assert "A & B <Ltd> has no such number" in str(await write(site, "CHECK 1"))
