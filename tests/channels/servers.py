"""Small servers that speak the providers' wire formats, and fail on request.

`behaviour` names how the next requests are answered; `accepted` holds what was taken, in order. The SMTP server is
aiosmtpd, so an implementation that is not ours judges our mails.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ACCOUNT = "AC" + "0" * 32
AUTH_TOKEN = "twilio-auth-token-3c1f"
BOT_TOKEN = "123456789:telegram-token-AAHk3"
API_KEY = "africastalking-key-77ab"
SMTP_PASSWORD = "smtp password @77"


@dataclass(frozen=True)
class Refusal:
    """One HTTP answer that is no success."""

    status: int
    body: Mapping[str, Any] | str
    headers: Mapping[str, str]


class HttpProvider:
    """An HTTP server with a table of refusals, and three behaviours that no answer describes."""

    refusals: ClassVar[Mapping[str, Refusal]]

    def __init__(self) -> None:
        self.behaviour = "ok"
        self.accepted: list[dict[str, str]] = []
        self.requests: list[web.BaseRequest] = []
        self._ended = asyncio.Event()

    async def start(self) -> str:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        self._ended.set()
        await self._runner.cleanup()

    @property
    def connections(self) -> int:
        server = self._runner.server
        return len(server.connections) if server else 0

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.requests.append(request)
        if self.behaviour == "silent":
            await self._ended.wait()
        if self.behaviour == "reset":
            abort(request.transport)
        if (refusal := self.refusals.get(self.behaviour)) is not None:
            return _respond(refusal.status, refusal.body, refusal.headers)
        return self.answer(request, form)

    def answer(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        raise AssertionError("a provider answers")


def abort(transport: asyncio.BaseTransport | None) -> None:
    """Reset a connection without a goodbye."""
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


def _respond(status: int, body: Mapping[str, Any] | str, headers: Mapping[str, str]) -> web.Response:
    if isinstance(body, str):
        return web.Response(status=status, text=body, content_type="text/html", headers=headers)
    return web.json_response(dict(body), status=status, headers=headers)


def _twilio(status: int, code: int, **headers: str) -> Refusal:
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    text = "The 'To' number +255754123456 is not valid, body 'Lipa 45,000'"
    return Refusal(status, {"code": code, "message": text, "status": status}, names)


class TwilioServer(HttpProvider):
    """Messages.json and the account resource; `listed` is what a list answers, whatever was asked."""

    refusals: ClassVar[Mapping[str, Refusal]] = {
        "throttled": _twilio(429, 20429),
        "throttled_7s": _twilio(429, 20429, Retry_After="7"),
        "throttled_1s": _twilio(429, 20429, Retry_After="1"),
        "bad_recipient": _twilio(400, 21211),
        "opted_out": _twilio(400, 21610),
        "bad_credentials": _twilio(401, 20003),
        "unknown_refusal": _twilio(400, 99999),
        "server_error": _twilio(500, 20500),
        "html_error": Refusal(502, "<html>Bad Gateway</html>", {}),
        "unreadable": Refusal(201, "<html>proxy</html>", {}),
        "unreadable_list": Refusal(200, "<html>proxy</html>", {}),
        "redirect": Refusal(307, "", {"Location": "http://127.0.0.1:9/elsewhere"}),
    }
    status = "queued"
    segments = "1"
    listed: Sequence[Mapping[str, Any]] = ()

    def answer(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        expected = base64.b64encode(f"{ACCOUNT}:{AUTH_TOKEN}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            return _respond(401, {"code": 20003, "message": "Authenticate", "status": 401}, {})
        if request.path == f"/2010-04-01/Accounts/{ACCOUNT}.json":
            return web.json_response({"sid": ACCOUNT, "status": "active", "type": "Trial"})
        assert request.path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        if request.method == "GET":
            return web.json_response(
                {"messages": [dict(each) for each in self.listed], "next_page_uri": None}
            )
        self.accepted.append(form)
        sid = f"SM{len(self.accepted):032x}"
        return web.json_response(
            {"sid": sid, "status": self.status, "num_segments": self.segments, "error_code": None}, status=201
        )


def _africastalking(code: int, status: str) -> Refusal:
    row = {"statusCode": code, "number": "+255754123456", "status": status, "cost": "0", "messageId": "None"}
    data = {"Message": "Sent to 0/1 Total Cost: 0", "Recipients": [row]}
    return Refusal(201, {"SMSMessageData": data}, {})


class AfricasTalkingServer(HttpProvider):
    """Messaging and the balance, as the official SDKs use them."""

    refusals: ClassVar[Mapping[str, Refusal]] = {
        "throttled": Refusal(429, "Too Many Requests", {}),
        "throttled_7s": Refusal(429, "Too Many Requests", {"Retry-After": "7"}),
        "bad_recipient": _africastalking(403, "InvalidPhoneNumber"),
        "opted_out": _africastalking(406, "UserInBlacklist"),
        "bad_credentials": Refusal(401, "The supplied authentication is invalid", {}),
        "bad_sender": Refusal(201, {"SMSMessageData": {"Message": "InvalidSenderId", "Recipients": []}}, {}),
        "unknown_refusal": Refusal(400, "Cannot send 'Lipa 45,000' to +255754123456", {}),
        "nobody": Refusal(201, {"SMSMessageData": {"Message": "Sent to 0/1", "Recipients": []}}, {}),
        "proxied": Refusal(503, _africastalking(403, "InvalidPhoneNumber").body, {}),
        "conflict": Refusal(409, _africastalking(409, "DoNotDisturbRejection").body, {}),
        "server_error": Refusal(500, "Internal Server Error", {}),
        "html_error": Refusal(502, "<html>Bad Gateway</html>", {}),
        "unreadable": Refusal(201, "<html>proxy</html>", {}),
        "redirect": Refusal(307, "", {"Location": "http://127.0.0.1:9/elsewhere"}),
    }
    code = 102
    message_id = "ATXid_{n:032x}"
    balance: Mapping[str, Any] = {"UserData": {"balance": "TZS 1785.50"}}

    def answer(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        if request.headers.get("apiKey") != API_KEY:
            return _respond(401, "The supplied authentication is invalid", {})
        if request.path == "/version1/user":
            return web.json_response(dict(self.balance))
        assert (request.method, request.path) == ("POST", "/version1/messaging")
        self.accepted.append(form)
        row = {
            "statusCode": self.code,
            "number": form["to"],
            "status": "Success",
            "cost": "TZS 22.0000",
            "messageId": self.message_id.format(n=len(self.accepted)),
            "messageParts": 1,
        }
        data = {"Message": "Sent to 1/1 Total Cost: TZS 22.0000", "Recipients": [row]}
        return web.json_response({"SMSMessageData": data}, status=201)


def _telegram(status: int, text: str, **parameters: int) -> Refusal:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": text}
    return Refusal(status, body | ({"parameters": parameters} if parameters else {}), {})


class TelegramServer(HttpProvider):
    """sendMessage and getMe."""

    refusals: ClassVar[Mapping[str, Refusal]] = {
        "throttled": _telegram(429, "Too Many Requests"),
        "throttled_7s": _telegram(429, "Too Many Requests: retry after 7", retry_after=7),
        "bad_recipient": _telegram(400, "Bad Request: chat not found"),
        "opted_out": _telegram(403, "Forbidden: bot was blocked by the user"),
        "bad_credentials": _telegram(401, "Unauthorized"),
        "unknown_refusal": _telegram(400, "Bad Request: 7001234567 said Lipa 45,000"),
        "server_error": _telegram(500, "Internal Server Error"),
        "html_error": Refusal(502, "<html>Bad Gateway</html>", {}),
        "unreadable": Refusal(200, "<html>proxy</html>", {}),
        "no_description": Refusal(500, {"ok": False}, {}),
    }
    moved_to: int | None = None

    def answer(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        token, _, method = request.path.removeprefix("/bot").partition("/")
        if token != BOT_TOKEN:
            return _respond(401, {"ok": False, "error_code": 401, "description": "Unauthorized"}, {})
        if method == "getMe":
            me = {"id": 1, "is_bot": True, "first_name": "Lipa", "username": "lipa_bot"}
            return web.json_response({"ok": True, "result": me})
        assert method == "sendMessage"
        if self.moved_to is not None and form["chat_id"] != str(self.moved_to):
            moved = _telegram(400, "Bad Request: group upgraded", migrate_to_chat_id=self.moved_to)
            return _respond(moved.status, moved.body, {})
        self.accepted.append(form)
        chat = {"id": int(form["chat_id"]), "type": "private"}
        result = {"message_id": len(self.accepted), "date": 1, "chat": chat, "text": form["text"]}
        return web.json_response({"ok": True, "result": result})


class SmtpServer:
    """aiosmtpd with a table of replies per command; drops or stays silent on request.

    `replies` maps MAIL, RCPT or DATA to the reply given instead of 250; "drop" and "silent" are understood.
    """

    shortcuts: Mapping[str, dict[str, str]] = {
        "ok": {},
        "silent": {"DATA": "silent"},
        "reset": {"DATA": "drop"},
        "bad_recipient": {"RCPT": "550 5.1.1 <asha@example.com>: no such user"},
        "bad_credentials": {"MAIL": "530 5.7.0 Authentication required"},
        "unknown_refusal": {"RCPT": "554 asha@example.com refused"},
    }

    def __init__(self, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self.replies: dict[str, str] = {}
        self.accepted: list[Envelope] = []
        self.commands: list[str] = []
        self.logins: list[str] = []
        self.most = 0
        self.pipelines = False
        self._open: set[Any] = set()
        self._tls = tls
        self._options = options
        self._ended = asyncio.Event()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "behaviour":
            self.replies = dict(self.shortcuts[value])
        super().__setattr__(name, value)

    async def start(self) -> str:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def stop(self) -> None:
        self._ended.set()
        self._server.close()
        for protocol in list(self._open):
            protocol.drop()
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        return len(self._open)

    def hang_up(self) -> None:
        """Close every connection, as a server does with idle ones."""
        for protocol in list(self._open):
            protocol.drop()

    def _protocol(self) -> SMTP:
        with warnings.catch_warnings():  # aiosmtpd warns of logins without TLS, which some tests are about
            warnings.simplefilter("ignore", UserWarning)
            return _Protocol(self, hostname="localhost", loop=asyncio.get_running_loop(), **self._options)

    def login(self, *arguments: Any) -> AuthResult:
        data = arguments[-1]
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password.decode() == SMTP_PASSWORD, handled=False)

    async def reply(self, command: str, protocol: SMTP, good: Callable[[], str]) -> str:
        self.commands.append(command)
        planned = self.replies.get(command)
        if planned == "silent":
            await self._ended.wait()
        if planned == "drop":
            abort(protocol.transport)
            return "421 gone"
        return planned or good()

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, name: str, responses: list[str]
    ) -> list[str]:
        session.host_name = name
        return [*responses[:-1], *(["250-PIPELINING"] if self.pipelines else []), responses[-1]]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return await self.reply("MAIL", server, lambda: "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = await self.reply("RCPT", server, lambda: "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        def take() -> str:
            self.accepted.append(envelope)
            return "250 2.0.0 queued"

        return await self.reply("DATA", server, take)


class _Protocol(SMTP):
    """aiosmtpd's protocol, which tells its owner when a connection opens and ends."""

    def __init__(self, owner: SmtpServer, **options: Any) -> None:
        super().__init__(owner, authenticator=owner.login, **options)
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._owner._open.add(self)
        self._owner.most = max(self._owner.most, self._owner.connections)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner._open.discard(self)
        super().connection_lost(error)

    def drop(self) -> None:
        if self.transport is not None:
            abort(self.transport)
