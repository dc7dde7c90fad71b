"""How often each message was taken, by what its sender calls it: the judge of once.

A sender's reference is tuma's message id: `m` in the query of Twilio's StatusCallback, and what stands before the @
of a mail's Message-ID. Telegram has no reference: there a message is known by its chat and the text that was sent,
so the same text meant twice (two reminders of one bill may read alike) counts as one message taken twice. Such
counts are marked `certain: false` and prove nothing by themselves; compare them with what the sender meant to send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from bot.sandbox.world import Message


@dataclass(slots=True, kw_only=True)
class Taken:
    """One message of the sender's, and every time that a provider took it.

    `message` is the sender's id, None if it gave none. `key` tells it apart: `channel:reference`, or
    `channel:address:hash of the text`. `certain`: the key is the sender's own. `attempts` is `a` of the callback,
    where there is one.
    """

    key: str
    channel: str
    address: str
    message: str | None
    certain: bool
    ids: list[str] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    at: list[datetime] = field(default_factory=list)

    @property
    def times(self) -> int:
        """How often it was taken."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every message that was taken, in the order in which they first were."""

    taken: tuple[Taken, ...]

    @property
    def accepted(self) -> int:
        """How many messages the providers took, counting each time."""
        return sum(each.times for each in self.taken)

    @property
    def twice(self) -> list[Taken]:
        """Messages that were certainly taken more than once."""
        return [each for each in self.taken if each.times > 1 and each.certain]

    @property
    def alike(self) -> list[Taken]:
        """Messages without a reference, of which more than one with the same text reached the same person."""
        return [each for each in self.taken if each.times > 1 and not each.certain]

    def times(self, message: str, channel: str | None = None) -> int:
        """How often the sender's message was taken (over `channel`); 0 if never, or if it gave no reference."""
        return sum(
            each.times for each in self.taken if each.message == message and channel in (None, each.channel)
        )

    def times_alike(self, address: str, text: str, channel: str = "telegram") -> int:
        """How often exactly this text, as it was sent, was taken for one address."""
        key = text_key(channel, address, text)
        return next((each.times for each in self.taken if each.key == key), 0)


def verdict(messages: Iterable[Message]) -> Verdict:
    """Judge all `messages` that went to customers."""
    found: dict[str, Taken] = {}
    for message in messages:
        if not message.outgoing:
            continue
        name, attempt = reference(message)
        key = f"{message.channel}:{name}" if name else _text_key(message)
        taken = found.get(key)
        if taken is None:
            taken = found[key] = Taken(
                key=key,
                channel=message.channel,
                address=message.address,
                message=name,
                certain=name is not None,
            )
        taken.ids.append(message.id)
        taken.at.append(message.at)
        if attempt:
            taken.attempts.append(attempt)
    return Verdict(tuple(found.values()))


def reference(message: Message) -> tuple[str | None, str | None]:
    """The sender's own id of a message and the attempt, each None if it did not say."""
    if message.provider == "twilio":
        query = {name: values[0] for name, values in parse_qs(message.reference or "").items()}
        return query.get("m"), query.get("a")
    if message.channel == "email" and message.reference:
        return message.reference.strip().strip("<>").rpartition("@")[0] or None, None
    return None, None


def text_key(channel: str, address: str, text: str) -> str:
    """What a message without a reference is known by."""
    return f"{channel}:{address}:{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _text_key(message: Message) -> str:
    return text_key(message.channel, message.address, str(message.extra.get("sent", message.text)))
