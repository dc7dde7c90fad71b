"""What a template may use: one bill and one contact as plain strings, lists and dicts.

Templates never see an object of ours, so they cannot reach anything else. A value that is not there is the
empty string (false in a condition); a name that is not here is an error. Text from outside is cleaned of
control characters and line breaks, and phones in a provider's words are masked: a receipt goes to the bill's
contact, who need not be the payer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from bot.domain.contact import mask_text
from bot.render import locale as formats
from bot.render.facts import Facts, PaymentFacts
from bot.render.payment_methods import Method, companies
from channels.base import ChannelName

YES = "yes"
# Longest value that any channel gets; an SMS is cut further until it fits.
_NAME_ROOM, _TEXT_ROOM, _REFERENCE_ROOM = 80, 300, 40

VARIABLES: Mapping[str, str] = {
    "merchant": "the merchant's name",
    "merchant_contact": "phone or mail address for questions, or empty",
    "name": "the customer's name, or empty",
    "first_name": "its first word, or empty",
    "number": "the control number, never in groups",
    "number_grouped": "the control number in groups of four, for eyes only: it must not be copied",
    "amount": "what is to be paid now, such as TZS 45,000",
    "carried": "what of it is left from earlier bills of the number, or empty",
    "credited": "what was paid too much before and is taken off already, or empty",
    "total": "the bill's whole amount",
    "paid": "what was paid of it before, or empty",
    "description": "what the bill is for, or empty",
    "due": "the due date, such as 1 Des 2026, or empty",
    "due_long": "the due date with weekday, and time if one is meant, or empty",
    "overdue": "yes when the due time has passed, or empty",
    "order": "yes when the number closes at its first payment, or empty",
    "exact": "yes when only the exact amount is taken, or empty",
    "how": "company numbers in brief, such as Mixx/HaloPesa 889999, Airtel 47",
    "methods": "not in SMS: list of ways to pay: name, kind, company, code, line, ussd, app (lists of steps)",
    "pay_url": "the customer's page, or empty",
    "pay_token": "the last part of pay_url, for a WhatsApp button whose registered address ends in {{n}}, or empty",
    "invoice_url": "the bill as a PDF, where TUMA_EMAIL_INVOICE is link, or empty",
    "out_url": "the opt-out page, or empty",
    "link_url": "Telegram's deep link while no chat is linked, or empty",
    "payment": "the payment: amount, balance, credit, reference, paid_at, payer, reason, number_closed, next_number, "
    "ended (yes when the bill was stopped or cancelled, so that no more is to be paid), "
    "mistaken (yes when staff had entered it by mistake)",
    "locale": "the language of this template",
    "data": "the share's own values: data.student",
}
PAYMENT = (
    "amount",
    "balance",
    "credit",
    "reference",
    "paid_at",
    "payer",
    "reason",
    "number_closed",
    "next_number",
    "ended",
    "mistaken",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """Who sends: what every message of one installation has in common."""

    name: str
    contact: str | None
    zone: str
    methods: tuple[Method, ...]
    values: Mapping[str, str] = field(init=False)
    """Those of `VARIABLES` that are the same in every message."""

    def __post_init__(self) -> None:
        same = {
            "merchant": clean(self.name, _NAME_ROOM),
            "merchant_contact": clean(self.contact),
            "how": ", ".join(companies(self.methods)),
        }
        object.__setattr__(self, "values", same)


def gather(
    facts: Facts, merchant: Merchant, locale: str, reasons: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """All values of `VARIABLES` for one message in `locale`. `reasons` words failures that are known."""
    name, currency = clean(facts.name, _NAME_ROOM), facts.currency
    return {
        **merchant.values,
        "name": name,
        "first_name": name.partition(" ")[0],
        "number": facts.number,
        "number_grouped": formats.group(facts.number),
        "amount": formats.money(locale, facts.amount, currency),
        "total": formats.money(locale, facts.total, currency),
        "carried": _if_any(locale, facts.carried, currency),
        "credited": _if_any(locale, facts.credited, currency),
        "paid": _if_any(locale, facts.paid, currency),
        "description": clean(facts.description),
        "order": YES if facts.order_number else "",
        "exact": YES if facts.exact else "",
        **_due(facts.due_at, locale, merchant.zone, now),
        **_ways(facts, merchant, locale),
        "payment": _payment(facts.payment, locale, merchant.zone, reasons),
        "locale": locale,
        "data": {key: clean(_plain(value), _TEXT_ROOM) for key, value in facts.data.items()},
    }


def names(channel: ChannelName) -> set[str]:
    """The names a template of one channel may use."""
    return set(VARIABLES) - ({"methods"} if channel is ChannelName.SMS else set())


def clean(text: str | None, room: int = _TEXT_ROOM) -> str:
    """Text from outside on one line, without control or direction characters, at most `room` characters
    long.
    """
    if not text:
        return ""
    text = text.strip()
    kept = text if text.isprintable() else "".join(map(_visible, text))
    line = " ".join(kept.split())
    return line if len(line) <= room else line[: room - 1].rstrip() + "…"


def on_every_text(values: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The same values with `change` applied to every string, at any depth."""
    return {key: _changed(value, change) for key, value in values.items()}


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return on_every_text(value, change)
    return [_changed(item, change) for item in value]


