"""Messages by id, what providers say of them, and those that nobody will send any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bot.domain.bill import MessageView
from bot.domain.dead import REPLAY_MOST, DeadFilter, DeadLetter, DeadPage, LetterOutcome, Replayed
from bot.engine import keys, views
from bot.engine.contacts import Contacts
from bot.engine.control import Channels
from bot.engine.dead import DeadLetters
from bot.engine.records import Records
from bot.engine.replays import Replays
from bot.engine.scripts import now_ms, text
from bot.engine.views import KIND
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

# An unknown handset parks the address only after two in a row. Source: Twilio error 30005.
_STRIKES = {"30005": 2}
# A refusal that may be the recipient's alone (no route there, filtered) blames the account after so many in a row.
SEVERAL = 3
_ANOTHER_TRY_S = 300.0
_MOST_TRIES = 5
_EVERY = DeadFilter()
_ANOTHERS = -2
_NO_OTHER = ("", "0")


class Messages:
    """The messages of all partitions."""

    def __init__(self, records: Records, contacts: Contacts, control: Channels, settings: Settings) -> None:
        self._records, self._contacts = records, contacts
        self._control, self._settings = control, settings
        self._blaming: dict[str, set[str]] = defaultdict(set)
        self._confirming = {each: self._confirmed(each) for each in Delivery}
        self._dead = DeadLetters(records)
        self._replays = Replays(records, self._dead)

    async def get(self, message_id: str) -> MessageView:
        """A message by its public id. Raises NotFound."""
        p, local = keys.parse_message_id(message_id, self._records.partitions)
        return await self._view(p, local)

    async def delivery(self, update: StatusUpdate) -> bool:
        """Apply a provider's callback; True if it changed anything. Raises NotFound for a message that is not ours."""
        return await self._apply(update, ["0", ""]) > 0

    async def found(self, update: StatusUpdate, segments: int | None) -> bool:
        """Apply what a provider said when it was asked about a message in doubt, as if it had called back.

        False if what was found belongs to another message of the same number. Raises NotFound.
        """
        return await self._apply(update, ["1", text(segments)]) != _ANOTHERS

    async def _apply(self, update: StatusUpdate, how: list[str]) -> int:
        p, local = keys.parse_message_id(update.message_id or "", self._records.partitions)
        if update.error is not None:
            return await self._failed(p, local, update, how)
        changed, channel, to = await self._say(p, local, update, how)
        if not channel:
            raise NotFound("no such message")
        if update.delivery in (Delivery.DELIVERED, Delivery.READ):
            self._blaming[channel].clear()
            if to:
                # However often it is told: should Redis go away in between, a repeated callback does this too.
                await self._contacts.reached(channel, to)
        return changed

    async def _failed(self, p: int, local: str, update: StatusUpdate, how: list[str]) -> int:
        fields = await self._fields(p, local)
        silenced, ours = await self._silences(local, fields, update.error), self._is_ours(fields, update)
        another = _another_try(update.error, int(fields.get("rt") or 0)) if ours else _NO_OTHER
        # First what concerns the person: should Redis go away in between, a repeated callback changes no message.
        await self._consequences(fields, update, silenced, ours=ours)
        return (await self._say(p, local, update, how, silenced, another))[0]

    async def _say(
        self,
        p: int,
        local: str,
        update: StatusUpdate,
        how: list[str],
        silenced: str = "",
        another: tuple[str, str] = _NO_OTHER,
    ) -> tuple[int, str, str]:
        values = [
            local,
            update.provider_id,
            update.delivery,
            str(DELIVERY_RANK[update.delivery]),
            str(update.error) if update.error else "",
            silenced,
            self._confirming[update.delivery],
            *another,
            text(update.attempt),
            *how,
        ]
        return await self._records.scripts.run(self._records.scripts.delivery(p, now_ms(), values))

    def _is_ours(self, fields: dict[str, str], update: StatusUpdate) -> bool:
        """Whether what failed may pass later, or with all others: not where this recipient alone may be at fault."""
        blaming, error = self._blaming[fields["ch"]], update.error
        if not isinstance(error, Misconfigured) or not error.perhaps_recipient:
            return True
        blaming.add(fields.get("to", ""))
        return len(blaming) >= SEVERAL

    async def _consequences(
        self, fields: dict[str, str], update: StatusUpdate, silenced: str, *, ours: bool
    ) -> None:
        """What a failure means beyond its own message."""
        channel, to = fields["ch"], fields.get("to")
        if isinstance(update.error, Misconfigured) and ours:
            await self._control.pause(channel, reason=str(update.error), by="tuma")
        if silenced and to:
            await self._contacts.opt_out(channel, to, proof=f"provider: {update.error}", reason=silenced)

    async def _silences(self, message_id: str, fields: dict[str, str], error: ChannelError | None) -> str:
        """Why this error silences the channel for the contact; a handset that is unknown once may be back."""
        why = reason(error)
        if error is None or not why or error.code not in _STRIKES or not fields.get("to"):
            return why
        if fields.get("dl") == Delivery.UNDELIVERED:  # told before
            return ""
        missed = await self._contacts.missed(fields["ch"], fields["to"], message_id)
        return why if missed >= _STRIKES[error.code] else ""

    async def dead(self, limit: int = 50, offset: int = 0, only: DeadFilter = _EVERY) -> list[DeadLetter]:
        """What nobody will send any more until staff act, the newest first."""
        return (await self.dead_page(only, limit=limit, offset=offset)).letters

    async def dead_page(self, only: DeadFilter = _EVERY, *, limit: int = 50, offset: int = 0) -> DeadPage:
        """The same, with how many there are in all. Cost: see bot.engine.dead."""
        return await self._dead.page(only, limit=limit, offset=offset)

    async def replay(self, message_id: str, *, by: str) -> str:
        """Send a dead letter again, as a new message; its id. Raises NotFound, Refused.

        A route of kind `first` begins again at its first channel. Repeating it answers the same id.
        """
        return text((await self._replays.one(message_id, by=by)).replayed_as)

    async def replay_each(self, ids: Sequence[str], *, by: str) -> Replayed:
        """Send these dead letters again, at most 10,000. Raises Refused if there are more."""
        return await self._replays.each(ids, by=by)

    async def replay_many(
        self, only: DeadFilter, *, by: str, limit: int = REPLAY_MOST, after: str | None = None
    ) -> Replayed:
        """Send all dead letters that match again, newest first.

        A call tries at most `limit` of them; `next` of its answer, given as `after`, goes on behind those, past the
        ones that were refused. Raises Refused for a limit above 10,000, or an `after` that is none.
        """
        return await self._replays.matching(only, by=by, limit=limit, after=after)

    async def settle_doubt(self, message_id: str, arrived: bool, *, by: str) -> LetterOutcome:
        """Staff decide about a message in doubt: it arrived, and is done; or it did not, and is sent again, flagged.

        Raises NotFound; Refused for one that is not in doubt, or about which tuma itself is still asking.
        """
        if arrived:
            return await self._replays.arrived(message_id, by=by)
        return await self._replays.one(message_id, by=by, doubt=True)

    async def _fields(self, p: int, local: str) -> dict[str, str]:
        found = await self._records.client_hash(f"{keys.prefix(p)}m:{local}")
        if not found:
            raise NotFound("no such message")
        return found

    async def _view(self, p: int, local: str) -> MessageView:
        fields = await self._fields(p, local)
        share = await self._records.share(p, local.rpartition(".")[0])
        return views.message(p, local, fields, share["id"])

    def _confirmed(self, delivery: Delivery) -> str:
        """The channels on which it means that the customer has the message, for the script."""
        return " ".join(
            each for each in KIND if confirms(each, delivery, receipts=self._settings.sms_receipts)
        )


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
        return _NO_OTHER
    wait_s = (error.retry_after_s or _ANOTHER_TRY_S) * 2**tries
    most = error.most_retries if isinstance(error, Unavailable) else None
    return str(now_ms() + int(wait_s * 1000)), str(_MOST_TRIES if most is None else most)


def reason(error: Exception | None) -> str:
    """Why this error silences the channel for the contact; '' when it does not."""
    if isinstance(error, RecipientOptedOut):
        return "opted out"
    return "invalid address" if isinstance(error, RecipientInvalid) else ""
