"""The customer's page: right in every state of a bill, in both languages, without a script."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis.asyncio import Redis

from bot.engine.keys import fresh_sid, parse_token, prefix, token
from bot.errors import TemplateError
from bot.render.library import templates_dir
from bot.render.look import LARGEST_LOGO
from bot.render.pagefiles import PageFiles
from channels.base import ChannelName
from tests.engine.conftest import paid
from tests.engine.test_worker import Scripted, until, working
from tests.render.test_invoice import text_of
from tests.web.conftest import PUBLIC_URL, Lonely, Serve, Site, a_share, shared

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """A page's text and its tags; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.open, self.texts = html, list[str](), list[str]()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


async def get(site: Site, path: str, status: int = 200) -> Page:
    async with site.stranger.get(path) as response:
        assert response.status == status
        assert response.content_type == "text/html"
        return Page(await response.text())


async def test_an_open_bill_says_what_to_pay_where_and_how(site: Site) -> None:
    bill = {"number": "55042914871931", "amount": "45000", "description": "Term 2 fees"}
    answer = await shared(site, bill={**bill, "due_at": "2026-12-01T09:00:00+03:00"})
    page = await get(site, f"/pay/{answer['token']}?lang=en")
    for text in ("Bill from Shule", "Term 2 fees", "TZS 45,000", "1 December 2026", "Mixx by Yas", "889999"):
        assert text in page.text
    assert "5504 2914 8719 31" in page.text
    assert "Payment reference: 55042914871931" in page.text
    assert "one payment only" in page.text


async def test_the_number_can_be_copied_in_one_piece(site: Site) -> None:
    answer = await shared(site, bill={"number": "55042914871931", "amount": "45000"})
    page = await get(site, f"/pay/{answer['token']}")
    spans = re.search(r'class="number"[^>]*>(.*?)</p>', page.html)
    assert spans is not None
    assert re.sub("<[^>]+>", "", spans[1]) == "55042914871931"


@pytest.mark.parametrize(("lang", "words"), [("sw", "Kiasi cha kulipa"), ("en", "Amount to pay")])
async def test_the_customers_own_language_comes_first(site: Site, lang: str, words: str) -> None:
    customer = {**a_share()["customer"], "locale": lang}
    answer = await shared(site, customer=customer)
    page = await get(site, f"/pay/{answer['token']}")
    assert words in page.text
    assert page.tags[0] == ("html", {"lang": lang})


async def test_the_other_language_is_one_link_away(site: Site) -> None:
    answer = await shared(site)
    assert ("a", {"href": "?lang=sw", "lang": "sw", "hreflang": "sw"}) in (
        await get(site, f"/pay/{answer['token']}")
    ).tags
    assert "Jinsi ya kulipa" in (await get(site, f"/pay/{answer['token']}?lang=sw")).text
    assert "How to pay" in (await get(site, f"/pay/{answer['token']}?lang=fr")).text


async def test_a_paid_bill_says_so_and_shows_no_number(site: Site) -> None:
    answer = await shared(site)
    await site.engine.payments.settle(paid(answer["number"]))
    page = await get(site, f"/pay/{answer['token']}")
    assert "Paid. Thank you!" in page.text
    assert "TZS 45,000" in page.text
    assert answer["number"] not in page.html
    assert "How to pay" not in page.text


async def test_a_part_payment_on_a_customer_number_leaves_the_rest(site: Site) -> None:
    bill = {"number": "880011", "kind": "customer", "amount": "45000"}
    answer = await shared(site, bill=bill)
    await site.engine.payments.settle(paid("880011", "20000"))
    page = await get(site, f"/pay/{answer['token']}")
    assert "TZS 25,000" in page.text
    assert "You have paid TZS 20,000" in page.text
    assert "Payments received" in page.text
    assert "Amount: TZS 25,000" in page.text


async def test_an_order_number_closed_by_a_part_payment_must_not_be_paid_again(site: Site) -> None:
    answer = await shared(site)
    await site.engine.payments.settle(paid(answer["number"], "20000"))
    page = await get(site, f"/pay/{answer['token']}")
    assert "This number is closed" in page.text
    assert "TZS 25,000" in page.text
    assert answer["number"] not in page.html


async def test_a_stopped_bill_says_whom_to_ask(serve: Serve) -> None:
    site = await serve(merchant_contact="+255 22 212 3456")
    answer = await shared(site)
    await site.engine.bills.stop(answer["number"], by="test")
    page = await get(site, f"/pay/{answer['token']}")
    assert "This bill has been stopped" in page.text
    assert "Questions? Ask Shule: +255 22 212 3456" in page.text
    assert answer["number"] not in page.html


