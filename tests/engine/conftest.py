"""An engine on the tests' own server, and share jobs to feed it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.domain.bill import BillKind, BillMode, PaymentEvent
from bot.domain.message import Lane
from bot.domain.share import Bill, Customer, Reminders, Route, ShareJob
from bot.engine.engine import Engine
from bot.settings import Settings
from channels.base import ChannelName

MakeJob = Callable[..., ShareJob]
_serial = itertools.count(1)


def settings_for(redis_url: str, **changes: Any) -> Settings:
    """Settings with every channel on."""
    values: dict[str, Any] = {
        "redis_url": redis_url,
        "partitions": 4,
        "twilio_account_sid": "AC" + "0" * 32,
        "twilio_auth_token": "secret",
        "twilio_sms_from": "SHULE",
        "twilio_api_base": "http://127.0.0.1:1",
        "twilio_whatsapp_from": "+255700000001",
        "smtp_url": "smtp://127.0.0.1:1",
        "email_from": "Shule <bili@shule.example>",
        "telegram_bot_token": "1:secret",
        "telegram_api_base": "http://127.0.0.1:1",
        "merchant_name": "Shule",
        "public_url": "http://127.0.0.1:1",
        "in_doubt_wait_ms": 100,
        "retry_first_ms": 50,
    }
    return Settings(**{**values, **changes})


@pytest.fixture
async def engine(redis_url: str) -> AsyncIterator[Engine]:
    opened = await Engine.open(settings_for(redis_url))
    yield opened
    await opened.close()


def job(
    number: str | None = None,
    *,
    id: str | None = None,
    amount: str = "45000",
    channels: tuple[str, ...] = ("sms",),
    mode: str = "all",
    due_in: timedelta | None = timedelta(days=10),
    before: tuple[timedelta, ...] = (timedelta(days=3), timedelta(days=1)),
    **changes: Any,
) -> ShareJob:
    """A valid job; `changes` replace fields of the bill, the customer or the job itself."""
    n = next(_serial)

    def of(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: changes.pop(name) for name in names if name in changes}

    bill = msgspec.structs.replace(
        Bill(
            number=number or f"5504291487{n:04}",
            create=None,
            kind=BillKind.ORDER,
            term="1",
            amount=Decimal(amount),
            currency="TZS",
            description="Term 2 fees",
            due_at=datetime.now(UTC) + due_in if due_in is not None else None,
            mode=BillMode.PARTIAL,
        ),
        **of(("kind", "term", "currency", "due_at", "description")),
    )
    if "bill_mode" in changes:
        bill = msgspec.structs.replace(bill, mode=BillMode(changes.pop("bill_mode")))
    customer = msgspec.structs.replace(
        Customer(name="Asha Juma", phone=f"+25575412{n:04}", email=None, telegram=None, locale="sw"),
        **of(("name", "phone", "email", "telegram", "locale")),
    )
    confirm = changes.pop("confirm_within", timedelta(minutes=10))
    made = ShareJob(
        id=id or f"inv-{n}",
        bill=bill,
        customer=customer,
        route=Route(mode=mode, channels=tuple(map(ChannelName, channels)), confirm_within=confirm),  # type: ignore[arg-type]
        reminders=Reminders(before_due=before, after_due=(), max=5),
        additional_contact=changes.pop("additional_contact", False),
        send_at=changes.pop("send_at", None),
        lane=changes.pop("lane", Lane.URGENT),
        template="default",
        callback_url=changes.pop("callback_url", None),
        data={},
        digest="",
    )
    assert not changes, changes
    return msgspec.structs.replace(made, digest=hashlib.sha256(msgspec.json.encode(made)).hexdigest())


def paid(
    number: str, amount: Decimal | str | None = "45000", *, id: str | None = None, **changes: Any
) -> PaymentEvent:
    """A payment that ClickPesa received."""
    n = next(_serial)
    event = PaymentEvent(
        event="received",
        ids=(id or f"{number}LCP{n}", f"ref{n}" if id is None else f"ref-{id}"),
        number=number,
        status="SUCCESS",
        amount=Decimal(amount) if amount else None,
        currency="TZS",
        channel="M-PESA",
        payer_name="Asha Juma",
        payer_phone="+255754123456",
        created_at=datetime.now(UTC),
    )
    return msgspec.structs.replace(event, **changes)
