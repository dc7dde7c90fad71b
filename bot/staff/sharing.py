"""/share: send a bill from the phone, in one line or question by question, and never without a look first.

A draft is kept in Redis for 15 minutes under the chat that began it. Its id is the share's id too, so however often
the button that sends it is pressed, the bill goes out once. What is missing is asked for; the preview is the SMS as
the customer will read it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aiogram import F, Router
from aiogram.filters import Command, CommandObject, StateFilter
from aiogram.fsm.context import FSMContext
from aiogram.fsm.state import State, StatesGroup
from aiogram.types import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message

from bot.domain.bill import AcceptedShare, BillKind, BillView
from bot.domain.message import Kind
from bot.domain.share import ShareJob, from_fields
from bot.errors import NotFound, Refused, TemplateError
from bot.render.facts import Facts
from bot.staff.buttons import DraftAct, OpenBill, button, keyboard
from bot.staff.cards import Screen
from bot.staff.people import Role, needs, refusal
from bot.staff.replies import redraw, toast
from bot.staff.speech import Html, Speech, clip, lines
from channels.base import ChannelName, SmsContent

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.render.templates import Renderer
    from bot.settings import Settings

Fields = Mapping[str, Any]
# The questions in their order, and where a share job keeps the answer.
_PATHS = {
    "number": "bill.number",
    "phone": "customer.phone",
    "amount": "bill.amount",
    "name": "customer.name",
}
_DIALLED = re.compile(r"[+(]?[0-9][0-9()+.,/=-]*")
_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
_CURRENCY_WORDS = re.compile(r"^(?:tzs|tsh|tshs|sh)\.?\s*|\s*(?:tzs|tsh|/=|/-)$", re.IGNORECASE)
_CURRENCIES = {"tzs", "tsh", "tshs", "sh"}
_CANCEL_WORDS = {"stop", "acha", "acheni", "ghairi", "cancel"}


class Draft(StatesGroup):
    """What the dialogue waits for; the names after `:` are the fields."""

    number = State()
    phone = State()
    amount = State()
    name = State()
    ready = State()


def router() -> Router:
    """/share and its dialogue."""
    routes = Router(name="sharing")
    routes.message.register(share, Command("share", "tuma"), flags=needs(Role.OPERATOR))
    routes.message.register(
        answer, StateFilter(Draft), ~StateFilter(Draft.ready), F.text, flags=needs(Role.OPERATOR)
    )
    routes.callback_query.register(act, DraftAct.filter(), flags=needs(Role.OPERATOR))
    return routes


async def share(
    message: Message,
    command: CommandObject,
    state: FSMContext,
    engine: Engine,
    settings: Settings,
    renderer: Renderer,
    say: Speech,
) -> None:
    """/share, with everything on one line, or with nothing."""
    draft: dict[str, Any] = {"draft": secrets.token_hex(6), "locale": settings.locale}
    given = one_line(command.args or "")
    if given is None:
        await message.answer(say("share.usage"))
        given = {}
    draft |= given
    wrong = complaints(draft, settings)
    await state.set_data(draft)
    for field, text in wrong.items():
        await message.answer(_complaint(say, field, text))
    if given and not wrong:
        return await _preview(message, state, engine, settings, renderer, say)
    if given:
        await state.clear()
        await message.answer(say("share.usage"))
        return None
    return await _ask(message, state, say, "number")


async def answer(
    message: Message, state: FSMContext, engine: Engine, settings: Settings, renderer: Renderer, say: Speech
) -> None:
    """One answer of the dialogue: check it, then ask the next question or show the preview."""
    text = " ".join((message.text or "").split())
    if text.casefold() in _CANCEL_WORDS:
        await state.clear()
        await message.answer(say("share.cancelled"))
        return None
    field = (await state.get_state() or "").rpartition(":")[2]
    value = _amount(text) if field == "amount" else text
    wrong = complaints({field: value}, settings)
    if field in wrong:
        await message.answer(
            _complaint(say, field, wrong[field]), reply_markup=await _ways_out(state, say, field)
        )
        return None
    return await _next(message, state, engine, settings, renderer, say, {field: value})


async def _next(
    message: Message,
    state: FSMContext,
    engine: Engine,
    settings: Settings,
    renderer: Renderer,
    say: Speech,
    given: Fields,
) -> None:
    draft = await state.update_data(dict(given))
    missing = next((name for name in _PATHS if name not in draft), None)
    if missing is None:
        return await _preview(message, state, engine, settings, renderer, say)
    return await _ask(message, state, say, missing)


async def _ask(message: Message, state: FSMContext, say: Speech, field: str) -> None:
    await state.set_state(getattr(Draft, field))
    await message.answer(_question(say, field), reply_markup=await _ways_out(state, say, field))


def _question(say: Speech, field: str) -> Html:
    questions = {
        "number": "share.ask_number",
        "phone": "share.ask_phone",
        "amount": "share.ask_amount",
        "name": "share.ask_name",
    }
    return say(questions[field])


async def _ways_out(state: FSMContext, say: Speech, field: str) -> InlineKeyboardMarkup | None:
    draft = str((await state.get_data())["draft"])
    skip = (
        [button(say.plain("button.skip_name"), DraftAct(draft=draft, act="noname"))]
        if field == "name"
        else []
    )
    return keyboard(skip, [_cancel(say, draft)])


def _cancel(say: Speech, draft: str) -> InlineKeyboardButton:
    return button(say.plain("button.cancel"), DraftAct(draft=draft, act="cancel"))


# Reading what was written


def one_line(text: str) -> dict[str, str] | None:
    """NUMBER PHONE AMOUNT [NAME] as fields; {} for nothing, None if it cannot be told apart.

    A phone may be written in groups: of the words that look like figures the last is the amount.
    """
    first, *rest = text.split() or [""]
    if not first:
        return {}
    words = [word for word in rest if word.casefold() not in _CURRENCIES]
    figures: list[str] = []
    while words and _DIALLED.fullmatch(words[0]):
        figures.append(words.pop(0))
    if len(figures) < 2:
        return None
    fields = {"number": first, "phone": " ".join(figures[:-1]), "amount": _amount(figures[-1])}
    return fields | {"name": " ".join(words)}


def _amount(text: str) -> str:
    """45,000/= and TZS 45,000 are how amounts are written; what is left must be a plain number."""
    bare = _CURRENCY_WORDS.sub("", _CURRENCY_WORDS.sub("", text.strip()))
    return bare.replace(",", "") if _GROUPED.fullmatch(bare) else bare


def complaints(draft: Fields, settings: Settings) -> dict[str, str]:
    """The fields of a draft, complete or not, that no share job could hold, and what was given there."""
    sample = {"number": "1", "phone": "+255754000000", "amount": "1", "name": ""}
    given = {name: draft[name] for name in _PATHS if name in draft}
    try:
        _job(sample | given | {"draft": "sample", "locale": settings.locale}, None, settings)
    except Refused as refused:
        fields = {problem.field for problem in refused.problems}
        return {name: str(given[name]) for name, path in _PATHS.items() if name in given and path in fields}
    return {}


def _complaint(say: Speech, field: str, given: str) -> Html:
    complaint = {
        "number": "share.bad_number",
        "phone": "share.bad_phone",
        "amount": "share.bad_amount",
        "name": "share.bad_name",
    }
    return say(complaint[field], given=clip(given, 60))


def _job(draft: Fields, known: BillView | None, settings: Settings) -> ShareJob:
    """The share job of a draft. A number on record keeps its kind and currency. Raises Refused."""
    kind = known.kind if known else BillKind(draft.get("kind", BillKind.ORDER))
    bill = {"number": draft["number"], "kind": kind.value, "amount": draft["amount"]}
    if known:
        bill["currency"] = known.currency
    customer = {"name": draft["name"] or None, "phone": draft["phone"], "locale": draft["locale"]}
    return from_fields({"id": f"bot-{draft['draft']}", "bill": bill, "customer": customer}, settings=settings)


# Looking and sending


async def _preview(
    message: Message, state: FSMContext, engine: Engine, settings: Settings, renderer: Renderer, say: Speech
) -> None:
    screen = await _screen(await state.get_data(), engine, settings, renderer, say)
    await state.set_state(Draft.ready if screen.keyboard else None)
    await message.answer(screen.text, reply_markup=screen.keyboard)


async def _screen(
    draft: Fields, engine: Engine, settings: Settings, renderer: Renderer, say: Speech
) -> Screen:
    """The preview, or why there is none (then without buttons)."""
    known = await _known(engine, draft["number"])
    try:
        job = _job(draft, known, settings)
        text = sms_text(job, renderer, settings)
    except Refused as refused:
        return Screen(refusal(say, refused), None)
    except TemplateError as error:
        return Screen(say("share.template", detail=str(error)), None)
    shown = say(
        "share.preview",
        number=job.bill.number,
        kind=say.word("bill_kind", job.bill.kind),
        name=job.customer.name or "",
        phone=job.customer.phone,
        amount=say.money(job.bill.amount, job.bill.currency),
        channels=_channels(say, job, settings),
        text=text,
    )
    return Screen(lines(shown, _note(say, job, known)), _preview_buttons(say, draft, known))


async def _known(engine: Engine, number: str) -> BillView | None:
    try:
        return await engine.bills.get(number)
    except NotFound:
        return None


def _channels(say: Speech, job: ShareJob, settings: Settings) -> Html:
    off = settings.channels_off()
    on = [say.word("channel", c) for c in job.route.channels if c not in off]
    gone = [say.word("channel", c) for c in job.route.channels if c in off]
    missing = say("share.off", channels=", ".join(gone)) if gone else ""
    return Html(" · ".join(part for part in (", ".join(on), missing) if part))


def _note(say: Speech, job: ShareJob, known: BillView | None) -> Html | None:
    if known:
        balance = say.money(known.balance, known.currency)
        return say("share.known", status=say.word("status", known.status), balance=balance)
    return say("share.order_hint") if job.bill.kind is BillKind.ORDER else None


def _preview_buttons(say: Speech, draft: Fields, known: BillView | None) -> InlineKeyboardMarkup | None:
    name, customer = str(draft["draft"]), draft.get("kind") == BillKind.CUSTOMER
    kind = say.plain("button.as_order" if customer else "button.as_customer")
    language = say.plain("button.in_english" if draft["locale"] == "sw" else "button.in_swahili")
    return keyboard(
        [button(say.plain("button.send"), DraftAct(draft=name, act="send")), _cancel(say, name)],
        [] if known else [button(kind, DraftAct(draft=name, act="kind"))],
        [button(language, DraftAct(draft=name, act="locale"))],
    )


def sms_text(job: ShareJob, renderer: Renderer, settings: Settings) -> str:
    """The SMS this job sends, with stand-ins of the right length for what its token will be. Raises TemplateError."""
    token = "0-" + "x" * 16
    content = renderer.render(
        Facts(
            kind=Kind.INSTRUCTIONS,
            channel=ChannelName.SMS,
            locale=job.customer.locale,
            template=job.template,
            message_id=f"{token}.1",
            name=job.customer.name,
            number=job.bill.number or "",
            amount=job.bill.amount,
            total=job.bill.amount,
            paid=Decimal(0),
            currency=job.bill.currency,
            description=job.bill.description,
            due_at=job.bill.due_at,
            order_number=job.bill.kind is BillKind.ORDER,
            exact=False,
            payment=None,
            pay_url=f"{settings.public_url}/pay/{token}" if settings.public_url else None,
            out_url=f"{settings.public_url}/out/{token}.sms" if settings.public_url else None,
            link_url=None,
            data={},
            window_open=False,
        )
    )
    assert isinstance(content, SmsContent)  # noqa: S101 - the renderer answers in the channel it was asked for
    return content.text


async def act(
    query: CallbackQuery,
    callback_data: DraftAct,
    state: FSMContext,
    engine: Engine,
    settings: Settings,
    renderer: Renderer,
    say: Speech,
) -> None:
    """A button under a question or a preview."""
    draft = await state.get_data()
    if draft.get("draft") != callback_data.draft or not isinstance(query.message, Message):
        return await toast(query, say.plain("toast.expired"), alert=True)
    match callback_data.act:
        case "cancel":
            await state.clear()
            await toast(query, say.plain("toast.cancelled"))
            return await redraw(query, say("share.cancelled"))
        case "noname":
            await toast(query)
            return await _next(query.message, state, engine, settings, renderer, say, {"name": ""})
        case "send":
            return await _send(query, draft, state, engine, settings, say)
        case change:
            await toast(query)
            draft = await state.update_data(_changed(draft, change))
            screen = await _screen(draft, engine, settings, renderer, say)
            return await redraw(query, screen.text, screen.keyboard)


def _changed(draft: Fields, change: str) -> dict[str, str]:
    if change == "kind":
        customer = draft.get("kind") == BillKind.CUSTOMER
        return {"kind": (BillKind.ORDER if customer else BillKind.CUSTOMER).value}
    return {"locale": "en" if draft["locale"] == "sw" else "sw"}


async def _send(
    query: CallbackQuery, draft: Fields, state: FSMContext, engine: Engine, settings: Settings, say: Speech
) -> None:
    if any(name not in draft for name in _PATHS):
        return await toast(query, say.plain("toast.expired"), alert=True)
    try:
        accepted = await engine.shares.accept(_job(draft, await _known(engine, draft["number"]), settings))
    except Refused as refused:
        await toast(query)
        return await redraw(query, refusal(say, refused))
    await state.clear()
    await toast(query, say.plain("toast.sent"))
    opening = button(say.plain("button.open", number=accepted.number), OpenBill(number=accepted.number))
    return await redraw(query, _accepted(say, accepted), keyboard([opening]))


def _accepted(say: Speech, accepted: AcceptedShare) -> Html:
    channels = ", ".join(say.word("channel", channel) for channel in accepted.channels)
    skipped = [
        say("share.skipped", channel=say.word("channel", skip.channel), reason=skip.reason)
        for skip in accepted.skipped
    ]
    if accepted.settled:
        return say("share.settled", number=accepted.number)
    return lines(say("share.sent", number=accepted.number, channels=channels), *skipped)
