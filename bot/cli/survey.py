"""Everything on record, one thing after the other, for export. Contacts are masked, as everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bot.cli.bills import shares_of
from bot.domain.bill import BillView, PaymentView
from bot.domain.contact import mask_text
from bot.engine.engine import Engine
from bot.errors import NotFound

_MOST_UNMATCHED = 1_000_000


async def everything(engine: Engine) -> AsyncIterator[dict[str, Any]]:
    """Bills, each followed by its shares, messages and payments; then payments that belong to no bill.

    Every value has `type`: bill, share, message or payment. Reading goes on while tuma works, so it is no snapshot.
    """
    known: set[str] = set()
    async for number in engine.bills.numbers():
        try:
            bill = await engine.bills.get(number)
        except NotFound:  # its retention ended meanwhile
            continue
        known.update(payment.id for payment in bill.payments)
        async for value in _bill(engine, bill):
            yield value
    for payment in await engine.payments.unmatched(_MOST_UNMATCHED):
        if payment.id not in known:
            yield _payment(payment)


async def _bill(engine: Engine, bill: BillView) -> AsyncIterator[dict[str, Any]]:
    yield _typed("bill", bill, without="payments")
    for share in await shares_of(engine, bill):
        yield _typed("share", share, without="messages")
        for message in share.messages:
            found = _typed("message", message)
            yield found | {"text": mask_text(message.text) if message.text else None}
    for payment in bill.payments:
        yield _payment(payment)


def _payment(payment: PaymentView) -> dict[str, Any]:
    found = _typed("payment", payment)
    return found | {"message": mask_text(payment.message) if payment.message else None}


def _typed(kind: str, value: msgspec.Struct, without: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(value)
    fields.pop(without, None)
    return {"type": kind, **fields}
