"""What every request passes: the record of it, errors turned into answers, the key check, security headers.

The access log holds the route's template instead of the path, since paths hold tokens and control numbers; no
address of the caller, no query, no header.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from bot.web import auth, problems
from bot.web.bodies import FORM
from bot.web.metrics import Metrics
from bot.web.routes import Handler, Route

if TYPE_CHECKING:
    from bot.engine.api_keys import ApiKeys

log = structlog.get_logger("tuma.web")

_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {
    "Content-Security-Policy": _NOTHING,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# These would forbid what a page for other sites' frames allows by its own policy.
_UNFRAMED = frozenset({"X-Frame-Options", "Cross-Origin-Resource-Policy"})
_HSTS = "max-age=31536000"
_CLIENT_LEFT = 499
ErrorPage = Callable[[web.Request, Exception], web.Response]


class Gate:
    """The middleware of the server."""

    def __init__(self, keys: ApiKeys, metrics: Metrics, error_page: ErrorPage) -> None:
        self._keys = keys
        self._metrics = metrics
        self._error_page = error_page
        self.routes: dict[web.AbstractRoute, Route] = {}
        self._counters: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}
        # Bound once: by itself it is bound anew for every line, also for one that nobody wants.
        self._log = log.bind()

    def middlewares(self) -> list[Middleware]:
        """As aiohttp wants them."""
        return [self._pass]

    @web.middleware
    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """One for all: each of its own costs every request a call more."""
        began = time.perf_counter()
        response: web.StreamResponse | None = None
        try:
            route = self._route(request)
            if route is not None and route.scopes:
                request[auth.CALLER] = await auth.admit(self._keys, request, route.scopes)
            response = await handler(request)
        except ConnectionError:
            raise  # nobody is left to be answered
        except Exception as error:
            response = self._answer(request, error)
        finally:
            self._record(request, response, time.perf_counter() - began)
        return response

    def _record(self, request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
        # A method may be any word that a stranger made up; a label must not.
        method = request.method if request.method in hdrs.METH_ALL else "other"
        status = response.status if response is not None else _CLIENT_LEFT
        route = template(request)
        count, observe = self._counted(method, route, status)
        count()
        observe(seconds)
        self._log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))

    def _counted(self, *labels: *tuple[str, str, int]) -> tuple[Callable[[], None], Callable[[float], None]]:
        found = self._counters.get(labels)
        if found is None:
            method, route, status = labels
            count = self._metrics.requests.labels(method, route, str(status)).inc
            found = self._counters[labels] = (count, self._metrics.seconds.labels(route).observe)
        return found

    def _answer(self, request: web.Request, error: Exception) -> web.Response:
        if not isinstance(error, problems.EXPECTED):
            log.exception("request failed", route=template(request), error=type(error).__name__)
        route = self._route(request)
        return self._error_page(request, error) if _for_people(request, route) else problems.of_error(error)

    def _route(self, request: web.Request) -> Route | None:
        return self.routes.get(request.match_info.route)


def _for_people(request: web.Request, route: Route | None) -> bool:
    """Whether a page is expected: at an address of pages, or by a browser that was led to no address of ours.

    Whoever sends a body that is no form is a program.
    """
    if request.body_exists and request.content_type != FORM:
        return False
    if route is not None and (route.html or route.tag != "pages"):
        return route.html
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", "")


def template(request: web.Request) -> str:
    """The route's template, such as `/pay/{token}`; "unknown" for addresses that are none of ours."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def headers(*, https: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """What to add to every answer just before it goes out; what a handler set itself stays."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        framed = "frame-ancestors 'none'" not in response.headers.get("Content-Security-Policy", _NOTHING)
        for name, value in _HEADERS.items():
            if not (framed and name in _UNFRAMED):
                response.headers.setdefault(name, value)
        if https:
            response.headers.setdefault("Strict-Transport-Security", _HSTS)
        response.headers["Server"] = "tuma"

    return add
