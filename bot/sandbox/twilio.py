"""SMS and WhatsApp as Twilio offers them: `POST` and `GET Messages.json`, one message, the account.

Promises the wire format of the Messages resource: Basic auth, error JSON, SIDs, statuses, paging, RFC 2822
dates. Knows one account; any well-formed sender and Messaging Service belongs to it. Does not do media, subaccounts or
pricing. Source: Twilio message resource and its list operation, Twilio error dictionary.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web

from bot.render.segments import count
from bot.sandbox.fault_kinds import How, Kind, Point
from bot.sandbox.faults import Faults
from bot.sandbox.misbehaving import act_out
from bot.sandbox.twilio_listing import matching
from bot.sandbox.twilio_rules import Request, TwilioError, check
from bot.sandbox.world import Message, World

API = "/2010-04-01/Accounts"
WHATSAPP = "whatsapp:"
_EARLY_S = 5.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """The one account. The senders are what tuma is told to use; other well-formed ones work too."""

    sid: str = "AC" + "5a" * 16
    token: str = "sandbox-auth-token"  # noqa: S105 - opens nothing but this sandbox
    sms_from: str = "TUMA"
    whatsapp_from: str = "+255700000000"
    service: str = "MG" + "5a" * 16


@dataclass(slots=True, kw_only=True, eq=False)
class TwilioMessage:
    """A message as the API shows it. `shown` is the same message as the customer has it.

    `early`: its first callback goes out at once, before the create request is answered; `called`: it went out.
    """

    shown: Message
    request: Request
    sender: str
    segments: int
    created: datetime
    updated: datetime
    sent: datetime | None = None
    settled_segments: bool = False
    early: bool = False
    called: asyncio.Event = field(default_factory=asyncio.Event)
    callbacks: list[tuple[str, int]] = field(default_factory=list)

    @property
    def sid(self) -> str:
        """SM and 32 hex digits."""
        return self.shown.id


class TwilioApi:
    """The HTTP side. `take` is told of every message that was taken, before the answer goes out."""

    def __init__(self, account: TwilioAccount, world: World, faults: Faults) -> None:
        self.account, self.world, self.faults = account, world, faults
        self.messages: dict[str, TwilioMessage] = {}
        self._by_to: defaultdict[str, list[TwilioMessage]] = defaultdict(list)
        self.templates: dict[str, str] = {}
        self.refusals: dict[str, int] = {}
        self.take: Callable[[TwilioMessage], None] = lambda message: None

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._edge])
        app.router.add_post(API + "/{account}/Messages.json", self._create)
        app.router.add_get(API + "/{account}/Messages.json", self._asked(self._list))
        app.router.add_get(API + "/{account}/Messages/{sid}.json", self._asked(self._fetch))
        app.router.add_post(API + "/{account}/Messages/{sid}.json", self._asked(self._update))
        app.router.add_get(API + "/{account}.json", self._asked(self._account))
        return app

    # Edge: errors, credentials, faults

    @web.middleware
    async def _edge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._authenticate(request)
            return await handler(request)
        except TwilioError as error:
            return self._refusal(error)
        except web.HTTPMethodNotAllowed:
            return self._refusal(TwilioError(20004))
        except web.HTTPNotFound:
            return self._refusal(TwilioError(20404, request.path))

    def _authenticate(self, request: web.Request) -> None:
        given = _basic(request.headers.get("Authorization", ""))
        expected = f"{self.account.sid}:{self.account.token}".encode()
        if not hmac.compare_digest(given, expected):
            raise TwilioError(20003)
        if request.match_info.get("account", self.account.sid) != self.account.sid:
            raise TwilioError(20003)

    def _refusal(self, error: TwilioError, *, bare: bool = False) -> web.Response:
        headers = {"Twilio-Request-Id": "RQ" + secrets.token_hex(16)}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Twilio API"'
        if error.code == 20429 and not bare:
            headers["Retry-After"] = str(self.faults.retry_after_s)
        body = {
            "code": error.code,
            "message": str(error),
            "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
            "status": error.status,
        }
        return web.json_response(body, status=error.status, headers=headers)

    def _asked(self, handler: Handler) -> Handler:
        """A request that sends nothing, as the faults of such requests let it be answered."""

        async def handle(request: web.Request) -> web.StreamResponse:
            about = self.messages.get(request.match_info.get("sid", ""))
            contact = about.request.to if about else request.query.get("To")
            fault = self.faults.draw("twilio", Point.QUERY, contact)
            return await act_out(request, fault, self.faults, lambda: handler(request), self._worded)

        return handle

    def _worded(self, fault: Kind) -> web.StreamResponse:
        if fault.how in {How.THROTTLE, How.THROTTLE_BARE}:
            return self._refusal(TwilioError(20429), bare=fault.how is How.THROTTLE_BARE)
        return self._refusal(TwilioError(20500 if fault.taken else 20503))

    # Messages

    async def _create(self, request: web.Request) -> web.StreamResponse:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        fault = self.faults.draw("twilio", Point.SEND, form.get("To"))
        if fault is not None and fault.how is How.EARLY:
            return await self._taken(form, early=True)
        return await act_out(request, fault, self.faults, lambda: self._taken(form), self._worded)

    async def _taken(self, form: Mapping[str, str], *, early: bool = False) -> web.Response:
        asked = check(form, self.world.clock())
        if asked.to in self.refusals:
            raise TwilioError(self.refusals[asked.to], asked.to)
        message = self._enter(asked, early=early)
        document = self.document(message)  # as it was taken, whatever has become of it meanwhile
        self.take(message)
        if early and asked.status_callback:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(message.called.wait(), _EARLY_S)
        return web.json_response(document, status=201)

    def _enter(self, asked: Request, *, early: bool) -> TwilioMessage:
        at, text = self.world.clock(), self._text(asked)
        shown = Message(
            provider="twilio",
            channel=asked.channel,
            id="SM" + secrets.token_hex(16),
            address=asked.address,
            sender=asked.sender or self._pool(asked.channel),
            text=text,
            at=at,
            status=_initial(asked),
            reference=urlsplit(asked.status_callback).query or None if asked.status_callback else None,
        )
        segments = count(text).segments if asked.channel == "sms" else 1
        message = TwilioMessage(
            shown=shown,
            request=asked,
            sender=shown.sender,
            segments=segments,
            created=at,
            updated=at,
            early=early,
        )
        self.messages[shown.id] = message
        self._by_to[asked.to].append(message)
        self.world.accept(shown)
        return message

    def _pool(self, channel: str) -> str:
        return WHATSAPP + self.account.whatsapp_from if channel == "whatsapp" else self.account.sms_from

    def _text(self, asked: Request) -> str:
        """What the customer reads: the body, or the template with its variables."""
        if asked.content_sid is None:
            return asked.body
        text = self.templates.get(asked.content_sid)
        if text is None:
            return "\n".join(asked.variables.values())
        for name, value in asked.variables.items():
            text = text.replace("{{" + name + "}}", value)
        return text

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        size = min(max(_whole(query.get("PageSize"), 50), 1), 1000)
        page = max(_whole(query.get("Page"), 0), 0)
        to = query.get("To")
        found = matching(self._by_to.get(to, []) if to else self.messages.values(), query)
        start = page * size
        rows = found[start : start + size]
        body: dict[str, Any] = {"messages": [self.document(row) for row in rows]}
        body |= self._paging(query, page, size, len(rows), more=len(found) > start + size)
        return web.json_response(body)

    def _paging(
        self, query: Mapping[str, str], page: int, size: int, shown: int, *, more: bool
    ) -> dict[str, Any]:
        def uri(number: int) -> str:
            kept = {
                name: value for name, value in query.items() if name not in {"Page", "PageSize", "PageToken"}
            }
            cursor = {"PageToken": f"PA{number}"} if number else {}
            path = f"{API}/{self.account.sid}/Messages.json"
            return f"{path}?{urlencode(kept | {'PageSize': str(size), 'Page': str(number)} | cursor)}"

        return {
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": page * size + max(shown - 1, 0),
            "uri": uri(page),
            "first_page_uri": uri(0),
            "next_page_uri": uri(page + 1) if more else None,
            "previous_page_uri": uri(page - 1) if page else None,
        }

    def _find(self, request: web.Request) -> TwilioMessage:
        message = self.messages.get(request.match_info["sid"])
        if message is None:
            raise TwilioError(20404, request.path)
        return message

    async def _fetch(self, request: web.Request) -> web.Response:
        return web.json_response(self.document(self._find(request)))

    async def _update(self, request: web.Request) -> web.Response:
        """Cancel a scheduled message; nothing else can be changed here."""
        message = self._find(request)
        if (await request.post()).get("Status") == "canceled" and message.shown.status == "scheduled":
            message.shown.status, message.updated = "canceled", self.world.clock()
            self.world.changed()
        return web.json_response(self.document(message))

    async def _account(self, request: web.Request) -> web.Response:
        uri = f"{API}/{self.account.sid}"
        made = format_datetime(self.world.clock())
        return web.json_response(
            {
                "sid": self.account.sid,
                "owner_account_sid": self.account.sid,
                "friendly_name": "Sandbox",
                "status": "active",
                "type": "Full",
                "date_created": made,
                "date_updated": made,
                "uri": f"{uri}.json",
                "subresource_uris": {"messages": f"{uri}/Messages.json"},
            }
        )

    def document(self, message: TwilioMessage) -> dict[str, Any]:
        """One message as the API shows it."""
        uri = f"{API}/{self.account.sid}/Messages/{message.sid}"
        waiting = message.request.service is not None and message.sent is None
        error = message.shown.error
        return {
            "sid": message.sid,
            "account_sid": self.account.sid,
            "api_version": "2010-04-01",
            "body": message.shown.text,
            "date_created": format_datetime(message.created),
            "date_sent": format_datetime(message.sent) if message.sent else None,
            "date_updated": format_datetime(message.updated),
            "direction": "outbound-api",
            "error_code": int(error) if error else None,
            "error_message": None,
            "from": message.sender if message.request.sender or message.sent else None,
            "messaging_service_sid": message.request.service,
            "num_media": "0",
            "num_segments": "0" if waiting else str(message.segments),
            "price": None,
            "price_unit": "USD",
            "status": message.shown.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.request.to,
            "uri": f"{uri}.json",
        }


def reference(message: Message) -> dict[str, str]:
    """The query of the StatusCallback that came with a message, such as `{"m": ..., "a": ...}`."""
    return {name: values[0] for name, values in parse_qs(message.reference or "").items()}


def _initial(asked: Request) -> str:
    if asked.send_at is not None:
        return "scheduled"
    return "accepted" if asked.service else "queued"


def _basic(header: str) -> bytes:
    scheme, _, value = header.partition(" ")
    try:
        return base64.b64decode(value, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default
