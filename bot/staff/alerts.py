"""What staff are told without asking: payments, failures, pauses; each notice by one process, to every staff chat.

Notices are taken from the engine's notice board and given back by being left unacknowledged: if Telegram cannot be
reached they come again, to whichever process is there, after a minute. A few are told one by one with their buttons;
many of one type at once become one message, since a chat takes about one message a second.

Source: Telegram Bot FAQ, "My bot is hitting limits" (about one message per second in a chat).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import structlog
from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramForbiddenError,
)
from aiogram.types import InlineKeyboardMarkup

from bot.domain.money import from_minor
from bot.engine.keys import message_id
from bot.errors import NotFound, StoreUnavailable
from bot.staff.buttons import Arrived, OpenBill, Replay, ResendBill, ResumeChannel, button, keyboard
from bot.staff.money import payment_screen
from bot.staff.people import Role, speech
from bot.staff.speech import Html, Speech, lines, quote
from bot.staff.waiting import Patience, rest, where

if TYPE_CHECKING:
    from bot.engine.control import NewsItem
    from bot.engine.engine import Engine
    from bot.settings import Settings

_log = structlog.get_logger("tuma.staff")
SINGLE = 3
_LISTED = 5
# One name for all processes: the board gives each notice out once, and leaves no dead readers behind.
_CONSUMER = "staff"
_IDLE_S = 1.0
_PACE_S = 1.0
_NUMBER = re.compile(r"[A-Za-z0-9]{1,20}")
_NUMBER_TYPES = {
    "paid": "alert.paid",
    "unmatched": "alert.unmatched",
    "dead": "alert.dead",
    "exhausted": "alert.exhausted",
    "number_closed": "alert.number_closed",
    "late": "alert.late",
    "successor": "alert.successor",
    "no_successor": "alert.no_successor",
    "cost_cap": "alert.cost_cap",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Items that are told together: one, or many of the same type."""

    type: str
    items: Sequence[NewsItem]


def bundle(items: Sequence[NewsItem]) -> Iterator[Notice]:
    """One notice an item while there are few of its type, else one for all of them."""
    for kind, group in groupby(sorted(items, key=lambda item: item.type), key=lambda item: item.type):
        found = list(group)
        if len(found) > SINGLE:
            yield Notice(kind, found)
        else:
            yield from (Notice(kind, [item]) for item in found)


class Alerts:
    """The loop that tells staff."""

    def __init__(self, bot: Bot, engine: Engine, settings: Settings, staff: Mapping[int, Role]) -> None:
        self._bot, self._engine, self._settings, self._staff = bot, engine, settings, staff

    async def run(self, stop: asyncio.Event) -> None:
        """Tell staff what is new until `stop` is set. Nothing that goes wrong in one round ends the loop."""
        patience = Patience()
        while self._staff and not stop.is_set():
            try:
                told = await self._round(stop)
                patience.reset()
            except (AiogramError, StoreUnavailable) as error:
                _log.warning("alerts_wait", error=type(error).__name__)
                await patience.wait(stop)
            except Exception as error:
                _log.error("alerts_failed", error=type(error).__name__, where=where(error))
                await patience.wait(stop)
            else:
                if not told:
                    await rest(stop, _IDLE_S)

    async def _round(self, stop: asyncio.Event) -> int:
        items = await self._engine.news.read(_CONSUMER)
        for place, notice in enumerate(bundle(items)):
            if place:
                await rest(stop, _PACE_S)
            try:
                await self._tell(notice)
            except (AiogramError, StoreUnavailable):
                raise
            except Exception as error:
                # One notice that cannot be told must not keep all later ones from being told.
                _log.error("alert_dropped", type=notice.type, error=type(error).__name__, where=where(error))
            for item in notice.items:
                await self._engine.news.ack(item)
        return len(items)

    async def _tell(self, notice: Notice) -> None:
        """Send to everybody; raises only if nobody could be reached and trying again may help."""
        trouble: AiogramError | None = None
        reached = False
        for chat, role in self._staff.items():
            text, buttons = await self._screen(notice, chat, role)
            try:
                await self._bot.send_message(chat, text, reply_markup=buttons)
                reached = True
            except (TelegramForbiddenError, TelegramBadRequest) as error:
                _log.info("alert_refused", reason=error.message)
            except AiogramError as error:
                trouble = error
        if trouble is not None and not reached:
            raise trouble

    async def _screen(
        self, notice: Notice, chat: int, role: Role
    ) -> tuple[Html, InlineKeyboardMarkup | None]:
        say = await speech(self._engine, self._settings, chat)
        if len(notice.items) > 1:
            return digest(say, notice), None
        item = notice.items[0]
        if item.type == "unmatched" and role >= Role.OPERATOR:
            return await self._unmatched(say, item, role)
        return one(say, item), _buttons(say, item, role)

    async def _unmatched(
        self, say: Speech, item: NewsItem, role: Role
    ) -> tuple[Html, InlineKeyboardMarkup | None]:
        """A payment that waits for staff, with the bills it may be for; one that is gone meanwhile without."""
        try:
            screen = await payment_screen(self._engine, say, str(item.data["payment"]))
        except NotFound:
            return one(say, item), _buttons(say, item, role)
        return lines(one(say, item), screen.text), screen.keyboard


