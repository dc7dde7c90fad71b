"""Africa's Talking's notifications: admitted by the secret in the address, told to the message they mean."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.web.conftest import Serve, Site, redis_keys, shared

TOKEN = "k" * 24
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REPORT = {"id": "ATXid_1", "status": "Success", "phoneNumber": "+255754123456", "networkCode": "64004"}
STOPPED = {"senderId": "SHULE", "phoneNumber": "+255754123456"}


@pytest.fixture
async def site(serve: Serve) -> Site:
    """A server that knows the token."""
    return await serve(africastalking_callback_token=TOKEN)


async def post(site: Site, what: str, form: dict[str, str], token: str = TOKEN) -> int:
    """Post as Africa's Talking does; the status of the answer."""
    path = f"/webhooks/africastalking/{token}/{what}"
    async with site.stranger.post(path, data=urlencode(form), headers=FORM) as response:
        return response.status


async def test_a_report_reaches_the_message_that_has_its_id(site: Site) -> None:
    [message] = (await shared(site, route={"mode": "all", "channels": ["sms"]}))["messages"]
    await site.engine.receipts.remember("africastalking", "ATXid_1", message)
    assert await post(site, "delivery", REPORT) == 200
    assert (await site.engine.messages.get(message)).delivery == "delivered"


async def test_a_report_of_an_unknown_message_is_taken(site: Site) -> None:
    assert await post(site, "delivery", REPORT) == 200
    await site.engine.receipts.remember("africastalking", "ATXid_2", "0-aaaaaaaaaaaaaaaa.1")
    assert await post(site, "delivery", REPORT | {"id": "ATXid_2"}) == 200


async def test_a_report_that_is_none_is_400(site: Site) -> None:
    assert await post(site, "delivery", {"id": "ATXid_1", "status": "Eaten"}) == 400


@pytest.mark.parametrize("token", ["x" * 24, "k" * 23, "%E2%82%AC"])
@pytest.mark.parametrize(("what", "form"), [("delivery", REPORT), ("optout", STOPPED)])
async def test_without_the_secret_it_is_404_and_changes_nothing(
    site: Site, what: str, form: dict[str, str], token: str
) -> None:
    assert await post(site, what, form, token) == 404
    assert not await redis_keys(site, "tuma:early:*")
    assert not await redis_keys(site, "*k:phone:*")


async def test_without_a_secret_on_our_side_nobody_is_admitted(serve: Serve) -> None:
    site = await serve()
    assert await post(site, "delivery", REPORT) == 404


async def test_who_stopped_messages_there_gets_no_more_sms(site: Site) -> None:
    assert await post(site, "optout", STOPPED) == 200
    [suppression] = (await site.engine.contacts.show("+255754123456")).suppressed
    assert suppression.channel == "sms"
    assert "Africa's Talking" in (suppression.proof or "")


async def test_an_opt_out_of_nobody_is_400(site: Site) -> None:
    assert await post(site, "optout", {"senderId": "SHULE"}) == 400
