"""ClickPesa's API, below `/third-parties`: tokens, control numbers, payments.

Promises documented paths, statuses, members and messages; one application. With a checksum key, every request
with a body must carry the canonical checksum (over raw UTF-8, as JavaScript prints it). What a wrong checksum, the
rate limit and an outage are answered with is not documented; those are 400, 429 and 503 here.
Source: ClickPesa API reference (authorization, BillPay, querying payments), home/checksum.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import msgspec
from aiohttp import web

from bot.sandbox.clickpesa_bills import Bill, ClickPesaError, Payment, new_bill, number, patch
from bot.sandbox.clickpesa_checksum import sign
from bot.sandbox.clickpesa_listing import page
from bot.sandbox.clickpesa_shapes import Shapes
from bot.sandbox.fault_kinds import How, Kind, Point
from bot.sandbox.faults import Faults
from bot.sandbox.misbehaving import act_out
from bot.sandbox.world import World

ROOT = "/third-parties"
TOKEN_LIFE = timedelta(hours=1)
MAX_ITEMS = 50
_EAT = timezone(timedelta(hours=3))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ClickPesaAccount:
    """The one application. `checksum_key` None: checksums are switched off.

    `namba` is the merchant's own BillPay number, the beginning of every offline reference.
    """

    client_id: str = "IDsandbox0001"
    api_key: str = "SKsandbox0001"
    checksum_key: str | None = "CHKsandbox0001"
    namba: str = "4321"


class ClickPesaApi:
    """The HTTP side, and the bills. `per_minute` bounds all requests (real: 120 per address); None: no bound.

    `per_day` bounds them from midnight to midnight in Dar es Salaam (real: 100 before approval). `shapes` says what
    is done where ClickPesa's texts disagree. `calls` counts the requests that arrived, by method and address;
    `most_listed` is the longest page of payments, whatever is asked for.
    """

    def __init__(self, account: ClickPesaAccount, world: World, faults: Faults) -> None:
        self.account, self.world, self.faults = account, world, faults
        self.bills: dict[str, Bill] = {}
        self.per_minute: int | None = None
        self.per_day: int | None = None
        self.shapes = Shapes()
        self.most_listed: int | None = None
        self.calls: Counter[str] = Counter()
        self._tokens: dict[str, datetime] = {}
        self._window: tuple[datetime, int] = (world.clock(), 0)
        self._day: tuple[date, int] = (world.clock().astimezone(_EAT).date(), 0)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._edge])
        add = app.router
        add.add_post(ROOT + "/generate-token", self._generate_token)
        for kind in ("order", "customer"):
            add.add_post(f"{ROOT}/billpay/create-{kind}-control-number", self._creator(kind))
            add.add_post(f"{ROOT}/billpay/bulk-create-{kind}-control-numbers", self._bulk_creator(kind))
        add.add_put(ROOT + "/billpay/update-status", self._update_status)
        add.add_get(ROOT + "/billpay/{number}", self._details)
        add.add_patch(ROOT + "/billpay/{number}", self._update)
        add.add_get(ROOT + "/payments/all", self._all_payments)
        add.add_get(ROOT + "/payments/{reference}", self._payments)
        return app

    # Edge: errors, rate, faults, token

    @web.middleware
    async def _edge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._count(request)
            contact = await _subject(request)
            asking = request.method == "GET" or request.path.endswith("/generate-token")
            fault = self.faults.draw("clickpesa", Point.QUERY if asking else Point.SEND, contact)
            return await act_out(
                request, fault, self.faults, lambda: self._allowed(request, handler), self._worded
            )
        except ClickPesaError as error:
            return self._refusal(error)
        except web.HTTPException as error:
            return _json({"message": f"Cannot {request.method} {request.path}"}, error.status)

    def _count(self, request: web.Request) -> None:
        resource = request.match_info.route.resource
        place = resource.canonical.removeprefix(ROOT) if resource is not None else "elsewhere"
        self.calls[f"{request.method} {place}"] += 1
        now, (began, used), (day, today) = self.world.clock(), self._window, self._day
        if self.per_minute is not None:
            self._window = (began, used + 1) if now - began < timedelta(minutes=1) else (now, 1)
            if self._window[1] > self.per_minute:
                raise ClickPesaError(429, "Too many requests")
        if self.per_day is not None:
            date_now = now.astimezone(_EAT).date()
            self._day = (day, today + 1) if date_now == day else (date_now, 1)
            if self._day[1] > self.per_day:
                raise ClickPesaError(429, "Daily API limit reached")

    async def _allowed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.endswith("/generate-token"):
            self._authorise(request)
        return await handler(request)

    def _worded(self, fault: Kind) -> web.StreamResponse:
        if fault.how is How.THROTTLE:
            return self._refusal(ClickPesaError(429, "Too many requests"))
        if fault.taken:
            return self._refusal(ClickPesaError(500, "Internal server error"))
        return self._refusal(ClickPesaError(503, "Service unavailable"))

    def _refusal(self, error: ClickPesaError) -> web.Response:
        headers = {"Retry-After": str(self.faults.retry_after_s)} if error.status == 429 else None
        return _json({"message": error.message}, error.status, headers)

    def _authorise(self, request: web.Request) -> None:
        issued = self._tokens.get(request.headers.get("Authorization", ""))
        if issued is None or self.world.clock() - issued >= TOKEN_LIFE:
            raise ClickPesaError(401, "Unauthorized")

    def switch_checksum(self, key: str | None) -> None:
        """Turn checksums on or off, as in the dashboard: tokens already issued stop working."""
        self.account = replace(self.account, checksum_key=key)
        self._tokens.clear()

    async def _generate_token(self, request: web.Request) -> web.Response:
        client_id, api_key = request.headers.get("client-id"), request.headers.get("api-key")
        if not client_id or not api_key:
            raise ClickPesaError(401, "Unauthorized")
        if not _same(client_id, self.account.client_id):
            raise ClickPesaError(403, "Invalid client details")
        if not _same(api_key, self.account.api_key):
            raise ClickPesaError(403, "Invalid or Expired API-Key")
        token = f"Bearer {secrets.token_urlsafe(24)}.{secrets.token_urlsafe(48)}.{secrets.token_urlsafe(32)}"
        self._tokens[token] = self.world.clock()
        return _json({"success": True, "token": token})

    async def _body(self, request: web.Request) -> dict[str, Any]:
        """The JSON object of a request, its checksum proven and removed. An empty body is an empty object."""
        try:
            body = msgspec.json.decode(await request.read() or b"{}")
        except msgspec.DecodeError:
            raise ClickPesaError(400, "Request body is not valid JSON") from None
        if not isinstance(body, dict):
            raise ClickPesaError(400, "Request body must be an object")
        given = body.get("checksum")
        key = self.account.checksum_key
        content = {name: value for name, value in body.items() if name not in {"checksum", "checksumMethod"}}
        if key and not (isinstance(given, str) and _same(given, sign(content, key))):
            raise ClickPesaError(400, "Invalid checksum")
        return content

    # BillPay

    def _creator(self, kind: str) -> Handler:
        async def create(request: web.Request) -> web.Response:
            bill = self._create(await self._body(request), kind)
            return _json(self._created(bill))

        return create

    def _create(self, body: Mapping[str, Any], kind: str) -> Bill:
        bill = new_bill(body, kind, self.bills, self.world.clock())
        self.add(bill)
        return bill

    def add(self, bill: Bill) -> None:
        """Enter a bill, however the sandbox came to know it."""
        self.bills[bill.number] = bill
        self.world.known_numbers.add(bill.number)
        self.world.changed()

    def _created(self, bill: Bill) -> dict[str, Any]:
        return bill.document() if self.shapes.create_echo else {"billPayNumber": bill.number}

    def _bulk_creator(self, kind: str) -> Handler:
        async def create(request: web.Request) -> web.Response:
            items = (await self._body(request)).get("controlNumbers")
            if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
                raise ClickPesaError(400, f"controlNumbers must contain between 1 and {MAX_ITEMS} items")
            return _json(self._create_all(items, kind))

        return create

    def _create_all(self, items: list[Any], kind: str) -> dict[str, Any]:
        made: list[str] = []
        errors: list[dict[str, Any]] = []
        for index, item in enumerate(items):
            try:
                if not isinstance(item, dict):
                    raise ClickPesaError(400, "each item must be an object")
                made.append(self._create(item, kind).number)
            except ClickPesaError as error:
                errors.append({"index": index, "reason": error.message})
        answer: dict[str, Any] = {"billPayNumbers": made, "created": len(made), "failed": len(errors)}
        return answer | ({"errors": errors} if errors else {})

    def _find(self, reference: object) -> Bill:
        bill = self.bills.get(reference) if isinstance(reference, str) else None
        if bill is None:
            raise ClickPesaError(404, "BillPay Number does not exist")
        return bill

    async def _details(self, request: web.Request) -> web.Response:
        return _json(self._find(request.match_info["number"]).document())

    async def _update(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        bill = self._find(request.match_info["number"])
        patch(bill, body)
        self.world.changed()
        whole = bill.document(status=True)
        shown = whole if self.shapes.patch_whole else {"billPayNumber": bill.number} | _only(whole, body)
        return _json(shown)

    async def _update_status(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if not body.get("billPayNumber"):
            raise ClickPesaError(400, "billPayNumber is required")
        if body.get("status") not in {"ACTIVE", "INACTIVE"}:
            raise ClickPesaError(400, "status must be one of the following values: ACTIVE, INACTIVE")
        bill = self._find(body["billPayNumber"])
        bill.status = body["status"]
        self.world.changed()
        return _json({"billPayNumber": bill.number, "status": bill.status})

    # Payments

    def payments(self) -> list[Payment]:
        """Every payment on every number, oldest first."""
        return sorted(
            (each for bill in self.bills.values() for each in bill.payments), key=lambda each: each.created
        )

    async def _payments(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        bill = self.bills.get(reference)
        if self.shapes.unpaid_empty and bill is not None and not bill.payments:
            return _json([])
        if bill is None or not bill.payments:
            raise ClickPesaError(404, f"Invalid or missing payment: {reference}")
        return _json([self.document(each) for each in bill.payments])

    async def _all_payments(self, request: web.Request) -> web.Response:
        found, total = page(self.payments(), request.query, self.account.client_id)
        shown = found[: self.most_listed]
        return _json({"data": [self.document(each) for each in shown], "totalCount": total})

    def document(self, payment: Payment) -> dict[str, Any]:
        """A payment as the query endpoints show it: amounts are JSON numbers here."""
        customer = {"customerName": payment.payer_name, "customerPhoneNumber": payment.payer_phone}
        if payment.payer_email:
            customer["customerEmail"] = payment.payer_email
        return {
            "id": payment.id,
            "status": payment.status,
            "paymentReference": payment.reference,
            "paymentPhoneNumber": payment.payer_phone,
            "orderReference": payment.number,
            "collectedAmount": number(payment.amount),
            "collectedCurrency": "TZS",
            "message": payment.message,
            "updatedAt": stamp(payment.updated),
            "createdAt": stamp(payment.created),
            "customer": customer,
            "clientId": self.account.client_id,
        }


async def _subject(request: web.Request) -> str | None:
    """The control number that a request is about, if it names one."""
    named = request.match_info.get("number") or request.match_info.get("reference")
    if named or request.method == "GET":
        return named
    try:
        body = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError:
        return None
    found = (body.get("billReference") or body.get("billPayNumber")) if isinstance(body, dict) else None
    return found if isinstance(found, str) else None


def _only(members: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name in names}


def stamp(at: datetime) -> str:
    """ISO 8601, UTC, milliseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json"
    )
