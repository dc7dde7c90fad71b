"""A server that speaks ClickPesa's token and payment calls, and can be told to misbehave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from bot.billpay.client import ClickPesa

CLIENT_ID, API_KEY = "IDTEST0001", "key-test-1"


def payment(ident: str, reference: str, status: str = "SETTLED", **members: Any) -> dict[str, Any]:
    """One payment as ClickPesa lists it."""
    return {
        "id": ident,
        "status": status,
        "paymentReference": f"ref-{ident}",
        "orderReference": reference,
        "collectedAmount": 12500,
        "collectedCurrency": "TZS",
        "createdAt": "2026-11-02T08:15:30.004Z",
        **members,
    }


class Server:
    """`listed` is what it knows of payments; `answers` are given once each, before anything else, per path."""

    def __init__(self) -> None:
        self.listed: dict[str, list[dict[str, Any]]] = {}
        self.answers: list[web.Response] = []
        self.calls: Counter[str] = Counter()
        self.valid: set[str] = set()
        self.scheme = "Bearer "
        self.base = ""

    async def token(self, request: web.Request) -> web.Response:
        self.calls["token"] += 1
        await asyncio.sleep(0)
        if request.headers.get("client-id") != CLIENT_ID:
            return web.json_response({"message": "Invalid client details"}, status=403)
        if request.headers.get("api-key") != API_KEY:
            return web.json_response({"message": "Invalid or Expired API-Key"}, status=403)
        token = f"token-{self.calls['token']}"
        self.valid = {f"Bearer {token}"}
        return web.json_response({"success": True, "token": f"{self.scheme}{token}"})

    async def payments(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        self.calls[f"payments {reference}"] += 1
        if self.answers:
            return self.answers.pop(0)
        if request.headers.get("authorization") not in self.valid:
            return web.json_response({"message": "Unauthorized"}, status=401)
        if reference not in self.listed:
            return web.json_response({"message": f"Invalid or missing payment: {reference}"}, status=404)
        return web.json_response(self.listed[reference])

    def client(self, **changed: Any) -> ClickPesa:
        """A client of this server."""
        arguments = {"base": self.base, "client_id": CLIENT_ID, "api_key": API_KEY, **changed}
        return ClickPesa(**arguments)


@asynccontextmanager
async def clickpesa_server() -> AsyncIterator[Server]:
    """A running server on a free port."""
    server = Server()
    app = web.Application()
    app.router.add_post("/third-parties/generate-token", server.token)
    app.router.add_get("/third-parties/payments/{reference}", server.payments)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}/third-parties"
    try:
        yield server
    finally:
        await runner.cleanup()
