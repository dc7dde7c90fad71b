"""What every page for people has in common: language, merchant's look, headers, and a kind page when something fails.

Complete without JavaScript, in Swahili and English, one answer of a few kilobytes, compressed where the browser says
that it can read that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bot.errors import StoreUnavailable
from bot.render.look import Look
from bot.render.pagefiles import LANGUAGES, PageFiles, language
from bot.settings import Settings
from bot.web import problems
from bot.web.routes import Answer, Handler, Route

STYLE, SCRIPT = "style.css", "pay.js"
_HTML = Answer(meaning="A page for people", media_type="text/html")


class PageWriter:
    """Writes pages. Raises TemplateError if a file is missing."""

    def __init__(self, settings: Settings, look: Look) -> None:
        self._files = PageFiles(settings.templates, look.colour)
        self._policies: dict[tuple[str | None, tuple[str, ...]], str] = {}
        self._origins = settings.embed_origins
        self.look = look
        self.default = language(settings.locale)
        for script in (None, SCRIPT):
            self._policy(script, ())

    def language(self, request: web.Request, default: str | None = None) -> str:
        """The language asked for, else the customer's, else the merchant's."""
        return language(request.query.get("lang", ""), self.language_of(default))

    def language_of(self, locale: str | None) -> str:
        """The language of pages for a customer with that locale."""
        return language(locale or self.default, self.default)

    def words(self, lang: str, facts: Mapping[str, str] | None = None) -> dict[str, str]:
        """Every text of a language, with the facts and the merchant in place."""
        merchant = {"merchant": self.look.name, "tin": self.look.tin or ""}
        return self._files.words(lang, {**merchant, **(facts or {})})

    def page(
        self,
        name: str,
        lang: str,
        values: Mapping[str, Any],
        *,
        facts: Mapping[str, str] | None = None,
        script: str | None = None,
        frames: Sequence[str] = (),
        status: int = 200,
    ) -> web.Response:
        """One page; `frames` are the origins of sites that may show it in a frame."""
        text = self._files.render(name, STYLE, {**self._common(lang, facts), **values}, script)
        headers = {"Content-Security-Policy": self._policy(script, tuple(frames))}
        response = web.Response(text=text, content_type="text/html", headers=headers, status=status)
        response.headers["Vary"] = "Accept-Encoding"
        response.enable_compression()
        return response

    def error_page(self, request: web.Request, error: Exception) -> web.Response:
        """What people see instead of a page, in both languages, since nobody knows theirs."""
        status = problems.of_error(error).status
        name = "missing" if status == 404 else "wrong" if status < 500 else "busy"
        # A frame has no button of the browser's to read it again.
        again = name == "busy" and request.method == "GET"
        texts = [self._sorry(lang, name, again=again) for lang in LANGUAGES]
        # In a frame too: a browser shows an error of its own instead of a page that may not be framed.
        frames = self._origins if request.path.endswith("/embed") else ()
        response = self.page("sorry.html", LANGUAGES[0], {"texts": texts}, status=status, frames=frames)
        if status in problems.UNREAD:
            response.force_close()
        if isinstance(error, StoreUnavailable):
            response.headers["Retry-After"] = "5"
        return response

    def _sorry(self, lang: str, name: str, *, again: bool) -> dict[str, str]:
        words = self.words(lang)
        found = {"lang": lang, "title": words[name], "note": words[f"{name}_note"], "ask": words["ask"]}
        return found | {"again": words["again"] if again else ""}

    def _common(self, lang: str, facts: Mapping[str, str] | None) -> dict[str, Any]:
        other = next(code for code in LANGUAGES if code != lang)
        return {
            "lang": lang,
            "other": other,
            "other_language": self._files.words(other, {})["language"],
            "words": self.words(lang, facts),
            "merchant": self.look.name,
            "contact": self.look.contact or "",
            "tin": self.look.tin or "",
            "colour": self.look.colour,
            "logo": self.look.logo_uri,
        }

    def _policy(self, script: str | None, frames: tuple[str, ...]) -> str:
        if (script, frames) not in self._policies:
            self._policies[script, frames] = self._files.policy(STYLE, script=script, frames=frames)
        return self._policies[script, frames]


def route(method: str, path: str, handler: Handler, summary: str, *more: int) -> Route:
    """A page's entry in the route table; `more` are answers beside 200, 404 and 503."""
    return Route(
        method=method,
        path=path,
        handler=handler,
        summary=summary,
        tag="pages",
        html=True,
        answers=dict.fromkeys(sorted({200, 404, 503, *more}), _HTML),
    )
