"""The HTTP client that Twilio's SDK sends through: our pool, our timeout, our lease check, our base URL.

Promises: every request ends within `timeout_s`; nothing is sent twice, followed elsewhere or logged; a failure
tells whether the request can have been taken (Unavailable or Uncertain). Status codes are left to the caller, and
headers, Retry-After among them, are kept: the SDK's own exceptions drop them.

The SDK's AsyncTwilioHttpClient is not used: it ignores its `timeout`, repeats POSTs when `max_retries` is set, and
logs phone numbers. Source: twilio-python 9.13, `twilio/http/async_http_client.py`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]

from channels.errors import ChannelError, Unavailable, Uncertain
from channels.leased import Flight, LeasedConnector, flight, why

# A header that asks for more is broken, and must not bury a message for good.
LONGEST_WAIT_S = 86_400.0

_log = logging.getLogger(__name__)


class TwilioTransport(AsyncHttpClient):  # type: ignore[misc]
    """An `AsyncHttpClient` for `twilio.rest.Client`. Made anywhere, opened on first use inside a running loop.

    Units: `timeout_s` seconds for one whole request, `connections` sockets at most.
    """

    def __init__(self, api_base: str, *, timeout_s: float, connections: int) -> None:
        super().__init__(_log, True)
        self._base = urlsplit(api_base)
        self._timeout_s = timeout_s
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

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
        with flight() as current:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._exchange(method, self._target(url, params), sent_headers, data)
            except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
                failure = _failure(current, error)
        raise failure

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], data: Mapping[str, object] | None
    ) -> Response:
        # Encoded here: aiohttp's own form encoding costs a third of the throughput.
        body = urlencode(data, doseq=True).encode() if data else None
        async with self._opened().request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            content = await answer.read()
            return Response(answer.status, content.decode("utf-8", "replace"), answer.headers)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=LeasedConnector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _target(self, url: str, params: Mapping[str, object] | None) -> str:
        # The SDK's host is replaced, also where TWILIO_EDGE or TWILIO_REGION in the environment made it rewrite it.
        parts = urlsplit(url)
        query = urlencode(params, doseq=True) if params else parts.query
        return urlunsplit((self._base.scheme, self._base.netloc, parts.path, query, ""))


def _authorization(auth: tuple[str, str] | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(auth).encode()).decode()}


def _failure(current: Flight, error: BaseException) -> ChannelError:
    if current.begun:
        return Uncertain(
            "twilio connection", f"no answer to a request that may have been taken: {why(error)}"
        )
    return Unavailable("twilio connection", f"Twilio was not reached: {why(error)}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read a Retry-After header, in seconds from now, whether it holds seconds or a date. None if there is none.

    Source: RFC 9110 section 10.2.3. Twilio does not promise the header; it is honoured when it comes.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), LONGEST_WAIT_S)
