"""What a bill's page says: one share's page as plain strings for the template.

A number that must not be paid to (paid, closed, stopped, under check) comes without steps and without the number.
The payer of a payment is never shown, nor is the customer's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from bot.domain.bill import BillKind, BillMode, BillStatus, PaymentView
from bot.render import locale as formats
from bot.render.payment_methods import Method, Way

if TYPE_CHECKING:
    from bot.engine.views import Page

_WAYS: tuple[Way, ...] = get_args(Way)
_COUNTED = {"SUCCESS", "SETTLED"}
_STATES = {BillStatus.CLOSED: "closed", BillStatus.HELD: "held", BillStatus.STOPPED: "stopped"}


def facts(page: Page, lang: str, zone: str) -> dict[str, str]:
    """What the words of the page name: amounts and the due date in that language."""
    return {
        "amount": formats.money(lang, page.amount, page.currency),
        "total": formats.money(lang, page.total, page.currency),
        "paid": formats.money(lang, page.paid, page.currency),
        "due": formats.long_date(lang, page.due_at, zone) if page.due_at else "",
    }


def values(page: Page, lang: str, zone: str, methods: Sequence[Method]) -> dict[str, Any]:
    """The variables of `pay.html`."""
    state = _state(page)
    payable = state == "open"
    amount = formats.money(lang, page.amount, page.currency)
    return {
        "token": page.token,
        "state": state,
        "description": page.description or "",
        "amount": amount,
        "part_paid": page.paid > 0,
        "credit": page.paid > page.total,
        "due": page.due_at is not None,
        "groups": formats.group(page.number).split() if payable else [],
        "exact": page.mode is BillMode.EXACT,
        "once": page.kind is BillKind.ORDER,
        "payments": [_payment(payment, lang, zone) for payment in page.payments if _counts(payment)],
        "methods": [_method(m, lang, page.number, amount) for m in methods] if payable else [],
    }


def _state(page: Page) -> str:
    if page.status is BillStatus.SETTLED or page.amount <= 0:
        return "paid"
    return _STATES.get(page.status, "open")


def _counts(payment: PaymentView) -> bool:
    return payment.matched and payment.status in _COUNTED and payment.amount is not None


def _payment(payment: PaymentView, lang: str, zone: str) -> dict[str, str]:
    amount = Decimal(payment.amount or 0)
    return {
        "date": formats.date(lang, payment.paid_at or payment.received_at, zone),
        "amount": formats.money(lang, amount, payment.currency or ""),
    }


def _method(method: Method, lang: str, number: str, amount: str) -> dict[str, Any]:
    ways = ((way, method.fill(lang, way, number=number, amount=amount)) for way in _WAYS)
    return {
        "name": method.name,
        "company": method.company_number or "",
        "ways": [{"way": way, "steps": steps} for way, steps in ways if steps],
    }
