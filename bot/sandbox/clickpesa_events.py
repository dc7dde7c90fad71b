"""ClickPesa's webhooks, in the shapes that its texts of three years show, with their checksum.

Source: ClickPesa home/webhooks of 2026 and 2025, developers.clickpesa.com webhook events of 2024, home/checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bot.sandbox.clickpesa import ClickPesaApi, stamp
from bot.sandbox.clickpesa_bills import Payment, plain
from bot.sandbox.clickpesa_checksum import sign

Json = dict[str, Any]


def event(api: ClickPesaApi, payment: Payment) -> Json:
    """The webhook that tells of a payment, signed if the application has a checksum key."""
    name = "PAYMENT FAILED" if payment.status == "FAILED" else "PAYMENT RECEIVED"
    if payment.deposit:
        return _signed(api, {"event": "DEPOSIT RECEIVED", "data": _deposit(payment)})
    year = api.shapes.webhook
    data = _failed(api, payment) if payment.status == "FAILED" else _RECEIVED[year](payment)
    # In 2025 only the failed event had its name under eventType.
    old_name = year == "2024" or (year == "2025" and payment.status == "FAILED")
    return _signed(api, {"eventType" if old_name else "event": name, "data": data})


def _signed(api: ClickPesaApi, body: Json) -> Json:
    key = api.account.checksum_key
    if not key:
        return body
    return body | {"checksum": sign(body, key, escaped=api.shapes.escaped), "checksumMethod": "canonical"}


def _times(payment: Payment) -> Json:
    return {"updatedAt": stamp(payment.updated), "createdAt": stamp(payment.created)}


def _of_2026(payment: Payment) -> Json:
    customer = {"customerName": payment.payer_name, "customerPhoneNumber": payment.payer_phone}
    if payment.payer_email:
        customer["customerEmail"] = payment.payer_email
    return {
        "id": payment.id,
        "status": payment.status,
        "paymentReference": payment.reference,
        "orderReference": payment.number,
        "collectedAmount": plain(payment.amount),
        "collectedCurrency": "TZS",
        "message": payment.message,
        "channel": payment.wallet,
        **_times(payment),
        "customer": customer,
    }


def _of_2025(payment: Payment) -> Json:
    customer = {"name": payment.payer_name, "email": payment.payer_email, "phone": payment.payer_phone}
    return {
        "paymentId": payment.id,
        "orderReference": payment.number,
        "amount": f"{payment.amount:.2f}",
        "currency": "TZS",
        "status": payment.status,
        "customer": {name: value for name, value in customer.items() if value},
        **_times(payment),
    }


def _of_2024(payment: Payment) -> Json:
    told = _of_2026(payment)
    customer = told["customer"]
    email = customer.pop("customerEmail", None)
    return told | {"customer": customer | ({"email": email} if email else {})}


_RECEIVED: Mapping[str, Callable[[Payment], Json]] = {
    "2026": _of_2026,
    "2025": _of_2025,
    "2024": _of_2024,
}


def _failed(api: ClickPesaApi, payment: Payment) -> Json:
    return {
        "id": payment.id,
        "status": payment.status,
        "channel": payment.wallet,
        "orderReference": payment.number,
        "message": payment.message,
        **_times(payment),
        "clientId": api.account.client_id,
    }


def _deposit(payment: Payment) -> Json:
    return {
        "id": payment.id,
        "status": payment.status,
        "paymentReference": payment.reference,
        "orderReference": payment.id,
        "depositAmount": plain(payment.amount),
        "depositCurrency": "TZS",
        "channel": payment.wallet,
        **_times(payment),
        "message": payment.message,
    }
