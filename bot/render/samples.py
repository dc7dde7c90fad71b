"""Invented bills and customers, to preview templates with and to check them against.

No value is anybody's: the names, numbers and addresses are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from bot.domain.message import Kind
from bot.render.facts import Facts, PaymentFacts
from bot.render.library import DEFAULT_SET
from channels.base import ChannelName

NUMBER = "55042914871931"
_DESCRIPTIONS = {"sw": "Ada ya muhula wa pili", "en": "Term 2 fees"}
_PAYING = {Kind.RECEIPT, Kind.PAYMENT_FAILED, Kind.CORRECTION}


def sample_facts(kind: Kind, channel: ChannelName, locale: str) -> Facts:
    """A usual bill of a usual customer, due in a week."""
    due = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) + timedelta(days=7)
    failed = kind is Kind.PAYMENT_FAILED
    return Facts(
        kind=kind,
        channel=channel,
        locale=locale,
        template=DEFAULT_SET,
        message_id="3-3yUjRk2wQm8nTz5x.1",
        name="Asha Juma",
        number=NUMBER,
        amount=Decimal(0 if kind is Kind.RECEIPT else 45_000),
        total=Decimal(45_000),
        paid=Decimal(45_000 if kind is Kind.RECEIPT else 0),
        currency="TZS",
        description=_DESCRIPTIONS.get(locale, _DESCRIPTIONS["en"]),
        due_at=due,
        order_number=True,
        exact=True,
        payment=_payment(failed or kind is Kind.CORRECTION) if kind in _PAYING else None,
        pay_url="https://lipa.example.co.tz/pay/3-3yUjRk2wQm8nTz5x",
        out_url=f"https://lipa.example.co.tz/out/3-3yUjRk2wQm8nTz5x.{channel}",
        link_url=None
        if channel is ChannelName.TELEGRAM
        else "https://t.me/tuma_example_bot?start=3-3yUjRk2wQm8nTz5x",
        data={},
        window_open=False,
    )


def variants(kind: Kind, channel: ChannelName, locale: str) -> Mapping[str, Facts]:
    """Bills that templates tend to forget, by what is special about them."""
    usual = sample_facts(kind, channel, locale)
    found = {"usual": usual, "bare": _bare(usual), "long": _long(usual), "late": _late(usual)}
    if usual.payment is None:
        found["credited"] = replace(
            usual, amount=Decimal(40_000), paid=Decimal(5_000), credited=Decimal(5_000)
        )
        found["carried"] = replace(usual, amount=Decimal(60_000), carried=Decimal(15_000), order_number=False)
    else:
        found |= _payments(usual, usual.payment)
    return found


def _payment(failed: bool) -> PaymentFacts:
    return PaymentFacts(
        amount=Decimal(45_000),
        currency="TZS",
        balance=Decimal(45_000 if failed else 0),
        credit=Decimal(0),
        reference="LCP48213907",
        paid_at=datetime.now(UTC),
        payer="+255•••3456",
        reason="Insufficient balance" if failed else None,
        number_closed=not failed,
    )


def _bare(usual: Facts) -> Facts:
    payment = usual.payment and replace(usual.payment, reference="", payer=None, reason=None, paid_at=None)
    return replace(
        usual,
        name=None,
        description=None,
        due_at=None,
        order_number=False,
        exact=False,
        payment=payment,
        pay_url=None,
        out_url=None,
        link_url=None,
    )


def _long(usual: Facts) -> Facts:
    payment = usual.payment and replace(
        usual.payment,
        amount=Decimal("9999999999.50"),
        balance=Decimal("9999999999.50"),
        reference="CLICKPESA-REFERENCE-0000000000001234567890",
        reason="The payer's account has been temporarily restricted by the wallet"
        if usual.payment.reason
        else None,
        number_closed=usual.kind is Kind.RECEIPT,
    )
    return replace(
        usual,
        name="Mwanahawa Abdulrahman Mwinyimkuu Kipingu wa Nang’ombe",
        number="ABCDEFGHJK0123456789",
        amount=Decimal("9999999999.50"),
        description="Ada ya shule, chakula, usafiri na sare za wanafunzi kwa muhula wa pili na wa tatu €[2026]",
        payment=payment,
        pay_url="https://malipo.shule-ya-sekondari-ya-wasichana.example.co.tz/pay/fff-3yUjRk2wQm8nTz5x",
    )


def _late(usual: Facts) -> Facts:
    return replace(usual, due_at=datetime.now(UTC) - timedelta(days=3), order_number=False, exact=False)


def _payments(usual: Facts, payment: PaymentFacts) -> dict[str, Facts]:
    if usual.kind is Kind.PAYMENT_FAILED:
        return {"closed": replace(usual, payment=replace(payment, amount=None, number_closed=True))}
    part = replace(payment, amount=Decimal(20_000), balance=Decimal(25_000), number_closed=False)
    if usual.kind is Kind.CORRECTION:
        return {
            "paid": replace(usual, payment=replace(payment, balance=Decimal(0))),
            "mistaken": replace(usual, payment=replace(payment, mistaken=True)),
        }
    moved = replace(part, number_closed=True, next_number="55042914871948")
    ended = replace(payment, amount=Decimal(20_000), ended=True)
    over = replace(payment, amount=Decimal(50_000), credit=Decimal(5_000))
    return {
        "part": replace(
            usual, amount=Decimal(25_000), paid=Decimal(20_000), order_number=False, payment=part
        ),
        "moved": replace(usual, amount=Decimal(25_000), paid=Decimal(20_000), payment=moved),
        "ended": replace(usual, amount=Decimal(25_000), paid=Decimal(20_000), payment=ended),
        "over": replace(usual, paid=Decimal(50_000), payment=over),
    }
