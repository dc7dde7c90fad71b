"""Control numbers as ClickPesa keeps them: what may be asked for, and when a number takes no more money.

An order number closes at its first payment, even a partial one; a customer number stays open until its cap is
reached. Money is Decimal, shillings. Where ClickPesa writes no text for a broken rule the texts are ours; the
statuses are not. Source: ClickPesa BillPay API and FAQ.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

PARTIAL, EXACT = "ALLOW_PARTIAL_AND_OVER_PAYMENT", "EXACT"
DUPLICATE = "Bill reference already used: Use a different reference"
_REFERENCE = re.compile(r"[A-Za-z0-9]{1,20}")
_PHONE = re.compile(r"\d{12}")
_COMMON = {
    "billReference",
    "billAmount",
    "billMaxCollectionAmount",
    "billDescription",
    "billPaymentMode",
    "checksum",
    "checksumMethod",
}
_CUSTOMER = {"customerName", "customerPhone", "customerEmail"}
_PATCH = {"billStatus", "billAmount", "billMaxCollectionAmount", "billDescription", "billPaymentMode"}


class ClickPesaError(Exception):
    """A refused request: HTTP status and the one member `message`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Declined(Exception):
    """The customer's wallet did not take the payment; the text is what it says."""


@dataclass(slots=True, kw_only=True)
class Payment:
    """One attempt to pay.

    `status` is ClickPesa's word; `offline`: to the merchant's own number, so no application knows of it; `deposit`:
    to the merchant's account, not for a bill; `webhook_status` what the webhook was answered (0: nobody), and `told`
    when that was a 200 for the first time.
    """

    id: str
    number: str
    amount: Decimal
    status: str
    reference: str
    wallet: str
    payer_name: str
    payer_phone: str
    payer_email: str | None
    message: str
    created: datetime
    updated: datetime
    offline: bool = False
    deposit: bool = False
    webhook_status: int | None = None
    webhook_ms: float | None = None
    told: datetime | None = None

    @property
    def counts(self) -> bool:
        """Whether the money arrived (and, as ClickPesa counts a cap, whatever became of it later)."""
        return self.status not in {"FAILED", "PROCESSING", "PENDING"}


@dataclass(slots=True, kw_only=True)
class Bill:
    """A control number. `source` says who told the sandbox: `api`, `demo`, or `read` in a message.

    `closed`: it takes no more money, whatever `status` shows. `before`: what was paid when the amount was last said.
    """

    number: str
    kind: str
    amount: Decimal | None = None
    cap: Decimal | None = None
    mode: str = PARTIAL
    description: str | None = None
    customer_name: str | None = None
    customer_phone: str | None = None
    customer_email: str | None = None
    status: str = "ACTIVE"
    source: str = "api"
    closed: bool = False
    before: Decimal = Decimal(0)
    created: datetime | None = None
    payments: list[Payment] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether it takes money."""
        return self.status == "ACTIVE" and not self.closed

    @property
    def paid(self) -> Decimal:
        """What was collected."""
        return sum((each.amount for each in self.payments if each.counts), Decimal(0))

    @property
    def owed(self) -> Decimal | None:
        """What is left of the amount: of one that was changed, what was not paid since."""
        return None if self.amount is None else max(self.amount - (self.paid - self.before), Decimal(0))

    @property
    def remaining(self) -> Decimal | None:
        """What may still be collected under the cap."""
        return None if self.cap is None else max(self.cap - self.paid, Decimal(0))

    def verify(self, amount: Decimal) -> None:
        """The network's question before it takes the money. Raises Declined."""
        if not self.open:
            raise Declined(f"{self.number} takes no payments any more")
        if self.mode == EXACT and self.amount is not None and amount != self.amount:
            raise Declined(f"only exactly {plain(self.amount)} can be paid to {self.number}")
        if amount <= 0 or amount != round(amount, 2):
            raise Declined("the amount must be more than zero, with at most 2 decimals")
        if self.remaining is not None and amount > self.remaining:
            raise Declined(f"at most {plain(self.remaining)} can still be paid to {self.number}")

    def take(self, payment: Payment, *, paid_order_active: bool = False, failed_closes: bool = False) -> None:
        """Enter a payment, and close what it closes; the options are those of `Shapes`."""
        self.payments.append(payment)
        once = self.kind == "order" and (payment.counts or (failed_closes and payment.status == "FAILED"))
        full = self.kind == "customer" and self.remaining == 0
        self.closed = self.closed or once
        if full or (once and not paid_order_active):
            self.status = "INACTIVE"

    def document(self, *, status: bool = False) -> dict[str, Any]:
        """The bill as GET shows it; PATCH's answer adds the status."""
        values = {
            "billPayNumber": self.number,
            "billStatus": self.status if status else None,
            "billDescription": self.description,
            "billCustomerName": None if status else self.customer_name,
            "billAmount": number(self.amount),
            "billMaxCollectionAmount": number(self.cap),
            "billRemainingAmount": number(self.remaining),
            "billPaymentMode": self.mode,
        }
        return {name: value for name, value in values.items() if value is not None}


