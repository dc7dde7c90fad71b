"""The line to ClickPesa: one request and its answer, with token, checksum, budget and errors.

A call is never repeated but once with a fresh token, when it was answered 401 and so was not done. What else may be
repeated, and when, is for the caller. At most 8 calls of a process are under way at once.

Source: ClickPesa API reference, "Generate token" and "Checksum".
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
import msgspec

from bot.billpay.budget import Budget, Unlimited, Urgency
from bot.billpay.checksum import sign
from bot.billpay.errors import (
    BudgetSpent,
    ClickPesaAway,
    ClickPesaDenied,
    ClickPesaError,
    ClickPesaNotFound,
    ClickPesaRefused,
    ClickPesaThrottled,
    ReferenceTaken,
)
from bot.billpay.tokens import ProcessTokens, Token, TokenCache
from bot.domain.contact import mask_text

TIMEOUT_S = 20.0
_CONNECT_S = 5.0
CONCURRENCY = 8
# How long an urgent call waits for its place in the budget before it is given back to its caller.
PATIENCE_S = 20.0
REST_S = 30.0  # after a 429 that does not say how long

_FORBIDDEN = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


@cache
def _trusted() -> ssl.SSLContext:
    """Reading the certificates takes longer than many calls; once does for all lines of a process."""
    return httpx.create_ssl_context()


class Line:
    """`base` is origin and path, such as https://api.clickpesa.com/third-parties.

    With `checksum_key` every request that has a body is signed.
    """

    def __init__(
        self,
        base: str,
        client_id: str,
        api_key: str,
        checksum_key: str | None = None,
        token_cache: TokenCache | None = None,
        budget: Budget | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._credentials = {"client-id": client_id, "api-key": api_key}
        self._checksum_key = checksum_key
        self._budget = budget or Unlimited()
        self._token = Token(f"clickpesa:{client_id}", token_cache or ProcessTokens(), self._fetch_token)
        self._room = asyncio.Semaphore(CONCURRENCY)
        limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
        timeout = httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        self._http = httpx.AsyncClient(
            base_url=base.rstrip("/") + "/", timeout=timeout, limits=limits, verify=_trusted()
        )

    @property
    def signs(self) -> bool:
        """Whether requests carry a checksum."""
        return self._checksum_key is not None

    async def close(self) -> None:
        """Release sockets."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        urgency: Urgency,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of a good answer. Raises ClickPesaError."""
        async with self._room:
            token = await self._token.get()
            response = await self._send(method, path, urgency, {"authorization": token}, body, query)
            if response.status_code == httpx.codes.UNAUTHORIZED:
                # Tokens end early when checksums are switched on or off in the dashboard.
                token = await self._token.get(refused=token)
                response = await self._send(method, path, urgency, {"authorization": token}, body, query)
            return await self._answer(response)

    async def _fetch_token(self) -> str:
        response = await self._send("POST", "generate-token", Urgency.NOW, self._credentials, None, None)
        answer = await self._answer(response)
        token = answer.get("token") if isinstance(answer, Mapping) else None
        if not isinstance(token, str) or not token.strip():
            raise ClickPesaAway("the answer to generate-token holds no token")
        # It comes with the scheme in front; add it only should that ever change.
        return token if token.startswith("Bearer ") else f"Bearer {token}"

    async def _send(
        self,
        method: str,
        path: str,
        urgency: Urgency,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> httpx.Response:
        await self._wait_for_budget(urgency)
        headers = {**headers, "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        content = None if body is None else msgspec.json.encode(self._signed(body))
        try:
            return await self._http.request(method, path, headers=headers, content=content, params=query)
        except httpx.HTTPError as error:
            raise ClickPesaAway(f"ClickPesa gave no answer: {type(error).__name__}") from error

    def _signed(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        key = self._checksum_key
        return body if key is None else {**body, "checksum": sign(body, key), "checksumMethod": "canonical"}

    async def _wait_for_budget(self, urgency: Urgency) -> None:
        """Return when the call may be made. Only urgent ones wait; raises BudgetSpent."""
        ends = time.monotonic() + (PATIENCE_S if urgency is Urgency.NOW else 0.0)
        while wait_s := await self._budget.take(urgency):
            if time.monotonic() + wait_s > ends:
                raise BudgetSpent(wait_s)
            await asyncio.sleep(wait_s)

    async def _answer(self, response: httpx.Response) -> Any:
        """The JSON of a good answer. Raises the ClickPesaError that the status means."""
        if not response.is_success:
            error = _error(response)
            if isinstance(error, ClickPesaThrottled):
                await self._budget.rest(error.retry_after_s or REST_S)
            raise error
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise ClickPesaAway("the answer is not JSON", response.status_code) from error


def _error(response: httpx.Response) -> ClickPesaError:
    status, message = response.status_code, _message(response)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ClickPesaThrottled(message, status, _retry_after_s(response))
    if status in _FORBIDDEN:
        return ClickPesaDenied(message, status)
    if status == httpx.codes.NOT_FOUND:
        return ClickPesaNotFound(message, status)
    if status == httpx.codes.CONFLICT:
        return ReferenceTaken(message, status)
    if 400 <= status < 500 and status != httpx.codes.REQUEST_TIMEOUT:
        return ClickPesaRefused(message, status)
    return ClickPesaAway(message, status)


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
