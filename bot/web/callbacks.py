"""Events for producers: posted to each share's `callback_url`, signed, in order per control number.

An event is delivered when a 2xx came; anything else is tried again, later each time, and the events behind it wait.
Redirects are not followed, the body of the answer is not read, and private addresses are refused (bot.web.outside).
An event may arrive twice if an answer is lost; its id stays the same.

Source: Standard Webhooks specification 1.0.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import random
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
import structlog

from bot.errors import ConfigError, StoreUnavailable
from bot.web import outside

if TYPE_CHECKING:
    from bot.engine.engine import Engine
    from bot.engine.events import Event
    from bot.settings import Settings

log = structlog.get_logger("tuma.web.callbacks")

_AT_ONCE = 32
_TIMEOUT_S = 10.0
_IDLE_S = 0.5
_BACKOFF_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600)
_LONGEST_S = _BACKOFF_S[-1]
_PREFIX = "whsec_"


class Failed(Exception):
    """An event that did not arrive. `retry_after_s` is what the receiver asked for."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Deliverer:
    """Delivers events until told to stop. Raises ConfigError for a secret that is no `whsec_` key."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._events = engine.events
        self._key = _key(settings.callback_secret)
        self._private = settings.callback_private
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Take and deliver events; once `stop` is set, finish those begun."""
        async with outside.session(private=self._private, timeout_s=_TIMEOUT_S) as session:
            while not stop.is_set():
                if not await self._begin(session):
                    await _pause(stop, _IDLE_S)
            await asyncio.gather(*self._running)

    async def _begin(self, session: aiohttp.ClientSession) -> int:
        """Start delivering what is due, as far as there is room; how many."""
        room = _AT_ONCE - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return 1
        try:
            events = await self._events.take(room)
        except StoreUnavailable:
            return 0
        for event in events:
            task = asyncio.create_task(self._deliver(session, event))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(events)

    async def _deliver(self, session: aiohttp.ClientSession, event: Event) -> None:
        try:
            await self._try(session, event)
        except StoreUnavailable:
            log.warning("callback not recorded", event_id=event.id)  # it comes again when its lease ends
        except Exception as error:
            log.exception("callback broke off", event_id=event.id, error=type(error).__name__)

    async def _try(self, session: aiohttp.ClientSession, event: Event) -> None:
        try:
            await self._post(session, event)
        except Failed as failure:
            await self._again(event, failure)
        else:
            await self._events.delivered(event)

    async def _post(self, session: aiohttp.ClientSession, event: Event) -> None:
        headers = self._headers(event)
        try:
            posted = session.post(event.url, data=event.body, headers=headers, allow_redirects=False)
            async with posted as response:
                status, wait_s = response.status, _retry_after(response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Failed(_reason(error)) from error
        if not 200 <= status < 300:
            raise Failed(f"HTTP {status}", wait_s)

    def _headers(self, event: Event) -> dict[str, str]:
        if self._key is None:
            raise Failed("TUMA_CALLBACK_SECRET is not set, and nothing goes out unsigned")
        timestamp = int(time.time())
        return {
            "Content-Type": "application/json",
            "User-Agent": "tuma",
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._key, event.id, timestamp, event.body),
        }

    async def _again(self, event: Event, failure: Failed) -> None:
        after_s = max(backoff(event.attempt), min(failure.retry_after_s, _LONGEST_S))
        log.warning("callback failed", event_id=event.id, attempt=event.attempt, reason=failure.reason)
        await self._events.retry(event, after_s, failure.reason)


def sign(key: bytes, event_id: str, timestamp: int, body: str) -> str:
    """The value of `webhook-signature`. Units: `timestamp` in seconds since 1970."""
    text = f"{event_id}.{timestamp}.{body}".encode()
    return f"v1,{base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()}"


def backoff(attempt: int) -> float:
    """Seconds until the next try after the `attempt`th failed, with up to a tenth more so that crowds spread."""
    step = _BACKOFF_S[min(max(attempt, 1), len(_BACKOFF_S)) - 1]
    return step * random.uniform(1.0, 1.1)


def _key(secret: str | None) -> bytes | None:
    if secret is None:
        return None
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < 16:
        raise ConfigError("TUMA_CALLBACK_SECRET: expected whsec_ and at least 16 random bytes in base64")
    return key


def _retry_after(value: str) -> float:
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _reason(error: Exception) -> str:
    """Why, without the address: an URL may hold somebody's secret."""
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} seconds"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "the certificate cannot be trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.strerror or 'no such address'}"
    return f"the connection failed ({type(error).__name__})"


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
