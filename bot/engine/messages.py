"""Messages by id, what providers say of them, and those that nobody will send any more."""

from __future__ import annotations

from bot.domain.bill import MessageView
from bot.engine import keys, views
from bot.engine.contacts import KIND, Contacts
from bot.engine.control import Channels
from bot.engine.records import Records
from bot.engine.scripts import now_ms
from bot.engine.shares import replayed
from bot.engine.store import guard
from bot.errors import NotFound
from bot.settings import Settings
from channels.base import DELIVERY_RANK, Delivery, StatusUpdate
from channels.errors import (
    ChannelError,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
)

_REPLAY_VALID_MS = 7 * 86_400_000
# An unknown handset parks the address only after two in a row. Source: Twilio error 30005.
_STRIKES = {"30005": 2}
_ANOTHER_TRY_S = 300.0
_MOST_TRIES = 5


class Messages:
    """The messages of all partitions."""

    def __init__(self, records: Records, contacts: Contacts, control: Channels, settings: Settings) -> None:
        self._records, self._contacts = records, contacts
        self._control, self._settings = control, settings

    async def get(self, message_id: str) -> MessageView:
        """A message by its public id. Raises NotFound."""
        p, local = keys.parse_message_id(message_id, self._records.partitions)
        return await self._view(p, local)

    async def delivery(self, update: StatusUpdate) -> bool:
        """Apply a provider's callback; True if it changed anything. Raises NotFound for a message that is not ours."""
        p, local = keys.parse_message_id(update.message_id or "", self._records.partitions)
        fields = await self._fields(p, local)
        silenced = await self._silences(fields, update.error)
        values = [
            local,
            update.provider_id,
            update.delivery,
            str(DELIVERY_RANK[update.delivery]),
            str(update.error) if update.error else "",
            silenced,
            "1" if self._confirms(fields["ch"], update.delivery) else "0",
            *_another_try(update.error, int(fields.get("rt") or 0)),
        ]
        # First what concerns the person: should Redis go away in between, a repeated callback changes no message.
        await self._consequences(fields, update, silenced)
        return await self._records.scripts.run(self._records.scripts.delivery(p, now_ms(), values)) > 0

    async def _consequences(self, fields: dict[str, str], update: StatusUpdate, silenced: str) -> None:
        """What an outcome means beyond its own message."""
        channel, to = fields["ch"], fields.get("to")
        if isinstance(update.error, Misconfigured):
            await self._control.pause(channel, reason=str(update.error), by="tuma")
        if silenced and to:
            await self._contacts.opt_out(channel, to, proof=f"provider: {update.error}", reason=silenced)
        elif to and update.delivery in (Delivery.DELIVERED, Delivery.READ):
            await self._contacts.reached(channel, to)

    async def _silences(self, fields: dict[str, str], error: ChannelError | None) -> str:
        """Why this error silences the channel for the contact; a handset that is unknown once may be back."""
        why = reason(error)
        if error is None or not why or error.code not in _STRIKES or not fields.get("to"):
            return why
        if fields.get("dl") == Delivery.UNDELIVERED:  # told before
            return ""
        missed = await self._contacts.missed(fields["ch"], fields["to"])
        return why if missed >= _STRIKES[error.code] else ""

    async def dead(self, limit: int = 50, offset: int = 0) -> list[MessageView]:
        """Failed, expired and held messages, the newest first."""
        found: list[tuple[float, int, str]] = []
        for p in range(self._records.partitions):
            with guard():
                rows = await self._records.client.zrevrange(
                    f"{keys.prefix(p)}dead", 0, offset + limit - 1, withscores=True
                )
            found += [(score, p, local) for local, score in rows]
        newest = sorted(found, reverse=True)[offset : offset + limit]
        views_found = []
        for _, p, local in newest:
            try:
                views_found.append(await self._view(p, local))
            except NotFound:
                continue
        return views_found

    async def replay(self, message_id: str, *, by: str) -> str:
        """Send an ended or held message again, as a new one; its id. Raises NotFound, Refused."""
        p, local = keys.parse_message_id(message_id, self._records.partitions)
        now, scripts = now_ms(), self._records.scripts
        sid = local.rpartition(".")[0]
        call = scripts.resend(p, now, sid, "", now + _REPLAY_VALID_MS, replay=local)
        [made] = replayed(await scripts.run(call), "message")
        await self._records.audit(by, "replay", message_id, now)
        return keys.message_id(p, made)

    async def _fields(self, p: int, local: str) -> dict[str, str]:
        found = await self._records.client_hash(f"{keys.prefix(p)}m:{local}")
        if not found:
            raise NotFound("no such message")
        return found

    async def _view(self, p: int, local: str) -> MessageView:
        fields = await self._fields(p, local)
        share = await self._records.share(p, local.rpartition(".")[0])
        return views.message(p, local, fields, share["id"])

    def _confirms(self, channel: str, delivery: Delivery) -> bool:
        return confirms(channel, delivery, receipts=self._settings.sms_receipts)


def confirms(channel: str, delivery: Delivery, *, receipts: bool) -> bool:
    """Whether this delivery status means that the customer has the message.

    Telegram's ok and SMTP's 250 do; SMS and WhatsApp need `delivered` or `read`, an SMS route without delivery
    receipts settles for `sent`.
    """
    if KIND[channel] != "phone":
        return delivery in (Delivery.SENT, Delivery.DELIVERED, Delivery.READ)
    if delivery is Delivery.SENT:
        return channel == "sms" and not receipts
    return delivery in (Delivery.DELIVERED, Delivery.READ)


def _another_try(error: ChannelError | None, tries: int) -> tuple[str, str]:
    """When an undelivered message is worth another try (ms, '' never), and how many tries at most."""
    if isinstance(error, Misconfigured):
        return str(now_ms() + int(_ANOTHER_TRY_S * 1000)), str(_MOST_TRIES)
    if not isinstance(error, Unavailable | Throttled):
        return "", "0"
    wait_s = (error.retry_after_s or _ANOTHER_TRY_S) * 2**tries
    most = error.most_retries if isinstance(error, Unavailable) else None
    return str(now_ms() + int(wait_s * 1000)), str(_MOST_TRIES if most is None else most)


def reason(error: Exception | None) -> str:
    """Why this error silences the channel for the contact; '' when it does not."""
    if isinstance(error, RecipientOptedOut):
        return "opted out"
    return "invalid address" if isinstance(error, RecipientInvalid) else ""
