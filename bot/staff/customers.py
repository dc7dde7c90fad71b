"""The menu of everybody who is not staff: link a chat to a bill, my bills, language, stop and start again.

A chat sees the bills it is linked to and nothing else: no name, no address, no payment of another person on the same
number. The number of a bill that must not be paid any more is not shown. Telegram alone is stopped here; SMS, mail
and WhatsApp have their own ways out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from aiogram import Bot, F, Router
from aiogram.filters import Command, CommandObject, CommandStart, StateFilter
from aiogram.types import CallbackQuery, ChatMemberUpdated, MaybeInaccessibleMessageUnion, Message

from bot.domain.bill import BillStatus, BillView
from bot.engine import keys
from bot.engine.checks import TooOften, number_in
from bot.errors import Conflict, NotFound
from bot.staff.buttons import ChooseLanguage, CustomerMenu, button, copy_button, keyboard
from bot.staff.cards import Screen
from bot.staff.commands import register_chat
from bot.staff.people import Role
from bot.staff.replies import redraw, toast
from bot.staff.speech import LANGUAGES, Html, Speech, lines

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.settings import Settings

# Said by a person; a block is said by Telegram, and so is a failed send ("provider: telegram 403 ...").
WROTE_STOP = "wrote STOP to the bot"
WROTE_START = "wrote START to the bot"
BLOCKED = "blocked the bot"
UNBLOCKED = "unblocked the bot"
_SAID_BY_TELEGRAM = (BLOCKED, "provider: ")
_STOP_WORDS = {"stop", "acha", "acheni"}
_START_WORDS = {"start", "anza"}
_BILLS_SHOWN = 10
_CHECKED = {
    BillStatus.OPEN: "check.open",
    BillStatus.HELD: "check.held",
    BillStatus.SETTLED: "check.settled",
    BillStatus.CLOSED: "check.closed",
    BillStatus.STOPPED: "check.stopped",
}
_NAMES = {"sw": "Kiswahili", "en": "English"}


def everybody() -> Router:
    """What comes before staff commands, because it is the same for all."""
    routes = Router(name="everybody")
    routes.message.register(link, CommandStart(deep_link=True))
    routes.message.register(stop, StateFilter(None), F.text, F.text.func(_is_one_of(_STOP_WORDS)))
    routes.message.register(start, StateFilter(None), F.text, F.text.func(_is_one_of(_START_WORDS)))
    routes.message.register(choose_language, Command("language", "lugha"))
    routes.message.register(bills, Command("bills", "bili"))
    routes.message.register(check, Command("check", "hakiki"))
    routes.callback_query.register(set_language, ChooseLanguage.filter(F.locale.in_(LANGUAGES)))
    routes.callback_query.register(menu_pressed, CustomerMenu.filter())
    routes.my_chat_member.register(membership)
    return routes


def customers() -> Router:
    """What is left when staff commands did not apply; the last handlers answer everything."""
    routes = Router(name="customers")
    routes.message.register(start, CommandStart())
    routes.message.register(stop, Command("stop", "acha"))
    routes.message.register(show_menu, Command("help", "msaada"))
    routes.message.register(not_understood)
    routes.callback_query.register(old_button)
    return routes


def _is_one_of(words: set[str]) -> Callable[[str], bool]:
    def said(text: str) -> bool:
        return text.strip(" .!\n").casefold() in words

    return said


async def link(
    message: Message,
    command: CommandObject,
    engine: Engine,
    settings: Settings,
    say: Speech,
    chat: str,
    role: Role | None,
) -> None:
    """/start with the token of a message's link: join this chat to that bill's contact."""
    merchant, payload = settings.merchant_name, (command.args or "").strip()
    try:
        await engine.contacts.link(payload, chat)
    except NotFound:
        await _answer(message, menu(say, settings, say("link.unknown", merchant=merchant)))
    except Conflict:
        await _answer(message, menu(say, settings, say("link.taken", merchant=merchant)))
    else:
        await engine.contacts.opt_in("telegram", chat, proof=WROTE_START)
        if role is None and (known := await _language_of_share(engine, payload, chat)):
            say = Speech(known, settings.timezone)
            await _list_commands(message, say)
        await _answer(message, menu(say, settings, say("link.done", merchant=merchant)))


async def _language_of_share(engine: Engine, payload: str, chat: str) -> str | None:
    """The customer's language as their bill has it, kept for the chat; None if they chose one here already."""
    if await engine.contacts.locale(chat) is not None:
        return None
    p, sid, _ = keys.parse_link(payload, engine.partitions)
    locale = (await engine.shares.by_token(keys.token(p, sid))).locale
    if locale not in LANGUAGES:
        return None
    await engine.contacts.set_locale(chat, locale)
    return locale


