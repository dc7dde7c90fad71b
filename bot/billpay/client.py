"""ClickPesa's BillPay API as typed calls: control numbers, and the payments made on them.

One client is shared by a process; token and budget are shared by all processes through `TokenCache` and `Budget`.
Nothing is repeated here (see `bot.billpay.creating` for a create in doubt). What calls end in otherwise stands in
`bot.billpay.errors`; calls that cannot be right raise Refused before anything is sent.

Source: ClickPesa API reference, "BillPay", "Querying for payments", "Query all payments".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import structlog

from bot.billpay import webhook
from bot.billpay.budget import Budget, Urgency
from bot.billpay.errors import ClickPesaAway, ClickPesaDenied, ClickPesaError, ClickPesaNotFound
from bot.billpay.line import TIMEOUT_S, Line
from bot.billpay.numbers import (
    MOST_ITEMS,
    Created,
    ItemRefused,
    NewNumber,
    NumberDetails,
    Status,
    create_body,
    read_bulk,
    read_details,
    read_number,
    update_body,
)
from bot.billpay.tokens import TokenCache
from bot.domain.bill import BillKind, BillMode, PaymentEvent
from bot.errors import Refused
from channels.base import Probe

# A reference that no control number of ours equals: a probe asks for it and expects not to find it.
_PROBE_REFERENCE = "TUMAPROBE0"

_log = structlog.get_logger(__name__)


class PaymentsPage(msgspec.Struct, frozen=True):
    """A page of the list of all payments, item by item; what cannot be read is None. `total`: how many in all."""

    events: list[PaymentEvent | None]
    total: int | None


class ClickPesa:
    """`base` is origin and path, such as https://api.clickpesa.com/third-parties. Use as an async context, or
    close it.

    `checksum_key` signs requests that change something; without `budget` calls are not counted. An answer
    is waited for `timeout_s` seconds.
    """

    def __init__(
        self,
        base: str,
        client_id: str,
        api_key: str,
        checksum_key: str | None = None,
        token_cache: TokenCache | None = None,
        budget: Budget | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._line = Line(base, client_id, api_key, checksum_key, token_cache, budget, timeout_s)

    async def __aenter__(self) -> ClickPesa:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Release sockets."""
        await self._line.close()

    # Control numbers

    async def create(self, new: NewNumber) -> str:
        """Make one control number; returns it: `new.reference`, if that was given.

        Raises Refused, ReferenceTaken (409) and other ClickPesaError; after ClickPesaAway it may have been made.
        """
        body = create_body(new, plain=self._line.signs)
        answer = await self._line.call(
            "POST", f"billpay/create-{new.kind}-control-number", Urgency.NOW, body=body
        )
        number = read_number(answer)
        if number is None:
            raise ClickPesaAway("the answer to a create holds no number")
        return number

    async def create_many(self, kind: BillKind, new: Sequence[NewNumber]) -> list[Created | ItemRefused]:
        """Make 1 to 50 control numbers of one kind in one call; what became of each, in the order of `new`.

        Every item needs a reference of its own. Raises Refused for items that could not be right, and
        ClickPesaError for the call as a whole; after ClickPesaAway some or all may have been made.
        """
        references = [each.reference for each in new if each.reference is not None and each.kind is kind]
        distinct = len({reference.lower() for reference in references})
        if not 1 <= len(new) <= MOST_ITEMS or distinct != len(new):
            raise ValueError(f"expected 1 to {MOST_ITEMS} items of kind {kind}, each with its own reference")
        items = [create_body(each, plain=self._line.signs) for each in new]
        path = f"billpay/bulk-create-{kind}-control-numbers"
        answer = await self._line.call("POST", path, Urgency.NOW, body={"controlNumbers": items})
        return read_bulk(answer, references)

    async def details(self, number: str) -> NumberDetails:
        """What ClickPesa has on record. Raises ClickPesaNotFound and other ClickPesaError."""
        return read_details(await self._line.call("GET", _path("billpay", number), Urgency.NOW), number)

    async def update(
        self,
        number: str,
        *,
        status: Status | None = None,
        amount: Decimal | None = None,
        cap: Decimal | None = None,
        description: str | None = None,
        mode: BillMode | None = None,
    ) -> NumberDetails:
        """Change what is given and leave the rest; mode `exact` drops the cap. The answer may tell only what changed.

        May be repeated. Raises Refused, ClickPesaNotFound and other ClickPesaError.
        """
        body = update_body(
            status=status, amount=amount, cap=cap, description=description, mode=mode, plain=self._line.signs
        )
        answer = await self._line.call("PATCH", _path("billpay", number), Urgency.NOW, body=body)
        return read_details(answer, number)

    # Payments

    async def payments(self, reference: str, *, urgency: Urgency = Urgency.NOW) -> list[PaymentEvent]:
        """All that ClickPesa knows of payments on a control number, oldest first; [] if nobody has paid yet.

        Raises ClickPesaError.
        """
        if reference.lower() == "all":  # the address of every payment there is
            return []
        try:
            found = await self._line.call("GET", _path("payments", reference), urgency)
        except ClickPesaNotFound:
            return []
        # The documented answer is a list; some clients guard against one bare payment, so we do too.
        items = [found] if isinstance(found, Mapping) else found if isinstance(found, list) else []
        events = [event for item in items if (event := _event(item, reference)) is not None]
        return sorted(events, key=lambda event: event.created_at.timestamp() if event.created_at else 0.0)

    async def payments_page(
        self,
        *,
        start: date | None = None,
        end: date | None = None,
        skip: int = 0,
        limit: int = 20,
        sort_by: Literal["createdAt", "updatedAt"] = "createdAt",
        descending: bool = False,
        urgency: Urgency = Urgency.NOW,
    ) -> PaymentsPage:
        """One page of all payments of the account, the oldest first; `start` and `end` are days, both counted.

        A page may hold fewer than `limit` though more follow: go on after those it held. Raises ClickPesaError.
        """
        query = {
            "sortBy": sort_by,
            "orderBy": "DESC" if descending else "ASC",
            "skip": str(skip),
            "limit": str(limit),
        }
        query |= {"startDate": start.isoformat()} if start else {}
        query |= {"endDate": end.isoformat()} if end else {}
        found = await self._line.call("GET", "payments/all", urgency, query=query)
        items = found.get("data") if isinstance(found, Mapping) else None
        if not isinstance(items, list):
            raise ClickPesaAway("the answer to payments/all holds no list")
        total = found.get("totalCount")
        return PaymentsPage([_event(item) for item in items], total if isinstance(total, int) else None)

    async def probe(self) -> Probe:
        """Test reachability and credentials with one reading call."""
        try:
            await self.payments(_PROBE_REFERENCE)
        except ClickPesaDenied as error:
            hint = "check CLICKPESA_CLIENT_ID and CLICKPESA_API_KEY: dashboard, Settings, Developers"
            return Probe(ok=False, detail=str(error), hints=(hint,))
        except ClickPesaError as error:
            return Probe(ok=False, detail=str(error))
        return Probe(ok=True, detail="reachable, credentials accepted")


def _path(folder: str, reference: str) -> str:
    return f"{folder}/{quote(reference, safe='')}"


def _event(item: Any, reference: str | None = None) -> PaymentEvent | None:
    try:
        return webhook.from_listing(item if isinstance(item, Mapping) else {}, reference)
    except Refused as refused:
        # One payment that cannot be read must not hide the others.
        _log.warning("payment of ClickPesa's list not understood", problems=str(refused))
        return None