async def test_page_pdf_and_json_of_a_stopped_bill_say_what_was_paid_and_ask_for_nothing(site: Site) -> None:
    bill = {"number": "880012", "kind": "customer", "amount": "45000", "due_at": "2026-12-01T09:00:00+03:00"}
    answer = await shared(site, bill=bill)
    await site.engine.payments.settle(paid("880012", "20000"))
    await site.engine.bills.stop("880012", by="test")
    page = await get(site, f"/pay/{answer['token']}")
    assert "The whole bill is TZS 45,000. You have paid TZS 20,000." in page.text
    frame = await get(site, f"/pay/{answer['token']}/embed")
    assert "The whole bill is TZS 45,000. You have paid TZS 20,000." in frame.text
    async with site.stranger.get(f"/pay/{answer['token']}/invoice.pdf") as response:
        drawn = text_of(await response.read())
    assert "Whole bill TZS 45,000 Paid so far TZS 20,000" in drawn
    async with site.stranger.get(f"/pay/{answer['token']}/bill.json") as response:
        told = await response.json()
    asked = ("status", "amount", "older", "total", "paid", "due_at", "number")
    assert [told[name] for name in asked] == ["stopped", "0", "0", "45000", "20000", None, None]
    for text in (page.text, frame.text, drawn):
        for word in ("25,000", "Still to pay", "Pay by", "December", "880012"):
            assert word not in text


async def test_a_failed_attempt_is_no_payment(site: Site) -> None:
    answer = await shared(site)
    await site.engine.payments.settle(paid(answer["number"], None, event="failed", status="FAILED"))
    assert "Payments received" not in (await get(site, f"/pay/{answer['token']}")).text


async def test_the_page_names_neither_customer_nor_payer(site: Site) -> None:
    job = a_share(bill={"number": "881122", "kind": "customer", "amount": "45000"})
    answer = await shared(site, **job)
    await site.engine.payments.settle(paid("881122", "1000", payer_name="Zuhura Mlipaji"))
    page = await get(site, f"/pay/{answer['token']}")
    for secret in (
        "Asha",
        "Juma",
        "Zuhura",
        job["customer"]["phone"][1:],
        job["customer"]["email"],
        "754123456",
        "•••",
    ):
        assert secret not in page.html


async def test_texts_of_a_share_cannot_become_markup(serve: Serve) -> None:
    site = await serve(merchant_name="<b>Shule</b> & Co")
    bill = {"number": "771", "amount": "1", "description": "<script>alert(1)</script>\"'"}
    answer = await shared(site, bill=bill)
    page = await get(site, f"/pay/{answer['token']}")
    assert page.html.count("<script") == 1
    assert "<b>Shule" not in page.html
    assert "<script>alert(1)</script>\"'" in page.text


async def test_the_page_asks_for_no_pin_and_says_so_in_both_languages(site: Site) -> None:
    answer = await shared(site)
    assert "never asks for your PIN" in (await get(site, f"/pay/{answer['token']}?lang=en")).text
    assert "(PIN)" in (await get(site, f"/pay/{answer['token']}?lang=sw")).text


async def test_the_page_is_complete_without_script_and_from_nowhere_else(site: Site) -> None:
    answer = await shared(site)
    async with site.stranger.get(f"/pay/{answer['token']}") as response:
        html, headers = await response.text(), response.headers
    names = {tag for tag, _ in Page(html).tags}
    assert not names & {"img", "iframe", "object", "form", "input"}
    # An icon that is none, or browsers ask for one; and a link for programs, by which nothing is loaded.
    links = {link["rel"]: link["href"] for tag, link in Page(html).tags if tag == "link"}
    assert links.keys() == {"icon", "alternate"}
    assert links["icon"] == "data:,"
    rest = html.replace(str(links["alternate"]), "")
    assert "http://" not in rest
    assert "https://" not in rest
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    assert headers["Cache-Control"] == "no-store"


async def test_the_policy_allows_style_and_script_by_their_hashes_and_nothing_else(site: Site) -> None:
    answer = await shared(site)
    async with site.stranger.get(f"/pay/{answer['token']}") as response:
        html, policy = await response.text(), response.headers["Content-Security-Policy"]
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.endswith("frame-ancestors 'none'")
    assert policy.startswith("default-src 'none'")
    assert "style=" not in html
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "token", ["x", "0-" + "a" * 16, "ffff-" + "a" * 16, "%F0%9F%98%80", "a" * 500, "0-abc'<b>"]
)
@pytest.mark.parametrize("path", ["/pay", "/out"])
async def test_an_unknown_token_gets_a_kind_page_in_both_languages(site: Site, path: str, token: str) -> None:
    page = await get(site, f"{path}/{token}", 404)
    assert "Hatujapata ukurasa huu" in page.text
    assert "We could not find this page" in page.text


