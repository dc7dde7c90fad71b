"""A share job: the wish to get one bill to one contact, as any producer hands it in."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bot.domain.bill import BillKind, BillMode
from bot.domain.message import Lane
from channels.base import ChannelName


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """The bill of a job. Exactly one of `number` and `create` is set; `amount` is positive, in major units."""

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
    """One contact: `phone` in E.164, `email` normalised, `telegram` a chat id in digits; at least one is set."""

    name: str | None
    phone: str | None
    email: str | None
    telegram: str | None
    locale: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`all` channels at once, or `first`: the next only if the one before failed or was not confirmed in time."""

    mode: Literal["all", "first"]
    channels: tuple[ChannelName, ...]
    confirm_within: timedelta


class Reminders(msgspec.Struct, frozen=True, kw_only=True):
    """When to remind, relative to the due time; at most `max` times."""

    before_due: tuple[timedelta, ...]
    after_due: tuple[timedelta, ...]
    max: int


class ShareJob(msgspec.Struct, frozen=True, kw_only=True):
    """One valid share job. `digest` is equal exactly for jobs with equal content, whatever their formatting."""

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
