"""A bill that tuma is asked to make, without telling anybody of it: one order or customer number.

Source: ClickPesa BillPay API (create order and customer control numbers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bot.domain import field, money, row, shape
from bot.domain.bill import BillKind, BillMode
from bot.domain.field import Defaults, Reader
from bot.domain.form import BillForm, CustomerForm, Time
from bot.domain.share import Bill, Customer, read_bill, read_customer
from bot.errors import Refused


class NewBillForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A bill to be made. A customer number needs a customer with a name and a phone or mail address."""

    id: Annotated[
        str | None,
        Meta(description="Your own id; the same id never makes two.", examples=["bill-2026-00017"]),
    ] = None
    create: Annotated[BillKind | None, Meta(description="`order` or `customer`.")] = None
    term: Annotated[str | None, Meta(description="Names the first bill; default `1`.")] = None
    amount: Annotated[str | int | None, Meta(description="Positive, TZS.", examples=["45000"])] = None
    currency: Annotated[Literal["TZS"] | None, Meta(description="ClickPesa makes numbers in TZS.")] = None
    description: Annotated[str | None, Meta(examples=["Term 2 fees"])] = None
    due_at: Time = None
    mode: Annotated[BillMode | None, Meta(description="Default `partial`.")] = None
    customer: CustomerForm | None = None


class BillJob(msgspec.Struct, frozen=True, kw_only=True):
    """A valid bill to be made. `digest` is equal exactly for equal content."""

    id: str
    bill: Bill
    customer: Customer | None
    digest: str


def bill_job(fields: Mapping[str, Any], *, settings: Defaults) -> BillJob:
    """Read a bill to be made from decoded JSON. Raises Refused with every problem there is."""
    form, problems = shape.read(dict(fields), NewBillForm)
    reader = Reader(settings, problems)
    if form.create is None and not reader.within("create"):
        reader.fail("create", "is missing", expected="order or customer")
    bill = read_bill(_bill_form(form), reader, "")
    given = form.customer is not None or form.create is BillKind.CUSTOMER
    customer = read_customer(form.customer, form.create, reader) if given else None
    job = BillJob(id=field.share_id(form.id, reader), bill=bill, customer=customer, digest="")
    if problems:
        raise Refused(*problems)
    return msgspec.structs.replace(job, digest=_digest(job))


def bill_row(cells: Mapping[str, str], create: BillKind | None, *, settings: Defaults) -> BillJob:
    """Read it from a row of a file; `create` is the kind of rows that name none. Raises Refused, naming columns."""
    fields, problems = row.fields(cells, settings.zone)
    named = fields.pop("bill")
    kind = named.pop("kind", None) or named.pop("create", None) or create
    job = {"id": fields.get("id"), "create": kind, **named}
    if fields["customer"]:
        job["customer"] = fields["customer"]
    try:
        return bill_job(job, settings=settings)
    except Refused as refused:
        problems += [msgspec.structs.replace(p, field=_column(p.field, cells)) for p in refused.problems]
        raise Refused(*problems) from refused


def _column(path: str, cells: Mapping[str, str]) -> str:
    """Files may call what is created `kind`, as `tuma bill create --kind` does."""
    column = row.column(path)
    named = any(str(name).strip().lower() == "create" for name in cells)
    return "kind" if column == "create" and not named else column


def _bill_form(form: NewBillForm) -> BillForm:
    return BillForm(
        create=form.create or BillKind.ORDER,
        term=form.term,
        amount=form.amount,
        currency=form.currency,
        description=form.description,
        due_at=form.due_at,
        mode=form.mode,
    )


def _digest(job: BillJob) -> str:
    amount = money.to_minor(job.bill.amount, job.bill.currency)
    content = (
        "1",
        msgspec.structs.replace(job, bill=msgspec.structs.replace(job.bill, amount=Decimal(amount))),
    )
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
