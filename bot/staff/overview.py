"""The whole at a glance: /help, /stats, /queue with its switches, /failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiogram import Bot, Router
from aiogram.filters import Command, CommandStart
from aiogram.types import CallbackQuery, InlineKeyboardButton, Message

from bot.staff.buttons import (
    ListFailed,
    PauseChannel,
    ResumeChannel,
    ShowQueue,
    button,
    keyboard,
)
from bot.staff.cards import PAGE, Screen, failed_list
from bot.staff.commands import register_chat, staff_commands
from bot.staff.people import Role, needs
from bot.staff.replies import redraw, toast
from bot.staff.speech import Html, Speech, lines
from channels.base import ChannelName

if TYPE_CHECKING:
    from bot.engine.control import Pause
    from bot.engine.engine import Engine
    from bot.engine.ledger import Stats
    from bot.settings import Settings


def router() -> Router:
    """Commands that need no bill."""
    routes = Router(name="overview")
    routes.message.register(show_help, Command("help", "msaada"), flags=needs(Role.VIEWER))
    routes.message.register(begin, CommandStart(), flags=needs(Role.VIEWER))
    routes.message.register(stats, Command("stats", "takwimu"), flags=needs(Role.VIEWER))
    routes.message.register(queue, Command("queue", "foleni"), flags=needs(Role.VIEWER))
    routes.message.register(failed, Command("failed"), flags=needs(Role.VIEWER))
    routes.callback_query.register(show_queue, ShowQueue.filter(), flags=needs(Role.VIEWER))
    routes.callback_query.register(turn_failed, ListFailed.filter(), flags=needs(Role.VIEWER))
    routes.callback_query.register(pause, PauseChannel.filter(), flags=needs(Role.ADMIN))
    routes.callback_query.register(resume, ResumeChannel.filter(), flags=needs(Role.ADMIN))
    return routes


async def show_help(message: Message, settings: Settings, say: Speech, role: Role) -> None:
    """What this role can do."""
    await message.answer(
        lines(
            say("help.title", merchant=settings.merchant_name, role=say.word("role", role.name.lower())),
            say("help.search"),
            *(say("help.line", command=c.command, text=c.description) for c in staff_commands(say, role)),
            say("share.usage") if role >= Role.OPERATOR else None,
            say("help.language"),
        )
    )


async def begin(message: Message, bot: Bot, settings: Settings, say: Speech, role: Role) -> None:
    """A staff member's first word: only now can Telegram show this chat its own commands."""
    await show_help(message, settings, say, role)
    await register_chat(bot, message.chat.id, say, role)


async def stats(message: Message, engine: Engine, say: Speech) -> None:
    """The ledger's figures."""
    await message.answer(_figures(say, await engine.ledger.stats()))


def _figures(say: Speech, s: Stats) -> Html:
    return lines(
        say("stats.title"),
        say("stats.bills", open=s.open_bills, unmatched=s.unmatched),
        say(
            "stats.messages",
            created=s.created,
            scheduled=s.scheduled,
            queued=s.queued,
            handed_out=s.handed_out,
            in_doubt=s.in_doubt,
        ),
        *(
            say("stats.outcome", outcome=say.word("outcome", outcome), count=count)
            for outcome, count in sorted(s.done.items())
        ),
        say("stats.dead", dead=s.dead),
    )


async def queue(message: Message, engine: Engine, say: Speech, role: Role) -> None:
    """What waits, and the switches of the channels."""
    screen = await _queue(engine, say, role)
    await message.answer(screen.text, reply_markup=screen.keyboard)


async def show_queue(query: CallbackQuery, engine: Engine, say: Speech, role: Role) -> None:
    """The same in place of what was there."""
    screen = await _queue(engine, say, role)
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def _queue(engine: Engine, say: Speech, role: Role) -> Screen:
    figures, paused = await engine.ledger.stats(), await engine.channels.paused()
    waiting = [_waiting(say, name, count) for name, count in sorted(figures.waiting.items()) if count]
    text = lines(
        say("queue.title"),
        *(waiting or [say("queue.empty")]),
        say(
            "queue.rest",
            scheduled=figures.scheduled,
            handed_out=figures.handed_out,
            in_doubt=figures.in_doubt,
            inbox=figures.inbox,
        ),
        *(
            say("queue.paused", channel=say.word("channel", c), moment=say.moment(p.at), reason=p.reason)
            for c, p in sorted(paused.items())
        ),
    )
    refresh = button(say.plain("button.refresh"), ShowQueue())
    return Screen(text, keyboard(*_switches(say, paused, role), [refresh]))


def _waiting(say: Speech, name: str, count: int) -> Html:
    channel, _, lane = name.partition(".")
    return say("queue.line", channel=say.word("channel", channel), lane=say.word("lane", lane), count=count)


def _switches(say: Speech, paused: dict[str, Pause], role: Role) -> list[list[InlineKeyboardButton]]:
    if role < Role.ADMIN:
        return []
    switches = [
        button(say.plain("button.resume", channel=say.word("channel", c)), ResumeChannel(channel=c))
        if c in paused
        else button(say.plain("button.pause", channel=say.word("channel", c)), PauseChannel(channel=c))
        for c in ChannelName
    ]
    return [switches[:2], switches[2:]]


async def pause(
    query: CallbackQuery, callback_data: PauseChannel, engine: Engine, say: Speech, role: Role, by: str
) -> None:
    """Ask whether to pause a channel; pause it when told so."""
    channel = callback_data.channel
    name = say.word("channel", channel)
    if callback_data.sure:
        await engine.channels.pause(channel, reason=say.plain("queue.reason"), by=by)
        await toast(query, say.plain("toast.paused", channel=name))
        screen = await _queue(engine, say, role)
    else:
        sure = button(say.plain("button.pause_yes", channel=name), PauseChannel(channel=channel, sure=True))
        screen = Screen(
            say("queue.pause_sure", channel=name),
            keyboard([sure, button(say.plain("button.no"), ShowQueue())]),
        )
        await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def resume(
    query: CallbackQuery, callback_data: ResumeChannel, engine: Engine, say: Speech, role: Role, by: str
) -> None:
    """Let a channel go on."""
    channel = callback_data.channel
    await engine.channels.resume(channel, by=by)
    await toast(query, say.plain("toast.resumed", channel=say.word("channel", channel)))
    screen = await _queue(engine, say, role)
    await redraw(query, screen.text, screen.keyboard)


async def failed(message: Message, engine: Engine, say: Speech, role: Role) -> None:
    """The newest messages that nobody sends any more."""
    screen = await failed_screen(engine, say, role, 0)
    await message.answer(screen.text, reply_markup=screen.keyboard)


async def turn_failed(
    query: CallbackQuery, callback_data: ListFailed, engine: Engine, say: Speech, role: Role
) -> None:
    """Another page of them."""
    screen = await failed_screen(engine, say, role, max(callback_data.page, 0))
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def failed_screen(engine: Engine, say: Speech, role: Role, page: int) -> Screen:
    """One page of failed messages; the last one that holds any when `page` is beyond it."""
    found = await engine.messages.dead(limit=PAGE + 1, offset=page * PAGE)
    while not found and page > 0:
        page -= 1
        found = await engine.messages.dead(limit=PAGE + 1, offset=page * PAGE)
    return failed_list(say, role, found[:PAGE], page, more=len(found) > PAGE)