async def test_a_page_that_is_not_there_says_whom_to_ask_never_the_sender(serve: Serve) -> None:
    site = await serve(merchant_contact="+255 22 212 3456")
    page = await get(site, "/pay/x", 404)
    assert "Una swali? Wasiliana na Shule: +255 22 212 3456" in page.text
    assert "Questions? Ask Shule: +255 22 212 3456" in page.text
    assert "whoever" not in page.text  # who sent a forged message is the last to ask


async def test_when_redis_is_away_people_are_asked_to_wait(lonely: Lonely) -> None:
    site, server = lonely
    answer = await shared(site)
    server.process.kill()
    page = await get(site, f"/pay/{answer['token']}", 503)
    assert "Jaribu tena baada ya dakika moja" in page.text
    assert "Angalia tena" in page.text


async def test_a_merchants_own_folder_replaces_a_page(serve: Serve, tmp_path: Any) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "pay.html").write_text(
        '{% extends "layout.html" %}{% block main %}OURS {{ amount }}{% endblock %}'
    )
    site = await serve(templates=tmp_path)
    answer = await shared(site)
    assert "OURS TZS 45,000" in (await get(site, f"/pay/{answer['token']}")).text


async def test_a_merchants_own_words_replace_those_that_they_name(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "words.toml").write_text('[en]\nhow = "Pay at any of these"')
    site = await serve(templates=tmp_path)
    answer = await shared(site)
    page = await get(site, f"/pay/{answer['token']}")
    assert "Pay at any of these" in page.text
    assert "Amount to pay" in page.text
    assert "Jinsi ya kulipa" in (await get(site, f"/pay/{answer['token']}?lang=sw")).text


@pytest.mark.parametrize("text", ["[en", 'en = "x"'])
def test_own_words_that_are_none_are_found_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "words.toml").write_text(text)
    with pytest.raises(TemplateError, match=r"pages/words\.toml"):
        PageFiles(tmp_path)


def test_both_languages_have_the_same_texts_with_the_same_facts() -> None:
    words: dict[str, dict[str, str]] = tomllib.loads(
        (templates_dir() / "pages" / "words.toml").read_text("utf-8")
    )
    assert words["sw"].keys() == words["en"].keys()
    for name, text in words["sw"].items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", words["en"][name])), name


def test_no_text_asks_for_a_pin_or_promises_a_reply_to_sms() -> None:
    text = (templates_dir() / "pages" / "words.toml").read_text("utf-8").lower()
    assert "reply stop" not in text
    assert "jibu" not in text
    assert all(
        "never" in line or "hauulizi" in line or "haiulizi" in line
        for line in text.splitlines()
        if "pin)" in line or " pin" in line
    )


