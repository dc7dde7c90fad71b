"""The payments of one day as they stand on record, for reconciliation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from bot.domain.bill import PaymentEvent
from bot.domain.calendar import to_ms
from bot.domain.money import plain
from bot.domain.reconciliation import DayPayment, State, TheirPayment
from bot.engine import keys, views
from bot.engine.offline import others
from bot.engine.records import Records
from bot.engine.store import guard
from bot.settings import Settings

_MONEY = {"SUCCESS", "SETTLED", "REFUNDED", "REVERSED"}
Fields = Mapping[str, str]


class Books:
    """Payments by the time at which they were made."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._records, self._settings = records, settings

    def bounds(self, day: date) -> tuple[datetime, datetime]:
        """When a day of the merchant's calendar begins and ends."""
        zone = self._settings.zone
        return (
            datetime.combine(day, time(), zone),
            datetime.combine(day + timedelta(days=1), time(), zone),
        )

    async def day(self, day: date) -> list[DayPayment]:
        """The money that was paid on a day, as far as it is on record."""
        begins, ends = self.bounds(day)
        found: list[DayPayment] = []
        for p in range(self._records.partitions):
            prefix = keys.prefix(p)
            with guard():
                ids = await self._records.client.zrangebyscore(
                    f"{prefix}pt", to_ms(begins), f"({to_ms(ends)}"
                )
                waiting = set(await self._records.client.zrange(f"{prefix}um", 0, -1)) if ids else set()
            rows = await self._records.hashes([f"{prefix}p:{pid}" for pid in ids])
            # What staff gave to another number has a second record there, which says what became of it.
            found += [await self._payment(f, waiting) for f in rows if _is_money(f) and not f.get("of")]
        return found

    async def _payment(self, fields: Fields, waiting: set[str]) -> DayPayment:
        counted = await self._counted(fields)
        currency, view = fields["cur"], views.payment(fields)
        on_bills = sum(int(value) for name, value in counted.items() if name.startswith("al:"))
        state = _state(fields, counted, waiting)
        cash = fields.get("src") == "staff"
        return DayPayment(
            id=fields["pid"],
            paid_at=view.paid_at or view.received_at,
            number=fields["num"],
            counts_for=counted.get("fw") or counted["num"],
            amount=_plain(int(fields["am"]), currency),
            currency=currency,
            status=counted["st"] if counted.get("back") == "1" else fields["st"],
            state=state,
            on_bills=_plain(on_bills if state == "counted" else 0, currency),
            credit=_plain(int(counted.get("cr") or 0) if state == "counted" else 0, currency),
            receipt=counted.get("rn"),
            reference=view.reference,
            channel=view.channel,
            payer=view.payer,
            note=view.note,
            cash=cash,
            foreign=not cash and await self._foreign(fields),
        )

    async def _foreign(self, fields: Fields) -> bool:
        """Whether what the payer named is no control number of ours: an offline reference, a deposit."""
        number, prefix = fields.get("named") or fields["num"], self._settings.clickpesa_offline_prefix
        if prefix and number.startswith(prefix):
            return True
        with guard():
            key = f"{keys.prefix(self._records.partition(number))}a:{number}"
            return not await self._records.client.exists(key)

    async def _counted(self, fields: Fields) -> Fields:
        """The record under which the money counts: its own, or the one at the number that staff gave it to."""
        number = fields.get("mt")
        if not number or number == fields["num"]:
            return fields
        prefix = keys.prefix(self._records.partition(number))
        with guard():
            pid = await self._records.client.get(f"{prefix}x:{number}:{fields['pid']}")
        there = await self._records.client_hash(f"{prefix}p:{pid}") if pid else {}
        return there or fields

    async def recognise(self, events: Sequence[PaymentEvent], day: date) -> list[TheirPayment]:
        """ClickPesa's payments of a day, each with our id of it. What moved no money is left out."""
        begins, ends = self.bounds(day)
        money = [
            e
            for e in events
            if e.status in _MONEY and e.amount and e.created_at and begins <= e.created_at < ends
        ]
        return [await self._recognised(event) for event in money]

    async def _recognised(self, event: PaymentEvent) -> TheirPayment:
        assert event.amount is not None  # noqa: S101 - the caller saw to both
        assert event.created_at is not None  # noqa: S101
        return TheirPayment(
            known=await self._known(event),
            id=event.ids[0],
            number=event.number,
            amount=event.amount,
            currency=event.currency or "TZS",
            status=event.status,
            paid_at=event.created_at,
        )

    async def _known(self, event: PaymentEvent) -> str | None:
        offline = self._settings.clickpesa_offline_prefix
        # What was paid under an offline reference is on record under the number of its bill.
        for number in (event.number, *(others(event.number, offline) if offline else ())):
            prefix = keys.prefix(self._records.partition(number))
            with guard():
                found = await self._records.client.mget(
                    [f"{prefix}x:{number}:{alias}" for alias in event.ids]
                )
            if known := next((pid for pid in found if pid), None):
                return str(known)
        return None


def _plain(minor: int, currency: str) -> Decimal:
    return Decimal(plain(minor, currency))


def _is_money(fields: Fields) -> bool:
    return fields.get("st") in _MONEY and int(fields.get("am") or 0) > 0


def _state(fields: Fields, counted: Fields, waiting: set[str]) -> State:
    if counted.get("back") == "1" or fields.get("back") == "1":
        return "returned"
    if counted.get("m") == "1":
        return "counted"
    return "waiting" if fields["pid"] in waiting else "put aside"
