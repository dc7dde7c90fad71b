"""ClickPesa's API: the token, and the payments made on a control number.

One client is shared by a process. Its token is cached for 55 of its 60 minutes, shared with other processes
through a `TokenCache`, fetched by one caller at a time, and fetched anew once when a call answers 401. The
client never repeats a call on its own: what may be repeated, and when, is for the caller, who shares 120
requests a minute.

Source: ClickPesa docs, "Generate token", "Querying for payments", "API application setup" (rate limits).

    ClickPesaError               a call that brought no usable answer
    +-- ClickPesaAway            no connection, no answer in time, or an answer 5xx; may work later
    +-- ClickPesaThrottled       too many requests; wait
    +-- ClickPesaDenied          client id, API key or token are not accepted
    +-- ClickPesaRefused         any other 4xx: this very request is at fault
        +-- ClickPesaNotFound    nothing under this reference
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import msgspec
import structlog

from bot.billpay import webhook
from bot.domain.bill import PaymentEvent
from bot.domain.contact import mask_text
from bot.errors import Refused, TumaError
from channels.base import Probe

TOKEN_TTL_S = 55 * 60
TIMEOUT = httpx.Timeout(20, connect=5)

# A reference that no control number of ours equals: a probe asks for it and expects not to find it.
_PROBE_REFERENCE = "TUMAPROBE0"

_log = structlog.get_logger(__name__)


class ClickPesaError(TumaError):
    """A call that brought no usable answer. `status` is None when nothing was answered.

    The text is ClickPesa's.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message if status is None else f"ClickPesa answered {status}: {message}")
        self.status = status


class ClickPesaAway(ClickPesaError):
    """No connection, no answer in time, or an answer 5xx; a repeated call may work."""


class ClickPesaThrottled(ClickPesaError):
    """Too many requests. `retry_after_s` is what ClickPesa asked for, if it did."""

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after_s = retry_after_s


class ClickPesaDenied(ClickPesaError):
    """The client id, the API key or a fresh token is not accepted."""


class ClickPesaRefused(ClickPesaError):
    """The request itself is at fault; repeating it changes nothing."""


class ClickPesaNotFound(ClickPesaRefused):
    """Nothing is known under this reference."""


class TokenCache(Protocol):
    """Where processes share a provider's token."""

    async def get(self, name: str) -> str | None:
        """The token cached under `name`, if it has not run out."""
        ...

    async def set(self, name: str, token: str, ttl_s: int) -> None:
        """Keep `token` under `name` for `ttl_s` seconds."""
        ...


