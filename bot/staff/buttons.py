"""Every inline button: what it carries, and how rows of them are laid out.

What a button carries is visible to its holder and can be forged, so it names things and grants nothing: role and
object are looked up again at every press. Values are control numbers (20 characters), share tokens (21), message ids
(28) and page numbers, so the longest fits well into Telegram's 64 bytes; share ids of producers (128) do not, which
is why tokens stand for them.

Source: Telegram Bot API, InlineKeyboardButton (`callback_data` 1-64 bytes, `copy_text` 1-256 characters).
"""

from __future__ import annotations

from collections.abc import Sequence

from aiogram.filters.callback_data import CallbackData
from aiogram.types import CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup

from channels.base import ChannelName

Row = Sequence[InlineKeyboardButton]


class OpenBill(CallbackData, prefix="b"):
    """Show one bill."""

    number: str


class StopBill(CallbackData, prefix="s"):
    """Stop a bill: ask first, then `sure`."""

    number: str
    sure: bool = False


class ResendBill(CallbackData, prefix="r"):
    """Ask how to send a bill's instructions again."""

    number: str


class ResendShare(CallbackData, prefix="rs"):
    """Send one share again; no channel means as planned."""

    token: str
    channel: str = ""


class ListMessages(CallbackData, prefix="m"):
    """Page of a bill's messages, from 0."""

    number: str
    page: int = 0


class ListFailed(CallbackData, prefix="f"):
    """Page of the failed messages, from 0."""

    page: int = 0


class Replay(CallbackData, prefix="rp"):
    """Send a failed message again; `page` is the list to go back to, -1 when there is none."""

    message: str
    page: int = -1


class Arrived(CallbackData, prefix="ar"):
    """A message held in doubt did arrive; `page` as for Replay."""

    message: str
    page: int = -1


class PauseChannel(CallbackData, prefix="p"):
    """Pause a channel: ask first, then `sure`."""

    channel: ChannelName
    sure: bool = False


class ResumeChannel(CallbackData, prefix="u"):
    """Resume a channel."""

    channel: ChannelName


class ShowQueue(CallbackData, prefix="q"):
    """Show the queues again."""


class MatchPayment(CallbackData, prefix="mp"):
    """Count an unmatched payment for a bill."""

    payment: str
    number: str


class DismissPayment(CallbackData, prefix="dp"):
    """An unmatched payment counts for nothing: ask first, then `sure`."""

    payment: str
    sure: bool = False


class ShowPayment(CallbackData, prefix="sp"):
    """Show an unmatched payment, and which bills it may be for."""

    payment: str


class EnterCash(CallbackData, prefix="ec"):
    """Enter the cash that a /cash message named; `draft` tells it from an older one."""

    draft: str


class AskCash(CallbackData, prefix="ac"):
    """How to enter cash for a bill."""

    number: str


class DraftAct(CallbackData, prefix="d"):
    """Something done to a draft: send, cancel, noname, kind, locale. `draft` tells it from an older one."""

    draft: str
    act: str


class ChooseLanguage(CallbackData, prefix="l"):
    """Choose a language."""

    locale: str


class CustomerMenu(CallbackData, prefix="c"):
    """A point of the customer's menu: bills, language, stop, start."""

    item: str


def button(text: str, data: CallbackData) -> InlineKeyboardButton:
    """A button that tells us when it is pressed."""
    return InlineKeyboardButton(text=text, callback_data=data.pack())


def copy_button(text: str, value: str) -> InlineKeyboardButton:
    """A button that copies `value` on the phone, without telling us."""
    return InlineKeyboardButton(text=text, copy_text=CopyTextButton(text=value))


def keyboard(*rows: Row) -> InlineKeyboardMarkup | None:
    """The rows that hold anything; None if none does."""
    kept = [list(row) for row in rows if row]
    return InlineKeyboardMarkup(inline_keyboard=kept) if kept else None
