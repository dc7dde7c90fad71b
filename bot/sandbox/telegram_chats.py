"""Private chats with the bot: what is in them, and what a customer can do there.

A chat exists once its person pressed Start; before, the bot meets "chat not found". Blocking and coming back are
told through `my_chat_member`. Source: Bot API types Message, CallbackQuery, ChatMemberUpdated.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.telegram_html import utf16
from bot.sandbox.telegram_updates import BotApiError, Updates
from bot.sandbox.world import Message, World

Json = dict[str, Any]


@dataclass(slots=True)
class Chat:
    """One person's chat. `toast` is the last answer to a pressed button, as the app shows it.

    `moved_to`: the only id that it answers to, since it migrated; `id` stays the person's.
    """

    id: int
    started: bool = False
    blocked: bool = False
    language: str = "sw"
    messages: dict[int, Message] = field(default_factory=dict)
    toast: Json | None = None
    moved_to: int | None = None


class Chats:
    """Every chat of the one bot."""

    def __init__(self, world: World, updates: Updates, bot: Json) -> None:
        self.world, self.updates, self.bot = world, updates, bot
        self.pressed: dict[str, int] = {}
        self._chats: dict[int, Chat] = {}
        self._moved: dict[int, int] = {}
        self._last_message = 0

    def of(self, user: int) -> Chat:
        """The chat with `user`, started or not."""
        return self._chats.setdefault(user, Chat(user))

    def reachable(self, chat_id: int) -> Chat:
        """The chat, if the bot may write there. Raises BotApiError 400 or 403."""
        chat = self._chats.get(self.first_id(chat_id))
        if chat is not None and chat.moved_to not in (None, chat_id):
            raise _migrated(chat.moved_to)
        if chat is None or not (chat.started or chat.blocked):
            raise BotApiError(400, "Bad Request: chat not found")
        if chat.blocked:
            raise BotApiError(403, "Forbidden: bot was blocked by the user")
        return chat

    def first_id(self, chat_id: int) -> int:
        """The id that a chat had before it migrated; its own if it did not."""
        return self._moved.get(chat_id, chat_id)

    def migrate(self, user: int) -> BotApiError:
        """Give the chat another id, and return what Telegram says to a request under the old one.

        Real private chats do not migrate, groups do; the error and what a bot must do are the same.
        """
        chat = self.of(user)
        if chat.moved_to is None:
            chat.moved_to = -1_000_000_000_000 - user
            self._moved[chat.moved_to] = user
        return _migrated(chat.moved_to)

    def document(self, message: Message) -> Json:
        """A message as the Bot API shows it."""
        chat = int(message.address)
        body: Json = {
            "message_id": int(message.id),
            "from": self.bot if message.outgoing else self._user(chat),
            "chat": self._chat(chat),
            "date": int(message.at.timestamp()),
            "text": message.text,
        }
        for name, key in (("entities", "entities"), ("reply_markup", "keyboard"), ("edit_date", "edited")):
            if message.extra.get(key):
                value = message.extra[key]
                body[name] = {"inline_keyboard": value} if key == "keyboard" else value
        return body

    def _user(self, user: int) -> Json:
        name = self.world.owner("telegram", str(user)).name or "Mteja"
        return {"id": user, "is_bot": False, "first_name": name, "language_code": self.of(user).language}

    def _chat(self, user: int) -> Json:
        return {
            "id": self.of(user).moved_to or user,
            "type": "private",
            "first_name": self._user(user)["first_name"],
        }

    # The bot writes

    def post(self, chat: Chat, text: str, extra: Json) -> Message:
        """Put the bot's message into the chat."""
        message = self._message(chat, text, extra, outgoing=True)
        message.status, message.arrived = "delivered", True
        self._enter(chat, message)
        self.world.read(message, also=_copied(extra))
        return message

    def _message(self, chat: Chat, text: str, extra: Json, *, outgoing: bool) -> Message:
        self._last_message += 1
        return Message(
            provider="telegram",
            channel="telegram",
            id=str(self._last_message),
            address=str(chat.id),
            sender=str(self.bot["username"]),
            text=text,
            at=self.world.clock(),
            outgoing=outgoing,
            extra=extra,
        )

    def _enter(self, chat: Chat, message: Message) -> None:
        chat.messages[int(message.id)] = message
        self.world.accept(message)

    # The customer acts

    def begin(self, user: int) -> None:
        """The person started the bot some time ago; nothing is told."""
        self.of(user).started = True
        self.world.changed()

    def start(self, user: int, payload: str = "") -> None:
        """Press Start, perhaps through a deep link with `payload`."""
        self.block(user, blocked=False)
        self.of(user).started = True
        self.write(user, f"/start {payload}".rstrip())

    def write(self, user: int, text: str) -> None:
        """Type a message. Writing to a bot also starts and unblocks it."""
        chat = self.of(user)
        chat.started, chat.blocked, chat.toast = True, False, None
        extra: Json = {}
        if text.startswith("/"):
            extra["entities"] = [
                {"type": "bot_command", "offset": 0, "length": utf16(text.split(maxsplit=1)[0])}
            ]
        message = self._message(chat, text, extra, outgoing=False)
        self._enter(chat, message)
        self.updates.push(message=self.document(message))

    def press(self, user: int, message_id: int, data: str) -> str:
        """Press the callback button that carries `data`; returns the query's id. Raises LookupError."""
        chat = self.of(user)
        message = chat.messages[message_id]
        if data not in {
            button.get("callback_data") for row in message.extra.get("keyboard", []) for button in row
        }:
            raise LookupError("that message has no such button")
        query_id = str(secrets.randbelow(10**18))
        self.pressed[query_id] = user
        self.updates.push(
            callback_query={
                "id": query_id,
                "from": self._user(user),
                "message": self.document(message),
                "chat_instance": str(user),
                "data": data,
            }
        )
        self.world.changed()
        return query_id

    def block(self, user: int, *, blocked: bool) -> None:
        """Block the bot, or unblock it. Told only when it changes something."""
        chat = self.of(user)
        if chat.blocked == blocked or not (chat.started or chat.blocked):
            return
        chat.blocked, chat.started = blocked, not blocked
        before, after = ("member", "kicked") if blocked else ("kicked", "member")
        self.updates.push(my_chat_member=self._membership(user, before, after))
        self.world.changed()

    def _membership(self, user: int, before: str, after: str) -> Json:
        def member(status: str) -> Json:
            return {"user": self.bot, "status": status} | ({"until_date": 0} if status == "kicked" else {})

        return {
            "chat": self._chat(user),
            "from": self._user(user),
            "date": int(self.world.clock().timestamp()),
            "old_chat_member": member(before),
            "new_chat_member": member(after),
        }


def _migrated(to: int | None) -> BotApiError:
    text = "Bad Request: group chat was upgraded to a supergroup chat"
    return BotApiError(400, text, migrate_to_chat_id=to or 0)


def _copied(extra: Json) -> str:
    buttons = [button for row in extra.get("keyboard", []) for button in row]
    return "\n".join(button["copy_text"]["text"] for button in buttons if "copy_text" in button)
