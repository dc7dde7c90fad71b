"""The facts of one bill as a page of their own: an invoice while it is to be paid, a receipt once it is.

They come from the customer's page or from a message; bot.render.invoice_pdf draws them. Amounts are Decimal in the
major unit, times are aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bot.domain.message import Kind
from bot.render import locale as formats
from bot.render.facts import Facts, PaymentFacts

_UNASKED = {"held", "stopped"}
_WITH_INVOICE = {Kind.INSTRUCTIONS, Kind.REMINDER, Kind.BILL_CHANGED, Kind.RECEIPT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Money that came in, `whole`; `amount` of it counts for the bill."""

    at: datetime
    amount: Decimal
    whole: Decimal
    currency: str
    reference: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """What the page says of a bill. `state`: open, paid, closed, held, stopped. `url` is where the QR code leads.

    `amount` is to be paid; `older`, of it, is left of earlier bills of the number. `renewing`: a new number is being
    made. Of a bill that is stopped or under check nothing is asked: both are 0, and nothing is due.
    """

    locale: str
    state: str
    name: str | None
    number: str
    description: str | None
    amount: Decimal
    older: Decimal
    total: Decimal
    paid: Decimal
    credit: Decimal
    currency: str
    due_at: datetime | None
    order_number: bool
    exact: bool
    payments: tuple[Received, ...]
    url: str | None
    renewing: bool = False

    def __post_init__(self) -> None:
        if self.state in _UNASKED:
            for name, nothing in (("amount", Decimal(0)), ("older", Decimal(0)), ("due_at", None)):
                object.__setattr__(self, name, nothing)

    @property
    def note(self) -> str:
        """The word that says what to do in a state in which nobody may pay."""
        return "renewing" if self.state == "closed" and self.renewing else f"{self.state}_note"

    def money(self, amount: Decimal) -> str:
        """An amount as the page writes it."""
        return formats.money(self.locale, amount, self.currency)

    def facts(self, zone: str) -> dict[str, str]:
        """What the words of the page name."""
        return {
            "amount": self.money(self.amount),
            "total": self.money(self.total),
            "paid": self.money(self.paid),
            "due": formats.long_date(self.locale, self.due_at, zone) if self.due_at else "",
            "ending": self.number[-4:],
        }


def has_invoice(facts: Facts) -> bool:
    """Whether a message is about a bill as such, or about money that came in for it."""
    return facts.kind in _WITH_INVOICE


def of_message(facts: Facts, locale: str) -> Invoice:
    """The bill as one message tells it."""
    payment = facts.payment
    return Invoice(
        locale=locale,
        state=_state(facts),
        name=facts.name,
        number=(payment and payment.next_number) or facts.number,
        description=facts.description,
        amount=facts.amount,
        older=facts.carried,
        total=facts.total,
        paid=facts.paid,
        credit=payment.credit if payment and payment.credit_here else Decimal(0),
        currency=facts.currency,
        due_at=facts.due_at,
        order_number=facts.order_number,
        exact=facts.exact,
        payments=_told(payment),
        url=facts.pay_url,
        renewing=facts.renewing,
    )


def _state(facts: Facts) -> str:
    payment = facts.payment
    if payment is not None and payment.ended:
        return "stopped"
    if payment is None or (payment.next_number and payment.balance > 0):
        return "open"
    # What is owed besides may be a bill of its own.
    return (
        "paid" if min(payment.balance, facts.amount) <= 0 else "closed" if payment.number_closed else "open"
    )


def _told(payment: PaymentFacts | None) -> tuple[Received, ...]:
    if payment is None or payment.amount is None or payment.paid_at is None:
        return ()
    here = payment.amount if payment.here is None else payment.here
    return (
        Received(
            at=payment.paid_at,
            amount=here,
            whole=payment.amount,
            currency=payment.currency,
            reference=payment.reference,
        ),
    )
