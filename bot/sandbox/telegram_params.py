"""What a Bot API request says: parameters from wherever they came, text with its formatting, keyboards.

Refuses what Telegram refuses, with BotApiError in Telegram's words. Source: Bot API, "Making requests",
"Formatting options", InlineKeyboardButton.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from bot.sandbox.telegram_html import MarkupError, parse, utf16
from bot.sandbox.telegram_updates import BotApiError

Params = Mapping[str, Any]
MAX_TEXT = 4096
_ACTIONS = (
    "url",
    "callback_data",
    "copy_text",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "callback_game",
    "pay",
)


async def read(request: web.Request) -> Params:
    """Query, form, multipart and JSON body in one mapping."""
    given: dict[str, Any] = dict(request.query)
    if request.content_type == "application/json":
        try:
            body = msgspec.json.decode(await request.read() or b"{}")
        except msgspec.DecodeError:
            raise BotApiError(400, "Bad Request: can't parse JSON object") from None
        return given | body if isinstance(body, dict) else given
    return given | dict(await request.post())


def text_of(params: Params, name: str) -> str:
    """A parameter as text, empty if it is not there."""
    value = params.get(name)
    return "" if value is None else str(value)


def whole(params: Params, name: str, default: int) -> int:
    """A parameter as a whole number."""
    text = text_of(params, name)
    return int(text) if text.lstrip("-").isdigit() else default


def flag(params: Params, name: str) -> bool:
    """A parameter as a yes or no."""
    return text_of(params, name).lower() in {"true", "1"}


def nested(params: Params, name: str, kind: type) -> Any:
    """A nested object, given as JSON text or, in a JSON body, as itself."""
    value = params.get(name)
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise BotApiError(400, f"Bad Request: can't parse {name} JSON object") from None
    return value or kind()


def scope(params: Params) -> str:
    """Which users a command list is for, as one key."""
    scope = nested(params, "scope", dict)
    return f"{scope.get('type', 'default')}:{scope.get('chat_id', '')}:{text_of(params, 'language_code')}"


def may_be_webhook(url: str) -> bool:
    """HTTPS, as Telegram wants it; plain HTTP is allowed for this machine only."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
    )


def formatted(params: Params) -> tuple[str, list[dict[str, Any]]]:
    """Plain text and entities of a message."""
    text, mode = text_of(params, "text"), text_of(params, "parse_mode").lower()
    if mode not in {"", "html", "markdown", "markdownv2"}:
        raise BotApiError(400, "Bad Request: unsupported parse_mode")
    entities = nested(params, "entities", list)
    if mode == "html":
        try:
            text, entities = parse(text)
        except MarkupError as error:
            raise BotApiError(400, f"Bad Request: can't parse entities: {error}") from None
    if not text.strip():
        raise BotApiError(400, "Bad Request: message text is empty")
    if utf16(text) > MAX_TEXT:
        raise BotApiError(400, "Bad Request: message is too long")
    return text, entities


def markup(params: Params) -> dict[str, Any]:
    """The keyboard under or below a message: `keyboard` (inline rows), or `replies` (rows of suggested texts)."""
    markup = nested(params, "reply_markup", dict)
    rows = markup.get("inline_keyboard", [])
    for row in rows:
        for button in row:
            _check_button(button)
    extra: dict[str, Any] = {"keyboard": rows} if rows else {}
    if "keyboard" in markup:
        extra["replies"] = [
            [b if isinstance(b, str) else b["text"] for b in row] for row in markup["keyboard"]
        ]
    if markup.get("remove_keyboard"):
        extra["replies"] = []
    return extra


def _check_button(button: Mapping[str, Any]) -> None:
    actions = [name for name in _ACTIONS if name in button]
    if not button.get("text"):
        raise BotApiError(
            400, 'Bad Request: can\'t parse inline keyboard button: Field "text" must be non-empty'
        )
    if len(actions) != 1:
        text = "Text buttons are unallowed in the inline keyboard"
        raise BotApiError(400, f"Bad Request: can't parse inline keyboard button: {text}")
    if "callback_data" in button and not 1 <= len(str(button["callback_data"]).encode()) <= 64:
        raise BotApiError(400, "Bad Request: BUTTON_DATA_INVALID")
    if "copy_text" in button and not 1 <= len(str(button["copy_text"].get("text", ""))) <= 256:
        raise BotApiError(400, "Bad Request: BUTTON_COPY_TEXT_INVALID")
    if "url" in button and urlsplit(str(button["url"])).scheme not in {"http", "https", "tg"}:
        raise BotApiError(400, "Bad Request: BUTTON_URL_INVALID")
