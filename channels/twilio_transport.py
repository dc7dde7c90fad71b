"""The HTTP client that Twilio's SDK sends through: our exchange, with Twilio's credentials and our base URL.

Promises what `http_exchange` promises. Headers, Retry-After among them, are kept: the SDK's own exceptions drop them.

The SDK's AsyncTwilioHttpClient is not used: it ignores its `timeout`, repeats POSTs when `max_retries` is set, and
logs phone numbers. Source: twilio-python 9.13, `twilio/http/async_http_client.py`.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]

from channels.forms import encode
from channels.http_exchange import HttpExchange

_log = logging.getLogger(__name__)


class TwilioTransport(AsyncHttpClient):  # type: ignore[misc]
    """An `AsyncHttpClient` for `twilio.rest.Client`. Made anywhere, opened on first use inside a running loop.

    Units: `timeout_s` seconds for one whole request, `connections` sockets at most.
    """

    def __init__(self, api_base: str, *, timeout_s: float, connections: int) -> None:
        super().__init__(_log, True)
        self._base = urlsplit(api_base)
        self._exchange = HttpExchange("twilio", "Twilio", timeout_s=timeout_s, connections=connections)

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """Make one request; `timeout` and `allow_redirects` of the SDK do not apply.

        Errors: LeaseExpired, Unavailable (never left us), Uncertain (may have been taken).
        """
        sent_headers = {**(headers or {}), **_authorization(auth)}
        body = encode({name: str(value) for name, value in data.items()}) if data else None
        answer = await self._exchange.request(method, self._target(url, params), sent_headers, body)
        return Response(answer.status, answer.text, answer.headers)

    async def close(self) -> None:
        """Close every connection."""
        await self._exchange.close()

    def _target(self, url: str, params: Mapping[str, object] | None) -> str:
        return _moved(self._base, url, urlencode(params, doseq=True) if params else None)


@lru_cache(maxsize=16)
def _moved(base: SplitResult, url: str, query: str | None) -> str:
    # The SDK's host is replaced, also where TWILIO_EDGE or TWILIO_REGION in the environment made it rewrite it.
    parts = urlsplit(url)
    return urlunsplit((base.scheme, base.netloc, parts.path, parts.query if query is None else query, ""))


@lru_cache(maxsize=4)
def _authorization(auth: tuple[str, str] | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(auth).encode()).decode()}
