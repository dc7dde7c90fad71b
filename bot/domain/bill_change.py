"""A change of a bill, as staff or a producer write it: each field parsed, or named as a problem."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bot.domain import field, shape
from bot.domain.bill import BillMode, BillView
from bot.domain.field import Defaults, Reader
from bot.domain.form import RemindersForm
from bot.domain.share import Reminders, read_reminders
from bot.errors import Refused

DueTime = Annotated[
    str | None,
    Meta(
        description="Time with its offset (RFC 3339); null removes it, and the reminders with it.",
        examples=["2026-12-01T09:00:00+03:00"],
        extra_json_schema={"format": "date-time"},
    ),
]


class BillChangeForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays. A `term` that the number does not have yet is its next one."""

    term: Annotated[
        str | None,
        Meta(description="Which bill of the number; a new name begins its next term.", examples=["2026-2"]),
    ] = None
    amount: Annotated[str | int | None, Meta(description="The bill's whole amount.", examples=["60000"])] = (
        None
    )
    description: Annotated[str | None, Meta(examples=["Term 3 fees"])] = None
    due_at: DueTime = None
    mode: Annotated[BillMode | None, Meta(description="`exact` or `partial`.")] = None
    status: Annotated[
        Literal["ACTIVE", "INACTIVE"] | None,
        Meta(description="`INACTIVE` cancels: nothing more is sent, and ClickPesa takes no payment."),
    ] = None
    reminders: RemindersForm | None = None
    notify: Annotated[
        bool | None, Meta(description="Tell the customer of a new amount, due time or mode. Default true.")
    ] = None


class BillChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change in which every field is parsed; None leaves it. The amount fits the number's currency.

    `no_due`: the bill is due at no time any more, and its reminders end.
    """

    term: str | None = None
    amount: Decimal | None = None
    description: str | None = None
    due_at: datetime | None = None
    no_due: bool = False
    mode: BillMode | None = None
    status: Literal["ACTIVE", "INACTIVE"] | None = None
    reminders: Reminders | None = None
    notify: bool = True


class ChangedBill(msgspec.Struct, frozen=True, kw_only=True):
    """A bill after its change.

    `clickpesa`: `updated`, `later` (it will be told), `unknown` (it does not have the number), or `off` (tuma has no
    credentials, or there was nothing to tell).
    """

    bill: BillView
    messages: int
    canceled: int
    clickpesa: Literal["updated", "later", "unknown", "off"]


def bill_change(fields: Mapping[str, Any], currency: str, *, settings: Defaults) -> BillChange:
    """Read a change of a bill in `currency` from decoded JSON. Raises Refused with every problem there is."""
    form, problems = shape.read(dict(fields), BillChangeForm)
    reader = Reader(settings, problems)
    change = BillChange(
        term=field.text(form.term, "term", 64, reader),
        amount=None if form.amount is None else field.amount(form.amount, currency, reader, ""),
        description=field.text(form.description, "description", 500, reader),
        due_at=field.time(form.due_at, "due_at", reader),
        no_due="due_at" in fields and fields["due_at"] is None,
        mode=form.mode,
        status=form.status,
        reminders=None if form.reminders is None else read_reminders(form.reminders, reader),
        notify=form.notify is not False,
    )
    if not problems:
        _check_whole(change, reader)
    if problems:
        raise Refused(*problems)
    return change


def _check_whole(change: BillChange, reader: Reader) -> None:
    bare = msgspec.structs.replace(change, notify=True, term=None)
    if bare == BillChange() and change.term is not None:
        expected = "the amount of the next term, or what of this one changes"
        reader.fail("amount", "is missing: a term alone changes nothing", expected=expected)
    elif bare == BillChange():
        expected = "amount, description, due_at, mode, status or reminders"
        reader.fail("$", "changes nothing", expected=expected)
    if change.status == "INACTIVE" and bare != BillChange(status="INACTIVE"):
        reader.fail(
            "status", "INACTIVE ends the bill, so nothing else can change with it", expected="status alone"
        )
