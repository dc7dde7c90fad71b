"""The one port through which every message leaves, and the values that cross it.

A channel turns an `Outgoing` into one provider request and answers `Accepted`, or raises exactly one
`channels.errors.ChannelError`. It keeps no state about messages and never retries by itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from channels.errors import ChannelError, LeaseExpired
from channels.name import ChannelName as ChannelName


class Delivery(StrEnum):
    """What the provider last said of a message it took (Twilio's words; the other channels use a subset)."""

    SCHEDULED = "scheduled"
    ACCEPTED = "accepted"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"


# A callback is applied only if it raises the rank: order is not guaranteed, `sent` after `delivered` is noise,
# and `delivered` or `read` beat an earlier `undelivered`. Source: reference/providers 1.3.
DELIVERY_RANK: Mapping[Delivery, int] = {
    Delivery.SCHEDULED: 0,
    Delivery.ACCEPTED: 0,
    Delivery.QUEUED: 1,
    Delivery.SENDING: 2,
    Delivery.SENT: 3,
    Delivery.UNDELIVERED: 4,
    Delivery.FAILED: 4,
    Delivery.CANCELED: 4,
    Delivery.DELIVERED: 5,
    Delivery.READ: 6,
}


# The longest a send can take once begun, in seconds. A lost worker's messages are in doubt only after it.
REQUEST_TIMEOUT_S: Mapping[ChannelName, float] = {
    ChannelName.SMS: 15,
    ChannelName.WHATSAPP: 15,
    ChannelName.EMAIL: 60,
    ChannelName.TELEGRAM: 20,
}


@dataclass(frozen=True, slots=True)
class SmsContent:
    """Plain text, already normalised to the alphabet it will be counted in."""

    text: str


@dataclass(frozen=True, slots=True)
class WhatsAppContent:
    """Free text for inside the 24 h window, and the approved template for outside it.

    `content_sid` is None when the merchant mapped no approved template to this kind and locale.
    `variables` holds every placeholder of that template, none empty. `template_text` is the template as the customer
    reads it, as far as that is known here: the filled body, else the ContentSid and its variables.
    """

    text: str
    content_sid: str | None
    variables: Mapping[str, str]
    window_open: bool
    template_text: str | None = None

    @property
    def sent_text(self) -> str:
        """What the customer gets: the free text inside the window, the template outside it."""
        return self.text if self.window_open else self.template_text or self.text


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail. `name` is what it is saved as, `media_type` such as application/pdf."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class EmailContent:
    """One mail. `unsubscribe_url` is the HTTPS one-click address (RFC 8058), None if pages have no public URL."""

    subject: str
    text: str
    html: str
    unsubscribe_url: str | None
    reply_to: str | None
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A Telegram inline button with one action: `copy` (1-256 characters), `url`, or `callback` (1-64 bytes)."""

    text: str
    copy: str | None = None
    url: str | None = None
    callback: str | None = None


@dataclass(frozen=True, slots=True)
class TelegramContent:
    """HTML in Telegram's subset, already escaped, and rows of buttons."""

    html: str
    buttons: tuple[tuple[Button, ...], ...] = ()


Content = SmsContent | WhatsAppContent | EmailContent | TelegramContent


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One attempt at one message.

    `message_id` is public and carries its partition; with `attempt` it names this attempt. `to` is E.164 for SMS
    and WhatsApp, an address for email, a chat id in digits for Telegram. `deadline` is on `lease_clock`, in
    seconds: the request must not begin after it. `validity_s` is how long the provider itself may keep trying.
    """

    message_id: str
    attempt: int
    to: str
    content: Content
    deadline: float
    validity_s: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the message. `provider_id` is its id; `segments` is None where the word means nothing.

    `error` is set only by `Askable.find`, and only for a message that has failed since: what that means.
    """

    provider_id: str
    delivery: Delivery
    segments: int | None = None
    error: ChannelError | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a message in doubt, so that its provider can be asked whether it has it.

    `text` is the text as it was sent, None where a lost worker took it along; `likely` what it would be now; `number`
    the control number that is in the body in any case. `handed_out_at` is aware: nothing the provider took before it
    can be this message. `exclude` holds provider ids that other messages already own. `alone`: no other message with
    this number can have reached this person without its provider id being known, so that the number in a body says
    enough, unless one of `others`, this person's other control numbers, stands there too. `providers` names the SMS
    providers that may have it, None where nobody knows which.
    Errors: ValueError for a time without a zone.
    """

    message_id: str
    to: str
    text: str | None
    number: str
    handed_out_at: datetime
    exclude: frozenset[str] = frozenset()
    likely: tuple[str, ...] = ()
    alone: bool = True
    providers: frozenset[str] | None = None
    others: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.handed_out_at.utcoffset() is None:
            raise ValueError("handed_out_at needs a time zone: providers are asked in UTC")


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What a provider's callback says of one message. `error` classifies a failed or undelivered one.

    `attempt` says which attempt at the message it is about, None where the provider does not tell.
    """

    message_id: str | None
    provider_id: str
    delivery: Delivery
    error: ChannelError | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What a reachability test found. `detail` is one line for a person; it never holds a credential."""

    ok: bool
    detail: str
    hints: tuple[str, ...] = field(default=())


class Channel(Protocol):
    """A way to reach a person."""

    @property
    def name(self) -> ChannelName:
        """Which channel this is."""
        ...

    @property
    def concurrency(self) -> int:
        """How many sends may be in flight at once in one process."""
        ...

    @property
    def request_timeout_s(self) -> float:
        """The longest a send can take once begun; reclaim waits at least this long, plus the lease."""
        ...

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Make one provider request. Raises exactly one ChannelError subclass when it does not succeed."""
        ...

    async def probe(self) -> Probe:
        """Test reachability and credentials without sending anything."""
        ...

    async def close(self) -> None:
        """Release sockets."""
        ...


@runtime_checkable
class Askable(Protocol):
    """A channel whose provider can be asked about a message in doubt."""

    async def find(self, trace: Trace) -> Accepted | None:
        """Look for a message that may have been taken. None: asked, and it is not there.

        What is found may have ended since: its delivery then says failed, undelivered or canceled. Errors: Unaskable
        when whoever may have it cannot be asked at all, any other ChannelError when it cannot be asked now.
        """
        ...


# HTTP clients check the lease from inside their connection pool, where no argument of ours arrives.
lease_deadline: ContextVar[float] = ContextVar("lease_deadline")


# Of Linux; elsewhere the monotonic clock of the system.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps.

    With one that stands still then, as `time.monotonic` does on Linux, a worker would wake with a lease of hours ago
    and remind who has paid since. Source: clock_gettime(2), CLOCK_BOOTTIME.
    """
    return time.clock_gettime(_BOOT_CLOCK)


def check_lease(deadline: float) -> None:
    """Raise LeaseExpired if `lease_clock` has passed `deadline` (seconds). Call it once connected."""
    if lease_clock() >= deadline:
        raise LeaseExpired