async def wire_size(site: Site, path: str) -> int:
    """Bytes of the whole answer, head and body, as a phone with gzip gets them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    return len(answer)


@pytest.mark.parametrize("lang", ["sw", "en"])
async def test_a_page_with_the_largest_logo_and_many_payments_is_14_kilobytes_at_most(
    serve: Serve, tmp_path: Path, lang: str
) -> None:
    picture = Image.frombytes("RGB", (40, 44), random.Random(1).randbytes(40 * 44 * 3))
    picture.save(tmp_path / "logo.png")
    assert 5000 < (tmp_path / "logo.png").stat().st_size <= LARGEST_LOGO
    site = await serve(
        merchant_name="Chuo Kikuu cha Sayansi na Teknolojia cha Mbeya",
        merchant_logo=tmp_path / "logo.png",
        mpesa_business_number="123456",
        merchant_contact="+255 22 212 3456",
        merchant_tin="123-456-789",
    )
    bill = {"number": "55042914871931", "kind": "customer", "amount": "999999999", "description": "x y " * 60}
    answer = await shared(site, bill=bill)
    for n in range(30):
        await site.engine.payments.settle(paid("55042914871931", "1000", id=f"55042914871931LCP{n}A1B2"))
    size = await wire_size(site, f"/pay/{answer['token']}?lang={lang}")
    assert 8_000 < size <= 14 * 1024


async def test_every_page_answers_from_one_round_trip(site: Site) -> None:
    answer = await shared(site, bill={"number": "8812", "kind": "customer", "amount": "45000"})
    await site.engine.payments.settle(paid("8812", "1000"))
    await get(site, f"/pay/{answer['token']}")  # a server that does not know a script yet is told it once
    for path in ("", "/embed", "/bill.json", "/snippet.html", "/invoice.pdf"):
        assert await round_trips(site, f"/pay/{answer['token']}{path}") == ["EVALSHA"], path


async def round_trips(site: Site, path: str) -> list[str]:
    """What Redis was asked by clients for one request; what scripts did inside is left out."""
    asked: list[str] = []
    async with Redis.from_url(str(site.settings.redis_url)) as watcher, watcher.monitor() as monitor:
        async with site.stranger.get(path) as response:
            assert response.status == 200
            await response.read()
        await site.engine.redis.echo("seen")
        async for line in monitor.listen():
            if line["command"] == "ECHO seen":
                return asked
            if line["client_type"] != "lua":
                asked.append(line["command"].split()[0])
    raise AssertionError("the monitor ended")


async def test_the_wallet_of_the_last_payment_comes_first_and_open(site: Site) -> None:
    answer = await shared(site, bill={"number": "8813", "kind": "customer", "amount": "45000"})
    path = f"/pay/{answer['token']}"
    before = await get(site, path)
    assert ("details", {}) in before.tags
    assert ("details", {"open": None}) not in before.tags
    await site.engine.payments.settle(paid("8813", "1000", channel="AIRTEL-MONEY"))
    after = await get(site, path)
    first = after.tags.index(("details", {"open": None}))
    assert [tag for tag, _ in after.tags].index("details") == first
    assert after.text.index("Airtel Money") < after.text.index("Mixx by Yas")
    assert "how you paid last time" in after.text


async def test_the_wallet_of_an_earlier_bill_comes_first_on_the_next(site: Site) -> None:
    customer = {"phone": "0754999888", "locale": "en"}
    first = await shared(site, customer=customer, bill={"number": "8816", "amount": "45000"})
    await site.engine.payments.settle(paid("8816", channel="HALOPESA"))
    async with working(site.engine, Scripted(), Scripted(name=ChannelName.WHATSAPP)):
        await until(lambda: receipt_sent(site, first["id"]))
    second = await shared(site, customer=customer, bill={"number": "8817", "amount": "45000"})
    page = await get(site, f"/pay/{second['token']}")
    assert page.text.index("HaloPesa") < page.text.index("Mixx by Yas")
    another = await shared(site, bill={"number": "8818", "amount": "45000"})
    assert ("details", {"open": None}) not in (await get(site, f"/pay/{another['token']}")).tags


async def receipt_sent(site: Site, share: str) -> bool:
    messages = (await site.engine.shares.get(share)).messages
    return any(message.kind == "receipt" and message.outcome == "sent" for message in messages)


async def test_a_wallet_that_no_method_is_called_leaves_all_alike(site: Site) -> None:
    answer = await shared(site, bill={"number": "8814", "kind": "customer", "amount": "45000"})
    await site.engine.payments.settle(paid("8814", "1000", channel="BILLPAY"))
    assert ("details", {"open": None}) not in (await get(site, f"/pay/{answer['token']}")).tags


async def test_a_menu_is_one_tap_away(site: Site) -> None:
    answer = await shared(site)
    page = await get(site, f"/pay/{answer['token']}")
    assert ("a", {"class": "dial", "href": "tel:*150*01%23"}) in page.tags


async def test_a_paid_bill_has_a_receipt_with_its_number(site: Site) -> None:
    answer = await shared(site)
    await site.engine.payments.settle(paid(answer["number"], "50000", id="LCPA1B2C3"))
    page = await get(site, f"/pay/{answer['token']}")
    [payment] = (await site.engine.bills.get(answer["number"])).payments
    assert payment.receipt
    assert payment.receipt in page.text
    assert "TZS 50,000" in page.text
    assert "You have paid more than was owed" in page.text
    assert f"/pay/{answer['token']}/invoice.pdf?lang=en" in page.html


async def test_money_that_went_back_is_no_payment(site: Site) -> None:
    answer = await shared(site, bill={"number": "8815", "kind": "customer", "amount": "45000"})
    await site.engine.payments.settle(paid("8815", "1000", id="LCP1"))
    assert "Payments received" in (await get(site, f"/pay/{answer['token']}")).text
    await site.engine.payments.settle(paid("8815", "1000", id="LCP1", status="REVERSED"))
    page = await get(site, f"/pay/{answer['token']}")
    assert "Payments received" not in page.text
    assert "A payment is being checked" in page.text


async def test_a_forgotten_bill_looks_like_one_that_never_was(site: Site) -> None:
    answer = await shared(site)
    p, sid = parse_token(answer["token"], site.engine.partitions)
    await site.engine.redis.delete(f"{prefix(p)}s:{sid}")
    gone = await get(site, f"/pay/{answer['token']}", 404)
    never = await get(site, f"/pay/{token(p, fresh_sid())}", 404)
    assert gone.html == never.html


async def test_after_forget_no_address_of_the_bill_is_there_but_the_other_guardians(site: Site) -> None:
    bill = {"number": "8819", "kind": "customer", "amount": "45000", "description": "Fees of Juma"}
    customer = {"phone": "0754700001", "email": "asha8819@example.com", "locale": "en"}
    answer = await shared(site, bill=bill, customer=customer)
    other = await shared(site, bill=bill, customer={"phone": "0754700002"}, additional_contact=True)
    await site.engine.payments.settle(paid("8819", "20000"))
    await site.engine.bills.stop("8819", by="test")
    async with site.stranger.get(
        f"/pay/{answer['token']}/live?seen={await version(site, answer)}"
    ) as open_page:
        assert await site.engine.contacts.forget("+255754700001", by="test") == 1
        async with asyncio.timeout(20):
            assert b"data: changed" in await open_page.read()
    for path in ("", "/embed", "/invoice.pdf", "/live", "/bill.json", "/snippet.html"):
        async with site.stranger.get(f"/pay/{answer['token']}{path}") as response:
            assert response.status == 404, path
            assert "Juma" not in await response.text()
    await get(site, f"/out/{answer['token']}", 404)
    async with site.stranger.get(f"/oembed?url={PUBLIC_URL}/pay/{answer['token']}") as response:
        assert response.status == 404
    assert "Fees of Juma" in (await get(site, f"/pay/{other['token']}")).text


async def version(site: Site, answer: dict[str, Any]) -> str:
    return (await site.engine.shares.by_token(answer["token"])).version


@pytest.mark.parametrize("path", ["", "/embed", "/invoice.pdf", "/live", "/bill.json", "/snippet.html"])
async def test_no_address_of_a_bill_may_be_kept_or_indexed(site: Site, path: str) -> None:
    answer = await shared(site)
    async with site.stranger.get(f"/pay/{answer['token']}{path}") as response:
        assert response.status == 200
        assert response.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Frame-Options"] == "DENY"


async def test_the_merchants_logo_and_colour_are_on_the_page(serve: Serve, tmp_path: Path) -> None:
    Image.new("RGB", (60, 30), "navy").save(tmp_path / "logo.png")
    site = await serve(merchant_logo=tmp_path / "logo.png", merchant_colour="#1d3f8f")
    answer = await shared(site)
    page = await get(site, f"/pay/{answer['token']}")
    [logo] = [attributes for tag, attributes in page.tags if tag == "img"]
    assert base64.b64decode(str(logo["src"]).partition(",")[2]) == (tmp_path / "logo.png").read_bytes()
    assert "--brand:#1d3f8f" in page.html


@pytest.mark.parametrize(
    "path", ["/", "/pay", "/pay/", "/pay/0-aaaaaaaaaaaaaaaa/", "/paid", "/pay/x/bill.json"]
)
async def test_a_bad_link_in_a_browser_is_a_page_and_elsewhere_a_problem(site: Site, path: str) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    async with site.stranger.get(path, headers=browser) as response:
        assert (response.status, response.content_type) == (404, "text/html")
        assert "We could not find this page" in Page(await response.text()).text
    async with site.stranger.get(path) as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with site.stranger.get("/v1/shares/none", headers=browser) as response:
        assert response.content_type == "application/problem+json"


async def test_every_variable_of_the_style_has_a_plain_value_before_it(site: Site) -> None:
    answer = await shared(site)
    page = await get(site, f"/pay/{answer['token']}")
    [style] = re.findall(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert "background: #0b6b3a; background: var(--brand)" in style
    for rule in re.findall(r"{([^{}]*var\([^{}]*)}", style):
        declared = [
            part.strip() for part in rule.split(";") if part.strip() and not part.strip().startswith("--")
        ]
        for before, each in zip(["", *declared], declared, strict=False):
            if "var(" in each:
                assert before.partition(":")[0] == each.partition(":")[0]
                assert "var(" not in before