class ProcessTokens:
    """A TokenCache that shares nothing: for one process without Redis."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}

    async def get(self, name: str) -> str | None:
        """The token cached under `name`, if it has not run out."""
        token, ends = self._tokens.get(name, (None, 0.0))
        return token if time.monotonic() < ends else None

    async def set(self, name: str, token: str, ttl_s: int) -> None:
        """Keep `token` under `name` for `ttl_s` seconds."""
        self._tokens[name] = token, time.monotonic() + ttl_s


class ClickPesa:
    """`base` is origin and path, such as https://api.clickpesa.com/third-parties. Use as an async context, or
    close it.

    `checksum_key` signs requests that change something; reading payments needs none.
    """

    def __init__(
        self,
        base: str,
        client_id: str,
        api_key: str,
        checksum_key: str | None = None,
        token_cache: TokenCache | None = None,
    ) -> None:
        self._credentials = {"client-id": client_id, "api-key": api_key}
        self._checksum_key = checksum_key
        self._tokens = token_cache or ProcessTokens()
        self._token_name = f"clickpesa:{client_id}"
        self._fetching = asyncio.Lock()
        self._http = httpx.AsyncClient(base_url=base.rstrip("/") + "/", timeout=TIMEOUT)

    async def __aenter__(self) -> ClickPesa:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Release sockets."""
        await self._http.aclose()

    async def payments(self, reference: str) -> list[PaymentEvent]:
        """All that ClickPesa knows of payments on a control number, oldest first; [] if nobody has paid yet.

        Raises ClickPesaError.
        """
        if reference.lower() == "all":  # the address of every payment there is
            return []
        try:
            found = await self._get(f"payments/{quote(reference, safe='')}")
        except ClickPesaNotFound:
            return []
        return _events(found, reference)

    async def probe(self) -> Probe:
        """Test reachability and credentials with one reading call."""
        try:
            await self.payments(_PROBE_REFERENCE)
        except ClickPesaDenied as error:
            hint = "check CLICKPESA_CLIENT_ID and CLICKPESA_API_KEY: dashboard, Settings, Developers"
            return Probe(ok=False, detail=str(error), hints=(hint,))
        except ClickPesaError as error:
            return Probe(ok=False, detail=str(error))
        return Probe(ok=True, detail="reachable, credentials accepted")

    async def _get(self, path: str) -> Any:
        token = await self._token()
        response = await self._call("GET", path, {"authorization": token})
        if response.status_code == httpx.codes.UNAUTHORIZED:
            # Tokens end early when checksums are switched on or off in the dashboard.
            token = await self._token(refused=token)
            response = await self._call("GET", path, {"authorization": token})
        return _answer(response)

    async def _token(self, refused: str | None = None) -> str:
        """A token other than `refused`. Concurrent callers wait for one fetch."""
        cached = await self._tokens.get(self._token_name)
        if cached and cached != refused:
            return cached
        async with self._fetching:
            cached = await self._tokens.get(self._token_name)
            if cached and cached != refused:
                return cached
            token = await self._fetch_token()
            await self._tokens.set(self._token_name, token, TOKEN_TTL_S)
            return token

    async def _fetch_token(self) -> str:
        answer = _answer(await self._call("POST", "generate-token", self._credentials))
        token = answer.get("token") if isinstance(answer, Mapping) else None
        if not isinstance(token, str) or not token.strip():
            raise ClickPesaAway("the answer to generate-token holds no token")
        # It comes with the scheme in front; add it only should that ever change.
        return token if token.startswith("Bearer ") else f"Bearer {token}"

    async def _call(self, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
        try:
            return await self._http.request(method, path, headers={**headers, "accept": "application/json"})
        except httpx.HTTPError as error:
            raise ClickPesaAway(f"ClickPesa gave no answer: {type(error).__name__}") from error


def _answer(response: httpx.Response) -> Any:
    """The JSON of a good answer. Raises the ClickPesaError that the status means."""
    if not response.is_success:
        raise _error(response)
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        raise ClickPesaAway("the answer is not JSON", response.status_code) from error


def _error(response: httpx.Response) -> ClickPesaError:
    status, message = response.status_code, _message(response)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ClickPesaThrottled(message, status, _retry_after_s(response))
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return ClickPesaDenied(message, status)
    if status == httpx.codes.NOT_FOUND:
        return ClickPesaNotFound(message, status)
    return ClickPesaRefused(message, status) if 400 <= status < 500 else ClickPesaAway(message, status)


def _message(response: httpx.Response) -> str:
    """ClickPesa's own words: every documented error is an object with the one member `message`."""
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = None
    message = body.get("message") if isinstance(body, dict) else None
    return mask_text(str(message or response.reason_phrase or "no message"))[:200]


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None


def _events(found: Any, reference: str) -> list[PaymentEvent]:
    # The documented answer is a list; some clients guard against one bare payment, so we do too.
    items = [found] if isinstance(found, Mapping) else found if isinstance(found, list) else []
    events = [event for item in items if (event := _event(item, reference)) is not None]
    return sorted(events, key=lambda event: event.created_at.timestamp() if event.created_at else 0.0)


def _event(item: Any, reference: str) -> PaymentEvent | None:
    try:
        return webhook.from_listing(item if isinstance(item, Mapping) else {}, reference)
    except Refused as refused:
        # One payment that cannot be read must not hide the others.
        _log.warning("payment of ClickPesa's list not understood", problems=str(refused))
        return None
