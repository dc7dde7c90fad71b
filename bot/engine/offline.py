"""References that payers type for bills without a control number of their own: the merchant's number and some digits.

Source: ClickPesa docs, "Order BillPay-Namba": the offline form is the merchant's BillPay number followed by the
merchant's own digits, such as 4321 and 000917.
"""

from __future__ import annotations

import msgspec

from bot.domain.bill import PaymentEvent
from bot.engine import keys
from bot.engine.records import Records
from bot.engine.store import guard


def others(number: str, prefix: str) -> list[str]:
    """What a reference may be called otherwise: without the prefix, and with it."""
    return [name for name in (number.removeprefix(prefix), prefix + number) if name and name != number]


async def renamed(records: Records, event: PaymentEvent, prefix: str) -> PaymentEvent:
    """`event` under the number of the bill it is for, if that is its reference with or without `prefix`.

    As it is when its own reference is a bill's, when none or both would be, and when it is on record already.
    Raises StoreUnavailable.
    """
    here = keys.prefix(records.partition(event.number))
    asked = [f"{here}a:{event.number}", *(f"{here}x:{event.number}:{alias}" for alias in event.ids)]
    with guard():
        if any([await records.client.exists(key) for key in asked]):
            return event
        found = [
            name
            for name in others(event.number, prefix)
            if await records.client.exists(f"{keys.prefix(records.partition(name))}a:{name}")
        ]
    return msgspec.structs.replace(event, number=found[0]) if len(found) == 1 else event
