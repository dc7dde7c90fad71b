"""Money that staff decide about: payments without a bill, and cash at the counter. Who did it goes into the audit."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aiogram import Router
from aiogram.filters import Command, CommandObject
from aiogram.fsm.context import FSMContext
from aiogram.types import CallbackQuery, InlineKeyboardButton, Message

from bot.domain.bill import PaymentView, SettleResult
from bot.domain.cash import cash_payment
from bot.engine.suggestions import Suggestion
from bot.errors import Refused
from bot.staff.buttons import (
    AskCash,
    DismissPayment,
    EnterCash,
    MatchPayment,
    OpenBill,
    ShowPayment,
    button,
    keyboard,
)
from bot.staff.cards import Screen
from bot.staff.drafts import bare_amount
from bot.staff.people import Role, needs, refusal
from bot.staff.replies import first, redraw, toast
from bot.staff.speech import Html, Speech, clip, lines

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.staff.memory import Memory

_LISTED = 8
_DRAFT = "cash"


def router() -> Router:
    """/payments, /cash and their buttons."""
    routes = Router(name="money")
    routes.message.register(unmatched, Command("payments", "malipo"), flags=needs(Role.VIEWER))
    routes.message.register(cash, Command("cash", "taslimu"), flags=needs(Role.OPERATOR))
    for handler, data in (
        (show, ShowPayment),
        (match, MatchPayment),
        (dismiss, DismissPayment),
        (ask_cash, AskCash),
        (enter_cash, EnterCash),
    ):
        routes.callback_query.register(handler, data.filter(), flags=needs(Role.OPERATOR))
    return routes


# Payments without a bill


async def unmatched(message: Message, engine: Engine, say: Speech, role: Role) -> None:
    """The newest payments that wait for a decision."""
    found = await engine.payments.unmatched(_LISTED)
    if not found:
        await message.answer(say("unmatched.none"))
        return
    rows = [[button(_label(say, each), ShowPayment(payment=each.id))] for each in found]
    text = lines(say("unmatched.title"), *(payment_line(say, each) for each in found))
    await message.answer(text, reply_markup=keyboard(*rows) if role >= Role.OPERATOR else None)


def _label(say: Speech, payment: PaymentView) -> str:
    return clip(f"{_amount(say, payment)} · {payment.payer or payment.number}", 40)


def _amount(say: Speech, payment: PaymentView) -> str:
    return say.money(payment.amount, payment.currency) if payment.amount and payment.currency else "?"


def payment_line(say: Speech, payment: PaymentView) -> Html:
    """One payment in a line: when, how much, from whom, why it waits."""
    return say(
        "unmatched.line",
        moment=say.moment(payment.paid_at or payment.received_at),
        amount=_amount(say, payment),
        number=clip(payment.number, 24),
        payer=clip(payment.payer or "", 40),
        why=say.word("why", payment.reason or ""),
    )


async def payment_screen(engine: Engine, say: Speech, payment_id: str) -> Screen:
    """A payment with the bills it may be for, each one tap away."""
    payment = await engine.payments.get(payment_id)
    suggested = await engine.suggestions.of(payment_id)
    text = lines(
        payment_line(say, payment),
        say("unmatched.maybe") if suggested else say("unmatched.no_idea"),
        *(_suggestion(say, each) for each in suggested),
    )
    rows = [[_match_button(say, payment_id, each.number)] for each in suggested]
    away = [button(say.plain("button.dismiss"), DismissPayment(payment=payment_id))]
    return Screen(text, keyboard(*rows, away))


def _match_button(say: Speech, payment: str, number: str) -> InlineKeyboardButton:
    return button(say.plain("button.match", number=number), MatchPayment(payment=payment, number=number))


def _suggestion(say: Speech, each: Suggestion) -> Html:
    return say(
        "unmatched.suggestion",
        number=each.number,
        name=clip(each.name or "", 40),
        balance=say.money(each.balance, each.currency),
        because=", ".join(say.word("because", reason) for reason in each.because),
    )


async def show(query: CallbackQuery, callback_data: ShowPayment, engine: Engine, say: Speech) -> None:
    """Show a payment and its suggestions."""
    screen = await payment_screen(engine, say, callback_data.payment)
    await toast(query)
    await redraw(query, screen.text, screen.keyboard)


async def match(
    query: CallbackQuery, callback_data: MatchPayment, engine: Engine, memory: Memory, say: Speech, by: str
) -> None:
    """Count a payment for a bill, once however often the button is pressed."""
    if not await first(query, memory):
        return await toast(query, say.plain("toast.pressed"))
    result = await engine.payments.match(callback_data.payment, callback_data.number, by=by)
    await toast(query)
    await _counted(query, say, callback_data.number, result)


async def dismiss(
    query: CallbackQuery, callback_data: DismissPayment, engine: Engine, say: Speech, by: str
) -> None:
    """Ask whether a payment counts for nothing; note it when told so."""
    await toast(query)
    if callback_data.sure:
        await engine.payments.dismiss(callback_data.payment, by=by)
        return await redraw(query, say("unmatched.dismissed"))
    sure = button(say.plain("button.dismiss_yes"), DismissPayment(payment=callback_data.payment, sure=True))
    back = button(say.plain("button.no"), ShowPayment(payment=callback_data.payment))
    return await redraw(query, say("unmatched.dismiss_sure"), keyboard([sure, back]))


async def _counted(query: CallbackQuery, say: Speech, number: str, result: SettleResult) -> None:
    text = say("cash.counted", number=number, receipts=result.receipts)
    opening = button(say.plain("button.open", number=number), OpenBill(number=number))
    await redraw(query, text, keyboard([opening]))


# Cash at the counter


async def ask_cash(query: CallbackQuery, callback_data: AskCash, say: Speech) -> None:
    """How to enter cash."""
    await toast(query)
    if query.message is not None:
        await query.message.answer(say("cash.usage", number=callback_data.number))


async def cash(
    message: Message, command: CommandObject, state: FSMContext, engine: Engine, say: Speech
) -> None:
    """/cash NUMBER AMOUNT [NOTE]: show it, and enter it when the button is pressed."""
    number, _, rest = (command.args or "").strip().partition(" ")
    amount, _, note = rest.strip().partition(" ")
    if not number or not amount:
        await message.answer(say("cash.usage", number="55042914871931"))
        return
    bill = await engine.bills.get(number)
    fields = {"id": secrets.token_hex(6), "amount": bare_amount(amount), "note": note.strip() or None}
    taken = cash_payment(fields, bill.currency, settings=engine.settings)
    await state.update_data({_DRAFT: {**fields, "number": number}})
    text = say(
        "cash.sure",
        amount=say.money(taken.amount, bill.currency),
        number=number,
        name=bill.customer or "",
        balance=say.money(bill.balance, bill.currency),
        note=taken.note or "",
    )
    enter = button(say.plain("button.enter_cash"), EnterCash(draft=taken.id))
    await message.answer(text, reply_markup=keyboard([enter]))


async def enter_cash(
    query: CallbackQuery,
    callback_data: EnterCash,
    state: FSMContext,
    engine: Engine,
    say: Speech,
    by: str,
) -> None:
    """Enter the cash; its id makes a second press harmless."""
    draft = (await state.get_data()).get(_DRAFT) or {}
    if draft.get("id") != callback_data.draft:
        return await toast(query, say.plain("toast.expired"), alert=True)
    number = str(draft["number"])
    currency = (await engine.bills.get(number)).currency
    fields = {name: draft[name] for name in ("id", "amount", "note")}
    await toast(query)
    try:
        taken = cash_payment(fields, currency, settings=engine.settings)
        result = await engine.payments.add(number, taken, by=by)
    except Refused as refused:
        return await redraw(query, refusal(say, refused))
    return await _counted(query, say, number, result)
