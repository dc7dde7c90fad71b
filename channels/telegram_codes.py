"""What Telegram's refusals mean for a message, by HTTP status and a few lower-cased words of the description.

Descriptions are no stable contract and may quote the message, so they are matched and never repeated. What no row
names was refused for this message alone.

Source: https://core.telegram.org/bots/api#making-requests; descriptions as collected at
https://github.com/TelegramBotAPI/errors.
"""

from __future__ import annotations

from collections.abc import Sequence

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

_Row = tuple[str, type[ChannelError], str]

FORBIDDEN: Sequence[_Row] = (
    ("blocked by the user", RecipientOptedOut, "the person blocked the bot"),
    ("kicked", RecipientOptedOut, "the bot was removed from the group"),
    ("user is deactivated", RecipientInvalid, "the account was deleted"),
    ("can't initiate conversation", RecipientInvalid, "the person never started the bot"),
    # Seen to pass by itself; it is no sign that the person wants nothing more.
    ("can't send messages to the user", Unavailable, "Telegram does not take messages for this person now"),
    ("can't send messages to bots", RecipientInvalid, "the recipient is a bot"),
    ("", RecipientInvalid, "the bot may not write to this chat"),
)

BAD_REQUEST: Sequence[_Row] = (
    ("chat not found", RecipientInvalid, "no such chat, or the person never started this bot"),
    ("user not found", RecipientInvalid, "no such person"),
    ("peer_id_invalid", RecipientInvalid, "no such chat"),
    ("chat_id is empty", RecipientInvalid, "no chat"),
    ("not enough rights", RecipientInvalid, "the bot may not write to this chat"),
    ("can't parse entities", ContentRejected, "the HTML of the message is broken"),
    ("text is empty", ContentRejected, "the message is empty"),
    ("too long", ContentRejected, "the message is longer than 4,096 characters"),
    ("button_", ContentRejected, "a button of the message is not valid"),
    ("", ContentRejected, "Telegram refused this message"),
)


def classify(status: int, description: str, *, retry_after_s: float | None = None) -> ChannelError:
    """Turn an HTTP status that is no success, and Telegram's description, into its decision.

    Units: `retry_after_s` is what Telegram asked for; it holds for the whole bot.
    """
    name, text = f"telegram {status}", description.lower()
    if status == 429 or retry_after_s is not None:
        return Throttled(name, "too many messages", retry_after_s=retry_after_s, whole_channel=True)
    if status >= 500:
        return Uncertain(name, "server error; the message may have been taken")
    if status in {401, 404}:
        return Misconfigured(name, "the bot token was refused")
    if status == 413:
        return ContentRejected(name, "the message is too big")
    if status in {300, 301, 302, 303, 307, 308}:
        return Misconfigured(name, "the API base answers with a redirect")
    if status == 409:
        return Misconfigured(name, "another program uses the bot in a way that excludes ours")
    return _described(name, text, FORBIDDEN if status == 403 else BAD_REQUEST)


def _described(name: str, text: str, rows: Sequence[_Row]) -> ChannelError:
    error, meaning = next((error, meaning) for words, error, meaning in rows if words in text)
    return error(name, meaning)
