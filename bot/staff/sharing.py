"""/share: send a bill from the phone, in one line or question by question, and never without a look first.

A draft is kept in Redis for 15 minutes under the chat that began it. Its id is the share's id too, so however often
the button that sends it is pressed, the bill goes out once.
"""

from __future__ import annotations

import secrets

from aiogram import F, Router
from aiogram.filters import Command, CommandObject, StateFilter
from aiogram.fsm.context import FSMContext
from aiogram.fsm.state import State, StatesGroup
from aiogram.types import CallbackQuery, InlineKeyboardMarkup, Message

from bot.domain.bill import AcceptedShare
from bot.errors import Refused
from bot.staff.buttons import DraftAct, OpenBill, button, keyboard
from bot.staff.drafts import PATHS, Draft, Drafts, bare_amount, cancel_button, changed, complaint, one_line
from bot.staff.memory import Memory
from bot.staff.people import Role, needs, refusal
from bot.staff.replies import first, redraw, toast
from bot.staff.speech import Html, Speech, lines

_CANCEL_WORDS = {"stop", "acha", "acheni", "ghairi", "cancel"}


class Question(StatesGroup):
    """What the dialogue waits for; each is named after its field."""

    number = State()
    phone = State()
    amount = State()
    name = State()


def router() -> Router:
    """/share and its dialogue."""
    routes = Router(name="sharing")
    routes.message.register(share, Command("share", "tuma"), flags=needs(Role.OPERATOR))
    routes.message.register(
        answer, StateFilter(Question), F.text, ~F.text.startswith("/"), flags=needs(Role.OPERATOR)
    )
    routes.callback_query.register(act, DraftAct.filter(), flags=needs(Role.OPERATOR))
    return routes


async def share(
    message: Message, command: CommandObject, state: FSMContext, drafts: Drafts, say: Speech
) -> None:
    """/share, with everything on one line, or with nothing."""
    given = one_line(command.args or "")
    wrong = drafts.wrong(given or {})
    if given is None or wrong:
        told = [complaint(say, field, text) for field, text in wrong.items()]
        await message.answer(lines(*told, say("share.usage")))
        return
    await state.set_data({"draft": secrets.token_hex(6), "locale": drafts.settings.locale})
    await _next(message, state, drafts, say, given)


async def answer(message: Message, state: FSMContext, drafts: Drafts, say: Speech) -> None:
    """One answer of the dialogue: check it, then ask the next question or show the preview."""
    text = " ".join((message.text or "").split())
    if text.casefold() in _CANCEL_WORDS:
        await state.clear()
        await message.answer(say("share.cancelled"))
        return
    field = (await state.get_state() or "").rpartition(":")[2]
    value = bare_amount(text) if field == "amount" else text
    wrong = drafts.wrong({field: value})
    if field in wrong:
        ways_out = await _ways_out(state, say, field)
        await message.answer(complaint(say, field, wrong[field]), reply_markup=ways_out)
    else:
        await _next(message, state, drafts, say, {field: value})


async def _next(
    message: Message, state: FSMContext, drafts: Drafts, say: Speech, given: dict[str, str]
) -> None:
    draft = await state.update_data(given)
    missing = next((field for field in PATHS if field not in draft), None)
    if missing is not None:
        await state.set_state(getattr(Question, missing))
        await message.answer(_question(say, missing), reply_markup=await _ways_out(state, say, missing))
        return
    # The draft stays, the dialogue is over: what staff write next is looked for again.
    await state.set_state(None)
    screen = await drafts.preview(say, draft)
    await message.answer(screen.text, reply_markup=screen.keyboard)


def _question(say: Speech, field: str) -> Html:
    questions = {
        "number": "share.ask_number",
        "phone": "share.ask_phone",
        "amount": "share.ask_amount",
        "name": "share.ask_name",
    }
    return say(questions[field])


async def _ways_out(state: FSMContext, say: Speech, field: str) -> InlineKeyboardMarkup | None:
    draft = str((await state.get_data()).get("draft", ""))
    skip = (
        [button(say.plain("button.skip_name"), DraftAct(draft=draft, act="noname"))]
        if field == "name"
        else []
    )
    return keyboard(skip, [cancel_button(say, draft)])


async def act(
    query: CallbackQuery,
    callback_data: DraftAct,
    state: FSMContext,
    drafts: Drafts,
    memory: Memory,
    say: Speech,
) -> None:
    """A button under a question or a preview."""
    if callback_data.act == "send" and not await first(query, memory):
        return await toast(query, say.plain("toast.pressed"))
    draft = await state.get_data()
    if draft.get("draft") != callback_data.draft or not isinstance(query.message, Message):
        return await toast(query, say.plain("toast.expired"), alert=True)
    if callback_data.act == "cancel":
        return await _cancel(query, state, say)
    if callback_data.act == "noname":
        await toast(query)
        return await _next(query.message, state, drafts, say, {"name": ""})
    if any(field not in draft for field in PATHS):
        return await toast(query, say.plain("toast.old_button"))
    if callback_data.act == "send":
        return await _send(query, draft, state, drafts, say)
    return await _change(query, callback_data.act, state, drafts, say)


async def _cancel(query: CallbackQuery, state: FSMContext, say: Speech) -> None:
    await state.clear()
    await toast(query, say.plain("toast.cancelled"))
    await redraw(query, say("share.cancelled"))


async def _change(query: CallbackQuery, change: str, state: FSMContext, drafts: Drafts, say: Speech) -> None:
    draft = await state.update_data(changed(await state.get_data(), change))
    screen = await drafts.preview(say, draft)
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def _send(query: CallbackQuery, draft: Draft, state: FSMContext, drafts: Drafts, say: Speech) -> None:
    try:
        accepted = await drafts.send(draft)
    except Refused as refused:
        await toast(query)
        return await redraw(query, refusal(say, refused))
    await state.clear()
    await toast(query, say.plain("toast.sent"))
    opening = button(say.plain("button.open", number=accepted.number), OpenBill(number=accepted.number))
    return await redraw(query, _accepted(say, accepted), keyboard([opening]))


def _accepted(say: Speech, accepted: AcceptedShare) -> Html:
    if accepted.settled:
        return say("share.settled", number=accepted.number)
    channels = ", ".join(say.word("channel", channel) for channel in accepted.channels)
    skipped = [
        say("share.skipped", channel=say.word("channel", skip.channel), reason=skip.reason)
        for skip in accepted.skipped
    ]
    return lines(say("share.sent", number=accepted.number, channels=channels), *skipped)
