"""What customers open: the page of a bill, and the page that stops messages.

Complete without JavaScript, in Swahili and English, one answer of a few kilobytes. A page says no more than the
messages did and never names the customer; it is found only by its token. GET never changes anything, since scanners
follow links; POST stops messages without a question, as mail programs' one-click button needs.

Source: RFC 8058, one-click unsubscribe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bot.errors import NotFound, StoreUnavailable
from bot.render.payment_methods import Method
from bot.web import billpage, bodies, problems
from bot.web.pagefiles import LANGUAGES, PageFiles
from bot.web.routes import Answer, Handler, Route
from channels.base import ChannelName

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.engine.views import Page
    from bot.settings import Settings

_LARGEST_FORM = 16 * 1024
_HTML = Answer(meaning="A page for people", media_type="text/html")
_STYLE = "style.css"
_ALL = "all"
_CHANNELS = frozenset(ChannelName)


class Pages:
    """The addresses that messages link to."""

    def __init__(self, engine: Engine, settings: Settings, methods: Sequence[Method]) -> None:
        self._engine = engine
        self._settings = settings
        self._files = PageFiles(settings.templates)
        self._methods = methods
        self._headers = {"Content-Security-Policy": self._files.policy(_STYLE)}

    def routes(self) -> list[Route]:
        """The customer's pages, for the route table."""
        return [
            self._route("GET", "/pay/{token}", self.pay, "A customer's bill"),
            self._route("GET", "/out/{token}", self.ask, "Asks before messages are stopped"),
            self._route("POST", "/out/{token}", self.stop, "Stops messages (one click, RFC 8058)", 400),
        ]

    def _route(self, method: str, path: str, handler: Handler, summary: str, *more: int) -> Route:
        answers = dict.fromkeys(sorted({200, 404, 503, *more}), _HTML)
        return Route(
            method=method,
            path=path,
            handler=handler,
            summary=summary,
            tag="pages",
            html=True,
            answers=answers,
        )

    async def pay(self, request: web.Request) -> web.Response:
        """Show a bill."""
        page = await self._engine.shares.by_token(request.match_info["token"])
        lang, zone = _language(request, page.locale), self._settings.timezone
        facts = billpage.facts(page, lang, zone)
        return self._page("pay.html", lang, facts, billpage.values(page, lang, zone, self._methods))

    async def ask(self, request: web.Request) -> web.Response:
        """Ask before messages are stopped."""
        address = request.match_info["token"]
        token, _, channel = address.partition(".")
        page = await self._engine.shares.by_token(token)
        lang = _language(request, page.locale)
        stopped = [name for name in page.channels if name in page.suppressed]
        values = {
            "token": address,
            "share_token": token,
            "stopped": bool(stopped),
            "choices": _choices(page, channel, self._words(lang)),
        }
        return self._page("out.html", lang, {"channels": self._listed(lang, stopped)}, values)

    async def stop(self, request: web.Request) -> web.Response:
        """Stop messages on the channel of the form or of the address; if neither names one, ask which (400).

        Every channel is stopped only for who chose that: whatever posts nothing to the address must not do it.
        """
        token, _, of_address = request.match_info["token"].partition(".")
        form = await _form(request)
        if not (form.get("channel") or of_address or _is_one_click(form)):
            question = await self.ask(request)
            question.set_status(400)
            return question
        channel, proof = _wanted(form, of_address)
        stopped = await self._engine.contacts.opt_out_token(token, channel, proof=proof)
        page = await self._engine.shares.by_token(token)
        lang = _language(request, page.locale)
        return self._page("out_done.html", lang, {"channels": self._listed(lang, stopped)}, {})

    def error_page(self, request: web.Request, error: Exception) -> web.Response:
        """What people see instead of a page, in both languages, since nobody knows theirs."""
        status = problems.of_error(error).status
        name = "missing" if isinstance(error, NotFound) else "wrong" if status < 500 else "busy"
        texts = [self._sorry(lang, name) for lang in LANGUAGES]
        response = self._page("sorry.html", LANGUAGES[0], {}, {"texts": texts})
        response.set_status(status)
        if status in problems.UNREAD:
            response.force_close()
        if isinstance(error, StoreUnavailable):
            response.headers["Retry-After"] = "5"
        return response

    def _sorry(self, lang: str, name: str) -> dict[str, str]:
        words = self._words(lang)
        return {"lang": lang, "title": words[name], "note": words[f"{name}_note"]}

    def _listed(self, lang: str, channels: Sequence[str]) -> str:
        words = self._words(lang)
        return ", ".join(words[name] for name in channels)

    def _words(self, lang: str, facts: Mapping[str, str] | None = None) -> dict[str, str]:
        merchant = {"merchant": self._settings.merchant_name, "tin": self._settings.merchant_tin or ""}
        return self._files.words(lang, {**merchant, **(facts or {})})

    def _page(
        self, name: str, lang: str, facts: Mapping[str, str], values: Mapping[str, Any]
    ) -> web.Response:
        other = next(code for code in LANGUAGES if code != lang)
        common = {
            "lang": lang,
            "other": other,
            "other_language": self._words(other)["language"],
            "words": self._words(lang, facts),
            "merchant": self._settings.merchant_name,
            "contact": self._settings.merchant_contact or "",
            "tin": self._settings.merchant_tin or "",
        }
        text = self._files.render(name, _STYLE, {**common, **values})
        return web.Response(text=text, content_type="text/html", headers=self._headers)


def _language(request: web.Request, default: str) -> str:
    asked = request.query.get("lang", default)
    return asked if asked in LANGUAGES else default if default in LANGUAGES else LANGUAGES[0]


def _choices(page: Page, channel: str, words: Mapping[str, str]) -> list[dict[str, str]]:
    """The buttons: the channel of the address, or each that is left; and all of them if there are several."""
    left = [name for name in page.channels if name not in page.suppressed]
    shown = [channel] if channel in left else left
    choices = [{"channel": name, "label": words["out_one"].format(channel=words[name])} for name in shown]
    return [*choices, {"channel": _ALL, "label": words["out_all"]}] if len(left) > 1 else choices


def _wanted(form: Mapping[str, str], of_address: str) -> tuple[str | None, str]:
    """Channel (None for all of them) and proof of an opt-out. Raises NotFound for an unknown channel."""
    one_click = _is_one_click(form)
    # A mail program presses the button of a mail, whatever address it was given.
    channel = form.get("channel") or of_address or ChannelName.EMAIL
    if channel != _ALL and channel not in _CHANNELS:
        raise NotFound("no such channel")
    return None if channel == _ALL else channel, "one-click unsubscribe" if one_click else "opt-out page"


def _is_one_click(form: Mapping[str, str]) -> bool:
    return form.get("List-Unsubscribe") == "One-Click"


async def _form(request: web.Request) -> Mapping[str, str]:
    raw = await bodies.read(request, _LARGEST_FORM)
    if request.content_type == "multipart/form-data":
        # RFC 8058 allows it for its one fixed field, which is all that is looked for.
        return {"List-Unsubscribe": "One-Click"} if b"List-Unsubscribe" in raw and b"One-Click" in raw else {}
    return bodies.form(raw)
