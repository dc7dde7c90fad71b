"""How the bot speaks to one person: texts of their language, filled in and escaped; money and times as they read them.

Source: Telegram Bot API, Formatting options, HTML style (`<`, `>` and `&` must be written as entities).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from html import escape
from zoneinfo import ZoneInfo

from bot.render import locale as formats
from bot.staff.texts import TABLES

LANGUAGES = tuple(TABLES)


class Html(str):
    """Text that is Telegram's HTML already and must not be escaped again."""

    __slots__ = ()


class Speech:
    """The texts of one language, and the merchant's clock."""

    def __init__(self, locale: str, zone: str) -> None:
        self.locale = locale if locale in TABLES else "en"
        self._table, self._zone = TABLES[self.locale], zone

    def __call__(self, key: str, **values: object) -> Html:
        """A text as HTML; every value that is not `Html` is escaped."""
        safe = {name: value if isinstance(value, Html) else quote(value) for name, value in values.items()}
        return Html(self._table[key].format(**safe))

    def plain(self, key: str, **values: object) -> str:
        """A text for places without HTML: buttons, toasts, the command list."""
        return self._table[key].format(**values)

    def word(self, family: str, value: str) -> str:
        """A value of one of our enumerations in this language; as it is if the table does not know it."""
        return self._table.get(f"{family}.{value}", value)

    def money(self, amount: str | Decimal, currency: str) -> str:
        """Format as "TZS 45,000"; `amount` is in the major unit."""
        return formats.money(self.locale, Decimal(amount), currency)

    def day(self, moment: datetime) -> str:
        """Format as "1 Des 2026"."""
        return formats.date(self.locale, moment, self._zone)

    def moment(self, moment: datetime) -> str:
        """Format as "01/12 09:00": when something happened, or will, within the year."""
        return moment.astimezone(ZoneInfo(self._zone)).strftime("%d/%m %H:%M")


def quote(value: object) -> Html:
    """Any value as HTML text."""
    return Html(escape(str(value), quote=False))


def lines(*parts: Html | None) -> Html:
    """Parts one under the other, without those that are None."""
    return Html("\n".join(part for part in parts if part is not None))


def clip(text: str, most: int) -> str:
    """`text` cut to `most` characters, for buttons and lists."""
    return text if len(text) <= most else text[: most - 1] + "…"
