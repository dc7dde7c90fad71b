"""The opt-out page: GET asks, POST obeys, one click from a mail program is enough."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.web.conftest import Site, redis_keys, shared
from tests.web.test_pages import get

ROUTE = {"mode": "all", "channels": ["sms", "email"]}


async def suppressed(site: Site, token: str) -> list[str]:
    return (await site.engine.shares.by_token(token)).suppressed


async def post(site: Site, path: str, **sent: Any) -> tuple[int, str]:
    async with site.stranger.post(path, allow_redirects=False, **sent) as response:
        return response.status, await response.text()


async def test_looking_at_the_page_stops_nothing(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    page = await get(site, f"/out/{token}")
    assert "Stop messages?" in page.text
    assert [attrs["value"] for tag, attrs in page.tags if tag == "button"] == ["sms", "email", "all"]
    for method in ("GET", "HEAD"):
        async with site.stranger.request(
            method, f"/out/{token}.email?List-Unsubscribe=One-Click"
        ) as response:
            assert response.status == 200
    assert await suppressed(site, token) == []


async def test_the_form_stops_the_channel_of_its_button(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    status, text = await post(site, f"/out/{token}", data={"channel": "sms"})
    assert status == 200
    assert "will send you nothing more by: SMS." in text
    assert await suppressed(site, token) == ["sms"]


async def test_all_stops_every_channel_of_the_contact(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    await post(site, f"/out/{token}?lang=sw", data={"channel": "all"})
    assert set(await suppressed(site, token)) >= {"sms", "email"}


async def test_one_click_of_a_mail_program_stops_mail_alone(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    status, _ = await post(site, f"/out/{token}.email", data={"List-Unsubscribe": "One-Click"})
    assert status == 200
    assert await suppressed(site, token) == ["email"]


async def test_one_click_may_come_as_multipart(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("List-Unsubscribe", "One-Click")
    assert (await post(site, f"/out/{token}.email", data=form))[0] == 200
    assert await suppressed(site, token) == ["email"]


async def test_one_click_on_an_address_without_a_channel_stops_mail(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    await post(site, f"/out/{token}", data={"List-Unsubscribe": "One-Click"})
    assert await suppressed(site, token) == ["email"]


@pytest.mark.parametrize("form", [None, {"channel": ""}, {"List-Unsubscribe": "no"}])
async def test_a_post_that_chooses_nothing_is_asked_and_stops_nothing(site: Site, form: Any) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    status, text = await post(site, f"/out/{token}", data=form)
    assert status == 400
    assert "Stop messages?" in text
    assert 'value="sms"' in text
    assert await suppressed(site, token) == []


async def test_an_empty_post_to_the_address_of_a_channel_stops_that_one(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    assert (await post(site, f"/out/{token}.sms"))[0] == 200
    assert await suppressed(site, token) == ["sms"]


async def test_what_waited_there_is_not_sent(site: Site) -> None:
    answer = await shared(site, route=ROUTE)
    await post(site, f"/out/{answer['token']}.email", data={"List-Unsubscribe": "One-Click"})
    views = [await site.engine.messages.get(one) for one in answer["messages"]]
    assert {view.channel: view.outcome for view in views} == {"sms": None, "email": "suppressed"}


async def test_the_proof_says_how_and_the_second_time_changes_nothing(site: Site) -> None:
    answer = await shared(site, route=ROUTE)
    for _ in range(2):
        assert (await post(site, f"/out/{answer['token']}.email", data={"List-Unsubscribe": "One-Click"}))[
            0
        ] == 200
    [key] = await redis_keys(site, "*k:email:*")
    contact = await site.engine.contacts.show(key.rpartition(":")[2])
    assert [(one.channel, one.proof) for one in contact.suppressed] == [("email", "one-click unsubscribe")]


async def test_stopped_channels_are_no_longer_offered(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    await post(site, f"/out/{token}", data={"channel": "sms"})
    page = await get(site, f"/out/{token}")
    assert "Stopped already: SMS." in page.text
    assert [attrs["value"] for tag, attrs in page.tags if tag == "button"] == ["email"]


async def test_the_address_of_a_channel_offers_that_one_first(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    page = await get(site, f"/out/{token}.email")
    assert [attrs["value"] for tag, attrs in page.tags if tag == "button"] == ["email", "all"]


@pytest.mark.parametrize("address", ["0-aaaaaaaaaaaaaaaa", "nothing.email", "0-aaaaaaaaaaaaaaaa.email"])
async def test_an_unknown_address_is_404(site: Site, address: str) -> None:
    status, text = await post(site, f"/out/{address}", data={"List-Unsubscribe": "One-Click"})
    assert status == 404
    assert "We could not find this page" in text


async def test_an_unknown_channel_is_404_and_stops_nothing(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    assert (await post(site, f"/out/{token}.pigeon"))[0] == 404
    assert (await post(site, f"/out/{token}", data={"channel": "pigeon"}))[0] == 404
    assert await suppressed(site, token) == []


async def test_a_form_that_is_too_large_is_413_in_html(site: Site) -> None:
    token = (await shared(site, route=ROUTE))["token"]
    status, text = await post(site, f"/out/{token}", data={"channel": "x" * 20_000})
    assert status == 413
    assert "We did not understand that" in text
