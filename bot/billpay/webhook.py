"""ClickPesa's payment payloads, of all shapes that are documented or seen, as one PaymentEvent.

Reading is tolerant: unknown fields are kept in `raw`, old names are understood, a payment whose amount cannot
be read is passed on without one, so that staff see it and nothing is lost. Only a payload that names no
event, no payment or no control number is refused. Whether a payload is genuine is for `bot.billpay.checksum`
to say.

Source: ClickPesa docs, "Webhooks" (current shape and those of 2024 and 2025), "Querying for payments".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bot.billpay import checksum
from bot.domain import contact, money
from bot.domain.bill import PaymentEvent
from bot.errors import Problem, Refused

Event = Literal["received", "failed", "deposit", "other"]

_EVENTS: dict[str, Event] = {
    "PAYMENT RECEIVED": "received",
    "PAYMENT FAILED": "failed",
    "DEPOSIT RECEIVED": "deposit",
}
# A payload may carry several; a match on any is the same payment.
_IDS = ("id", "paymentId", "paymentReference")
# Only the first is documented; the others are where some clients look.
_NUMBERS = ("orderReference", "billPayNumber", "controlNumber", "billReference")
_AMOUNTS = ("collectedAmount", "amount", "depositAmount")
_CURRENCIES = ("collectedCurrency", "currency", "depositCurrency")
_ASSUMED_STATUS: dict[Event, str] = {
    "received": "SUCCESS",
    "failed": "FAILED",
    "deposit": "SUCCESS",
    "other": "UNKNOWN",
}
_PAID = frozenset({"SUCCESS", "SETTLED"})

# ClickPesa writes "0" for what would be negative.
_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def parse(raw: bytes) -> PaymentEvent:
    """Read one webhook. Raises Refused when it is not an understandable payment event."""
    try:
        payload = checksum.load(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(
            Problem(field="$", message="is not one JSON object", expected="a ClickPesa event")
        ) from error
    return read(payload, raw)


def read(payload: Mapping[str, Any], raw: bytes) -> PaymentEvent:
    """The same, where `raw` has been parsed already (`checksum.verified`)."""
    event = _event(payload)
    data = payload.get("data")
    if not isinstance(data, dict):
        raise Refused(Problem(field="data", message="is missing or no object", expected="the payment"))
    return _payment(data, event, "webhook", raw.decode())


def from_listing(item: Mapping[str, Any], number: str | None = None) -> PaymentEvent:
    """Read one payment of ClickPesa's lists; `number` is what was asked for, if the item does not say.

    Raises Refused.
    """
    status = _text(item, ("status",)) or ""
    event: Event = "failed" if status.upper() == "FAILED" else "received"
    named = {"orderReference": number, **item} if number else item
    return _payment(named, event, "list", msgspec.json.encode(dict(item)).decode())


def _event(payload: Mapping[str, Any]) -> Event:
    name = _text(payload, ("event", "eventType"))
    if name is None:
        raise Refused(
            Problem(field="event", message="is missing", expected="PAYMENT RECEIVED or PAYMENT FAILED")
        )
    return _EVENTS.get(name) or _EVENTS.get(" ".join(re.split(r"[\s_.-]+", name.upper())), "other")


def _payment(
    data: Mapping[str, Any], event: Event, source: Literal["webhook", "list"], raw: str
) -> PaymentEvent:
    people = data.get("customer")
    customer = people if isinstance(people, dict) else {}
    currency = (_text(data, _CURRENCIES) or "").upper() or None
    return PaymentEvent(
        event=event,
        ids=_ids(data),
        number=_number(data),
        status=_status(data, event),
        amount=_amount(data, currency),
        currency=currency,
        channel=_text(data, ("channel",)),
        payer_name=_text(customer, ("customerName", "name")),
        payer_phone=_phone(
            _text(customer, ("customerPhoneNumber", "phone")) or _text(data, ("paymentPhoneNumber",))
        ),
        payer_email=_text(customer, ("customerEmail", "email")),
        message=_text(data, ("message",)),
        created_at=_time(data, "createdAt"),
        updated_at=_time(data, "updatedAt"),
        source=source,
        raw=raw,
    )


def _ids(data: Mapping[str, Any]) -> tuple[str, ...]:
    found = dict.fromkeys(name for key in _IDS if (name := _text(data, (key,))))
    if not found:
        raise Refused(Problem(field="data.id", message="is missing", expected=f"any of {', '.join(_IDS)}"))
    return tuple(found)


def _number(data: Mapping[str, Any]) -> str:
    number = _text(data, _NUMBERS)
    if number is None or len(number) > 128:
        raise Refused(
            Problem(
                field="data.orderReference",
                message="is missing or no reference",
                expected="the control number",
            )
        )
    return number


def _status(data: Mapping[str, Any], event: Event) -> str:
    status = (_text(data, ("status",)) or _ASSUMED_STATUS[event]).upper()
    # The event decides: money is never counted on the word of a payload that says it failed.
    return "FAILED" if event == "failed" and status in _PAID else status


def _amount(data: Mapping[str, Any], currency: str | None) -> Decimal | None:
    """The amount, None if there is none that can be counted in its currency."""
    text = _text(data, _AMOUNTS)
    if text is None or not _PLAIN.fullmatch(text):
        return None
    try:
        money.to_minor(Decimal(text), currency or "TZS")
    except ValueError:
        return None
    return Decimal(text)


def _text(data: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of `names` that holds text or a number, fit for one line; empty counts as absent."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            text = str(value)
            # What can be printed is fit; that is seen sooner than what is unfit.
            text = (text if text.isprintable() else _UNFIT.sub(" ", text)).strip()[:500]
            if text:
                return text
    return None


def _phone(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return contact.phone(text)
    except contact.BadPhone:
        return text


def _time(data: Mapping[str, Any], name: str) -> datetime | None:
    text = _text(data, (name,))
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
