"""What a message may say: the facts of one bill and one contact, and nothing else.

The engine gathers them, the renderer turns them into text. Amounts are Decimal in the currency's major
unit, times are aware UTC, contacts are masked. Nothing here formats, looks up or sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from bot.domain.message import Kind
from channels.base import ChannelName

DataValue = str | int | float | bool | None


class PaymentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One payment, for a receipt or for a failed attempt.

    `amount` is None when the provider named none (a failed attempt). `balance` is still owed after it,
    `credit` was paid above what was owed. `payer` is masked: the receipt goes to the bill's contact, not to
    the payer. `reason` says why a payment failed, in the provider's words. `number_closed` is true when
    nobody can pay to the control number any more; `next_number` is then the one for the balance, if it is known.
    `here` is what of it, credit included, counts for the message's own bill (None: all of it); `credit_here` whether
    the credit does.
    `ended`: the bill was stopped or cancelled before all of it was paid, so `balance` is 0.
    `mistaken`: staff had entered the payment by mistake.
    """

    amount: Decimal | None
    currency: str
    balance: Decimal
    credit: Decimal
    reference: str
    paid_at: datetime | None
    payer: str | None
    reason: str | None
    number_closed: bool
    next_number: str | None = None
    here: Decimal | None = None
    credit_here: bool = True
    ended: bool = False
    mistaken: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one message may say.

    `amount` is what is to be paid now: the balance, with `carried`, what is left of the number's earlier bills;
    `total` and `paid` are the bill's, and `credited` is what of `paid` was credit of earlier ones. `order_number` is
    true for a number that closes at its first payment, `exact` when only the exact amount is taken. `pay_url` is the
    customer's page, `out_url` the opt-out page, `link_url` Telegram's deep link while the customer has not linked a
    chat. `data` holds the share job's own values. `window_open` is true inside WhatsApp's 24 hours. `renewing`: the
    number is closed, and a new one is being made.
    """

    kind: Kind
    channel: ChannelName
    locale: str
    template: str
    message_id: str
    name: str | None
    number: str
    amount: Decimal
    total: Decimal
    paid: Decimal
    currency: str
    description: str | None
    due_at: datetime | None
    order_number: bool
    exact: bool
    payment: PaymentFacts | None
    pay_url: str | None
    out_url: str | None
    link_url: str | None
    data: Mapping[str, DataValue]
    window_open: bool
    carried: Decimal = Decimal(0)
    renewing: bool = False
    credited: Decimal = Decimal(0)
