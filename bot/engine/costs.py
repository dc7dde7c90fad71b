"""The cost cap per bill: what workers and schedulers were told about prices, where every script can see it.

A message is charged when it is made, as one segment, in the transaction that makes it; the rest of its segments when
it is sent, nothing if it never left. So the cap holds however many channels and processes are at work, but for the
further segments of what is under way. Costs are counted only while a cap is set, and in its own currency.
"""

from __future__ import annotations

from decimal import Decimal

from bot.engine import keys
from bot.engine.records import Records
from bot.engine.store import guard
from bot.engine.views import COST_UNIT
from bot.settings import Settings


async def publish(records: Records, settings: Settings) -> None:
    """Tell every partition the cap and the prices of these settings; without a cap nothing is counted.

    Processes with different settings overrule each other, the one that started last wins. Raises StoreUnavailable.
    """
    told = {name: _units(amount) for name, amount in settings.prices if amount}
    if settings.cost_cap is not None:
        told["cap"] = _units(settings.cost_cap)
    with guard():
        for p in range(records.partitions):
            pipe = records.client.pipeline()
            pipe.delete(f"{keys.prefix(p)}price")
            if settings.cost_cap is not None:
                pipe.hset(f"{keys.prefix(p)}price", mapping=told)
            await pipe.execute()


def _units(amount: Decimal) -> int:
    return int(amount * COST_UNIT)