async def _list_commands(message: Message, say: Speech) -> None:
    if message.bot is not None:
        await register_chat(message.bot, message.chat.id, say, None)


async def start(message: Message, engine: Engine, settings: Settings, say: Speech, chat: str) -> None:
    """/start, START or ANZA: welcome, or welcome back."""
    text = await opt_in(engine, settings, say, chat)
    await _answer(message, menu(say, settings, text))


async def opt_in(engine: Engine, settings: Settings, say: Speech, chat: str) -> Html:
    """Undo an earlier stop, if there was one; what to answer."""
    if await _silence(engine, chat) is None:
        return say("menu.welcome", merchant=settings.merchant_name)
    await engine.contacts.opt_in("telegram", chat, proof=WROTE_START)
    return say("menu.opted_in")


async def _silence(engine: Engine, chat: str) -> str | None:
    """Why this chat gets nothing, in the words that were kept as proof; None if it does."""
    try:
        contact = await engine.contacts.show(chat)
    except NotFound:
        return None
    return next((s.proof or s.reason for s in contact.suppressed if s.channel == "telegram"), None)


async def stop(message: Message, engine: Engine, say: Speech, chat: str) -> None:
    """/stop, STOP, ACHA or ACHENI: nothing more here."""
    await engine.contacts.opt_out("telegram", chat, proof=WROTE_STOP)
    await _answer(message, _stopped(say))


def _stopped(say: Speech) -> Screen:
    again = button(say.plain("button.start_again"), CustomerMenu(item="start"))
    return Screen(say("menu.opted_out"), keyboard([again]))


def menu(say: Speech, settings: Settings, text: Html) -> Screen:
    """`text` above the points of the menu."""
    contact = settings.merchant_contact
    whom = say("menu.contact", merchant=settings.merchant_name, contact=contact) if contact else None
    first = [
        button(say.plain("button.bills"), CustomerMenu(item="bills")),
        button(say.plain("button.language"), CustomerMenu(item="language")),
    ]
    return Screen(
        lines(text, whom),
        keyboard(first, [button(say.plain("button.stop_messages"), CustomerMenu(item="stop"))]),
    )


async def show_menu(message: Message, settings: Settings, say: Speech) -> None:
    """/help of somebody who is not staff: what there is to choose from."""
    await _answer(message, menu(say, settings, say("menu.welcome", merchant=settings.merchant_name)))


async def bills(message: Message, engine: Engine, say: Speech, chat: str) -> None:
    """/bills: what this chat is linked to."""
    await _answer(message, my_bills(say, await engine.bills.of_chat(chat)))


async def check(
    message: Message, command: CommandObject, engine: Engine, settings: Settings, say: Speech, chat: str
) -> None:
    """/check NUMBER: is this bill real?"""
    answer = await _checked(engine, settings, say, chat, number_in(command.args or ""))
    if answer is not None:
        await message.answer(answer)


async def _checked(
    engine: Engine, settings: Settings, say: Speech, chat: str, number: str | None
) -> Html | None:
    """The answer; asking how to ask counts too. Who asks too often is told so once."""
    merchant = settings.merchant_name
    try:
        found = await engine.checks.ask(number or "", "telegram", chat)
    except TooOften as error:
        return say("check.often") if error.first else None
    if number is None:
        return say("check.usage", merchant=merchant)
    if found is None:
        return say("check.unknown", merchant=merchant)
    return say(_CHECKED[found.status], merchant=merchant, amount=say.money(found.amount, found.currency))


def my_bills(say: Speech, found: Sequence[BillView]) -> Screen:
    """A chat's own bills: unpaid ones first, each with a button that copies its number."""
    ranked = sorted(found, key=lambda bill: (not _payable(bill), bill.number))
    shown = ranked[:_BILLS_SHOWN]
    more = say("mine.more", count=len(ranked) - len(shown)) if len(ranked) > len(shown) else None
    text = (
        lines(say("mine.title"), *(_bill(say, bill) for bill in shown), more) if shown else say("mine.none")
    )
    copies = [
        [copy_button(say.plain("button.copy_number", number=bill.number), bill.number)]
        for bill in shown
        if _payable(bill)
    ]
    return Screen(text, keyboard(*copies))


