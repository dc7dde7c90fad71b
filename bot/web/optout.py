"""The page that stops messages, reached from every message.

GET never changes anything, since scanners follow links; POST stops messages without a question, as mail programs'
one-click button needs.

Source: RFC 8058, one-click unsubscribe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from bot.errors import NotFound
from bot.web import bodies
from bot.web.pagewriter import PageWriter, route
from bot.web.routes import Route
from channels.base import ChannelName

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.engine.pageview import Page

_LARGEST_FORM = 16 * 1024
_ALL = "all"
_CHANNELS = frozenset(ChannelName)


class OptOut:
    """The opt-out addresses."""

    def __init__(self, engine: Engine, writer: PageWriter) -> None:
        self._engine, self._writer = engine, writer

    def routes(self) -> list[Route]:
        """The addresses, for the route table."""
        return [
            route("GET", "/out/{token}", self.ask, "Asks before messages are stopped"),
            route("POST", "/out/{token}", self.stop, "Stops messages (one click, RFC 8058)", 400),
        ]

    async def ask(self, request: web.Request) -> web.Response:
        """Ask before messages are stopped."""
        return await self._ask(request, 200)

    async def _ask(self, request: web.Request, status: int) -> web.Response:
        address = request.match_info["token"]
        token, _, channel = address.partition(".")
        page = await self._engine.shares.by_token(token)
        lang = self._writer.language(request, page.locale)
        stopped = [name for name in page.channels if name in page.suppressed]
        values = {
            "token": address,
            "share_token": token,
            "stopped": bool(stopped),
            "choices": _choices(page, channel, self._writer.words(lang)),
        }
        facts = {"channels": self._listed(lang, stopped)}
        return self._writer.page("out.html", lang, values, facts=facts, status=status)

    async def stop(self, request: web.Request) -> web.Response:
        """Stop messages on the channel of the form or of the address; if neither names one, ask which (400).

        Every channel is stopped only for who chose that: whatever posts nothing to the address must not do it.
        """
        token, _, of_address = request.match_info["token"].partition(".")
        form = await _form(request)
        if not (form.get("channel") or of_address or _is_one_click(form)):
            return await self._ask(request, 400)
        channel, proof = _wanted(form, of_address)
        stopped = await self._engine.contacts.opt_out_token(token, channel, proof=proof)
        page = await self._engine.shares.by_token(token)
        lang = self._writer.language(request, page.locale)
        facts = {"channels": self._listed(lang, stopped)}
        return self._writer.page("out_done.html", lang, {}, facts=facts)

    def _listed(self, lang: str, channels: Sequence[str]) -> str:
        words = self._writer.words(lang)
        return ", ".join(words[name] for name in channels)


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
