"""A share job: the wish to get one bill to one contact, as any producer hands it in.

`decode`, `from_fields` and `from_row` give a job in which every value is parsed, normalised and within its
limits, or raise Refused with every problem there is, not only the first. They ask nothing of the outside:
whether a channel is on, a number is known or a contact has opted out is for others to say.

Sources: ClickPesa BillPay API (control numbers are alphanumeric, at most 20 characters; descriptions at most
500; all in TZS); ISO 8601 durations; RFC 3339 times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bot.domain import contact, field, money, row, shape
from bot.domain.bill import BillKind, BillMode
from bot.domain.field import LOCALES, Defaults, Reader
from bot.domain.form import BillForm, CustomerForm, RemindersForm, RouteForm, ShareForm, schema
from bot.domain.message import Lane
from bot.errors import Problem, Refused
from channels.base import ChannelName

__all__ = [
    "LOCALES",
    "Bill",
    "Customer",
    "Defaults",
    "Reminders",
    "Route",
    "ShareJob",
    "decode",
    "from_fields",
    "from_row",
    "schema",
]

LARGEST_JOB_BYTES = 65_536


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """The bill of a job. Exactly one of `number` and `create` is set.

    `amount` is positive, in major units.
    """

    number: str | None
    create: BillKind | None
    kind: BillKind
    term: str
    amount: Decimal
    currency: str
    description: str | None
    due_at: datetime | None
    mode: BillMode


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """One contact: `phone` in E.164, `email` normalised, `telegram` a chat id in digits.

    At least one is set.
    """

    name: str | None
    phone: str | None
    email: str | None
    telegram: str | None
    locale: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`all` channels at once, or `first`: the next only if the one before failed or was not confirmed in
    time.

    `channels` is what the producer asked for, or every channel with an address; an asked one may lack an
    address.
    """

    mode: Literal["all", "first"]
    channels: tuple[ChannelName, ...]
    confirm_within: timedelta


class Reminders(msgspec.Struct, frozen=True, kw_only=True):
    """When to remind, relative to the due time; at most `max` times."""

    before_due: tuple[timedelta, ...]
    after_due: tuple[timedelta, ...]
    max: int


class ShareJob(msgspec.Struct, frozen=True, kw_only=True):
    """One valid share job. `digest` is equal exactly for jobs with equal content, whatever their formatting.

    The lane is how a job travels and not what it says: it is no part of the digest.
    """

    id: str
    bill: Bill
    customer: Customer
    route: Route
    reminders: Reminders
    additional_contact: bool
    send_at: datetime | None
    lane: Lane
    template: str
    callback_url: str | None
    data: dict[str, Any]
    digest: str


def decode(raw: bytes | str, *, settings: Defaults, one: bool = True) -> ShareJob:
    """Decode one share job from JSON.

    `one`: a single share, whose lane is urgent unless it says otherwise; else bulk. Raises Refused.
    """
    if len(raw) > LARGEST_JOB_BYTES:
        raise Refused(
            Problem(field="$", message="is too large", expected=f"at most {LARGEST_JOB_BYTES} bytes")
        )
    if (twice := shape.repeated(raw)) is not None:
        raise Refused(twice)
    try:
        return _job(_FORM.decode(raw), [], settings, one)
    except msgspec.ValidationError:
        return _repaired(_json(raw), settings, one)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(_not_json(error)) from error


def from_fields(fields: Mapping[str, Any], *, settings: Defaults, one: bool = True) -> ShareJob:
    """The same from a job whose JSON is decoded already. Raises Refused."""
    try:
        return _job(msgspec.convert(fields, ShareForm), [], settings, one)
    except msgspec.ValidationError:
        return _repaired(fields, settings, one)


def from_row(cells: Mapping[str, str], *, settings: Defaults, one: bool = False) -> ShareJob:
    """The same from one row of a file: column name -> cell, see `bot.domain.row`.

    Raises Refused, whose problems name columns instead of JSON paths.
    """
    fields, problems = row.fields(cells, settings.zone)
    try:
        job = from_fields(fields, settings=settings, one=one)
    except Refused as refused:
        problems += [msgspec.structs.replace(p, field=row.column(p.field)) for p in refused.problems]
    if problems:
        raise Refused(*problems)
    return job


