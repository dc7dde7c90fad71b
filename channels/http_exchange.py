"""One request to a provider over HTTP: our pool, our deadline, our lease check, and what a failure means.

Promises: every request ends within `timeout_s` and none of it leaves later; nothing is sent twice, followed elsewhere
or logged; a failure tells whether the request can have been taken (Unavailable or Uncertain). Status codes and headers
are left to the caller. Texts of errors name the provider and never an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from channels.errors import ChannelError, Unavailable, Uncertain
from channels.leased import Flight, LeasedConnector, flight, why

# A header that asks for more is broken, and must not bury a message for good.
LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider answered. `headers` ignore case."""

    status: int
    text: str
    headers: Mapping[str, str]


class HttpExchange:
    """A provider's connections. Made anywhere, opened on first use inside a running loop.

    Units: `timeout_s` seconds for one whole request, `connections` sockets at most. `code` begins the codes of its
    errors ("twilio"), `provider` is its name for people ("Twilio").
    """

    def __init__(self, code: str, provider: str, *, timeout_s: float, connections: int) -> None:
        self._code, self._provider = code, provider
        self._timeout_s, self._connections = timeout_s, connections
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Make one request. Errors: LeaseExpired, Unavailable (never left us), Uncertain (may have been taken)."""
        with flight() as current:
            try:
                async with current.within(self._timeout_s):
                    return await self._exchange(method, url, headers, body)
            except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
                failure = self._failure(current, error)
        raise failure

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        async with self._opened().request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            content = await answer.read()
            return Answer(answer.status, content.decode("utf-8", "replace"), answer.headers)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=LeasedConnector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _failure(self, current: Flight, error: BaseException) -> ChannelError:
        code = f"{self._code} connection"
        if current.begun:
            return Uncertain(code, f"no answer to a request that may have been taken: {why(error)}")
        return Unavailable(code, f"{self._provider} was not reached: {why(error)}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read a Retry-After header, in seconds from now, whether it holds seconds or a date. None if there is none.

    Source: RFC 9110 section 10.2.3. No provider here promises the header; it is honoured when it comes.
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