def _due(due_at: datetime | None, locale: str, zone: str, now: datetime) -> dict[str, Any]:
    if due_at is None:
        return {"due": "", "due_long": "", "overdue": ""}
    return {
        "due": formats.date(locale, due_at, zone),
        "due_long": formats.long_date(locale, due_at, zone),
        "overdue": YES if due_at < now else "",
    }


def _payment(
    payment: PaymentFacts | None, locale: str, zone: str, reasons: Mapping[str, str]
) -> dict[str, str]:
    if payment is None:
        return dict.fromkeys(PAYMENT, "")
    return {
        "amount": _if_any(locale, payment.amount, payment.currency),
        "balance": _if_any(locale, payment.balance, payment.currency),
        "credit": _if_any(locale, payment.credit, payment.currency),
        "reference": clean(payment.reference, _REFERENCE_ROOM),
        "paid_at": formats.long_date(locale, payment.paid_at, zone) if payment.paid_at else "",
        "payer": clean(mask_text(payment.payer or ""), _NAME_ROOM),
        "reason": _worded(payment.reason, reasons),
        "number_closed": YES if payment.number_closed else "",
        "next_number": payment.next_number or "",
        "ended": YES if payment.ended else "",
        "mistaken": YES if payment.mistaken else "",
    }


def _worded(reason: str | None, reasons: Mapping[str, str]) -> str:
    text = clean(mask_text(reason or ""), _TEXT_ROOM).rstrip(". ")
    lowered = text.lower()
    return next((wording for part, wording in reasons.items() if part in lowered), text)


def _ways(facts: Facts, merchant: Merchant, locale: str) -> dict[str, Any]:
    ways = {
        "pay_url": facts.pay_url or "",
        "pay_token": (facts.pay_url or "").rpartition("/")[2],
        "out_url": facts.out_url or "",
        "link_url": facts.link_url or "",
    }
    if facts.channel is ChannelName.SMS:
        return ways  # no SMS has room for the steps
    amount = formats.money(locale, facts.amount, facts.currency)
    number = (facts.payment and facts.payment.next_number) or facts.number
    return ways | {"methods": [_way(method, locale, number, amount) for method in merchant.methods]}


def _way(method: Method, locale: str, number: str, amount: str) -> dict[str, Any]:
    return {
        "name": method.name,
        "kind": method.kind,
        "company": method.company_number or "",
        "code": method.ussd_code,
        "line": method.line(locale, number=number, amount=amount),
        "ussd": method.fill(locale, "ussd", number=number, amount=amount),
        "app": method.fill(locale, "app", number=number, amount=amount),
    }


def _if_any(locale: str, amount: Decimal | None, currency: str) -> str:
    return formats.money(locale, amount, currency) if amount else ""


def _plain(value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    return YES if value is True else str(value)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    # Joiners are part of how Arabic and emoji are written; every other invisible character only hides things.
    return character if character in "\u200c\u200d" else " " if _breaks(character) else ""


def _breaks(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Zs", "Zl", "Zp")
