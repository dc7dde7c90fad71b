"""How updates reach the bot: long polling, or a webhook that is repeated until it is answered 2xx.

Promises Bot API semantics: an update waits until `offset` passes it or the webhook took it, a second poller ends
the first with 409, polling while a webhook is set is 409. Source: Bot API, "Getting updates".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bot.sandbox.serving import Errands, Postman, Reply

Update = dict[str, Any]
_NOT_BY_DEFAULT = {"chat_member", "message_reaction", "message_reaction_count"}


class BotApiError(Exception):
    """An answer with `ok: false`: HTTP status and description, perhaps parameters."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


@dataclass(slots=True)
class Webhook:
    """Where updates go. `last_error` is what the last failed delivery met."""

    url: str
    secret: str | None = None
    allowed: list[str] = field(default_factory=list)
    max_connections: int = 40
    last_error: tuple[int, str] | None = None


class Updates:
    """The queue of what happened and was not yet told. `obey` runs a method given in a webhook's answer."""

    def __init__(self, postman: Postman, errands: Errands, clock: Callable[[], float]) -> None:
        self.webhook: Webhook | None = None
        self.obey: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
        self.retry_s = 0.5
        self._postman, self._errands, self._clock = postman, errands, clock
        self._waiting: list[Update] = []
        self._last_id = 100_000
        self._poller: asyncio.Future[None] | None = None
        self._allowed: list[str] = []
        self._delivering = False

    @property
    def pending(self) -> int:
        """How many updates wait."""
        return len(self._waiting)

    def push(self, **content: Any) -> None:
        """Something happened: `message=...`, `callback_query=...` or `my_chat_member=...`."""
        kind = next(iter(content))
        if kind in self._allowed or (not self._allowed and kind not in _NOT_BY_DEFAULT):
            self._last_id += 1
            self._waiting.append({"update_id": self._last_id, **content})
            self.release()
            self._deliver_soon()

    def allow(self, kinds: list[str] | None) -> None:
        """Which kinds are wanted; None keeps what was said before."""
        if kinds is not None:
            self._allowed = kinds

    async def poll(self, offset: int, limit: int, timeout_s: float) -> list[Update]:
        """Long polling. Raises BotApiError 409 when a webhook is set or another poller came."""
        if self.webhook:
            text = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            raise BotApiError(409, f"Conflict: {text}")
        self._end_other_poller()
        self._confirm(offset)
        if not self._waiting and timeout_s > 0:
            await self._wait(timeout_s)
        return self._waiting[:limit]

    def _end_other_poller(self) -> None:
        if self._poller and not self._poller.done():
            text = "terminated by other getUpdates request; make sure that only one bot instance is running"
            self._poller.set_exception(BotApiError(409, f"Conflict: {text}"))

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            self._waiting = self._waiting[offset:]
        else:
            self._waiting = [each for each in self._waiting if each["update_id"] >= offset]

    async def _wait(self, timeout_s: float) -> None:
        """Until news, the end of time, or another poller (then BotApiError 409)."""
        self._poller = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._poller

    def release(self) -> None:
        """Let a waiting poller go."""
        if self._poller and not self._poller.done():
            self._poller.set_result(None)

    # Webhook

    def set_webhook(self, webhook: Webhook | None, *, drop: bool) -> None:
        """Deliver to `webhook` from now on; None: back to polling."""
        self.webhook = webhook
        if drop:
            self._waiting.clear()
        if webhook and webhook.allowed:
            self._allowed = webhook.allowed
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self.webhook and self._waiting and not self._delivering:
            self._delivering = True
            self._errands.begin(self._deliver())

    async def _deliver(self) -> None:
        """In order, one at a time, each until it is taken."""
        try:
            while self.webhook and self._waiting:
                update = self._waiting[0]
                reply = await self._post(self.webhook, update)
                if reply.ok:
                    self._waiting = [each for each in self._waiting if each is not update]
                    await self._follow(reply)
                else:
                    self.webhook.last_error = (int(self._clock()), _complaint(reply))
                    await asyncio.sleep(self.retry_s)
        finally:
            self._delivering = False

    async def _post(self, webhook: Webhook, update: Update) -> Reply:
        headers = {"Content-Type": "application/json"}
        if webhook.secret:
            headers["X-Telegram-Bot-Api-Secret-Token"] = webhook.secret
        return await self._postman.post(webhook.url, msgspec.json.encode(update), headers)

    async def _follow(self, reply: Reply) -> None:
        """A webhook may answer with one method call."""
        if not reply.body.startswith(b"{") or self.obey is None:
            return
        try:
            call = msgspec.json.decode(reply.body)
        except msgspec.DecodeError:
            return
        if isinstance(call, dict) and "method" in call:
            await self.obey(call)


def _complaint(reply: Reply) -> str:
    return f"Wrong response from the webhook: {reply.status}" if reply.status else "Connection failed"
