"""Changing a bill here and at ClickPesa, and looking at both sides of it.

ClickPesa is asked first, so that nobody is told of an amount that it does not take; what it refuses changes nothing
here. A cancelled bill is the other way round: here nothing more is sent from that moment, and ClickPesa is told as soon
as it can be.

Source: ClickPesa API reference, "BillPay" (details, update).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from bot.billpay.client import ClickPesa
from bot.billpay.errors import ClickPesaError, ClickPesaNotFound, ClickPesaRefused
from bot.billpay.numbers import NumberDetails
from bot.domain.bill import BillMode, BillView
from bot.domain.bill_change import BillChange, ChangedBill
from bot.domain.creation import Telling
from bot.errors import NotFound, Problem, ProviderAway, Refused

Told = Literal["updated", "later", "unknown", "off"]


class Applied(Protocol):
    """What a change did."""

    @property
    def number(self) -> str:
        """The number that stands for the bill now."""
        ...

    @property
    def messages(self) -> int:
        """Messages made."""
        ...

    @property
    def canceled(self) -> int:
        """Messages cancelled."""
        ...


class Changes(Protocol):
    """Who changes bills here: `BillChanges` of the engine."""

    async def live(self, number: str) -> tuple[str, dict[str, str]]:
        """The number that stands for it now, and its record. Raises NotFound."""
        ...

    async def after(self, number: str, change: BillChange) -> tuple[Decimal, Telling]:
        """What will be owed, and what ClickPesa is to be told then."""
        ...

    async def expect(self, number: str) -> None:
        """ClickPesa is told first; if nothing comes of it here, it hears how the bill stands."""
        ...

    async def apply(self, number: str, change: BillChange, *, told: Decimal | None, by: str) -> Applied:
        """Change it."""
        ...

    async def cancel(self, number: str, *, by: str) -> Applied:
        """End it."""
        ...


class BillsByNumber(Protocol):
    """Who shows bills here: `Bills` of the engine."""

    async def get(self, number: str) -> BillView:
        """One bill."""
        ...


class BothViews(msgspec.Struct, frozen=True, kw_only=True):
    """A bill as it stands here and at ClickPesa; `clickpesa_says` tells why there is no view of theirs."""

    bill: BillView | None
    clickpesa: NumberDetails | None
    clickpesa_says: str | None = None


class BillDesk:
    """Bills on both sides. `client` None: tuma has no credentials, and only its own side changes."""

    def __init__(self, client: ClickPesa | None, changes: Changes, bills: BillsByNumber) -> None:
        self._client, self._changes, self._bills = client, changes, bills

    async def close(self) -> None:
        """Release sockets."""
        if self._client is not None:
            await self._client.close()

    async def change(self, number: str, change: BillChange, *, by: str) -> ChangedBill:
        """Change a bill. Raises NotFound, Refused (also by ClickPesa), Conflict, ProviderAway: then nothing changed."""
        if change.status == "INACTIVE":
            applied, told = await self._changes.cancel(number, by=by), self._later()
        else:
            live, _ = await self._changes.live(number)
            owed, after = await self._changes.after(live, change)
            told = await self._tell(live, change, after)
            known = owed if told == "updated" and _names_amount(change) else None
            applied = await self._changes.apply(number, change, told=known, by=by)
        return ChangedBill(
            bill=await self._bills.get(applied.number),
            messages=applied.messages,
            canceled=applied.canceled,
            clickpesa=told,
        )

    def _later(self) -> Told:
        return "off" if self._client is None else "later"

    async def _tell(self, number: str, change: BillChange, after: Telling) -> Told:
        if after.status == "INACTIVE":
            return self._later()
        amount = after.amount if _names_amount(change) else None
        words = after.description if amount or change.description else None
        mode = change.mode or (after.mode if amount else None)
        if self._client is None or not (amount or words or mode or change.status):
            return "off"
        await self._changes.expect(number)
        try:
            await self._client.update(
                number,
                status=change.status,
                amount=amount,
                description=words,
                mode=mode,
            )
        except ClickPesaNotFound:
            return "unknown"
        except ClickPesaRefused as error:
            raise Refused(Problem(field="$", message=f"is not taken: {error}")) from error
        except ClickPesaError as error:
            raise ProviderAway(f"nothing was changed: {error}") from error
        return "updated"

    async def both(self, number: str) -> BothViews:
        """A bill here and at ClickPesa. Raises NotFound if neither side knows it."""
        theirs, says = await self._details(number)
        try:
            ours = await self._bills.get(number)
        except NotFound:
            if theirs is None:
                raise
            ours = None
        return BothViews(bill=ours, clickpesa=theirs, clickpesa_says=says)

    async def _details(self, number: str) -> tuple[NumberDetails | None, str | None]:
        if self._client is None:
            return None, "tuma has no credentials of ClickPesa"
        try:
            return await self._client.details(number), None
        except ClickPesaError as error:
            return None, str(error)


def _names_amount(change: BillChange) -> bool:
    """Whether ClickPesa must hear what is owed: nobody could pay the rest of an exact bill of the old amount.

    What was paid while the bill was cancelled it was not told.
    """
    return change.amount is not None or change.mode == BillMode.EXACT or change.status == "ACTIVE"
