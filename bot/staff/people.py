"""Who is talking, in which language, and what they may do.

Roles come from `TELEGRAM_STAFF` and are looked up again at every message and every press: a button sent yesterday
gives nothing to somebody who is no longer on the list. Handlers of the staff say which role they need in the flag
`needs`; one that says nothing is closed to everybody. Only private chats are served, since a group would show a
customer's data to all its members.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from aiogram import BaseMiddleware
from aiogram.dispatcher.flags import get_flag
from aiogram.filters import Filter
from aiogram.fsm.context import FSMContext
from aiogram.types import CallbackQuery, Chat, Message, TelegramObject, User

from bot.errors import NotFound, Refused
from bot.staff.replies import toast
from bot.staff.speech import Html, Speech, lines, quote

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

Handler = Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]]


class Role(IntEnum):
    """What staff may do; each may do all that the one before may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


def roles(pairs: tuple[tuple[int, str], ...]) -> Mapping[int, Role]:
    """Telegram id -> role, from the setting's pairs."""
    return {user: Role[role.upper()] for user, role in pairs}


def needs(role: Role) -> dict[str, Any]:
    """Flags of a staff handler; a new dict each time, because aiogram adds to it."""
    return {"needs": role}


class Introduction(BaseMiddleware):
    """Gives every handler `say`, `role`, `chat` (id as text) and `by`; drops what is no private chat."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings, self._roles = engine, settings, roles(settings.telegram_staff)

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        """Introduce the person of this update."""
        user: User | None = data.get("event_from_user")
        chat: Chat | None = data.get("event_chat")
        if user is None or chat is None or chat.type != "private" or user.is_bot:
            return None
        data["chat"] = str(chat.id)
        data["role"] = self._roles.get(user.id)
        data["by"] = f"telegram:{user.id}"
        data["say"] = await speech(self._engine, self._settings, chat.id)
        return await handler(event, data)


async def speech(engine: Engine, settings: Settings, chat: int) -> Speech:
    """How to speak in a chat: the language chosen there, else the setting's."""
    return Speech(await engine.contacts.locale(str(chat)) or settings.locale, settings.timezone)


class IsStaff(Filter):
    """Lets staff through; to everybody else what follows does not exist."""

    async def __call__(self, event: TelegramObject, role: Role | None = None) -> bool:
        """Whether this person has any role."""
        return role is not None


class Gate(BaseMiddleware):
    """Refuses what a role may not do, at the moment it is asked for."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        """Let the handler run if the role is high enough."""
        role, needed, say = data.get("role"), get_flag(data, "needs"), data["say"]
        if role is not None and needed is not None and role >= needed:
            return await handler(event, data)
        if isinstance(event, CallbackQuery):
            await toast(event, say.plain("toast.not_allowed"), alert=True)
        elif isinstance(event, Message) and role is not None:
            await event.answer(say("error.not_allowed", role=say.word("role", role.name.lower())))
        return None


class CommandsEndDialogues(BaseMiddleware):
    """A command in the middle of a dialogue means something else: the dialogue is over."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        """Forget the dialogue, then run the command."""
        state: FSMContext | None = data.get("state")
        if (
            isinstance(event, Message)
            and (event.text or "").startswith("/")
            and state
            and data.get("raw_state")
        ):
            await state.clear()
        return await handler(event, data)


class Apologies(BaseMiddleware):
    """Turns what the engine refuses into an answer that says why."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        """Run the handler; tell the person what was refused or not found."""
        say: Speech = data["say"]
        try:
            return await handler(event, data)
        except Refused as refused:
            await _apologise(event, refusal(say, refused))
        except NotFound:
            await _apologise(event, say("error.not_found"))
        return None


def refusal(say: Speech, refused: Refused) -> Html:
    """Every problem on its own line. What was given is masked already."""
    problems = lines(*(quote(f"• {problem}") for problem in refused.problems[:10]))
    return say("error.refused", problems=problems)


async def _apologise(event: TelegramObject, text: Html) -> None:
    if isinstance(event, CallbackQuery):
        await toast(event)
        if event.message is not None:
            await event.message.answer(text)
    elif isinstance(event, Message):
        await event.answer(text)
