"""Customers' pages in a real browser: they fit, can be read and used by everybody, and turn to paid by themselves."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, expect
from pytest_asyncio import fixture

from bot.web.embed import HEIGHT
from tests.browser import NEEDS_BROWSER, started
from tests.engine.conftest import paid
from tests.web.conftest import Serve, Site, a_share, serving, shared

DOCS = Path(__file__).parents[2] / "docs"
WIDTHS = {320: 640, 375: 760, 1280: 800}
OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
STATES = ("open", "partial", "older", "paid", "closed", "held", "stopped")

pytestmark = NEEDS_BROWSER


@fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with started() as chromium:
        yield chromium


@fixture(loop_scope="module")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The file's browser, without what an earlier test left open in it."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


@fixture(loop_scope="module")
async def another() -> AsyncIterator[Browser]:
    """A browser of a test's own: in one that had many pages before, the driver at times loses sight of a frame."""
    async with started() as browser:
        yield browser


@fixture(loop_scope="module")
async def serve(redis_url: str) -> AsyncIterator[Serve]:
    async with serving(redis_url) as start:
        yield start


@fixture(loop_scope="module")
async def school(serve: Serve) -> Site:
    """A school whose pages have everything that can be set."""
    return await serve(
        merchant_name="Shule ya Msingi Uhuru",
        merchant_contact="+255 22 212 3456",
        merchant_tin="123-456-789",
        mpesa_business_number="123456",
    )


async def bill(site: Site, state: str, number: str = "55042914871931", amount: str = "45000") -> str:
    """The path of the page of a bill that stands as `state` says."""
    kind = "customer" if state in {"partial", "older"} else "order"
    mode = "exact" if state == "held" else "partial"
    due = "2026-12-01T09:00:00+03:00"
    fields = {"number": number, "kind": kind, "mode": mode, "amount": amount, "due_at": due}
    job = a_share(bill={**fields, "description": "Ada ya muhula wa pili"})
    answer = await shared(site, **job)
    if state == "older":
        answer = await shared(site, bill={**job["bill"], "term": "2"}, customer=job["customer"])
    money = {"partial": "20000", "paid": amount, "closed": "20000", "held": "1", "older": "1000"}.get(state)
    if money:
        await site.engine.payments.settle(paid(number, money, channel="AIRTEL-MONEY"))
    if state == "stopped":
        await site.engine.bills.stop(number, by="test")
    return f"/pay/{answer['token']}"


def at(site: Site, path: str) -> str:
    return f"http://127.0.0.1:{site.port}{path}"


async def opened(browser: Browser, url: str, *, width: int = 375, **context: Any) -> Page:
    """A page in a browser of its own; whatever it complains of fails the test."""
    size: Any = {"width": width, "height": WIDTHS.get(width, 760)}
    made = await browser.new_context(viewport=size, **context)
    page = await made.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("requestfailed", lambda request: faults.append(f"{request.url} {request.failure}"))
    await page.goto(url)
    assert faults == []
    return page


async def test_axe_finds_nothing(school: Site, browser: Browser) -> None:
    page = await opened(browser, at(school, "/check"))
    paths = ["/check"]
    for n, state in enumerate(STATES):
        path = await bill(school, state, f"55042914871{n:03}")
        paths += [path, f"{path}/embed", f"{path}?lang=sw"]
    paths.append(f"/out/{path.rpartition('/')[2]}")
    for path in paths:
        await page.goto(at(school, path))
        await page.emulate_media(color_scheme="light")
        await page.evaluate(OPEN_ALL)
        assert await findings(page) == [], path
        await page.emulate_media(color_scheme="dark")
        assert await too_pale(page) == [], path


async def findings(page: Page) -> list[str]:
    """What axe finds wrong under WCAG 2.0 to 2.2, levels A and AA, and its best practices."""
    found = await Axe().run(page)
    told = [f"{each['id']}: {each['help']}" for each in found.response["violations"]]
    unsure = [each["id"] for each in found.response["incomplete"]]
    assert len(found.response["passes"]) > 10
    return told + unsure


