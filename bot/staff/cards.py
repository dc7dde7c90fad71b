"""What staff see of bills and messages: a screen is a text and its buttons. Nothing here asks or changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from bot.domain.bill import BillStatus, BillView, MessageView, PaymentView, ShareView, TermView
from bot.domain.dead import Cause, DeadLetter
from bot.domain.message import Outcome, State
from bot.staff.buttons import (
    Arrived,
    AskCash,
    ListFailed,
    ListMessages,
    OpenBill,
    Replay,
    ResendBill,
    ResendShare,
    StopBill,
    button,
    keyboard,
)
from bot.staff.people import Role
from bot.staff.speech import Html, Speech, clip, lines, quote

PAGE = 5
_PAYMENTS_SHOWN = 3
_TERMS_SHOWN = 6
_SHARES_SHOWN = 4
_OPEN = (BillStatus.OPEN, BillStatus.HELD)


class Screen(NamedTuple):
    """A text and its buttons."""

    text: Html
    keyboard: InlineKeyboardMarkup | None


def bill_card(say: Speech, role: Role, bill: BillView, messages: int) -> Screen:
    """One bill; `messages` is how many were made for it."""
    text = lines(
        _title(say, bill),
        say("bill.status", status=say.word("status", bill.status), kind=say.word("bill_kind", bill.kind)),
        say(
            "bill.money",
            balance=say.money(bill.balance, bill.currency),
            paid=say.money(bill.paid, bill.currency),
        ),
        say("bill.credit", credit=say.money(bill.credit, bill.currency))
        if Decimal(bill.credit) > 0
        else None,
        *(_term(say, bill, term) for term in bill.terms[:_TERMS_SHOWN]),
        say("bill.reminder", moment=say.moment(bill.next_reminder_at)) if bill.next_reminder_at else None,
        say("bill.next", number=bill.next) if bill.next else None,
        say("bill.previous", number=bill.previous) if bill.previous else None,
        say("bill.contacts", contacts=", ".join(bill.contacts[:6])) if bill.contacts else None,
        *_payments(say, bill.payments),
    )
    return Screen(text, _bill_buttons(say, role, bill, messages))


def _title(say: Speech, bill: BillView) -> Html:
    if bill.customer:
        return say("bill.title", number=bill.number, name=clip(bill.customer, 80))
    return say("bill.title_nameless", number=bill.number)


def _term(say: Speech, bill: BillView, term: TermView) -> Html | None:
    amounts = say(
        "bill.term",
        term=term.term,
        amount=say.money(term.amount, bill.currency),
        balance=say.money(term.balance, bill.currency),
    )
    due = say("bill.due", day=say.day(term.due_at)) if term.due_at else None
    about = quote(clip(term.description, 80)) if term.description else None
    # A single term that says no more than the bill's own line needs none of its own.
    shown = [amounts if len(bill.terms) > 1 else None, about, due]
    return Html(" · ".join(part for part in shown if part)) or None


def _payments(say: Speech, payments: Sequence[PaymentView]) -> list[Html]:
    newest = list(reversed(payments))
    shown = [
        say(
            "bill.payment",
            amount=say.money(p.amount, p.currency) if p.amount and p.currency else "?",
            status=say.word("why", p.reason) if not p.matched and p.reason else p.status,
            moment=say.moment(p.paid_at or p.received_at),
        )
        for p in newest[:_PAYMENTS_SHOWN]
    ]
    rest = len(payments) - len(shown)
    return [*shown, say("bill.more_payments", count=rest)] if rest else shown


def _bill_buttons(say: Speech, role: Role, bill: BillView, messages: int) -> InlineKeyboardMarkup | None:
    acts = []
    if role >= Role.OPERATOR and bill.status in _OPEN:
        acts = [
            button(say.plain("button.resend"), ResendBill(number=bill.number)),
            button(say.plain("button.stop"), StopBill(number=bill.number)),
            button(say.plain("button.cash"), AskCash(number=bill.number)),
        ]
    looks = [
        button(say.plain("button.messages", count=messages), ListMessages(number=bill.number)),
        button(say.plain("button.refresh"), OpenBill(number=bill.number)),
    ]
    return keyboard(acts, looks)


def stop_sure(say: Speech, number: str) -> Screen:
    """Whether to stop this bill, really."""
    return Screen(
        say("bill.stop_sure", number=number),
        keyboard(
            [
                button(say.plain("button.stop_yes"), StopBill(number=number, sure=True)),
                button(say.plain("button.no"), OpenBill(number=number)),
            ]
        ),
    )


def resend_how(say: Speech, number: str, shares: Sequence[ShareView]) -> Screen:
    """By which channel to send again; each share of the bill has its own buttons."""
    if not shares:
        return Screen(say("bill.no_share", number=number), keyboard([_back(say, number)]))
    shown = shares[-_SHARES_SHOWN:]
    text = lines(
        say("bill.resend_how", number=number),
        *(say("bill.resend_share", share=share.id) for share in shown if len(shown) > 1),
    )
    rows = []
    for share in shown:
        name = f"{clip(share.id, 24)}: " if len(shown) > 1 else ""
        rows.append([button(f"{name}{say.plain('button.resend_all')}", ResendShare(token=share.token))])
        rows.append(
            [
                button(say.word("channel", channel), ResendShare(token=share.token, channel=channel))
                for channel in share.channels
            ]
        )
    return Screen(text, keyboard(*rows, [_back(say, number)]))


def arrived_card(say: Speech, number: str) -> Screen:
    """That a message is noted as arrived."""
    return Screen(say("failed.arrived", number=number), keyboard([_open(say, number)]))


def resent(say: Speech, number: str, count: int) -> Screen:
    """How many messages were queued again."""
    return Screen(say("bill.resent", number=number, count=count), keyboard([_open(say, number)]))


def message_list(say: Speech, number: str, messages: Sequence[MessageView], page: int) -> Screen:
    """One page of a bill's messages, the newest first."""
    pages = max((len(messages) + PAGE - 1) // PAGE, 1)
    page = min(max(page, 0), pages - 1)
    newest = sorted(messages, key=lambda m: m.created_at, reverse=True)[page * PAGE : (page + 1) * PAGE]
    text = lines(
        say("messages.title", number=number, page=page + 1, pages=pages),
        *(_message(say, m) for m in newest),
        None if newest else say("messages.none"),
    )
    turns = []
    if page > 0:
        turns.append(button(say.plain("button.newer"), ListMessages(number=number, page=page - 1)))
    if page < pages - 1:
        turns.append(button(say.plain("button.older"), ListMessages(number=number, page=page + 1)))
    return Screen(text, keyboard(turns, [_back(say, number)]))


def _message(say: Speech, m: MessageView) -> Html:
    line = say(
        "messages.line",
        moment=say.moment(m.sent_at or m.due_at or m.created_at),
        kind=say.word("kind", m.kind),
        channel=say.word("channel", m.channel),
        state=_standing(say, m),
    )
    trouble = m.error or (say.word("why", m.reason) if m.reason and m.outcome is not Outcome.SENT else None)
    notes = [
        quote(f"   {clip(trouble, 120)}") if trouble else None,
        say("messages.duplicate") if m.possible_duplicate else None,
    ]
    return lines(line, *notes)


def _standing(say: Speech, m: MessageView) -> str:
    """The most that is known: delivery, else outcome, else state."""
    if m.asking is not None:
        return say.plain("messages.asking", answers=m.asking.answers, of=m.asking.of)
    if m.state is not State.DONE or m.outcome is None:
        return say.word("state", m.state)
    delivery = m.delivery or ""
    word = say.word("delivery", delivery)
    # `sent`, `queued` and the like say no more than the outcome does.
    return word if m.outcome is Outcome.SENT and word != delivery else say.word("outcome", m.outcome)


def failed_list(say: Speech, role: Role, letters: Sequence[DeadLetter], page: int, *, more: bool) -> Screen:
    """One page of what nobody sends any more; `more` says that there is a next page."""
    if not letters and page == 0:
        return Screen(say("failed.none"), None)
    listed = list(enumerate(letters, start=page * PAGE + 1))
    text = lines(say("failed.title", page=page + 1), *(_failed(say, index, m) for index, m in listed))
    rows = [row for index, m in listed for row in _failed_buttons(say, role, index, m, page)]
    return Screen(text, keyboard(*rows, _turn(say, page, more=more)))


def _failed_buttons(
    say: Speech, role: Role, index: int, m: DeadLetter, page: int
) -> list[list[InlineKeyboardButton]]:
    opening = button(say.plain("button.open", number=m.number), OpenBill(number=m.number))
    if role < Role.OPERATOR:
        return [[opening]]
    again = button(say.plain("button.replay", index=index), Replay(message=m.id, page=page))
    if m.cause not in (Cause.HELD, Cause.DOUBT):
        return [[again, opening]]
    arrived = button(say.plain("button.arrived", index=index), Arrived(message=m.id, page=page))
    return [[again, arrived], [opening]]


def _failed(say: Speech, index: int, m: DeadLetter) -> Html:
    line = say(
        "failed.line",
        index=index,
        number=m.number,
        kind=say.word("kind", m.kind),
        channel=say.word("channel", m.channel),
        moment=say.moment(m.died_at),
        reason=clip(m.error or say.word("why", m.reason or "") or _standing(say, m), 160),
    )
    return lines(line, say("failed.hint", hint=say.word("hint", m.cause)))


def _turn(say: Speech, page: int, *, more: bool) -> list[InlineKeyboardButton]:
    turns = []
    if page > 0:
        turns.append(button(say.plain("button.newer"), ListFailed(page=page - 1)))
    if more:
        turns.append(button(say.plain("button.older"), ListFailed(page=page + 1)))
    return turns


def _back(say: Speech, number: str) -> InlineKeyboardButton:
    return button(say.plain("button.back"), OpenBill(number=number))


def _open(say: Speech, number: str) -> InlineKeyboardButton:
    return button(say.plain("button.open", number=number), OpenBill(number=number))
