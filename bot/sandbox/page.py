"""The page's HTTP side: the document, its state, a stream that says "something changed", and what people do.

    GET  /                    the page                 GET  /api/state?find=   what it shows (JSON)
    GET  /api/events          server-sent events       GET  /api/accepted      every accepted message (JSON lines)
    GET  /mail/{id}           one mail's HTML, sandboxed
    GET  /api/faults          faults there are, asked for, met; profiles and seed (JSON)
    GET  /api/verdict         messages by sender's reference, and how often each was taken (JSON; ?every=1: all)
    POST /api/faults          {"provider", "mode"}, or {"provider", "kind", "rate" or "next", "contact"?}
    POST /api/faults/clear    {}                                    POST /api/profile {"name", "seed"?}
    POST /api/whatsapp        {"phone", "text"}                     POST /api/whatsapp/user  {"phone", "has"}
    POST /api/telegram/start  {"chat", "payload"?}                  POST /api/telegram/write {"chat", "text"}
    POST /api/telegram/press  {"chat", "message", "data"}           POST /api/telegram/block {"chat", "blocked"}
    POST /api/unsubscribe     {"mail"}  (one-click, as a mail provider does it)
    POST /api/people          {"name"?, "phone"?, "email"?, "chat"?, "whatsapp"?, "staff"?, "started"?}
    POST /api/connect         {"tuma"}
    POST /api/pay and others about money: see `page_clickpesa`

POST bodies are JSON and answers are `{"ok": true, ...}` or, 400, `{"error": text}`. Other origins are refused: anything
here can be asked to act, and a page elsewhere in the browser must not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from bot.sandbox.clickpesa_bills import Declined
from bot.sandbox.fault_view import faults_view, verdict_view
from bot.sandbox.page_clickpesa import ClickPesaActions
from bot.sandbox.page_view import unsubscribe_url, view
from bot.sandbox.profiles import profiles
from bot.sandbox.world import Message

if TYPE_CHECKING:
    from bot.sandbox.city import Sandbox

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    "page.html": "text/html",
    "page.js": "text/javascript",
    "pay.js": "text/javascript",
    "page.css": "text/css",
}
_HEARTBEAT_S, _GATHER_S = 15.0, 0.12
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
# A mail is what a stranger wrote: no scripts, no requests, no access to the page around it.
_MAIL = _SAFE | {
    "Content-Security-Policy": (
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'self'; form-action 'none'; frame-ancestors 'self'"
    )
}
Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Action = Callable[[Json], Awaitable[object]]


class Page:
    """Serves the page and does what its buttons ask."""

    def __init__(self, city: Sandbox) -> None:
        self._city = city
        self._stopping = asyncio.Event()

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/", self._file("page.html"))
        app.router.add_get("/page.js", self._file("page.js"))
        app.router.add_get("/pay.js", self._file("pay.js"))
        app.router.add_get("/page.css", self._file("page.css"))
        app.router.add_get("/api/state", self._state)
        app.router.add_get("/api/events", self._events)
        app.router.add_get("/api/accepted", self._accepted)
        app.router.add_get("/api/faults", self._faults)
        app.router.add_get("/api/verdict", self._verdict)
        app.router.add_get("/mail/{id}", self._mail)
        for path, action in self._actions().items():
            app.router.add_post(f"/api/{path}", _acting(action))
        return app

    def stop(self) -> None:
        """End the streams."""
        self._stopping.set()
        self._city.world.changed()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="another origin may not ask the sandbox")
        if request.method == "POST" and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="expected application/json")
        return await handler(request)

    # Showing

    def _file(self, name: str) -> Handler:
        async def serve(request: web.Request) -> web.Response:
            text = (_FOLDER / name).read_text(encoding="utf-8")
            return web.Response(text=text, content_type=_TYPES[name], headers=_SAFE)

        return serve

    async def _state(self, request: web.Request) -> web.Response:
        return _shown(view(self._city, request.query.get("find", "")))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await stream.prepare(request)
        with contextlib.suppress(ConnectionError):  # the page was closed
            async for line in self._news():
                await stream.write(line)
        return stream

    async def _news(self) -> AsyncIterator[bytes]:
        """A line per change, changes close together gathered into one; a comment when nothing happens."""
        yield b"retry: 1000\n\n"
        seen = -1
        while not self._stopping.is_set():
            if seen == self._city.world.version:
                yield await self._wait()
                continue
            seen = self._city.world.version
            yield f"data: {seen}\n\n".encode()
            await asyncio.sleep(_GATHER_S)

    async def _wait(self) -> bytes:
        try:
            async with asyncio.timeout(_HEARTBEAT_S):
                await self._city.world.change()
        except TimeoutError:
            pass
        return b": still here\n\n"

    async def _accepted(self, request: web.Request) -> web.Response:
        records = self._city.world.accepted(request.query.get("channel"), request.query.get("address"))
        lines = (msgspec.json.encode(_record(each)) for each in records)
        return web.Response(
            body=b"".join(line + b"\n" for line in lines), content_type="application/x-ndjson"
        )

    async def _faults(self, request: web.Request) -> web.Response:
        return _shown(faults_view(self._city))

    async def _verdict(self, request: web.Request) -> web.Response:
        return _shown(verdict_view(self._city.world.verdict(), every="every" in request.query))

    async def _mail(self, request: web.Request) -> web.Response:
        mail = _found(self._city, request.match_info["id"])
        if mail is None or not mail.extra["html"]:
            raise web.HTTPNotFound
        html = '<base target="_blank">' + mail.extra["html"]
        return web.Response(text=html, content_type="text/html", headers=_MAIL)

    # Acting

    def _actions(self) -> dict[str, Action]:
        return {
            "faults": self._set_fault,
            "faults/clear": self._clear_faults,
            "profile": self._use_profile,
            "whatsapp": self._write_whatsapp,
            "whatsapp/user": self._set_whatsapp,
            "telegram/start": self._start,
            "telegram/write": self._write,
            "telegram/press": self._press,
            "telegram/block": self._block,
            "unsubscribe": self._unsubscribe,
            "people": self._add_person,
            "connect": self._connect,
            **ClickPesaActions(self._city).all(),
        }

    async def _set_fault(self, asked: Json) -> None:
        faults, provider = self._city.faults, str(asked["provider"])
        if "mode" in asked:
            faults.set(provider, asked["mode"])
            return
        contact = str(asked["contact"]) if asked.get("contact") else None
        kind = str(asked["kind"])
        if "next" in asked:
            faults.next(provider, kind, int(asked["next"]), contact)
        if "rate" in asked or "next" not in asked:
            faults.rate(provider, kind, float(asked["rate"]), contact)

    async def _clear_faults(self, asked: Json) -> None:
        self._city.faults.clear()

    async def _use_profile(self, asked: Json) -> None:
        name = str(asked["name"])
        if name not in profiles():
            raise ValueError(f"unknown profile: expected one of {', '.join(profiles())}")
        seed = None if asked.get("seed") in (None, "") else int(asked["seed"])
        self._city.faults.use(profiles()[name])
        if seed is not None:
            self._city.faults.reseed(seed)

    async def _write_whatsapp(self, asked: Json) -> None:
        await self._city.carrier.write(str(asked["phone"]), _words(asked["text"]))

    async def _set_whatsapp(self, asked: Json) -> None:
        self._city.world.owner("whatsapp", str(asked["phone"])).whatsapp = bool(asked["has"])
        self._city.world.changed()

    async def _start(self, asked: Json) -> None:
        self._city.telegram.chats.start(int(asked["chat"]), str(asked.get("payload") or ""))

    async def _write(self, asked: Json) -> None:
        self._city.telegram.chats.write(int(asked["chat"]), _words(asked["text"]))

    async def _press(self, asked: Json) -> None:
        self._city.telegram.chats.press(int(asked["chat"]), int(asked["message"]), str(asked["data"]))

    async def _block(self, asked: Json) -> None:
        self._city.telegram.chats.block(int(asked["chat"]), blocked=bool(asked["blocked"]))

    async def _unsubscribe(self, asked: Json) -> None:
        mail = _found(self._city, str(asked["mail"]))
        url = unsubscribe_url(mail) if mail else None
        if url is None:
            raise ValueError("that mail has no one-click unsubscribe")
        reply = await self._city.one_click(url)
        if not reply.ok:
            raise ValueError(f"the unsubscribe address answered {reply.status or 'nothing'}")

    async def _add_person(self, asked: Json) -> None:
        started = bool(asked.pop("started", False))
        person = self._city.world.person(**asked)
        if started and person.chat:
            self._city.telegram.chats.begin(person.chat)

    async def _connect(self, asked: Json) -> None:
        self._city.connect(str(asked["tuma"]))


def _acting(action: Action) -> Handler:
    """An action as a handler: what was asked wrongly, or refused by a wallet, is 400 with the reason."""

    async def handle(request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
            done = await action(asked)
        except KeyError as error:
            return _refusal(f"{error.args[0]} is missing or unknown")
        except (Declined, LookupError, ValueError, TypeError, msgspec.MsgspecError) as error:
            return _refusal(str(error))
        return web.json_response({"ok": True} | (done if isinstance(done, dict) else {}))

    return handle


def _shown(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", headers=_SAFE)


def _refusal(text: str) -> web.Response:
    return web.json_response({"error": text}, status=400)


def _words(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("there is no text")
    return value.strip()


def _found(city: Sandbox, mail_id: str) -> Message | None:
    mails = (each for each in reversed(city.world.messages) if each.channel == "email")
    return next((each for each in mails if each.id == mail_id), None)


def _record(message: Message) -> Json:
    return {
        "provider": message.provider,
        "channel": message.channel,
        "id": message.id,
        "address": message.address,
        "text": message.text,
        "at": message.at,
        "status": message.status,
        "arrived": message.arrived,
        "error": message.error,
        "reference": message.reference,
        "numbers": message.numbers,
    }
