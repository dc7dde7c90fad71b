"""What goes over the wire to Telegram, and what its refusals become."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from channels.base import Button, Delivery, TelegramContent
from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
    Uncertain,
)
from channels.telegram import Telegram
from channels.telegram_codes import BAD_REQUEST, FORBIDDEN, classify
from tests.channels.rigs import BODY, TelegramRig


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramRig]:
    rig = TelegramRig()
    await rig.start()
    yield rig
    await rig.stop()


async def test_a_message_is_html_with_buttons_and_no_preview(telegram: TelegramRig) -> None:
    accepted = await telegram.send()
    form = telegram.server.accepted[0]
    assert (form["chat_id"], form["text"], form["parse_mode"]) == ("7001234567", f"<b>{BODY}</b>", "HTML")
    assert json.loads(form["link_preview_options"])["is_disabled"] is True
    assert (accepted.provider_id, accepted.delivery) == ("1", Delivery.SENT)


async def test_buttons_copy_open_and_call_back(telegram: TelegramRig) -> None:
    rows = (
        (Button("Nakili", copy="5504"), Button("Fungua", url="https://a.example")),
        (Button("Acha", callback="s"),),
    )
    await telegram.send(content=TelegramContent("x", rows))
    keyboard = json.loads(telegram.server.accepted[0]["reply_markup"])["inline_keyboard"]
    assert keyboard == [
        [{"text": "Nakili", "copy_text": {"text": "5504"}}, {"text": "Fungua", "url": "https://a.example"}],
        [{"text": "Acha", "callback_data": "s"}],
    ]


async def test_a_message_without_buttons_has_no_keyboard(telegram: TelegramRig) -> None:
    await telegram.send(content=TelegramContent("x"))
    assert "reply_markup" not in telegram.server.accepted[0]


@pytest.mark.parametrize("button", [Button("x"), Button("x", copy="1", url="https://a.example")])
async def test_a_button_with_no_or_two_actions_is_refused(telegram: TelegramRig, button: Button) -> None:
    with pytest.raises(ContentRejected, match="one action"):
        await telegram.send(content=TelegramContent("x", ((button,),)))
    assert telegram.server.requests == []


async def test_a_group_that_moved_is_written_to_where_it_is(telegram: TelegramRig) -> None:
    telegram.server.moved_to = -1001234567890
    await telegram.send(to="-200")
    assert [form["chat_id"] for form in telegram.server.accepted] == ["-1001234567890"]


async def test_a_server_error_without_words_is_in_doubt(telegram: TelegramRig) -> None:
    telegram.server.behaviour = "no_description"
    with pytest.raises(Uncertain):
        await telegram.send()


async def test_a_wrong_token_is_our_settings_fault(telegram: TelegramRig) -> None:
    channel = telegram.make(token="987654321:another-token")
    with pytest.raises(Misconfigured):
        await channel.send(telegram.outgoing())
    probe = await channel.probe()
    assert (probe.ok, "TELEGRAM_BOT_TOKEN" in probe.hints[0]) == (False, True)


def test_a_token_of_the_wrong_form_is_refused_at_start() -> None:
    with pytest.raises(Misconfigured, match="TELEGRAM_BOT_TOKEN"):
        TelegramRig().make("http://127.0.0.1:9", token="not a token")


async def test_the_bots_name_is_asked_once(telegram: TelegramRig) -> None:
    channel = telegram.make()
    assert isinstance(channel, Telegram)
    assert [await channel.username(), await channel.username()] == ["lipa_bot", "lipa_bot"]
    assert len(telegram.server.requests) == 1


@pytest.mark.parametrize(
    ("status", "description", "decision"),
    [
        (400, "Bad Request: chat not found", RecipientInvalid),
        (400, "Bad Request: PEER_ID_INVALID", RecipientInvalid),
        (400, "Bad Request: can't parse entities: Unsupported start tag", ContentRejected),
        (400, "Bad Request: message text is empty", ContentRejected),
        (400, "Bad Request: message is too long", ContentRejected),
        (400, "Bad Request: BUTTON_URL_INVALID", ContentRejected),
        (400, "Bad Request: something new", ContentRejected),
        (401, "Unauthorized", Misconfigured),
        (403, "Forbidden: bot was blocked by the user", RecipientOptedOut),
        (403, "Forbidden: bot was kicked from the group chat", RecipientOptedOut),
        (403, "Forbidden: user is deactivated", RecipientInvalid),
        (403, "Forbidden: bot can't initiate conversation with a user", RecipientInvalid),
        (403, "Forbidden: bot can't send messages to bots", RecipientInvalid),
        (403, "Forbidden: bot can't send messages to the user", Unavailable),
        (403, "Forbidden: something new", RecipientInvalid),
        (404, "Not Found", Misconfigured),
        (302, "", Misconfigured),
        (409, "Conflict: terminated by other getUpdates request", Misconfigured),
        (413, "Request Entity Too Large", ContentRejected),
        (429, "Too Many Requests: retry after 3", Throttled),
        (500, "Internal Server Error", Uncertain),
        (502, "Bad Gateway", Uncertain),
    ],
)
def test_every_refusal_becomes_its_decision(
    status: int, description: str, decision: type[ChannelError]
) -> None:
    assert type(classify(status, description)) is decision


@pytest.mark.parametrize(("status", "rows"), [(400, BAD_REQUEST), (403, FORBIDDEN)])
def test_every_row_of_the_tables_can_be_reached(
    status: int, rows: list[tuple[str, type[ChannelError], str]]
) -> None:
    for words, error, meaning in rows:
        found = classify(status, words.upper())
        assert (type(found), found.detail) == (error, meaning)