def _payable(bill: BillView) -> bool:
    return bill.status is BillStatus.OPEN


def _bill(say: Speech, bill: BillView) -> Html:
    status = say.word("mine_status", bill.status)
    paid = say("mine.paid", amount=say.money(bill.paid, bill.currency)) if Decimal(bill.paid) > 0 else None
    if not _payable(bill):
        return lines(Html(""), say("mine.other", status=status, ending=bill.number[-4:]), paid)
    due = min((term.due_at for term in bill.terms if term.due_at and Decimal(term.balance) > 0), default=None)
    return lines(
        Html(""),
        say("mine.open", amount=say.money(bill.balance, bill.currency), status=status, number=bill.number),
        paid,
        say("mine.due", day=say.day(due)) if due else None,
    )


async def choose_language(message: Message, say: Speech) -> None:
    """/language: which one?"""
    await _answer(message, _languages(say))


def _languages(say: Speech) -> Screen:
    return Screen(
        say("menu.language"),
        keyboard([button(_NAMES[name], ChooseLanguage(locale=name)) for name in LANGUAGES]),
    )


async def set_language(
    query: CallbackQuery,
    callback_data: ChooseLanguage,
    bot: Bot,
    engine: Engine,
    settings: Settings,
    chat: str,
    role: Role | None,
) -> None:
    """Speak the chosen language in this chat from now on, in the command list too."""
    await engine.contacts.set_locale(chat, callback_data.locale)
    say = Speech(callback_data.locale, settings.timezone)
    await toast(query, say.plain("toast.language"))
    screen = menu(say, settings, say("menu.welcome", merchant=settings.merchant_name))
    await redraw(query, screen.text, None if role else screen.keyboard)
    await register_chat(bot, int(chat), say, role)


async def menu_pressed(
    query: CallbackQuery,
    callback_data: CustomerMenu,
    engine: Engine,
    settings: Settings,
    say: Speech,
    chat: str,
) -> None:
    """A point of the menu was pressed."""
    screen = await _menu_screen(callback_data.item, engine, settings, say, chat)
    if screen is None:
        return await toast(query, say.plain("toast.old_button"))
    note = {"stop": "toast.opted_out", "start": "toast.opted_in"}.get(callback_data.item)
    await toast(query, say.plain(note) if note else None)
    await _answer(query.message, screen)


async def _menu_screen(
    item: str, engine: Engine, settings: Settings, say: Speech, chat: str
) -> Screen | None:
    if item == "bills":
        return my_bills(say, await engine.bills.of_chat(chat))
    if item == "language":
        return _languages(say)
    if item == "stop":
        await engine.contacts.opt_out("telegram", chat, proof=WROTE_STOP)
        return _stopped(say)
    if item == "start":
        return menu(say, settings, await opt_in(engine, settings, say, chat))
    return None


async def membership(update: ChatMemberUpdated, engine: Engine, chat: str) -> None:
    """Telegram says that the person blocked the bot, or lets it write again.

    Who wrote STOP first stays stopped after unblocking: only they can take that word back.
    """
    status, silence = update.new_chat_member.status, await _silence(engine, chat)
    if status == "kicked" and silence is None:
        await engine.contacts.opt_out("telegram", chat, proof=BLOCKED)
    elif status == "member" and silence is not None and silence.startswith(_SAID_BY_TELEGRAM):
        await engine.contacts.opt_in("telegram", chat, proof=UNBLOCKED)


async def not_understood(
    message: Message, engine: Engine, settings: Settings, say: Speech, chat: str
) -> None:
    """Anything else, unknown commands included: show the menu. A number is asked about, even without a word."""
    text = message.text or ""
    number = None if text.startswith("/") else number_in(text)
    if number is not None:
        answer = await _checked(engine, settings, say, chat, number)
        if answer is not None:
            await message.answer(answer)
        return
    await _answer(message, menu(say, settings, say("menu.unknown")))


async def old_button(query: CallbackQuery, say: Speech) -> None:
    """A button nobody answers to, or one that is not this person's."""
    await toast(query, say.plain("toast.old_button"))


async def _answer(message: MaybeInaccessibleMessageUnion | None, screen: Screen) -> None:
    if message is not None:
        await message.answer(screen.text, reply_markup=screen.keyboard)
