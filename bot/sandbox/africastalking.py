"""SMS as Africa's Talking offers it: `POST /version1/messaging`, the account's balance, delivery reports, opt-outs.

Promises the wire format: form or its answer per recipient, errors inside a 201, the plain text of a 401. Knows one
application; `senders` are its registered names. A report goes to one address for all messages, unsigned, and is not
repeated. Does not do premium messages, subscriptions or the inbox (which is always empty here).
Source: https://developers.africastalking.com/docs/sms (sending, notifications), .../docs/application; answers as quoted
in AfricasTalkingLtd/africastalking-node.js issue 160 and medic/medic-docs pull request 112.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from bot.render.segments import count
from bot.sandbox.fault_kinds import How, Kind, Point
from bot.sandbox.faults import Faults
from bot.sandbox.misbehaving import act_out
from bot.sandbox.serving import Errands, Postman, Reply
from bot.sandbox.world import Message, World

PROVIDER = "africastalking"
STATUSES: Mapping[int, str] = {
    101: "Success",
    102: "Success",
    402: "InvalidSenderId",
    403: "InvalidPhoneNumber",
    405: "InsufficientBalance",
    406: "UserInBlacklist",
    407: "CouldNotRoute",
    500: "InternalServerError",
}
PRICE = Decimal("22.0000")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
# Networks by the digits after +255; which network a ported number is in, nobody can tell from it.
_NETWORKS = {"6[79]|71": "64002", "7[456]": "64004", "78|68": "64005", "73": "64007", "6[12]": "64009"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AfricasTalkingAccount:
    """The one application. `callback_token` is the part of tuma's addresses that nobody else knows."""

    username: str = "tuma"
    api_key: str = "sandbox-africastalking-key"
    sender: str = "TUMA"
    callback_token: str = "sandbox-callback-token"  # noqa: S105 - opens nothing but this sandbox


@dataclass(frozen=True, slots=True)
class Reports:
    """What the network says of a message, in order: status, reason, and seconds before each."""

    steps: tuple[tuple[str, str, float], ...] = (("Sent", "", 0.05), ("Success", "", 0.4))


_PHONE_OFF = Reports((("Sent", "", 0.05), ("Failed", "DeliveryFailure", 0.4)))
# How long an answer waits for its report to be first.
_EARLY_S = 2.0


