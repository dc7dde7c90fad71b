"""Dead letters: messages that nobody will send any more until staff act; why, and what would mend it.

The causes are classes of the engine's own reasons; what a provider said stands beside them, in its own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bot.domain.bill import MessageView
from bot.domain.message import Kind
from channels.base import ChannelName

# How many dead letters one request may send again.
REPLAY_MOST = 10_000


class Cause(StrEnum):
    """What stands in the way of a dead letter."""

    ADDRESS = "address"
    CONSENT = "consent"
    TEMPLATE = "template"
    CONTENT = "content"
    UNDELIVERED = "undelivered"
    LATE = "late"
    HELD = "held"
    DOUBT = "doubt"
    MENDED = "mended"
    OTHER = "other"


HINTS: Mapping[Cause, str] = {
    Cause.ADDRESS: "edit the contact of the share, then replay",
    Cause.CONSENT: "the person said no here: send another way; only their own wish opens this channel again",
    Cause.TEMPLATE: "mend the template (tuma template check), then replay",
    Cause.CONTENT: "see what the provider objects to, mend it, then replay",
    Cause.UNDELIVERED: "ask the customer: edit the contact if the address is wrong, then replay",
    Cause.LATE: "see why the channel was slow (tuma doctor), then replay",
    Cause.HELD: "ask the customer: send again, or mark as arrived",
    Cause.DOUBT: "ask the customer: replay, or mark as arrived",
    Cause.MENDED: "the obstacle is gone: replay",
    Cause.OTHER: "see what the provider says, mend it, then replay",
}

_CAUSES: Mapping[str, Cause] = {
    "invalid address": Cause.ADDRESS,
    "no address": Cause.ADDRESS,
    "opted out": Cause.CONSENT,
    "template": Cause.TEMPLATE,
    "refused by the provider": Cause.CONTENT,
    "undelivered": Cause.UNDELIVERED,
    "expired": Cause.LATE,
    "not taken before its validity ended": Cause.LATE,
    "throttled until its validity ended": Cause.LATE,
    "in doubt": Cause.DOUBT,
    "in doubt twice": Cause.DOUBT,
}


class DeadLetter(MessageView, frozen=True, kw_only=True):
    """A message that nobody will send any more. `held`: in doubt, and staff decide. `hint` says what would mend it."""

    cause: Cause
    hint: str
    held: bool
    died_at: datetime


class DeadPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some dead letters, the newest first, and how many there are in all."""

    total: int
    letters: list[DeadLetter]


class DeadFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are meant; without any field all of them."""

    channel: Annotated[ChannelName | None, Meta(description="Of this channel.", examples=["sms"])] = None
    kind: Annotated[Kind | None, Meta(description="Of this kind.", examples=["instructions"])] = None
    reason: Annotated[
        str | None,
        Meta(
            description="Whose cause, reason or provider error holds this text.", examples=["invalid address"]
        ),
    ] = None
    number: Annotated[
        str | None, Meta(description="Of this control number.", examples=["55042914871931"])
    ] = None
    share: Annotated[
        str | None, Meta(description="Of the share with this id.", examples=["inv-2026-00017"])
    ] = None

    def __str__(self) -> str:
        given = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return " ".join(f"{name}={value}" for name, value in given if value) or "all"


class LetterOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one dead letter.

    `replayed`: it goes out again as `replayed_as`; `arrived`: it was in doubt, and staff know that it is there;
    `closed`: nobody needs it any more; `refused`: it cannot go out now, and stays; `unknown`: there is no such message.
    """

    message: str
    outcome: Literal["replayed", "arrived", "closed", "refused", "unknown"]
    replayed_as: str | None = None
    reason: str | None = None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many. `next` is where to go on; None when there are no more."""

    replayed: int
    closed: int
    refused: int
    letters: list[LetterOutcome]
    next: str | None = None


def cause(reason: str, *, held: bool, mended: bool) -> Cause:
    """The class of a reason in the engine's words. `mended`: the share's channel can be used as it is now."""
    if held:
        return Cause.HELD
    found = _CAUSES.get(reason, Cause.OTHER)
    return Cause.MENDED if mended and found in (Cause.ADDRESS, Cause.CONSENT, Cause.UNDELIVERED) else found
