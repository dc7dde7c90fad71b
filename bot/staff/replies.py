"""Answering in a chat without falling over what Telegram forgets: old buttons, old messages, unchanged texts.

Source: Telegram Bot API, answerCallbackQuery (text up to 200 characters, soon after the press), editMessageText
(refused when nothing changes, or for a message that is no longer accessible).
"""

from __future__ import annotations

from aiogram.exceptions import TelegramBadRequest
from aiogram.types import CallbackQuery, InlineKeyboardMarkup, Message

from bot.staff.memory import Memory
from bot.staff.speech import Html, clip


async def toast(query: CallbackQuery, text: str | None = None, *, alert: bool = False) -> None:
    """Stop the button's spinner, with a short text if there is one; a press too old to be answered is let go."""
    try:
        await query.answer(clip(text, 200) if text else None, show_alert=alert)
    except TelegramBadRequest:
        return


async def redraw(query: CallbackQuery, text: Html, keyboard: InlineKeyboardMarkup | None = None) -> None:
    """Put another screen in place of the one whose button was pressed; a new message if that is gone."""
    shown = query.message
    if isinstance(shown, Message):
        try:
            await shown.edit_text(text, reply_markup=keyboard)
        except TelegramBadRequest as error:
            if "not modified" not in error.message.lower():
                await shown.answer(text, reply_markup=keyboard)
    elif shown is not None:
        await shown.answer(text, reply_markup=keyboard)


async def first(query: CallbackQuery, memory: Memory) -> bool:
    """Whether this press is the first of its button."""
    message = query.message.message_id if query.message else 0
    return await memory.first_press(query.from_user.id, message, query.data or "", query.id)
