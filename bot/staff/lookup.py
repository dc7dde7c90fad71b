"""Finding a bill and looking at it: /status, plain text, and the buttons that lead from one screen to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiogram import F, Router
from aiogram.filters import Command, CommandObject, StateFilter
from aiogram.types import CallbackQuery, Message

from bot.domain.bill import ShareView
from bot.errors import NotFound
from bot.staff.buttons import ListMessages, OpenBill, button, keyboard
from bot.staff.cards import Screen, bill_card, message_list
from bot.staff.people import Role, needs
from bot.staff.replies import redraw, toast
from bot.staff.speech import Speech, clip, lines

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.engine.views import BillHit

LIMIT = 8
# A campaign's number has one share, a school's a few a year; the newest say what matters.
_SHARES_READ = 20


def router() -> Router:
    """/status and everything a look needs."""
    routes = Router(name="lookup")
    routes.message.register(status, Command("status", "hali"), flags=needs(Role.VIEWER))
    routes.message.register(
        search, F.text, ~F.text.startswith("/"), StateFilter(None), flags=needs(Role.VIEWER)
    )
    routes.callback_query.register(open_bill, OpenBill.filter(), flags=needs(Role.VIEWER))
    routes.callback_query.register(list_messages, ListMessages.filter(), flags=needs(Role.VIEWER))
    return routes


async def status(message: Message, command: CommandObject, engine: Engine, say: Speech, role: Role) -> None:
    """/status with or without something to look for."""
    await look(message, command.args or "", engine, say, role)


async def search(message: Message, engine: Engine, say: Speech, role: Role) -> None:
    """Whatever staff write that is no command is looked for."""
    await look(message, message.text or "", engine, say, role)


async def look(message: Message, words: str, engine: Engine, say: Speech, role: Role) -> None:
    """Show the one bill that `words` names, or the choice."""
    if (number := await pick(message, words, engine, say)) is not None:
        screen = await card(engine, say, role, number)
        await message.answer(screen.text, reply_markup=screen.keyboard)


async def pick(message: Message, words: str, engine: Engine, say: Speech) -> str | None:
    """The control number that `words` names; None after telling that there is none, or several to choose from."""
    words = words.strip()
    if not words:
        await message.answer(say("ask.what"))
        return None
    hits = await engine.bills.search(words, limit=LIMIT)
    if len(hits) == 1:
        return hits[0].number
    screen = _choice(say, words, hits)
    await message.answer(screen.text, reply_markup=screen.keyboard)
    return None


def _choice(say: Speech, words: str, hits: list[BillHit]) -> Screen:
    shown = clip(words, 60)
    if not hits:
        return Screen(say("search.none", text=shown), None)
    text = lines(
        say("search.many", count=len(hits), text=shown),
        say("search.more", count=LIMIT) if len(hits) == LIMIT else None,
    )
    return Screen(text, keyboard(*([button(_hit(say, hit), OpenBill(number=hit.number))] for hit in hits)))


def _hit(say: Speech, hit: BillHit) -> str:
    return say.plain(
        "search.hit",
        name=clip(hit.name or hit.number, 30),
        balance=say.money(hit.balance, hit.currency),
        status=say.word("status", hit.status),
    )


async def shares_of(engine: Engine, number: str) -> list[ShareView]:
    """The newest shares of a bill, the oldest of them first, with their messages. Raises NotFound."""
    found = []
    for share_id in (await engine.bills.get(number)).shares:
        try:
            found.append(await engine.shares.get(share_id))
        except NotFound:
            continue
    return sorted(found, key=lambda share: share.created_at)[-_SHARES_READ:]


async def card(engine: Engine, say: Speech, role: Role, number: str) -> Screen:
    """The screen of one bill. Raises NotFound."""
    bill = await engine.bills.get(number)
    messages = sum(len(share.messages) for share in await shares_of(engine, number))
    return bill_card(say, role, bill, messages)


async def open_bill(
    query: CallbackQuery, callback_data: OpenBill, engine: Engine, say: Speech, role: Role
) -> None:
    """Show a bill in place of what was there."""
    screen = await card(engine, say, role, callback_data.number)
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def list_messages(
    query: CallbackQuery, callback_data: ListMessages, engine: Engine, say: Speech
) -> None:
    """Show a page of a bill's messages."""
    number = callback_data.number
    messages = [m for share in await shares_of(engine, number) for m in share.messages]
    screen = message_list(say, number, messages, callback_data.page)
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)
