"""A bill on other people's sites: frame, snippet, JSON, oEmbed; shown to the configured sites alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import paid
from tests.web.conftest import PUBLIC_URL, Serve, Site, a_share, shared
from tests.web.test_pages import Page, get

SHOP = "https://shop.example.co.tz"


async def headers(site: Site, path: str, **sent: str) -> Any:
    async with site.stranger.get(path, headers=sent) as response:
        assert response.status == 200
        return response.headers


async def as_json(site: Site, path: str) -> Any:
    async with site.stranger.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_only_configured_sites_may_frame_a_bill(serve: Serve) -> None:
    site = await serve(embed_origins=(SHOP, "https://other.example"))
    answer = await shared(site)
    found = await headers(site, f"/pay/{answer['token']}/embed")
    assert found["Content-Security-Policy"].endswith(f"frame-ancestors {SHOP} https://other.example")
    assert "X-Frame-Options" not in found
    whole = await headers(site, f"/pay/{answer['token']}")
    assert whole["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert whole["X-Frame-Options"] == "DENY"


async def test_without_a_setting_nobody_may(site: Site) -> None:
    answer = await shared(site)
    found = await headers(site, f"/pay/{answer['token']}/embed")
    assert found["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert found["X-Frame-Options"] == "DENY"


async def test_a_bill_that_is_gone_is_a_kind_page_in_a_frame_too(serve: Serve) -> None:
    site = await serve(embed_origins=(SHOP,))
    for path in (f"/pay/0-{'x' * 16}/embed", "/pay/x/embed"):
        async with site.stranger.get(path) as response:
            assert response.status == 404
            assert "Hatujapata ukurasa huu" in await response.text()
            assert response.headers["Content-Security-Policy"].endswith(f"frame-ancestors {SHOP}")
            assert "X-Frame-Options" not in response.headers
    async with site.stranger.get("/pay/x") as response:
        assert response.headers["X-Frame-Options"] == "DENY"


async def test_a_frame_has_the_number_and_a_link_but_no_way_to_stop_messages(site: Site) -> None:
    answer = await shared(site, bill={"number": "55042914871931", "amount": "45000"})
    page = await get(site, f"/pay/{answer['token']}/embed")
    assert "5504 2914 8719 31" in page.text
    assert "TZS 45,000" in page.text
    assert "/out/" not in page.html
    [link] = [attributes for tag, attributes in page.tags if tag == "a"]
    assert link == {"href": f"/pay/{answer['token']}?lang=en", "target": "_blank", "rel": "noopener"}


@pytest.mark.parametrize("path", ["embed", "snippet.html", "bill.json"])
async def test_a_closed_number_is_nowhere(site: Site, path: str) -> None:
    answer = await shared(site, bill={"number": "55042914871931", "amount": "45000"})
    await site.engine.payments.settle(paid("55042914871931", "20000"))
    async with site.stranger.get(f"/pay/{answer['token']}/{path}") as response:
        body = await response.read()
    assert b"55042914871931" not in body
    assert b"5504 2914" not in body


async def test_a_snippet_is_html_without_script_that_names_nobody(serve: Serve) -> None:
    site = await serve(merchant_name="<b>Shule</b> & Co")
    answer = await shared(site, bill={"number": "8821", "amount": "45000", "description": "Asha <i>"})
    async with site.stranger.get(f"/pay/{answer['token']}/snippet.html") as response:
        page = Page(await response.text())
    assert {tag for tag, _ in page.tags} == {"div", "p", "strong", "a"}
    assert "<b>Shule</b> & Co" in page.text
    assert "Control number: 8821" in page.text
    assert "Asha" not in page.html
    assert ("a", {"href": f"{PUBLIC_URL}/pay/{answer['token']}?lang=en", "rel": "noreferrer"}) in page.tags


@pytest.mark.parametrize(
    ("amount", "words"), [("45000", "Paid. Thank you!"), ("20000", "This number is closed")]
)
async def test_a_snippet_says_how_the_bill_stands(site: Site, amount: str, words: str) -> None:
    answer = await shared(site)
    await site.engine.payments.settle(paid(answer["number"], amount))
    async with site.stranger.get(f"/pay/{answer['token']}/snippet.html") as response:
        assert words in await response.text()


async def test_programs_get_the_bill_as_json(site: Site) -> None:
    due = "2026-12-01T09:00:00+03:00"
    answer = await shared(site, bill={"number": "8822", "kind": "customer", "amount": "45000", "due_at": due})
    await site.engine.payments.settle(paid("8822", "20000"))
    url = f"{PUBLIC_URL}/pay/{answer['token']}"
    assert await as_json(site, f"/pay/{answer['token']}/bill.json") == {
        "merchant": "Shule",
        "status": "open",
        "number": "8822",
        "amount": "25000",
        "older": "0",
        "total": "45000",
        "paid": "20000",
        "currency": "TZS",
        "due_at": "2026-12-01T06:00:00+00:00",
        "once": False,
        "exact": False,
        "url": url,
        "invoice_url": f"{url}/invoice.pdf",
        "embed_url": f"{url}/embed",
    }


async def test_scripts_of_configured_sites_alone_may_read_it(serve: Serve) -> None:
    site = await serve(embed_origins=(SHOP,))
    path = f"/pay/{(await shared(site))['token']}/bill.json"
    assert (await headers(site, path, Origin=SHOP))["Access-Control-Allow-Origin"] == SHOP
    assert "Access-Control-Allow-Origin" not in await headers(site, path, Origin="https://evil.example")


async def test_the_page_tells_where_its_oembed_answer_is_and_it_holds_a_frame(site: Site) -> None:
    answer = await shared(site)
    page = await get(site, f"/pay/{answer['token']}")
    [link] = [found for tag, found in page.tags if tag == "link" and found["rel"] == "alternate"]
    assert link["type"] == "application/json+oembed"
    found = await as_json(site, str(link["href"]).removeprefix(PUBLIC_URL))
    assert (found["type"], found["version"], found["provider_name"]) == ("rich", "1.0", "Shule")
    assert f'src="{PUBLIC_URL}/pay/{answer["token"]}/embed?lang=en"' in found["html"]
    swahili = await as_json(site, str(link["href"]).removeprefix(PUBLIC_URL) + "%3Flang%3Dsw")
    assert f'/pay/{answer["token"]}/embed?lang=sw"' in swahili["html"]
    assert swahili["title"] == "Bili kutoka Shule"
    small = await as_json(
        site, str(link["href"]).removeprefix(PUBLIC_URL) + "&maxwidth=300&maxheight=200&format=json"
    )
    assert (small["width"], small["height"]) == (300, 200)
    assert 'width="300" height="200"' in small["html"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("url=https://evil.example/pay/x", 404),
        (f"url={PUBLIC_URL}.evil/pay/x", 404),
        (f"url={PUBLIC_URL}/pay/0-aaaaaaaaaaaaaaaa", 404),
        (f"url={PUBLIC_URL}/out/0-aaaaaaaaaaaaaaaa", 404),
        (f"url={PUBLIC_URL}/pay/x/embed", 404),
        (f"url={PUBLIC_URL}/pay/x&format=xml", 501),
    ],
)
async def test_oembed_answers_about_bills_of_this_server_alone(site: Site, query: str, status: int) -> None:
    async with site.stranger.get(f"/oembed?{query}") as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"


async def test_without_a_public_address_nothing_is_linked_to(serve: Serve) -> None:
    site = await serve(public_url=None)
    answer = await shared(site)
    for path in ("bill.json", "snippet.html"):
        async with site.stranger.get(f"/pay/{answer['token']}/{path}") as response:
            assert response.status == 404
    assert "oembed" not in (await get(site, f"/pay/{answer['token']}")).html


async def test_nothing_embedded_names_the_customer(site: Site) -> None:
    job = a_share()
    answer = await shared(site, **job)
    for path in ("embed", "snippet.html", "bill.json"):
        async with site.stranger.get(f"/pay/{answer['token']}/{path}") as response:
            body = await response.text()
        assert not [secret for secret in ("Asha", "Juma", "@example.com", "0754") if secret in body], path


async def test_a_width_of_thousands_of_digits_is_only_wide(site: Site) -> None:
    token = (await shared(site))["token"]
    wide = f"/oembed?url={PUBLIC_URL}/pay/{token}&maxwidth={'9' * 5000}"
    async with site.stranger.get(wide) as response:
        assert response.status == 200


@pytest.mark.parametrize("amount", [None, "45000"])
async def test_the_frame_and_the_snippet_promise_steps_only_where_there_are_some(
    site: Site, amount: str | None
) -> None:
    answer = await shared(site)
    if amount:
        await site.engine.payments.settle(paid(answer["number"], amount))
    for path in ("embed", "snippet.html"):
        async with site.stranger.get(f"/pay/{answer['token']}/{path}?lang=en") as response:
            html = await response.text()
        assert ("Open the bill and the steps to pay</a>" in html) is (amount is None)
        assert ("Open the bill</a>" in html) is (amount is not None)
