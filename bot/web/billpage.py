"""What a bill's page says: one share's page as plain strings for the template, and as the facts of its PDF.

A number that must not be paid to (paid, closed, stopped, under check) comes without steps and without the number.
The payer of a payment is never shown, nor is the customer's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

import msgspec

from bot.domain.bill import BillKind, BillMode, BillStatus
from bot.domain.money import plain, to_minor
from bot.render import locale as formats
from bot.render.invoice import Invoice, Received
from bot.render.payment_methods import Method, Way

if TYPE_CHECKING:
    from bot.engine.pageview import Page, Paid

_WAYS: tuple[Way, ...] = get_args(Way)
_STATES = {BillStatus.CLOSED: "closed", BillStatus.HELD: "held", BillStatus.STOPPED: "stopped"}


class BillForm(msgspec.Struct, frozen=True, kw_only=True):
    """A bill for other programs. `status`: open, paid, closed, held, stopped; only an open one has its `number`.

    Amounts are decimal strings in the major unit. `amount` is what is to be paid now: `older`, left of earlier bills of
    the number, and what `paid` leaves of `total`; of a held or stopped bill nothing is asked, so both are 0 and nothing
    is due. `url` opens the customer's page.
    """

    merchant: str
    status: str
    number: str | None
    amount: str
    older: str
    total: str
    paid: str
    currency: str
    due_at: str | None
    once: bool
    exact: bool
    url: str
    invoice_url: str
    embed_url: str


def state(page: Page) -> str:
    """open, paid, closed, held or stopped."""
    if page.status is BillStatus.SETTLED or page.amount <= 0:
        return "paid"
    return _STATES.get(page.status, "open")


def facts(page: Page, lang: str, zone: str) -> dict[str, str]:
    """What the words of the page name: amounts and the due date in that language."""
    return invoice(page, lang, None).facts(zone)


def values(page: Page, lang: str, zone: str, methods: Sequence[Method]) -> dict[str, Any]:
    """The variables of `pay.html` and `embed.html` that come from the bill."""
    payable = state(page) == "open"
    bill = invoice(page, lang, None)
    amount = bill.money(page.amount)
    return {
        "token": page.token,
        "state": state(page),
        "note": bill.note,
        "description": page.description or "",
        "amount": amount,
        "older": bill.money(page.older) if page.older > 0 else "",
        "total": bill.money(page.total),
        "paid": bill.money(page.paid) if page.paid > 0 else "",
        "credit": page.credit > 0,
        "due": page.due_at is not None,
        "number": page.number if payable else "",
        "groups": formats.group(page.number).split() if payable else [],
        "exact": page.mode is BillMode.EXACT,
        "once": page.kind is BillKind.ORDER,
        "payments": [_payment(payment, lang, zone) for payment in page.payments],
        "methods": _methods(page, lang, methods, amount) if payable else [],
        "live": f"/pay/{page.token}/live?seen={page.version}",
        "invoice": f"/pay/{page.token}/invoice.pdf?lang={lang}",
    }


def invoice(page: Page, lang: str, url: str | None) -> Invoice:
    """The same bill as a PDF is made of; `url` is where its QR code leads."""
    return Invoice(
        locale=lang,
        state=state(page),
        name=page.name,
        number=page.number,
        description=page.description,
        amount=page.amount,
        older=page.older,
        total=page.total,
        paid=page.paid,
        credit=page.credit,
        currency=page.currency,
        due_at=page.due_at,
        order_number=page.kind is BillKind.ORDER,
        exact=page.mode is BillMode.EXACT,
        payments=tuple(
            Received(
                at=each.at,
                amount=each.amount,
                whole=each.whole,
                currency=each.currency,
                reference=each.reference,
            )
            for each in page.payments
        ),
        url=url,
        renewing=page.renewing,
    )


def form(page: Page, merchant: str, origin: str) -> BillForm:
    """The same bill for other programs; `origin` is where this server is from outside."""
    url = f"{origin}/pay/{page.token}"
    bill, payable = invoice(page, "en", url), state(page) == "open"
    return BillForm(
        merchant=merchant,
        status=state(page),
        number=page.number if payable else None,
        amount=_plain(bill.amount, page.currency),
        older=_plain(bill.older, page.currency),
        total=_plain(page.total, page.currency),
        paid=_plain(page.paid, page.currency),
        currency=page.currency,
        due_at=bill.due_at.isoformat() if bill.due_at else None,
        once=page.kind is BillKind.ORDER,
        exact=page.mode is BillMode.EXACT,
        url=url,
        invoice_url=f"{url}/invoice.pdf",
        embed_url=f"{url}/embed",
    )


def _plain(amount: Decimal, currency: str) -> str:
    return plain(to_minor(amount, currency), currency)


def _payment(payment: Paid, lang: str, zone: str) -> dict[str, Any]:
    whole = formats.money(lang, payment.whole, payment.currency)
    return {
        "date": formats.date(lang, payment.at, zone),
        "amount": formats.money(lang, payment.amount, payment.currency),
        "reference": payment.reference or "",
        "whole": whole if payment.whole != payment.amount else "",
        "here": payment.amount > 0,
    }


def _methods(page: Page, lang: str, methods: Sequence[Method], amount: str) -> list[dict[str, Any]]:
    """Every way to pay, the one of the last payment first. Nothing is guessed from a phone's prefix."""
    last = next((method for method in methods if page.wallet and _is_called(method, page.wallet)), None)
    ranked = sorted(methods, key=lambda method: method is not last)
    return [_method(method, lang, page.number, amount, last=method is last) for method in ranked]


def _is_called(method: Method, channel: str) -> bool:
    names = (method.id, method.name, method.short_name, *method.also_known_as)
    return _bare(channel) in {_bare(name) for name in names}


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _method(method: Method, lang: str, number: str, amount: str, *, last: bool) -> dict[str, Any]:
    ways = ((way, method.fill(lang, way, number=number, amount=amount)) for way in _WAYS)
    return {
        "name": method.name,
        "company": method.company_number or "",
        "code": method.ussd_code,
        "dial": f"tel:{quote(method.ussd_code, safe='*')}" if method.ussd_code else "",
        "last": last,
        "ways": [{"way": way, "steps": steps} for way, steps in ways if steps],
    }
