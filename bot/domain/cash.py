"""Money that staff took at the counter, as they write it down: each field parsed, or named as a problem."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bot.domain import field, shape
from bot.domain.field import Defaults, Reader
from bot.errors import Refused


class CashForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A payment at the counter."""

    id: Annotated[
        str | None, Meta(description="Your own id, such as a till's slip; the same id counts once.")
    ] = None
    amount: Annotated[str | int | None, Meta(description="What was paid.", examples=["20000"])] = None
    note: Annotated[str | None, Meta(description="Kept with the payment.", examples=["slip 118"])] = None


class Cash(msgspec.Struct, frozen=True, kw_only=True):
    """A payment at the counter, parsed."""

    id: str
    amount: Decimal
    note: str | None


class TakeBackForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why an entry of cash counts no more."""

    note: Annotated[
        str | None,
        Meta(description="What was wrong; kept with the payment.", examples=["typed 20000 for 2000"]),
    ] = None


def take_back_note(fields: Mapping[str, Any], *, settings: Defaults) -> str:
    """Read why from decoded JSON; it is required. Raises Refused."""
    form, problems = shape.read(dict(fields), TakeBackForm)
    reader = Reader(settings, problems)
    if form.note is None:
        reader.fail("note", "is missing", expected="what was wrong with the entry")
    note = field.text(form.note, "note", 200, reader)
    if problems or note is None:
        raise Refused(*problems)
    return note


def cash_payment(fields: Mapping[str, Any], currency: str, *, settings: Defaults) -> Cash:
    """Read it from decoded JSON; without an id it gets one. Raises Refused with every problem there is."""
    form, problems = shape.read(dict(fields), CashForm)
    reader = Reader(settings, problems)
    cash = Cash(
        id=secrets.token_hex(8) if form.id is None else field.share_id(form.id, reader),
        amount=field.amount(form.amount, currency, reader, ""),
        note=field.text(form.note, "note", 200, reader),
    )
    if problems:
        raise Refused(*problems)
    return cash