_FORM = msgspec.json.Decoder(ShareForm)


def _repaired(value: Any, settings: Defaults, one: bool) -> ShareJob:
    """Read on past what has the wrong shape, to tell of every other problem too."""
    if not isinstance(value, dict):
        raise Refused(_not_object(value))
    form, problems = shape.read(value, ShareForm)
    return _job(form, problems, settings, one)


def _not_object(value: Any) -> Problem:
    if isinstance(value, list):
        expected = "one share job as a JSON object; several go as NDJSON, one object per line"
        return Problem(field="$", message="is a list", expected=expected)
    return Problem(field="$", message="is not an object", expected="one share job as a JSON object")


def _json(raw: bytes | str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(_not_json(error)) from error


def _not_json(error: Exception) -> Problem:
    if isinstance(error, UnicodeError):
        reason = "not UTF-8 text"
    else:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Problem(field="$", message=f"is not JSON: {reason}", expected="one JSON object")


def _job(form: ShareForm, problems: list[Problem], settings: Defaults, one: bool) -> ShareJob:
    reader = Reader(settings, problems)
    bill = read_bill(form.bill, reader)
    customer = read_customer(form.customer, bill.create, reader)
    job = ShareJob(
        id=field.share_id(form.id, reader),
        bill=bill,
        customer=customer,
        route=_route(form.route, customer, reader),
        reminders=_reminders(form.reminders, bill.due_at, reader),
        additional_contact=bool(form.additional_contact),
        send_at=field.time(form.send_at, "send_at", reader),
        lane=form.lane or (Lane.URGENT if one else Lane.BULK),
        template=field.template(form.template, reader),
        callback_url=field.callback(form.callback_url, reader),
        data=field.data(form.data, reader),
        digest="",
    )
    if problems:
        raise Refused(*problems)
    return msgspec.structs.replace(job, digest=_digest(job))


def _digest(job: ShareJob) -> str:
    # In minor units, because 45000 and 45000.00 are the same content. Digests outlive releases: the leading
    # version changes whenever this text does.
    amount = money.to_minor(job.bill.amount, job.bill.currency)
    bill = msgspec.structs.replace(job.bill, amount=Decimal(amount))
    content = ("1", msgspec.structs.replace(job, bill=bill, lane=Lane.URGENT, digest=""))
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def read_bill(form: BillForm | None, reader: Reader, place: str = "bill.") -> Bill:
    """The bill of a job; `place` is where its fields stand."""
    if form is None:
        reader.fail("bill", "is missing", expected="an object with number (or create) and amount")
        form = BillForm(number="0", amount=1)
    currency = field.currency(form.currency, reader, place)
    if form.create is not None and currency != "TZS":
        reader.fail(
            f"{place}currency", "has no control numbers", currency, "TZS, in which ClickPesa makes them"
        )
    return Bill(
        number=field.number(form, reader),
        create=form.create,
        kind=field.kind(form, reader),
        term=field.text(form.term, f"{place}term", 64, reader) or "1",
        amount=field.amount(form.amount, currency, reader, place),
        currency=currency,
        description=field.text(form.description, f"{place}description", 500, reader),
        due_at=field.time(form.due_at, f"{place}due_at", reader),
        mode=form.mode or BillMode.PARTIAL,
    )


def read_customer(form: CustomerForm | None, create: BillKind | None, reader: Reader) -> Customer:
    """The customer of a job; a customer number needs more of them."""
    if form is None:
        reader.fail("customer", "is missing", expected="an object with phone, email or telegram")
        form = CustomerForm()
    region = reader.settings.region
    customer = Customer(
        name=field.text(form.name, "customer.name", 120, reader),
        phone=field.address(form.phone, "customer.phone", lambda text: contact.phone(text, region), reader),
        email=field.address(form.email, "customer.email", contact.email, reader),
        telegram=field.address(form.telegram, "customer.telegram", contact.telegram, reader),
        locale=field.locale(form.locale, reader),
    )
    if not (customer.phone or customer.email or customer.telegram) and not reader.within("customer"):
        reader.fail("customer", "has no address", expected="phone, email or telegram")
    if create is BillKind.CUSTOMER:
        _check_created(customer, reader)
    return customer


def _check_created(customer: Customer, reader: Reader) -> None:
    """ClickPesa makes a customer number only for a name with a phone or a mail address."""
    if not (customer.phone or customer.email) and not reader.within("customer"):
        reader.fail(
            "customer", "has neither phone nor email", expected="one of them: a customer number needs it"
        )
    if customer.name is None:
        reader.fail("customer.name", "is missing", expected="a name: a customer number is made for one")


def _route(form: RouteForm | None, customer: Customer, reader: Reader) -> Route:
    form = form or RouteForm()
    within = field.read_duration(form.confirm_within or "PT10M", "route.confirm_within", reader)
    if not timedelta(seconds=1) <= within <= timedelta(days=7):
        reader.fail("route.confirm_within", "is out of range", form.confirm_within, "from PT1S to P7D")
    channels = _reachable(customer) if form.channels is None else _channels(form.channels, customer, reader)
    return Route(mode=form.mode or "first", channels=channels, confirm_within=within)


def _reachable(customer: Customer) -> tuple[ChannelName, ...]:
    found: tuple[ChannelName, ...] = ()
    if customer.phone:
        found += (ChannelName.WHATSAPP, ChannelName.SMS)
    if customer.email:
        found += (ChannelName.EMAIL,)
    return (*found, ChannelName.TELEGRAM) if customer.telegram else found


def _channels(asked: Sequence[ChannelName], customer: Customer, reader: Reader) -> tuple[ChannelName, ...]:
    for index, name in enumerate(asked):
        if name in asked[:index]:
            reader.fail(f"route.channels[{index}]", "is listed twice", name, "each channel once")
    # A phone or mail address may have a linked Telegram chat that only the engine knows.
    usable = {*_reachable(customer), ChannelName.TELEGRAM}
    if not asked and not reader.within("route.channels"):
        reader.fail("route.channels", "is empty", expected="at least one channel, or leave it out")
    elif asked and usable.isdisjoint(asked) and not reader.within("customer"):
        reader.fail(
            "route.channels", "names no channel for which the customer has an address", " ".join(asked)
        )
    return tuple(asked)


def _reminders(form: RemindersForm | None, due_at: datetime | None, reader: Reader) -> Reminders:
    form = form or RemindersForm()
    before, after = _plan(form, due_at is not None, reader)
    if due_at is None and (before or after):
        reader.fail("bill.due_at", "is missing", expected="the time that the reminders are relative to")
    most = 5 if form.max is None else form.max
    if not 0 <= most <= 20:
        reader.fail("reminders.max", "is out of range", most, "0 to 20")
    return Reminders(before_due=before, after_due=after, max=most)


def read_reminders(form: RemindersForm, reader: Reader) -> Reminders:
    """A reminder plan for a bill whose due time is known elsewhere."""
    return _reminders(form, _SOME_TIME, reader)


def _plan(
    form: RemindersForm, due: bool, reader: Reader
) -> tuple[tuple[timedelta, ...], tuple[timedelta, ...]]:
    """Both lists; who writes one of them means none for the other."""
    if form.before_due is None and form.after_due is None:
        return (_DAYS_BEFORE, _DAYS_AFTER) if due else ((), ())
    return (
        field.durations(form.before_due or (), "reminders.before_due", reader),
        field.durations(form.after_due or (), "reminders.after_due", reader),
    )


_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_DAYS_BEFORE = (timedelta(days=3), timedelta(days=1))
_DAYS_AFTER = (timedelta(days=1), timedelta(days=3), timedelta(days=7))