def one(say: Speech, item: NewsItem) -> Html:
    """One notice in a line."""
    data = item.data
    if item.type == "channel_paused":
        return say("alert.channel_paused", channel=_channel(say, data), why=data.get("reason", ""))
    if item.type == "channel_resumed":
        return say("alert.channel_resumed", channel=_channel(say, data))
    if item.type == "payments_unknown":
        return say("alert.payments_unknown", why=data.get("why", ""))
    key = _NUMBER_TYPES.get(item.type)
    if item.type == "paid" and str(data.get("balance_minor")) == "0":
        key = "alert.settled"
    if key is None:
        return say("alert.other", type=say.word("news", item.type), number=data.get("number", ""))
    return say(
        key,
        number=data.get("number", ""),
        amount=_money(say, data, "amount_minor"),
        balance=_money(say, data, "balance_minor"),
        kind=say.word("kind", str(data.get("kind", ""))),
        channel=_channel(say, data),
        why=say.word("why", str(data.get("why", ""))),
        old=data.get("old", ""),
    )


def digest(say: Speech, notice: Notice) -> Html:
    """Many notices of one type in one message."""
    numbers = list(
        dict.fromkeys(str(item.data.get("number") or _channel(say, item.data)) for item in notice.items)
    )
    listed = lines(
        *(Html(f"<code>{quote(number)}</code>") for number in numbers[:_LISTED]),
        say("alert.and_more", count=len(numbers) - _LISTED) if len(numbers) > _LISTED else None,
    )
    title, count = say.word("news", notice.type), len(notice.items)
    if notice.type == "paid":
        return say(
            "alert.many_paid", title=title, count=count, numbers=listed, total=_totals(say, notice.items)
        )
    return say("alert.many", title=title, count=count, numbers=listed)


def _totals(say: Speech, items: Sequence[NewsItem]) -> str:
    sums: dict[str, int] = {}
    for item in items:
        currency = str(item.data.get("currency", "TZS"))
        sums[currency] = sums.get(currency, 0) + int(item.data.get("amount_minor", 0))
    return ", ".join(
        say.money(from_minor(total, currency), currency) for currency, total in sorted(sums.items())
    )


def _money(say: Speech, data: Mapping[str, Any], field: str) -> str:
    if field not in data or "currency" not in data:
        return ""
    currency = str(data["currency"])
    return say.money(from_minor(int(data[field]), currency), currency)


def _channel(say: Speech, data: Mapping[str, Any]) -> str:
    return say.word("channel", str(data.get("channel", "")))


def _buttons(say: Speech, item: NewsItem, role: Role) -> InlineKeyboardMarkup | None:
    """What can be done about it, as far as this role may."""
    data = item.data
    if item.type == "channel_paused":
        resume = button(
            say.plain("button.resume", channel=_channel(say, data)), ResumeChannel(channel=data["channel"])
        )
        return keyboard([resume]) if role >= Role.ADMIN else None
    # The number of an unmatched payment is whatever the payment said.
    number = str(data.get("number", ""))
    if not _NUMBER.fullmatch(number):
        return None
    acts = []
    if role >= Role.OPERATOR and item.type == "dead":
        message = message_id(item.partition, str(data["message"]))
        acts.append(button(say.plain("button.replay_this"), Replay(message=message)))
        if data.get("held") == "1":
            acts.append(button(say.plain("button.arrived_this"), Arrived(message=message)))
    if role >= Role.OPERATOR and item.type == "exhausted":
        acts.append(button(say.plain("button.resend"), ResendBill(number=number)))
    return keyboard(acts, [button(say.plain("button.open", number=number), OpenBill(number=number))])
