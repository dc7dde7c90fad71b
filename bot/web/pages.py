"""What customers open: the page of a bill, the same as a PDF, and the word that it changed.

A page says no more than the messages did and never names the customer; it is found only by its token. With JavaScript
it turns to paid by itself; without, it is complete and a link reads it again.

Source: HTML Living Standard, server-sent events.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from bot.domain.message import Kind
from bot.engine.live import Word
from bot.errors import NotFound
from bot.render.invoice import of_message
from bot.render.invoice_pdf import pdf
from bot.render.payment_methods import Method
from bot.render.samples import sample_facts
from bot.web import billpage
from bot.web.pagewriter import SCRIPT, PageWriter, route
from bot.web.routes import Answer, Route
from channels.base import ChannelName

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.engine.pageview import Page
    from bot.settings import Settings

_BEAT_S = 25.0
_LONGEST_S = 900.0
# What a process does once it listens, in a thread: it takes a good part of a second.
WARM: web.AppKey[Callable[[], None]] = web.AppKey("warm")
# PDFs are drawn beside the event loop, a few at once.
_DRAWN_AT_ONCE = 2


class Pages:
    """The addresses of one bill."""

    def __init__(
        self, engine: Engine, settings: Settings, methods: Sequence[Method], writer: PageWriter
    ) -> None:
        self._engine, self._writer, self._methods = engine, writer, methods
        self._zone, self._public_url = settings.timezone, settings.public_url
        self._drawing = asyncio.Semaphore(_DRAWN_AT_ONCE)

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        return [
            route("GET", "/pay/{token}", self.pay, "A customer's bill"),
            self._made("invoice.pdf", self.invoice, "The bill, or its receipt, as a PDF", "application/pdf"),
            self._made(
                "live", self.live, "Says when the bill changes (server-sent events)", "text/event-stream"
            ),
        ]

    def _made(self, name: str, handler: object, summary: str, media_type: str) -> Route:
        return Route(
            method="GET",
            path="/pay/{token}/" + name,
            handler=handler,  # type: ignore[arg-type]
            summary=summary,
            tag="pages",
            html=name == "invoice.pdf",
            answers={200: Answer(meaning="Found", media_type=media_type)},
            problems=("not-found", "unavailable"),
        )

    async def pay(self, request: web.Request) -> web.Response:
        """Show a bill."""
        page = await self._engine.shares.by_token(request.match_info["token"])
        lang = self._writer.language(request, page.locale)
        values = {**billpage.values(page, lang, self._zone, self._methods), "oembed": self._oembed(page)}
        facts = billpage.facts(page, lang, self._zone)
        return self._writer.page("pay.html", lang, values, facts=facts, script=SCRIPT)

    def _oembed(self, page: Page) -> str:
        if not self._public_url:
            return ""
        return f"{self._public_url}/oembed?{urlencode({'url': f'{self._public_url}/pay/{page.token}'})}"

    async def invoice(self, request: web.Request) -> web.Response:
        """Draw the bill as a PDF."""
        page = await self._engine.shares.by_token(request.match_info["token"])
        lang = self._writer.language(request, page.locale)
        url = f"{self._public_url}/pay/{page.token}" if self._public_url else None
        facts = billpage.invoice(page, lang, url)
        words = self._writer.words(lang, billpage.facts(page, lang, self._zone))
        async with self._drawing:
            body = await asyncio.to_thread(pdf, facts, self._writer.look, self._methods, words, self._zone)
        name = f"{words['receipt_title' if facts.state == 'paid' else 'bill'].lower()}-{page.number[-4:]}.pdf"
        shown = {"Content-Disposition": f'inline; filename="{name}"'}
        return web.Response(body=body, content_type="application/pdf", headers=shown)

    def warm(self) -> None:
        """Draw one bill and throw it away, which loads all that drawing needs: the first customer does not wait for it.

        Raises TemplateError if a word is missing.
        """
        lang = self._writer.default
        facts = of_message(sample_facts(Kind.INSTRUCTIONS, ChannelName.EMAIL, lang), lang)
        words = self._writer.words(lang, facts.facts(self._zone))
        pdf(facts, self._writer.look, self._methods, words, self._zone)

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Say once that the bill is no longer what `seen` was; nothing is read while it stays so."""
        async with self._engine.live.watch(request.match_info["token"]) as (page, word):
            response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
            response.content_type = "text/event-stream"
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # who has left is no error
                # Whoever must come again does not do so with everybody else.
                await response.write(f"retry: {random.randint(3000, 9000)}\n\n".encode())
                if request.query.get("seen") != page.version or await _changed(word, response):
                    await response.write(b"data: changed\n\n")
            return response


async def _changed(word: Word, response: web.StreamResponse) -> bool:
    """Wait for the word, keeping the connection awake; False if the reader shall come again."""
    until = asyncio.get_running_loop().time() + _LONGEST_S
    while asyncio.get_running_loop().time() < until:
        done, _ = await asyncio.wait([word], timeout=_BEAT_S)
        if done:
            return word.result()
        await response.write(b":\n\n")
    return False


def share_token(path: str) -> str:
    """The token in the path of a customer's page. Raises NotFound if it is none."""
    before, found, token = path.partition("/pay/")
    if before or not found or "/" in token:
        raise NotFound("no such page")
    return token
