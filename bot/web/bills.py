"""The HTTP API for bills: make a control number, change a bill or begin its next term, enter cash.

Handlers read, call once and answer. A bill is made under its id: the same id with the same content is answered the
same way again, and tells whether the number exists by now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from bot.domain.bill import BillView, SettleResult
from bot.domain.bill_change import BillChangeForm, ChangedBill, bill_change
from bot.domain.bill_job import NewBillForm, bill_job
from bot.domain.cash import CashForm, TakeBackForm, cash_payment, take_back_note
from bot.domain.creation import BillAnswer
from bot.errors import Problem, Refused
from bot.web import bodies
from bot.web.answers import json_answer
from bot.web.auth import caller
from bot.web.routes import Answer, Body, Route

if TYPE_CHECKING:
    from bot.billpay.desk import BillDesk
    from bot.engine.engine import Engine
    from bot.settings import Settings

_KEYED = ("unauthorized", "unknown-key", "forbidden", "unavailable")
_WRITTEN = (*_KEYED, "not-understood", "too-large", "too-slow", "refused", "conflict")
_LARGEST = 64 * 1024
_IDEMPOTENCY = {"Idempotency-Key": "The id, if the body has none; the two must agree."}


class BillApi:
    """The addresses under /v1/bills."""

    def __init__(self, engine: Engine, settings: Settings, desk: BillDesk) -> None:
        self._engine, self._settings, self._desk = engine, settings, desk

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        cash = (self._cash_route(), self._take_back_route())
        return [self._create_route(), self._show_route(), self._change_route(), *cash]

    def _create_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/bills",
            handler=self.create,
            summary="Make a control number, without telling anybody",
            tag="bills",
            scopes=("share", "staff"),
            headers=_IDEMPOTENCY,
            body=Body(schemas={"application/json": NewBillForm}),
            answers={
                201: Answer(
                    meaning="Made; with another state than `open` it was made before", body=BillAnswer
                ),
                202: Answer(meaning="Being made; ask again with the same id", body=BillAnswer),
            },
            problems=_WRITTEN,
        )

    def _show_route(self) -> Route:
        return Route(
            method="GET",
            path="/v1/bills/{number}",
            handler=self.show,
            summary="A control number and its payments",
            tag="bills",
            scopes=("read", "staff"),
            answers={200: Answer(meaning="As it stands now", body=BillView)},
            problems=(*_KEYED, "not-found"),
        )

    def _change_route(self) -> Route:
        return Route(
            method="PATCH",
            path="/v1/bills/{number}",
            handler=self.change,
            summary="Change a bill, cancel it, or begin the next term of a customer number",
            tag="bills",
            scopes=("share", "staff"),
            body=Body(schemas={"application/json": BillChangeForm}),
            answers={200: Answer(meaning="Changed here and at ClickPesa", body=ChangedBill)},
            problems=(*_WRITTEN, "not-found", "provider-away"),
        )

    def _cash_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/bills/{number}/payments",
            handler=self.cash,
            summary="Enter money that was paid at the counter",
            tag="bills",
            scopes=("staff",),
            headers=_IDEMPOTENCY,
            body=Body(schemas={"application/json": CashForm}),
            answers={200: Answer(meaning="It counts like any payment", body=SettleResult)},
            problems=(*_WRITTEN, "not-found"),
        )

    def _take_back_route(self) -> Route:
        return Route(
            method="POST",
            path="/v1/bills/{number}/payments/{payment}/take-back",
            handler=self.take_back,
            summary="Take back cash that was entered wrongly",
            tag="bills",
            scopes=("staff",),
            body=Body(schemas={"application/json": TakeBackForm}),
            answers={200: Answer(meaning="It counts no more; a correction goes out", body=SettleResult)},
            problems=(*_WRITTEN, "not-found"),
        )

    async def create(self, request: web.Request) -> web.Response:
        """Make one number."""
        fields = await _fields(request)
        answer = await self._engine.bill_claims.create(bill_job(fields, settings=self._settings))
        if answer.state == "creating":
            return json_answer(answer, status=202)
        return json_answer(answer, status=201, headers={"Location": f"/v1/bills/{answer.number}"})

    async def show(self, request: web.Request) -> web.Response:
        """Show a control number."""
        return json_answer(await self._engine.bills.get(request.match_info["number"]))

    async def change(self, request: web.Request) -> web.Response:
        """Change a bill."""
        number = request.match_info["number"]
        fields = bodies.json_object(await bodies.read(request, _LARGEST))
        currency = (await self._engine.bills.get(number)).currency
        change = bill_change(fields, currency, settings=self._settings)
        return json_answer(await self._desk.change(number, change, by=caller(request)))

    async def cash(self, request: web.Request) -> web.Response:
        """Enter a payment at the counter."""
        number = request.match_info["number"]
        fields = await _fields(request)
        currency = (await self._engine.bills.get(number)).currency
        cash = cash_payment(fields, currency, settings=self._settings)
        return json_answer(await self._engine.payments.add(number, cash, by=caller(request)))

    async def take_back(self, request: web.Request) -> web.Response:
        """Take back an entry of cash."""
        number, payment = request.match_info["number"], request.match_info["payment"]
        note = take_back_note(
            bodies.json_object(await bodies.read(request, _LARGEST)), settings=self._settings
        )
        result = await self._engine.payments.take_back(payment, note, by=caller(request), number=number)
        return json_answer(result)


async def _fields(request: web.Request) -> dict[str, object]:
    """The body's fields, with the id of the Idempotency-Key header if they name none."""
    from bot.web.api import idempotency_key

    fields = bodies.json_object(await bodies.read(request, _LARGEST))
    key = idempotency_key(request)
    if key is not None and fields.setdefault("id", key) != key:
        right = f"{key}, as in the Idempotency-Key header, or no id"
        raise Refused(Problem(field="id", message="differs from the header", expected=right))
    return fields
