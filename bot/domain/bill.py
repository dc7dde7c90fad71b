"""Bills, payments and shares as others see them: the values that HTTP, command line and bot show.

Amounts are decimal strings in the currency's major unit ("45000", "12.50"), never floats; times are aware UTC;
contacts are masked.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec

from bot.domain.message import Kind, Lane, Outcome, State


class BillKind(StrEnum):
    """`order` closes at its first payment, even a partial one; `customer` stays open until its cap is reached."""

    ORDER = "order"
    CUSTOMER = "customer"


class BillMode(StrEnum):
    """`exact` takes only the exact amount; `partial` allows partial and over-payment (ClickPesa's default)."""

    EXACT = "exact"
    PARTIAL = "partial"


class BillStatus(StrEnum):
    """`open` may be reminded; `held` waits for staff; nothing is sent about the others but receipts."""

    OPEN = "open"
    HELD = "held"
    SETTLED = "settled"
    CLOSED = "closed"
    STOPPED = "stopped"


class PaymentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing said about one payment, by a webhook, ClickPesa's list, or staff.

    `ids` are aliases (`id`, `paymentId`, `paymentReference`): a match on any is the same payment. `amount` is None
    when the payload carries none (PAYMENT FAILED). `status` is ClickPesa's word, upper case, unknown ones kept.
    """

    event: Literal["received", "failed", "deposit", "other"]
    ids: tuple[str, ...]
    number: str
    status: str
    amount: Decimal | None = None
    currency: str | None = None
    channel: str | None = None
    payer_name: str | None = None
    payer_phone: str | None = None
    payer_email: str | None = None
    message: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    source: Literal["webhook", "list", "staff"] = "webhook"
    raw: str = "{}"


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A payment on record. `matched` is false while staff must decide; `reason` says why.

    `receipt` is the number on its receipts, `reference` the network's. `counts_for`: the number whose bill it pays,
    when that is another. `note` is what staff wrote about it.
    """

    id: str
    number: str
    amount: str | None
    currency: str | None
    status: str
    matched: bool
    reason: str | None
    channel: str | None
    payer: str | None
    message: str | None
    received_at: datetime
    paid_at: datetime | None
    receipt: str | None = None
    reference: str | None = None
    note: str | None = None
    counts_for: str | None = None


class TermView(msgspec.Struct, frozen=True, kw_only=True):
    """One bill of a number, whole: `amount` and `paid` count what was paid for it under the numbers before.

    `cost` of its messages, None where no cap is set; since when nothing more may be spent.

    `from_credit`: what of `paid` was paid too much for other terms before.
    """

    term: str
    amount: str
    paid: str
    balance: str
    due_at: datetime | None
    description: str | None
    mode: BillMode
    cost: str | None = None
    cost_cap_reached_at: datetime | None = None
    from_credit: str = "0"


class BillView(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one control number. `credit` is what was paid above every term.

    `paid` counts what the numbers before took for its bills, `payments` are those of this number.

    `previous` was closed by a partial payment and this number took over its balance; `next` did so for this one.
    """

    number: str
    kind: BillKind
    currency: str
    status: BillStatus
    balance: str
    paid: str
    credit: str
    terms: list[TermView]
    payments: list[PaymentView]
    shares: list[str]
    contacts: list[str]
    customer: str | None
    next_reminder_at: datetime | None
    previous: str | None = None
    next: str | None = None


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How far asking the provider about a message in doubt has come.

    `answers`: how often it said that it does not have it, `of` so many that are believed; `obstacle`: why it could not
    be asked the last time.
    """

    answers: int
    of: int
    obstacle: str | None = None

    def __str__(self) -> str:
        return f"asking the provider, {self.answers} of {self.of}" + (
            f" ({self.obstacle})" if self.obstacle else ""
        )


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `text` is what was sent, while it is retained; `replayed_as` the message that took its place.

    `asking` is there while it is in doubt and its provider is being asked.
    """

    id: str
    share: str
    number: str
    channel: str
    kind: Kind
    lane: Lane
    state: State
    outcome: Outcome | None
    reason: str | None
    error: str | None
    delivery: str | None
    provider_id: str | None
    attempts: int
    possible_duplicate: bool
    segments: int | None
    to: str | None
    text: str | None
    created_at: datetime
    due_at: datetime | None
    sent_at: datetime | None
    replayed_as: str | None = None
    asking: Asking | None = None


class SkippedChannel(msgspec.Struct, frozen=True):
    """A channel that was asked for and cannot be used, and why."""

    channel: str
    reason: str


# `creating`: its control number is being made; `refused`: it could not be made.
ShareState = Literal["creating", "refused", "active", "paid", "stopped"]


class ShareView(msgspec.Struct, frozen=True, kw_only=True):
    """A share and its messages. `token` opens the customer's page and carries its partition.

    `number` is empty while it is `creating`, and if it was `refused`, for the `reason` given.
    """

    id: str
    number: str
    term: str
    state: ShareState
    channels: list[str]
    skipped: list[SkippedChannel]
    messages: list[MessageView]
    next_reminder_at: datetime | None
    created_at: datetime
    token: str
    reason: str | None = None


class ShareContact(msgspec.Struct, frozen=True, kw_only=True):
    """How a share's contact can be reached: addresses masked, channels of the route, those that are silent and why.

    `dead` are the share's dead letters, which can be sent again now if the edit mended them.
    """

    share: str
    number: str
    phone: str | None
    email: str | None
    telegram: str | None
    channels: list[str]
    suppressed: list[SkippedChannel]
    dead: list[str]


class AcceptedShare(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a share job: what was made, durable on disk. `repeated`: the same job was accepted before.

    `warnings` say what was asked for and cannot happen as things stand, though the share is taken.
    `number` is empty while it is being made (`creating`); GET /v1/shares/{id} tells it as soon as it exists.
    """

    id: str
    state: ShareState
    number: str
    term: str
    token: str
    channels: list[str]
    skipped: list[SkippedChannel]
    messages: list[str]
    next_reminder_at: datetime | None
    settled: bool
    repeated: bool
    warnings: list[str] = []


class SettleResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment event did.

    `outcome`: `settled` (nothing is owed any more), `partial` (which closes an order number), `over`, `failed`
    (a failed attempt was noted), `repeated` (known already), `unmatched` (kept for staff), `advanced` (only the
    status moved, or it went back: reason `returned`), `noted` (counts for nothing).
    """

    outcome: Literal["settled", "partial", "over", "failed", "repeated", "unmatched", "advanced", "noted"]
    payment: str
    reason: str | None = None
    canceled: int = 0
    receipts: int = 0