async def too_pale(page: Page) -> list[str]:
    """What axe, already in the page, finds wrong in its colours: all that a scheme changes."""
    found = await page.evaluate("axe.run({runOnly: ['color-contrast']})")
    assert found["passes"]
    return [node["html"] for each in found["violations"] + found["incomplete"] for node in each["nodes"]]


async def test_axe_finds_nothing_in_answers_and_kind_pages(school: Site, browser: Browser) -> None:
    await bill(school, "open")
    page = await opened(browser, at(school, "/check?lang=sw"))
    await page.get_by_label("Namba ya malipo").fill("55042914871931")
    await page.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_contain_text("Ndiyo, ni bili ya Shule ya Msingi Uhuru")
    assert await findings(page) == []
    await page.goto(at(school, "/pay/0-aaaaaaaaaaaaaaaa"))
    await expect(page.locator("h1").first).to_have_text("Hatujapata ukurasa huu")
    assert await findings(page) == []


async def test_nothing_is_wider_than_the_screen(school: Site, browser: Browser) -> None:
    paths = [
        await bill(school, state, f"ABCDEFGH1234567890{n:02}", "999999999") for n, state in enumerate(STATES)
    ]
    page = await opened(browser, at(school, "/check"))
    for path in [*paths, "/check"]:
        for lang in ("sw", "en"):
            await page.goto(at(school, f"{path}?lang={lang}"))
            await page.evaluate(OPEN_ALL)
            for width, height in WIDTHS.items():
                await page.set_viewport_size({"width": width, "height": height})
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
                small = await page.evaluate(
                    "[...document.querySelectorAll('button, input, summary, .dial')]"
                    ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 40)"
                    ".map(e => e.textContent)"
                )
                assert small == [], (path, width)


async def test_the_page_turns_to_paid_by_itself(school: Site, browser: Browser) -> None:
    path = await bill(school, "open")
    page = await opened(browser, at(school, f"{path}?lang=sw"))
    await expect(page.get_by_text("TZS 45,000", exact=True)).to_be_visible()
    async with asyncio.timeout(10):
        while not school.engine.live._readers:
            await asyncio.sleep(0.02)
    await school.engine.payments.settle(paid("55042914871931"))
    await expect(page.locator(".state")).to_have_text("Imelipwa. Asante!")
    await expect(page.get_by_text("Namba ya risiti")).to_be_visible()
    await page.context.close()


async def test_without_script_it_is_complete_and_a_link_reads_it_again(
    school: Site, browser: Browser
) -> None:
    path = await bill(school, "open")
    page = await opened(browser, at(school, f"{path}?lang=en"), java_script_enabled=False)
    await expect(page.locator(".number")).to_have_text("55042914871931")
    await expect(page.get_by_role("button")).to_have_count(0)
    await expect(page.get_by_text("Touch and hold the number")).to_be_visible()
    await page.locator("summary", has_text="Airtel Money").click()
    await expect(page.get_by_text("Dial *150*60#", exact=True).first).to_be_visible()
    await school.engine.payments.settle(paid("55042914871931"))
    await page.get_by_role("link", name="Paid already? Look again").click()
    await expect(page.locator(".state")).to_have_text("Paid. Thank you!")
    await page.get_by_role("link", name="Kiswahili").click()
    await expect(page.locator(".state")).to_have_text("Imelipwa. Asante!")


async def test_one_tap_copies_the_number_in_one_piece(school: Site, browser: Browser) -> None:
    path = await bill(school, "open")
    page = await opened(
        browser, at(school, f"{path}?lang=en"), permissions=["clipboard-read", "clipboard-write"]
    )
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "55042914871931"
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('.number'))")
    assert await page.evaluate("getSelection().toString()") == "55042914871931"