class AfricasTalkingApi:
    """The whole provider. `refusals` maps a number to the status code its messages get, `fates` to its reports."""

    def __init__(
        self, account: AfricasTalkingAccount, world: World, faults: Faults, postman: Postman, errands: Errands
    ) -> None:
        self.account, self.world, self.faults = account, world, faults
        self._postman, self._errands = postman, errands
        self.senders = {account.sender}
        self.balance = Decimal("250000")
        self.refusals: dict[str, int] = {}
        self.fates: dict[str, Reports] = {}
        self.usual = Reports()
        self.opted_out: set[str] = set()
        self.callback_base: str | None = None
        self.reports: list[tuple[str, str, int]] = []

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._edge])
        app.router.add_post("/version1/messaging", self._send)
        app.router.add_get("/version1/messaging", self._asked(self._inbox))
        app.router.add_get("/version1/user", self._asked(self._user))
        return app

    @web.middleware
    async def _edge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("apiKey", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self.account.api_key.encode()):
            return web.Response(status=401, text="The supplied authentication is invalid")
        return await handler(request)

    def _asked(self, handler: Handler) -> Handler:
        """A request that sends nothing, as the faults of such requests let it be answered."""

        async def handle(request: web.Request) -> web.StreamResponse:
            fault = self.faults.draw(PROVIDER, Point.QUERY)
            return await act_out(request, fault, self.faults, lambda: handler(request), self._worded)

        return handle

    def _worded(self, fault: Kind) -> web.StreamResponse:
        if fault.how is How.THROTTLE:
            wait = {"Retry-After": str(self.faults.retry_after_s)}
            return web.Response(status=429, text="Too Many Requests", headers=wait)
        if fault.how is How.THROTTLE_BARE:
            return web.Response(status=429, text="Too Many Requests")
        return web.Response(status=500 if fault.taken else 503, text="The request could not be completed")

    # Sending

    async def _send(self, request: web.Request) -> web.StreamResponse:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        fault = self.faults.draw(PROVIDER, Point.SEND, form.get("to"))
        if fault is not None and fault.how is How.EARLY:
            return await self._reported_first(form)
        return await act_out(request, fault, self.faults, lambda: self._taken(form), self._worded)

    async def _reported_first(self, form: Mapping[str, str]) -> web.Response:
        before = len(self.reports)
        answer = await self._taken(form)
        with contextlib.suppress(TimeoutError):
            await self.world.until(lambda: len(self.reports) > before, timeout_s=_EARLY_S)
        return answer

    async def _taken(self, form: Mapping[str, str]) -> web.Response:
        if form.get("username") != self.account.username:
            return web.Response(status=401, text="The supplied authentication is invalid")
        if missing := [name for name in ("to", "message") if not form.get(name)]:
            return web.Response(status=400, text=f"Request is missing required form field '{missing[0]}'")
        if form.get("from") and form["from"] not in self.senders:
            return _created("InvalidSenderId", [])
        rows = [self._row(to.strip(), form) for to in form["to"].split(",")]
        taken = [row for row in rows if row["statusCode"] < 200]
        total = sum((Decimal(str(row["cost"]).split()[-1]) for row in taken), Decimal(0))
        cost = f"TZS {total}" if taken else "0"
        return _created(f"Sent to {len(taken)}/{len(rows)} Total Cost: {cost}", rows)

    def _row(self, to: str, form: Mapping[str, str]) -> dict[str, Any]:
        text = form["message"]
        parts = count(text).segments
        code = self._code(to, parts, queued=form.get("enqueue", "1") == "1")
        row: dict[str, Any] = {"statusCode": code, "number": to, "status": STATUSES.get(code, "GatewayError")}
        if code >= 200:
            return row | {"cost": "0", "messageId": "None"}
        message = self._enter(to, text, form.get("from") or "AFRICASTKNG")
        self.balance -= PRICE * parts
        return row | {"cost": f"TZS {PRICE * parts}", "messageId": message.id, "messageParts": parts}

    def _code(self, to: str, parts: int, *, queued: bool) -> int:
        if not _E164.fullmatch(to):
            return 403
        if to in self.opted_out:
            return 406
        if self.balance < PRICE * parts:
            return 405
        return self.refusals.get(to, 102 if queued else 101)

    def _enter(self, to: str, text: str, sender: str) -> Message:
        message = Message(
            provider=PROVIDER,
            channel="sms",
            id="ATXid_" + secrets.token_hex(16),
            address=to,
            sender=sender,
            text=text,
            at=self.world.clock(),
            status="Queued",
        )
        self.world.accept(message)
        self._errands.begin(self._carry(message))
        return message

    # What the network says

    async def _carry(self, message: Message) -> None:
        for status, reason, wait_s in self._fate(message.address).steps:
            await asyncio.sleep(wait_s)
            message.status, message.error = status, reason or None
            message.arrived = message.arrived or status == "Success"
            self.world.changed()
            fault = self.faults.draw(PROVIDER, Point.CALLBACK, message.address)
            for _ in range({How.LOST: 0, How.DUPLICATED: 2}.get(fault.how, 1) if fault else 1):
                reply = await self._report(message, status, reason)
                self.reports.append((message.id, status, reply.status))
                self.world.changed()

    def _fate(self, phone: str) -> Reports:
        if phone not in self.fates and self.faults.draw(PROVIDER, Point.FATE, phone):
            return _PHONE_OFF
        return self.fates.get(phone, self.usual)

    async def _report(self, message: Message, status: str, reason: str) -> Reply:
        fields = {"id": message.id, "status": status, "phoneNumber": message.address, "retryCount": "0"}
        fields["networkCode"] = _network(message.address)
        return await self._call("delivery", fields | ({"failureReason": reason} if reason else {}))

    async def opt_out(self, phone: str) -> Reply:
        """The customer stops messages from this sender, by the network's own code."""
        self.opted_out.add(phone)
        return await self._call("optout", {"senderId": self.account.sender, "phoneNumber": phone})

    async def _call(self, what: str, fields: Mapping[str, str]) -> Reply:
        if self.callback_base is None:
            return Reply(0, 0)
        return await self._postman.post(f"{self.callback_base}/{what}", urlencode(fields).encode(), _FORM)

    # Questions

    async def _user(self, request: web.Request) -> web.Response:
        if request.query.get("username") != self.account.username:
            return web.Response(status=401, text="The supplied authentication is invalid")
        return web.json_response({"UserData": {"balance": f"TZS {self.balance}"}})

    async def _inbox(self, request: web.Request) -> web.Response:
        return web.json_response({"SMSMessageData": {"Messages": []}})


def _created(message: str, rows: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"SMSMessageData": {"Message": message, "Recipients": rows}}, status=201)


def _network(phone: str) -> str:
    local = phone.removeprefix("+255")
    return next((code for digits, code in _NETWORKS.items() if re.match(digits, local)), "99999")
