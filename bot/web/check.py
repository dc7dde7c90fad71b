"""Is this bill real? A public page, and the same answer for programs and for who asks on WhatsApp.

The number is posted, so that it stands in no address. Who asks is the connection's address, or what the merchant's own
proxies say (TUMA_PROXIES); of IPv6 the network, since one household has all of a /64.

Source: RFC 7239 section 5.2 (what proxies append); RFC 4291 (64 bits name the network).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from bot.domain.bill import BillStatus
from bot.domain.money import plain, to_minor
from bot.engine.checks import WINDOW_S, Asker, Checked, TooOften, number_in
from bot.errors import Problem, Refused
from bot.render import locale as formats
from bot.web import bodies
from bot.web.answers import json_answer
from bot.web.pagewriter import PageWriter, route
from bot.web.problems import Rejected
from bot.web.routes import Answer, Body, Route

if TYPE_CHECKING:
    from bot.engine.engine import Engine

_LARGEST_FORM = 4 * 1024
_TYPED = 40
_NAMES = {"open": "check_open", "held": "check_held", "settled": "check_paid", "closed": "check_closed"}
_NAMES |= {"stopped": "check_stopped"}
# The word that asks, and the language it is asked in.
_KEYWORDS = {"HAKIKI": "sw", "CHECK": "en"}
_QUESTION = re.compile(r"\W*(hakiki|check)\b(.*)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w")
# A proxy may add the port: 198.51.100.7:4711, [2001:db8::1]:4711.
_WITH_PORT = re.compile(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_log = structlog.get_logger(__name__)


class CheckForm(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a program: the control number as somebody typed it, spaces and all."""

    number: str


class CheckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of a number. `status`: open, paid, closed, held, stopped; null, as the rest, if it is not ours.

    `amount` is to be paid now, a decimal string in the major unit; null unless the bill is open. `text` says the same
    in the language asked for (`?lang=`).
    """

    merchant: str
    known: bool
    status: str | None
    amount: str | None
    currency: str | None
    text: str


class Check:
    """The page, and what to write back to a question."""

    def __init__(self, engine: Engine, writer: PageWriter, proxies: int) -> None:
        self._engine, self._writer, self._proxies = engine, writer, proxies
        self._warned = False

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        return [
            route("GET", "/check", self.form, "Asks for a control number"),
            Route(
                method="POST",
                path="/check",
                handler=self.answer,
                summary="Says whether a bill is real: a page for who sends a form, JSON for who sends JSON",
                tag="pages",
                html=True,
                body=Body(schemas={bodies.JSON: CheckForm, bodies.FORM: None}),
                answers={200: Answer(meaning="What may be said", body=CheckAnswer, page=True)},
                problems=("not-understood", "unsupported-media-type", "refused", "too-often", "unavailable"),
            ),
        ]

    async def form(self, request: web.Request) -> web.Response:
        """Ask for a number."""
        return self._page(self._writer.language(request), "", "", "")

    async def answer(self, request: web.Request) -> web.Response:
        """Answer about the number that was posted."""
        if request.body_exists and request.content_type != bodies.FORM:
            return await self._tell(request)
        lang = self._writer.language(request)
        given = bodies.form(await bodies.read(request, _LARGEST_FORM)).get("number", "")[:_TYPED].strip()
        if not given:
            return self._page(lang, "", "", "")
        try:
            checked = await self._ask(given, request)
        except TooOften:
            often = self._page(lang, given, self._writer.words(lang)["check_often"], "bad", 429)
            often.headers["Retry-After"] = str(WINDOW_S)
            return often
        tone = "good" if checked and checked.status in {"open", "settled"} else "bad"
        return self._page(lang, given, self._say(checked, lang), tone)

    async def _tell(self, request: web.Request) -> web.Response:
        """Answer a program. Raises Rejected, Refused."""
        if request.content_type != bodies.JSON:
            right = (
                f'send {bodies.FORM} with the field number, or {bodies.JSON} such as {{"number": "5504..."}}'
            )
            raise Rejected("unsupported-media-type", right)
        given = bodies.json_object(await bodies.read(request, _LARGEST_FORM)).get("number")
        if not isinstance(given, str) or not given.strip():
            raise Refused(Problem(field="number", message="is missing", expected="a control number, as text"))
        try:
            checked = await self._ask(given[:_TYPED], request)
        except TooOften as error:
            raise Rejected("too-often", headers={"Retry-After": str(WINDOW_S)}) from error
        text = self._say(checked, self._writer.language(request))
        return json_answer(_answer(checked, self._writer.look.name, text))

    async def _ask(self, given: str, request: web.Request) -> Checked | None:
        if self._proxies and not self._warned and _forwarded(request, self._proxies) is None:
            self._warned = True
            _log.warning("no_forwarded_for", proxies=self._proxies)
        return await self._engine.checks.ask(given, "web", asker(request, self._proxies))

    async def reply(self, text: str, kind: Asker, sender: str) -> str | None:
        """What to write back to a message: None if it asks about no number, or asks too often.

        The keyword alone asks how to ask; with other words but no number it is the beginning of a sentence. Who asks
        too often is told so once: every answer costs the merchant a message.
        """
        match = _QUESTION.fullmatch(text)
        if match is None:
            return None
        number = number_in(match[2])
        if number is None and _WORD.search(match[2]):
            return None
        lang = _KEYWORDS[match[1].upper()]
        try:
            checked = await self._engine.checks.ask(number or "", kind, sender)
        except TooOften as error:
            return self._writer.words(lang)["check_often"] if error.first else None
        return self._say(checked, lang) if number else self._writer.words(lang)["check_explain"]

    def _say(self, checked: Checked | None, lang: str) -> str:
        return said(checked, lang, self._writer)

    def _page(self, lang: str, given: str, answer: str, tone: str, status: int = 200) -> web.Response:
        values: Mapping[str, str] = {"given": given, "answer": answer, "tone": tone}
        return self._writer.page("check.html", lang, values, status=status)


def _answer(checked: Checked | None, merchant: str, text: str) -> CheckAnswer:
    status, amount, currency = None, None, None
    if checked is not None:
        status = "paid" if checked.status is BillStatus.SETTLED else str(checked.status)
        payable, currency = checked.status is BillStatus.OPEN, checked.currency
        amount = plain(to_minor(checked.amount, currency), currency) if payable else None
    known = checked is not None
    return CheckAnswer(
        merchant=merchant, known=known, status=status, amount=amount, currency=currency, text=text
    )


def said(checked: Checked | None, lang: str, writer: PageWriter) -> str:
    """The answer in words."""
    if checked is None:
        return writer.words(lang)["check_unknown"]
    amount = formats.money(lang, checked.amount, checked.currency)
    return writer.words(lang, {"amount": amount})[_NAMES[checked.status]]


def asker(request: web.Request, proxies: int) -> str:
    """The network address of who asks, seen through that many proxies of ours; the connection's if they name none."""
    address = (_forwarded(request, proxies) if proxies else None) or _address(request.remote or "")
    if address is None:
        return "unknown"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((address, 64), strict=False))
    return str(address)


def _forwarded(request: web.Request, proxies: int) -> IPv4Address | IPv6Address | None:
    named = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    return _address(named[-proxies] if len(named) >= proxies else named[0])


def _address(text: str) -> IPv4Address | IPv6Address | None:
    match = _WITH_PORT.fullmatch(text.strip())
    bare = (match[1] or match[2]) if match else text.strip()
    try:
        return ip_address(bare.partition("%")[0])
    except ValueError:
        return None
