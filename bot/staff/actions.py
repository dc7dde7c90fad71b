"""What staff do to a bill or a message: stop, send again, replay. Every act says who did it (`telegram:<id>`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiogram import Router
from aiogram.filters import Command, CommandObject
from aiogram.types import CallbackQuery, Message

from bot.staff.buttons import Arrived, Replay, ResendBill, ResendShare, StopBill
from bot.staff.cards import Screen, arrived_card, resend_how, resent, stop_sure
from bot.staff.lookup import card, pick, shares_of
from bot.staff.memory import Memory
from bot.staff.overview import failed_screen
from bot.staff.people import Role, needs
from bot.staff.replies import first, redraw, toast
from bot.staff.speech import Speech

if TYPE_CHECKING:
    from bot.engine.engine import Engine


def router() -> Router:
    """/stop, /resend and the buttons that act."""
    routes = Router(name="actions")
    routes.message.register(stop, Command("stop", "simamisha"), flags=needs(Role.OPERATOR))
    routes.message.register(resend, Command("resend", "tumatena"), flags=needs(Role.OPERATOR))
    for handler, data in (
        (stop_bill, StopBill),
        (resend_bill, ResendBill),
        (resend_share, ResendShare),
        (replay, Replay),
        (arrived, Arrived),
    ):
        routes.callback_query.register(handler, data.filter(), flags=needs(Role.OPERATOR))
    return routes


async def stop(message: Message, command: CommandObject, engine: Engine, say: Speech) -> None:
    """/stop: find the bill, then ask."""
    if (number := await pick(message, command.args or "", engine, say)) is not None:
        screen = stop_sure(say, number)
        await message.answer(screen.text, reply_markup=screen.keyboard)


async def stop_bill(
    query: CallbackQuery, callback_data: StopBill, engine: Engine, say: Speech, role: Role, by: str
) -> None:
    """Ask whether to stop; stop when told so."""
    number = callback_data.number
    if callback_data.sure:
        count = await engine.bills.stop(number, by=by)
        screen = await card(engine, say, role, number)
        await toast(query, say.plain("toast.stopped", count=count))
    else:
        screen = stop_sure(say, number)
        await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def resend(message: Message, command: CommandObject, engine: Engine, say: Speech) -> None:
    """/resend: find the bill, then ask by which channel."""
    if (number := await pick(message, command.args or "", engine, say)) is not None:
        screen = await _how(engine, say, number)
        await message.answer(screen.text, reply_markup=screen.keyboard)


async def resend_bill(query: CallbackQuery, callback_data: ResendBill, engine: Engine, say: Speech) -> None:
    """Ask by which channel to send again."""
    screen = await _how(engine, say, callback_data.number)
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def _how(engine: Engine, say: Speech, number: str) -> Screen:
    active = [share for share in await shares_of(engine, number) if share.state == "active"]
    return resend_how(say, number, active)


async def resend_share(
    query: CallbackQuery, callback_data: ResendShare, engine: Engine, memory: Memory, say: Speech, by: str
) -> None:
    """Send a share's instructions again, once however often the button is pressed."""
    page = await engine.shares.by_token(callback_data.token)
    if not await first(query, memory):
        return await toast(query, say.plain("toast.pressed"))
    made = await engine.shares.resend(page.share, by=by, channel=callback_data.channel or None)
    screen = resent(say, page.number, len(made))
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def replay(
    query: CallbackQuery,
    callback_data: Replay,
    engine: Engine,
    memory: Memory,
    say: Speech,
    role: Role,
    by: str,
) -> None:
    """Send a failed message again, then show what is left."""
    if not await first(query, memory):
        return await toast(query, say.plain("toast.pressed"))
    message = await engine.messages.get(callback_data.message)
    await engine.messages.replay(callback_data.message, by=by)
    await toast(query, say.plain("toast.replayed"))
    if callback_data.page >= 0:
        screen = await failed_screen(engine, say, role, callback_data.page)
    else:
        screen = resent(say, message.number, 1)
    await redraw(query, screen.text, screen.keyboard)


async def arrived(
    query: CallbackQuery,
    callback_data: Arrived,
    engine: Engine,
    say: Speech,
    role: Role,
    by: str,
) -> None:
    """Note that a message in doubt arrived, then show what is left. Pressing twice changes nothing."""
    message = await engine.messages.get(callback_data.message)
    await engine.messages.settle_doubt(callback_data.message, True, by=by)
    await toast(query, say.plain("toast.arrived"))
    if callback_data.page >= 0:
        screen = await failed_screen(engine, say, role, callback_data.page)
    else:
        screen = arrived_card(say, message.number)
    await redraw(query, screen.text, screen.keyboard)
