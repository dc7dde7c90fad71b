"""The Bot API, for one bot and private chats: `/bot<token>/<method>`.

Takes parameters as form, multipart, JSON or query, nested objects as JSON text, method names in any case. Checks
what Telegram checks of text, HTML and buttons. Formats HTML only: text in Markdown is taken as it stands. Does not
do files, groups or inline mode. Source: Bot API; error texts as listed by TelegramBotAPI/errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from bot.sandbox import telegram_params as given
from bot.sandbox.fault_kinds import How, Kind, Point
from bot.sandbox.faults import Faults
from bot.sandbox.misbehaving import act_out
from bot.sandbox.serving import Errands, Postman
from bot.sandbox.telegram_chats import Chat, Chats
from bot.sandbox.telegram_params import Params
from bot.sandbox.telegram_updates import BotApiError, Updates, Webhook
from bot.sandbox.world import Message, World

Method = Callable[[Params], Awaitable[Any]]
_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class TelegramAccount:
    """The one bot."""

    token: str = "4242424242:sandbox-bot-token"  # noqa: S105 - opens nothing but this sandbox
    username: str = "tuma_sandbox_bot"

    @property
    def user(self) -> dict[str, Any]:
        """The bot as a User."""
        number = int(self.token.partition(":")[0])
        return {"id": number, "is_bot": True, "first_name": "Tuma", "username": self.username}


class TelegramApi:
    """The HTTP side of the bot; `chats` is the customers' side."""

    def __init__(
        self, account: TelegramAccount, world: World, faults: Faults, postman: Postman, errands: Errands
    ) -> None:
        self.account, self.world, self.faults = account, world, faults
        self.updates = Updates(postman, errands, lambda: world.clock().timestamp())
        self.updates.obey = self._obey
        self.chats = Chats(world, self.updates, account.user)
        self.commands: dict[str, list[dict[str, str]]] = {}
        self._methods = self._table()

    def _table(self) -> dict[str, Method]:
        methods: list[Method] = [
            self._get_me,
            self._send_message,
            self._edit_message_text,
            self._edit_message_reply_markup,
            self._delete_message,
            self._answer_callback_query,
            self._set_my_commands,
            self._delete_my_commands,
            self._get_my_commands,
            self._set_webhook,
            self._delete_webhook,
            self._get_webhook_info,
            self._get_updates,
            self._send_chat_action,
            self._get_chat,
        ]
        names = (
            "set_my_name",
            "set_my_description",
            "set_my_short_description",
            "set_chat_menu_button",
            "close",
        )
        table = {method.__name__.replace("_", ""): method for method in methods}
        return table | dict.fromkeys((name.replace("_", "") for name in names), self._true)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", self._call)
        app.router.add_route("*", "/{rest:.*}", self._call)
        return app

    async def _call(self, request: web.Request) -> web.StreamResponse:
        try:
            method = self._method(request)
            params = await given.read(request)
            chat = self._contact(params)
            fault = self.faults.draw("telegram", Point.SEND if chat else Point.QUERY, chat)

            async def take() -> web.Response:
                return _answer({"ok": True, "result": await method(params)})

            return await act_out(request, fault, self.faults, take, lambda kind: self._worded(kind, chat))
        except BotApiError as error:
            return _refusal(error)

    def _contact(self, params: Params) -> str | None:
        """Whose chat a request is about, under the id that it had first."""
        raw = given.text_of(params, "chat_id")
        return str(self.chats.first_id(int(raw))) if raw.lstrip("-").isdigit() else raw or None

    def _method(self, request: web.Request) -> Method:
        token, name = request.match_info.get("token"), request.match_info.get("method", "")
        if token is not None and token != self.account.token:
            raise BotApiError(401, "Unauthorized")
        method = self._methods.get(name.lower()) if token else None
        if method is None:
            raise BotApiError(404, "Not Found")
        return method

    def _worded(self, fault: Kind, chat: str | None) -> web.StreamResponse:
        if fault.how is How.HTML:
            return web.Response(text=_BAD_GATEWAY, status=502, content_type="text/html")
        return _refusal(self._error(fault, chat))

    def _error(self, fault: Kind, chat: str | None) -> BotApiError:
        match fault.how:
            case How.THROTTLE:
                wait = int(self.faults.retry_after_s)
                return BotApiError(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
            case How.FORBIDDEN:
                return BotApiError(403, "Forbidden: bot was blocked by the user")
            case How.MIGRATED if chat and chat.lstrip("-").isdigit():
                return self.chats.migrate(int(chat))
            case _:
                return BotApiError(500, "Internal Server Error")

    async def _obey(self, call: Mapping[str, Any]) -> None:
        method = self._methods.get(str(call["method"]).lower())
        if method is not None:
            try:
                await method(call)
            except BotApiError:
                return  # Telegram tells nobody when a method in a webhook's answer fails

    # Methods

    async def _true(self, params: Params) -> bool:
        return True

    async def _get_me(self, params: Params) -> dict[str, Any]:
        return self.account.user | {
            "can_join_groups": False,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }

    async def _send_message(self, params: Params) -> dict[str, Any]:
        chat = self._chat(params)
        text, entities = given.formatted(params)
        extra = {"entities": entities, "sent": given.text_of(params, "text")} | given.markup(params)
        return self.chats.document(self.chats.post(chat, text, extra))

    async def _edit_message_text(self, params: Params) -> dict[str, Any]:
        message = self._own_message(params, "edit")
        text, entities = given.formatted(params)
        return self._edit(message, text, {"entities": entities, "keyboard": [], **given.markup(params)})

    async def _edit_message_reply_markup(self, params: Params) -> dict[str, Any]:
        message = self._own_message(params, "edit")
        return self._edit(message, message.text, {"keyboard": [], **given.markup(params)})

    def _edit(self, message: Message, text: str, extra: dict[str, Any]) -> dict[str, Any]:
        after = message.extra | extra
        if (text, after.get("entities"), after.get("keyboard")) == (
            message.text,
            message.extra.get("entities"),
            message.extra.get("keyboard", []),
        ):
            same = "specified new message content and reply markup are exactly the same as a current content"
            raise BotApiError(
                400, f"Bad Request: message is not modified: {same} and reply markup of the message"
            )
        message.text, message.extra = text, after | {"edited": int(self.world.clock().timestamp())}
        self.world.changed()
        return self.chats.document(message)

    async def _delete_message(self, params: Params) -> bool:
        message = self._own_message(params, "delete")
        message.arrived = False
        self._chat(params).messages.pop(int(message.id))
        self.world.changed()
        return True

    async def _answer_callback_query(self, params: Params) -> bool:
        user = self.chats.pressed.pop(given.text_of(params, "callback_query_id"), None)
        if user is None:
            text = "query is too old and response timeout expired or query ID is invalid"
            raise BotApiError(400, f"Bad Request: {text}")
        if given.text_of(params, "text"):
            alert = given.text_of(params, "show_alert").lower() == "true"
            self.chats.of(user).toast = {"text": given.text_of(params, "text")[:200], "alert": alert}
        self.world.changed()
        return True

    async def _set_my_commands(self, params: Params) -> bool:
        commands = given.nested(params, "commands", list)
        self.commands[given.scope(params)] = commands
        return True

    async def _delete_my_commands(self, params: Params) -> bool:
        self.commands.pop(given.scope(params), None)
        return True

    async def _get_my_commands(self, params: Params) -> list[dict[str, str]]:
        return self.commands.get(given.scope(params), [])

    async def _set_webhook(self, params: Params) -> bool:
        url = given.text_of(params, "url")
        if not url:
            return await self._delete_webhook(params)
        if not given.may_be_webhook(url):
            raise BotApiError(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        webhook = Webhook(
            url,
            secret=given.text_of(params, "secret_token") or None,
            allowed=given.nested(params, "allowed_updates", list),
            max_connections=given.whole(params, "max_connections", 40),
        )
        self.updates.set_webhook(webhook, drop=given.flag(params, "drop_pending_updates"))
        return True

    async def _delete_webhook(self, params: Params) -> bool:
        self.updates.set_webhook(None, drop=given.flag(params, "drop_pending_updates"))
        return True

    async def _get_webhook_info(self, params: Params) -> dict[str, Any]:
        webhook = self.updates.webhook or Webhook("")
        info: dict[str, Any] = {
            "url": webhook.url,
            "has_custom_certificate": False,
            "pending_update_count": self.updates.pending,
        }
        if webhook.url:
            info |= {"max_connections": webhook.max_connections}
        if webhook.allowed:
            info["allowed_updates"] = webhook.allowed
        if webhook.last_error:
            info["last_error_date"], info["last_error_message"] = webhook.last_error
        return info

    async def _get_updates(self, params: Params) -> list[dict[str, Any]]:
        self.updates.allow(
            given.nested(params, "allowed_updates", list) if "allowed_updates" in params else None
        )
        limit = min(max(given.whole(params, "limit", 100), 1), 100)
        return await self.updates.poll(
            given.whole(params, "offset", 0), limit, min(given.whole(params, "timeout", 0), 50)
        )

    async def _send_chat_action(self, params: Params) -> bool:
        self._chat(params)
        return True

    async def _get_chat(self, params: Params) -> dict[str, Any]:
        chat = self._chat(params)
        name = self.world.owner("telegram", str(chat.id)).name or "Mteja"
        return {
            "id": chat.id,
            "type": "private",
            "first_name": name,
            "accent_color_id": 0,
            "max_reaction_count": 11,
        }

    def _chat(self, params: Params) -> Chat:
        raw = given.text_of(params, "chat_id")
        if not raw:
            raise BotApiError(400, "Bad Request: chat_id is empty")
        if not raw.lstrip("-").isdigit():
            raise BotApiError(400, "Bad Request: chat not found")
        return self.chats.reachable(int(raw))

    def _own_message(self, params: Params, verb: str) -> Message:
        message = self._chat(params).messages.get(given.whole(params, "message_id", 0))
        if message is None:
            raise BotApiError(400, f"Bad Request: message to {verb} not found")
        if verb == "edit" and not message.outgoing:
            raise BotApiError(400, "Bad Request: message can't be edited")
        return message


# Writing answers


def _answer(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _refusal(error: BotApiError) -> web.Response:
    body: dict[str, Any] = {"ok": False, "error_code": error.code, "description": error.description}
    if error.parameters:
        body["parameters"] = error.parameters
    return _answer(body, error.code)