async def test_nothing_is_asked_of_anybody_else(school: Site, browser: Browser) -> None:
    path = await bill(school, "open")
    context = await browser.new_context()
    page = await context.new_page()
    asked: list[tuple[str, str | None]] = []
    page.on("request", lambda request: asked.append((request.url, request.headers.get("referer") or None)))
    await page.goto(at(school, path))
    await page.get_by_role("link", name="Is this bill real?").click()
    await expect(page.locator("h1")).to_have_text("Is this bill real?")
    paths = {url.removeprefix(at(school, "")).partition("?")[0] for url, _ in asked}
    assert paths - {"/favicon.ico"} == {path, f"{path}/live", "/check"}
    assert {referer for _, referer in asked} == {None}


async def test_on_paper_it_has_what_is_needed_and_nothing_to_press(school: Site, browser: Browser) -> None:
    path = await bill(school, "open")
    page = await opened(browser, at(school, f"{path}?lang=en"))
    await page.emulate_media(media="print", color_scheme="dark")
    await expect(page.locator("[data-copy]")).to_be_hidden()
    await expect(page.get_by_role("link", name="Stop these messages")).to_be_hidden()
    await expect(page.get_by_text("Dial *150*01#").last).to_be_visible()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert (await page.pdf()).startswith(b"%PDF")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    """The origin of a site that serves docs/."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(DOCS)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("width", [320, 1280])
async def test_the_example_page_embeds_a_bill_that_fits_and_stays_true(
    serve: Serve, another: Browser, shop: str, width: int
) -> None:
    site = await serve(embed_origins=(shop,), merchant_name="Duka la Vitabu na Vifaa vya Shule")
    path = await bill(site, "open")
    url = f"{shop}/embed-example.html?bill={at(site, path)}"
    context = await another.new_context(viewport={"width": width, "height": 800})
    page = await context.new_page()
    await page.goto(url)
    frame = page.frame_locator("iframe")
    await expect(frame.locator(".number")).to_have_text("55042914871931")
    async with asyncio.timeout(10):
        while not site.engine.live._readers:
            await asyncio.sleep(0.02)
    await site.engine.payments.settle(paid("55042914871931"))
    await expect(frame.locator(".state")).to_contain_text("Paid. Thank you!")


async def test_a_site_that_is_not_configured_cannot_embed_it(
    serve: Serve, browser: Browser, shop: str
) -> None:
    site = await serve(embed_origins=("https://shop.example",))
    path = await bill(site, "open")
    page = await (await browser.new_context()).new_page()
    async with page.expect_event("console", lambda said: "frame-ancestors" in said.text):
        await page.goto(f"{shop}/embed-example.html?bill={at(site, path)}")
    await expect(page.frame_locator("iframe").locator(".number")).to_have_count(0)


@pytest.mark.parametrize("lang", ["sw", "en"])
async def test_a_frame_is_tall_enough_for_what_is_in_it(school: Site, browser: Browser, lang: str) -> None:
    context = await browser.new_context(viewport={"width": 288, "height": HEIGHT})
    page = await context.new_page()
    for n, state in enumerate(STATES):
        path = await bill(school, state, f"55042914871{n:03}", "999999999")
        await page.goto(at(school, f"{path}/embed?lang={lang}"))
        size = await page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert size[0] <= 288, state
        assert size[1] <= HEIGHT, state


async def test_a_browser_without_variables_shows_the_same_colours(school: Site, browser: Browser) -> None:
    url = at(school, await bill(school, "open"))
    page = await opened(browser, url, bypass_csp=True)
    look = """() => ['body', 'header', '.card', '.number', '.copy', '.label', 'summary', '.dial'].map(name => {
        const style = getComputedStyle(document.querySelector(name));
        return [name, style.color, style.backgroundColor, style.borderTopColor, style.fontWeight];
    })"""
    today = await page.evaluate(look)
    # What such a browser does: it passes over every declaration that it does not understand.
    await page.evaluate(
        """() => {
        const style = document.querySelector('style');
        style.textContent = style.textContent
            .replace(/--[\\w-]+:[^;}]*;?/g, '')
            .replace(/[\\w-]+:[^;{}]*(var|max|clamp)\\([^;{}]*(;|(?=}))/g, '');
    }"""
    )
    assert "var(" not in str(await page.text_content("style"))
    assert await page.evaluate(look) == today