def number(amount: Decimal | None) -> int | float | None:
    """An amount as ClickPesa prints it in JSON: whole ones without a point."""
    if amount is None:
        return None
    return int(amount) if amount == int(amount) else float(amount)


def plain(amount: Decimal) -> str:
    """An amount as text: "12500", "12500.50"."""
    return str(int(amount)) if amount == int(amount) else f"{amount:.2f}"


# Reading requests


def new_bill(body: Mapping[str, Any], kind: str, taken: Mapping[str, Bill], now: datetime) -> Bill:
    """Read a create request. Raises ClickPesaError 400 or 409."""
    _only(body, _COMMON | (_CUSTOMER if kind == "customer" else set()))
    reference = _reference(body.get("billReference"))
    cap, amount = money(body, "billMaxCollectionAmount"), money(body, "billAmount")
    bill = Bill(
        number=reference or _free_number(taken),
        kind=kind,
        amount=amount,
        cap=cap,
        mode=PARTIAL if cap is not None and "billPaymentMode" not in body else _mode(body),
        description=_words(body, "billDescription"),
        created=now,
    )
    if kind == "customer":
        _read_customer(body, bill)
    _check_cap(bill)
    if bill.number in taken:
        raise ClickPesaError(409, DUPLICATE)
    return bill


def patch(bill: Bill, body: Mapping[str, Any]) -> None:
    """Apply an update. Raises ClickPesaError 400, and then nothing has changed."""
    _only(body, _PATCH | {"checksum", "checksumMethod"})
    if not _PATCH & body.keys():
        raise ClickPesaError(400, "At least one field to update is required")
    status, mode = body.get("billStatus", bill.status), _mode(body, bill.mode)
    if status not in {"ACTIVE", "INACTIVE"}:
        raise ClickPesaError(400, "billStatus must be one of the following values: ACTIVE, INACTIVE")
    amount = money(body, "billAmount") or bill.amount
    cap = money(body, "billMaxCollectionAmount") or (
        None if body.get("billPaymentMode") == EXACT else bill.cap
    )
    description = _words(body, "billDescription", 500) or bill.description
    _check_cap(Bill(number=bill.number, kind=bill.kind, amount=amount, cap=cap, mode=mode))
    if "billAmount" in body:
        bill.before = bill.paid
    bill.status, bill.mode, bill.amount, bill.cap, bill.description = status, mode, amount, cap, description


def _only(body: Mapping[str, Any], allowed: set[str]) -> None:
    for name in body:
        if name not in allowed:
            raise ClickPesaError(400, f"property {name} should not exist")


def _reference(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise ClickPesaError(400, "billReference must be alphanumeric and at most 20 characters")
    if value.lower() in {"all", "update"}:
        raise ClickPesaError(400, "billReference is reserved")
    return value


def _free_number(taken: Mapping[str, Bill]) -> str:
    while True:
        candidate = f"{secrets.randbelow(9 * 10**13) + 10**13}"
        if candidate not in taken:
            return candidate


def money(body: Mapping[str, Any], name: str) -> Decimal | None:
    """A JSON number of at least 0.01 with at most 2 decimals. Raises ClickPesaError 400."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClickPesaError(400, f"{name} must be a number")
    amount = Decimal(str(value))
    if not amount.is_finite() or amount < Decimal("0.01"):
        raise ClickPesaError(400, f"{name} must not be less than 0.01")
    if amount != round(amount, 2):
        raise ClickPesaError(400, f"{name} must have at most 2 decimal places")
    return amount


def _mode(body: Mapping[str, Any], default: str = PARTIAL) -> str:
    mode = body.get("billPaymentMode", default)
    if mode not in {PARTIAL, EXACT}:
        raise ClickPesaError(400, f"billPaymentMode must be one of the following values: {PARTIAL}, {EXACT}")
    return str(mode)


def _words(body: Mapping[str, Any], name: str, limit: int | None = None) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ClickPesaError(400, f"{name} must be a string")
    if limit is not None and len(value) > limit:
        raise ClickPesaError(400, f"{name} must be shorter than or equal to {limit} characters")
    return value


def _read_customer(body: Mapping[str, Any], bill: Bill) -> None:
    bill.customer_name = _words(body, "customerName")
    bill.customer_phone, bill.customer_email = _words(body, "customerPhone"), _words(body, "customerEmail")
    if not bill.customer_name:
        raise ClickPesaError(400, "customerName is required")
    if not (bill.customer_phone or bill.customer_email):
        raise ClickPesaError(400, "customerPhone or customerEmail is required")
    if bill.customer_phone and not _PHONE.fullmatch(bill.customer_phone):
        raise ClickPesaError(400, "customerPhone must have a country code and no plus sign, 12 digits")


def _check_cap(bill: Bill) -> None:
    if bill.cap is None:
        return
    if bill.mode != PARTIAL:
        raise ClickPesaError(400, f"billMaxCollectionAmount is only allowed with {PARTIAL}")
    if bill.amount is not None and bill.cap < bill.amount:
        raise ClickPesaError(400, "billMaxCollectionAmount must be greater than or equal to billAmount")
