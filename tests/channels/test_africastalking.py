"""What goes over the wire to Africa's Talking, what its answers become, and who is told of its ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from channels.africastalking import AfricasTalking
from channels.base import Askable, Delivery, SmsContent
from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    Unavailable,
    Uncertain,
)
from tests.channels.rigs import BODY, MESSAGE_ID, AfricasTalkingRig
from tests.channels.servers import API_KEY


@pytest.fixture
async def rig() -> AsyncIterator[AfricasTalkingRig]:
    made = AfricasTalkingRig()
    await made.start()
    yield made
    await made.stop()


@dataclass
class Book:
    """Writes down what it is told; `broken` cannot write."""

    broken: bool = False
    known: list[tuple[str, str, str]] = field(default_factory=list)

    async def remember(self, provider: str, provider_id: str, message_id: str) -> None:
        if self.broken:
            raise OSError("no paper")
        self.known.append((provider, provider_id, message_id))


async def test_a_message_is_one_form_with_the_key_in_a_header(rig: AfricasTalkingRig) -> None:
    await rig.send()
    assert rig.server.accepted == [
        {
            "username": "shule",
            "to": "+255754123456",
            "message": BODY,
            "bulkSMSMode": "1",
            "enqueue": "1",
            "from": "SHULE",
        }
    ]
    headers = rig.server.requests[0].headers
    assert (headers["apiKey"], headers["Accept"]) == (API_KEY, "application/json")


async def test_without_a_sender_of_our_own_the_shared_name_is_used(rig: AfricasTalkingRig) -> None:
    await rig.make(sender=None).send(rig.outgoing())
    assert "from" not in rig.server.accepted[0]


async def test_the_text_arrives_as_it_was_written(rig: AfricasTalkingRig) -> None:
    text = "Ng'ombe 50% & co. + é\n@ Δ 📨=?#"
    await rig.send(content=SmsContent(text))
    assert rig.server.accepted[0]["message"].replace("\r\n", "\n") == text


@pytest.mark.parametrize(
    ("code", "delivery"),
    [(100, Delivery.ACCEPTED), (101, Delivery.SENT), (102, Delivery.QUEUED), (103, Delivery.ACCEPTED)],
)
async def test_a_code_under_200_says_that_it_was_taken(
    rig: AfricasTalkingRig, code: int, delivery: Delivery
) -> None:
    rig.server.code = code
    accepted = await rig.send()
    assert accepted.provider_id == f"ATXid_{1:032x}"
    assert (accepted.delivery, accepted.segments) == (delivery, 1)


@pytest.mark.parametrize("message_id", ["None", ""])
async def test_a_message_taken_without_an_id_is_in_doubt(rig: AfricasTalkingRig, message_id: str) -> None:
    rig.server.message_id = message_id
    with pytest.raises(Uncertain, match="without an id"):
        await rig.send()


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("bad_sender", Misconfigured),
        ("nobody", Uncertain),
        ("conflict", Unavailable),
        ("proxied", Uncertain),
        ("redirect", Misconfigured),
    ],
)
async def test_a_refusal_says_what_it_is_about(
    rig: AfricasTalkingRig, behaviour: str, error: type[ChannelError]
) -> None:
    rig.server.behaviour = behaviour
    with pytest.raises(error):
        await rig.send()


async def test_a_refused_text_is_not_repeated_in_the_error(rig: AfricasTalkingRig) -> None:
    rig.server.behaviour = "unknown_refusal"
    with pytest.raises(ContentRejected) as caught:
        await rig.send()
    assert not any(secret in str(caught.value) for secret in rig.secrets)


async def test_several_numbers_are_no_recipient(rig: AfricasTalkingRig) -> None:
    with pytest.raises(RecipientInvalid):
        await rig.send(to="+255754123456,+255754000000")
    assert rig.server.requests == []


async def test_its_id_is_remembered_for_its_reports(rig: AfricasTalkingRig) -> None:
    book = Book()
    channel = AfricasTalking(rig.config(rig.base), book)
    accepted = await channel.send(rig.outgoing())
    await channel.close()
    assert book.known == [("africastalking", accepted.provider_id, MESSAGE_ID)]


async def test_a_message_that_was_taken_stays_taken_when_nothing_can_be_remembered(
    rig: AfricasTalkingRig, caplog: pytest.LogCaptureFixture
) -> None:
    channel = AfricasTalking(rig.config(rig.base), Book(broken=True))
    assert (await channel.send(rig.outgoing())).provider_id
    await channel.close()
    assert "will not be understood: OSError" in caplog.text
    assert "no paper" not in caplog.text


async def test_nobody_can_ask_it_about_a_message(rig: AfricasTalkingRig) -> None:
    assert not isinstance(rig.make(), Askable)


@pytest.mark.parametrize("key", ["UserData", "userData"])
async def test_a_probe_shows_the_balance(rig: AfricasTalkingRig, key: str) -> None:
    rig.server.balance = {key: {"balance": "TZS 1,785.50"}}
    probe = await rig.make().probe()
    assert (probe.ok, probe.detail) == (True, "balance TZS 1,785.50")


async def test_a_probe_says_when_reports_do_not_come(rig: AfricasTalkingRig) -> None:
    assert "AFRICASTALKING_CALLBACK_TOKEN" in (await rig.make().probe()).hints[0]
    assert (await rig.make(reports=True).probe()).hints == ()


@pytest.mark.parametrize(
    ("balance", "hint"),
    [
        ({"UserData": {"balance": "TZS 0.0000"}}, "top"),
        ({"UserData": {"balance": "plenty"}}, "AFRICASTALKING_API_BASE"),
        ({"UserData": {"balance": "TZS plenty"}}, "AFRICASTALKING_API_BASE"),
        ({"userData": {}}, "AFRICASTALKING_API_BASE"),
        ({}, "AFRICASTALKING_API_BASE"),
    ],
)
async def test_a_probe_of_an_empty_or_strange_account_fails(
    rig: AfricasTalkingRig, balance: dict[str, Any], hint: str
) -> None:
    rig.server.balance = balance
    probe = await rig.make().probe()
    assert not probe.ok
    assert hint in probe.hints[0]


async def test_a_probe_with_a_wrong_key_says_which_setting(rig: AfricasTalkingRig) -> None:
    probe = await rig.make(api_key="wrong").probe()
    assert not probe.ok
    assert "AFRICASTALKING_API_KEY" in probe.hints[0]


@pytest.mark.parametrize("missing", ["username", "api_key"])
def test_it_cannot_be_made_without_its_settings(missing: str) -> None:
    with pytest.raises(Misconfigured, match="AFRICASTALKING_"):
        AfricasTalkingRig().make("http://127.0.0.1:9", **{missing: ""})


def test_a_configuration_does_not_show_its_key() -> None:
    assert API_KEY not in repr(AfricasTalkingRig().config("http://127.0.0.1:9"))
