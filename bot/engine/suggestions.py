"""Which bill an unmatched payment may be for: by what the payer's phone and name say, and by the amount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from bot.domain.contact import BadContact, phone
from bot.engine import keys
from bot.engine.bills import Bills
from bot.engine.contacts import Contacts
from bot.engine.payments import Payments
from bot.engine.records import Records
from bot.engine.store import guard
from bot.settings import Settings

Reason = Literal["phone", "name", "amount"]
_WEIGHT: dict[Reason, int] = {"phone": 4, "name": 2, "amount": 1}
_LOOKED_AT = 20  # candidates for each reason


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """An open bill that a payment may be for, and why."""

    number: str
    name: str | None
    balance: str
    currency: str
    because: tuple[Reason, ...]


class Suggestions:
    """Looks through the open bills of all partitions."""

    def __init__(
        self, records: Records, bills: Bills, contacts: Contacts, payments: Payments, settings: Settings
    ) -> None:
        self._records, self._bills, self._contacts = records, bills, contacts
        self._payments, self._settings = payments, settings

    async def of(self, payment_id: str, limit: int = 3) -> list[Suggestion]:
        """The likeliest open bills for a payment, the best first. Raises NotFound."""
        fields = await self._payments.fields(payment_id)
        reasons: dict[str, list[Reason]] = {}
        found: list[tuple[Reason, Sequence[str]]] = [
            ("phone", await self._by_phone(fields.get("ph", ""))),
            ("name", await self._bills.named(fields.get("nm", ""), _LOOKED_AT)),
            ("amount", await self._by_amount(fields.get("am", ""))),
        ]
        for reason, numbers in found:
            for number in numbers:
                reasons.setdefault(number, []).append(reason)
        ranked = sorted(reasons, key=lambda number: -sum(_WEIGHT[reason] for reason in reasons[number]))
        return await self._open(ranked[:_LOOKED_AT], reasons, fields.get("cur", ""), limit)

    async def _by_phone(self, text: str) -> list[str]:
        if not text:
            return []
        try:
            return await self._contacts.numbers_of(phone(text, self._settings.region))
        except BadContact:
            return []

    async def _by_amount(self, minor: str) -> list[str]:
        """Numbers under which exactly this much is owed."""
        if not minor:
            return []
        with guard():
            pipe = self._records.client.pipeline()
            for p in range(self._records.partitions):
                pipe.zrangebyscore(f"{keys.prefix(p)}owe", minor, minor, start=0, num=_LOOKED_AT)
            rows = await pipe.execute()
        return [number for row in rows for number in row][:_LOOKED_AT]

    async def _open(
        self, numbers: Sequence[str], reasons: dict[str, list[Reason]], currency: str, limit: int
    ) -> list[Suggestion]:
        names = [f"{keys.prefix(self._records.partition(number))}a:{number}" for number in numbers]
        found: list[Suggestion] = []
        for number, account in zip(numbers, await self._records.hashes(names), strict=True):
            if len(found) < limit and account.get("st") == "open" and account["cur"] == currency:
                [hit] = await self._bills.hits([number])
                found.append(
                    Suggestion(
                        number=number,
                        name=hit.name,
                        balance=hit.balance,
                        currency=hit.currency,
                        because=tuple(reasons[number]),
                    )
                )
        return found
