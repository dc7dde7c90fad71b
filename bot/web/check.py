"""Is this bill real? A public page, and the same answer for who asks on WhatsApp.

The number is posted, so that it stands in no address. Who asks is the connection's address, or what the merchant's own
proxies say (TUMA_PROXIES); of IPv6 the network, since one household has all of a /64.

Source: RFC 7239 section 5.2 (what proxies append); RFC 4291 (64 bits name the network).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from aiohttp import web

from bot.engine.checks import WINDOW_S, Asker, Checked, TooOften
from bot.render import locale as formats
from bot.web import bodies
from bot.web.pagewriter import PageWriter, route
from bot.web.routes import Route

if TYPE_CHECKING:
    from bot.engine.engine import Engine

_LARGEST_FORM = 4 * 1024
_TYPED = 40
_NAMES = {"open": "check_open", "held": "check_held", "settled": "check_paid", "closed": "check_closed"}
_NAMES |= {"stopped": "check_stopped"}
# The word that asks, and the language it is asked in.
_KEYWORDS = {"HAKIKI": "sw", "CHECK": "en"}
_QUESTION = re.compile(r"\W*(hakiki|check)\b[\s:]*(.{0,80}?)[\s.!?]*", re.IGNORECASE | re.DOTALL)


class Check:
    """The page, and what to write back to a question."""

    def __init__(self, engine: Engine, writer: PageWriter, proxies: int) -> None:
        self._engine, self._writer, self._proxies = engine, writer, proxies

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        return [
            route("GET", "/check", self.form, "Asks for a control number"),
            route("POST", "/check", self.answer, "Says whether a bill is real", 429),
        ]

    async def form(self, request: web.Request) -> web.Response:
        """Ask for a number."""
        return self._page(self._writer.language(request), "", "", "")

    async def answer(self, request: web.Request) -> web.Response:
        """Answer about the number that was posted."""
        lang = self._writer.language(request)
        given = bodies.form(await bodies.read(request, _LARGEST_FORM)).get("number", "")[:_TYPED].strip()
        if not given:
            return self._page(lang, "", "", "")
        try:
            checked = await self._engine.checks.ask(given, "web", asker(request, self._proxies))
        except TooOften:
            often = self._page(lang, given, self._writer.words(lang)["check_often"], "bad", 429)
            often.headers["Retry-After"] = str(WINDOW_S)
            return often
        tone = "good" if checked and checked.status in {"open", "settled"} else "bad"
        return self._page(lang, given, self._say(checked, lang), tone)

    async def reply(self, text: str, kind: Asker, sender: str) -> str | None:
        """What to write back to a message: None if it asks nothing, or asks too often.

        Who asks too often is told so once: every answer costs the merchant a message.
        """
        match = _QUESTION.fullmatch(text.strip())
        if match is None:
            return None
        lang = _KEYWORDS[match[1].upper()]
        try:
            checked = await self._engine.checks.ask(match[2] or "", kind, sender)
        except TooOften as error:
            return self._writer.words(lang)["check_often"] if error.first else None
        return self._say(checked, lang) if match[2] else self._writer.words(lang)["check_explain"]

    def _say(self, checked: Checked | None, lang: str) -> str:
        return said(checked, lang, self._writer)

    def _page(self, lang: str, given: str, answer: str, tone: str, status: int = 200) -> web.Response:
        values: Mapping[str, str] = {"given": given, "answer": answer, "tone": tone}
        return self._writer.page("check.html", lang, values, status=status)


def said(checked: Checked | None, lang: str, writer: PageWriter) -> str:
    """The answer in words."""
    if checked is None:
        return writer.words(lang)["check_unknown"]
    amount = formats.money(lang, checked.amount, checked.currency)
    return writer.words(lang, {"amount": amount})[_NAMES[checked.status]]


def asker(request: web.Request, proxies: int) -> str:
    """The network address of who asks, seen through that many proxies of ours."""
    seen = request.remote or ""
    if proxies:
        named = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        seen = named[-proxies].strip() if len(named) >= proxies else named[0].strip()
    try:
        address = ip_address(seen.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((address, 64), strict=False))
    return str(address)
