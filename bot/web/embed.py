"""A bill on other people's sites and in other programs' invoices: a frame, a snippet without script, JSON, oEmbed.

A frame is shown by the configured sites alone and stays true by itself. A snippet is as true as the moment it was
fetched, so it says where to look before paying; neither names the customer.

Source: oEmbed specification 1.0 (consumer request, rich type, 501 for a format that is not there).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from bot.errors import NotFound
from bot.render.pagefiles import language
from bot.web import billpage, problems
from bot.web.answers import json_answer
from bot.web.billpage import BillForm
from bot.web.pages import share_token
from bot.web.pagewriter import SCRIPT, PageWriter, route
from bot.web.routes import Answer, Handler, Route

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.engine.pageview import Page
    from bot.settings import Settings

# Tall enough for every state in both languages from 280 px on; tests/web/test_pages_browser.py holds it to that.
WIDTH, HEIGHT = 544, 440
_CACHE_S = 60


class OEmbed(msgspec.Struct, frozen=True, kw_only=True):
    """An oEmbed answer of type `rich`."""

    type: str
    version: str
    title: str
    provider_name: str
    provider_url: str
    cache_age: int
    html: str
    width: int
    height: int


class Embeds:
    """The addresses for other sites and programs."""

    def __init__(self, engine: Engine, settings: Settings, writer: PageWriter) -> None:
        self._engine, self._writer = engine, writer
        self._zone, self._public_url = settings.timezone, settings.public_url
        self._origins = settings.embed_origins

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        snippet = Answer(meaning="HTML to put into a page", media_type="text/html")
        return [
            route("GET", "/pay/{token}/embed", self.embed, "The bill for a frame on a configured site"),
            self._data("/pay/{token}/snippet.html", self.snippet, "The bill as HTML without script", snippet),
            self._data(
                "/pay/{token}/bill.json",
                self.bill,
                "The bill for programs",
                Answer(meaning="As it stands now", body=BillForm),
            ),
            self._data(
                "/oembed", self.oembed, "A bill's page for oEmbed", Answer(meaning="A frame", body=OEmbed)
            ),
        ]

    def _data(self, path: str, handler: Handler, summary: str, answer: Answer) -> Route:
        return Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            tag="pages",
            answers={200: answer},
            problems=("not-found", "unavailable"),
        )

    async def embed(self, request: web.Request) -> web.Response:
        """Show a bill in a frame."""
        page = await self._page(request)
        lang = self._writer.language(request, page.locale)
        values = billpage.values(page, lang, self._zone, ())
        facts = billpage.facts(page, lang, self._zone)
        return self._writer.page("embed.html", lang, values, facts=facts, script=SCRIPT, frames=self._origins)

    async def snippet(self, request: web.Request) -> web.Response:
        """The bill as HTML to put into a page."""
        page = await self._page(request)
        lang = self._writer.language(request, page.locale)
        text = snippet(page, lang, self._zone, self._origin(), self._writer)
        return self._shared(request, web.Response(text=text, content_type="text/html"))

    async def bill(self, request: web.Request) -> web.Response:
        """The bill for programs."""
        page = await self._page(request)
        made = billpage.form(page, self._writer.look.name, self._origin())
        return self._shared(request, json_answer(made))

    async def oembed(self, request: web.Request) -> web.Response:
        """A frame for the page at `url`."""
        if request.query.get("format", "json") != "json":
            return problems.respond(problems.details("not-implemented", "format: only json"))
        url = request.query.get("url", "")
        if not url.startswith(f"{self._origin()}/"):
            raise NotFound("no page of this server")
        path, _, query = url.removeprefix(self._origin()).partition("#")[0].partition("?")
        page = await self._engine.shares.by_token(share_token(path))
        width = _least(WIDTH, request.query.get("maxwidth", ""))
        height = _least(HEIGHT, request.query.get("maxheight", ""))
        lang = language(dict(parse_qsl(query)).get("lang", ""), self._writer.language_of(page.locale))
        return self._shared(request, json_answer(self._rich(page, lang, width, height)))

    def _rich(self, page: Page, lang: str, width: int, height: int) -> OEmbed:
        origin = self._origin()
        return OEmbed(
            type="rich",
            version="1.0",
            title=self._writer.words(lang)["pay_title"],
            provider_name=self._writer.look.name,
            provider_url=origin,
            cache_age=_CACHE_S,
            html=frame(page, lang, origin, self._writer, width=str(width), height=height),
            width=width,
            height=height,
        )

    async def _page(self, request: web.Request) -> Page:
        return await self._engine.shares.by_token(request.match_info["token"])

    def _origin(self) -> str:
        """Where this server is from outside: a Host header may be anybody's."""
        if not self._public_url:
            raise NotFound("PUBLIC_URL is not set, so nothing can link to this bill")
        return self._public_url

    def _shared(self, request: web.Request, response: web.Response) -> web.Response:
        """Let scripts of the configured sites read the answer."""
        origin = request.headers.get("Origin", "")
        response.headers["Vary"] = "Origin"
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
        return response


def snippet(page: Page, lang: str, zone: str, origin: str, writer: PageWriter) -> str:
    """The bill as HTML without script or style sheet, for a page or mail made by another program."""
    words = writer.words(lang, billpage.facts(page, lang, zone))
    state = billpage.state(page)
    if state == "open":
        rows = [(words["amount"], billpage.facts(page, lang, zone)["amount"]), (words["number"], page.number)]
        note = words["exact"] if page.mode == "exact" else words["once"] if page.kind == "order" else ""
    else:
        rows, note = [("", words[state])], words[billpage.invoice(page, lang, None).note]
    link = "open_bill" if state == "open" else "open_page"
    lines = [f"<p><strong>{escape(words['pay_title'])}</strong></p>"]
    lines += [
        f"<p>{escape(f'{label}: ' if label else '')}<strong>{escape(value)}</strong></p>"
        for label, value in rows
    ]
    if note:
        lines.append(f"<p>{escape(note)}</p>")
    url = escape(f"{origin}/pay/{page.token}?lang={lang}")
    lines.append(f'<p><a href="{url}" rel="noreferrer">{escape(words[link])}</a></p>')
    inner = "\n".join(f"  {line}" for line in lines)
    return f'<div class="tuma-bill" lang="{lang}">\n{inner}\n</div>\n'


def frame(
    page: Page, lang: str, origin: str, writer: PageWriter, *, width: str = "100%", height: int = HEIGHT
) -> str:
    """The `iframe` that shows a bill; its site must be one of TUMA_EMBED_ORIGINS."""
    title = escape(writer.words(lang)["pay_title"])
    return (
        f'<iframe src="{escape(f"{origin}/pay/{page.token}/embed?lang={lang}")}" title="{title}" width="{width}" '
        f'height="{height}" style="border:0;max-width:{WIDTH}px" loading="lazy" '
        'referrerpolicy="no-referrer" allow="clipboard-write"></iframe>'
    )


def _least(ours: int, asked: str) -> int:
    # Six digits say all that matters here; Python refuses to read thousands of them.
    return min(ours, int(asked[:6])) if asked.isascii() and asked.isdigit() and int(asked[:6]) > 0 else ours
