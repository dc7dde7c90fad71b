"""Every way in which a provider can misbehave here, as data: its name, where it strikes, and what happens.

A name says whether the provider took the request first: after `timeout-before` nothing is on record, after
`timeout-after` the message is, and only its answer is missing. Source: RFC 5321 (replies by command), Bot API
("Making requests": errors, `retry_after`, `migrate_to_chat_id`), Twilio error 20429, RFC 9110 (Retry-After).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Point(StrEnum):
    """Where a fault strikes; each point meets at most one fault.

    `send`: a request that makes or changes something for one contact. `query`: any other request. `callback`,
    `webhook`: what the provider sends. `fate`: what becomes of a message that was taken. The rest are steps of SMTP.
    """

    SEND = "send"
    QUERY = "query"
    CALLBACK = "callback"
    WEBHOOK = "webhook"
    FATE = "fate"
    CONNECT = "connect"
    EHLO = "ehlo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class How(StrEnum):
    """What the provider does. What it says while doing so is each server's own."""

    SLOW = "slow"
    SILENCE = "silence"
    RESET = "reset"
    HANG_UP = "hang up"
    ERROR = "error"
    HTML = "html"
    THROTTLE = "throttle"
    THROTTLE_BARE = "throttle bare"
    FORBIDDEN = "forbidden"
    MIGRATED = "migrated"
    REPLY = "reply"
    EARLY = "early"
    LOST = "lost"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    LATE = "late"
    FORGED = "forged"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True)
class Kind:
    """One fault. `taken`: the request is taken before it goes wrong. `reply` is the SMTP line of a refusal."""

    name: str
    point: Point
    how: How
    words: str
    taken: bool = False
    reply: str = ""


def _requests() -> list[Kind]:
    """What happens to requests at every HTTP provider."""
    send, query = Point.SEND, Point.QUERY
    return [
        Kind("timeout-before", send, How.SILENCE, "never answered, not taken"),
        Kind("timeout-after", send, How.SILENCE, "taken, but never answered", taken=True),
        Kind("error-before", send, How.ERROR, "answered 5xx, not taken"),
        Kind("error-after", send, How.ERROR, "taken, but answered 5xx", taken=True),
        Kind("reset-before", send, How.RESET, "connection reset, not taken"),
        Kind("reset-after", send, How.RESET, "taken, but the connection was reset", taken=True),
        Kind("throttle", send, How.THROTTLE, "429 that says how long to wait"),
        Kind("slow", send, How.SLOW, "answered, but slowly", taken=True),
        Kind("query-slow", query, How.SLOW, "a question answered slowly", taken=True),
        Kind("query-timeout", query, How.SILENCE, "a question never answered"),
        Kind("query-error", query, How.ERROR, "a question answered 5xx"),
        Kind("query-reset", query, How.RESET, "a question met by a reset"),
        Kind("query-throttle", query, How.THROTTLE, "a question answered 429"),
    ]


_TWILIO = [
    *_requests(),
    Kind("throttle-bare", Point.SEND, How.THROTTLE_BARE, "429 without Retry-After"),
    Kind("callback-early", Point.SEND, How.EARLY, "first callback before the answer", taken=True),
    Kind("callback-lost", Point.CALLBACK, How.LOST, "a callback never comes"),
    Kind("callback-duplicated", Point.CALLBACK, How.DUPLICATED, "a callback comes twice"),
    Kind("callback-reordered", Point.CALLBACK, How.REORDERED, "a callback comes after the next one"),
    Kind("undelivered", Point.FATE, How.UNDELIVERED, "taken, then undelivered (30003, phone off)"),
]

_AFRICASTALKING = [
    *_requests(),
    Kind("throttle-bare", Point.SEND, How.THROTTLE_BARE, "429 without Retry-After"),
    Kind("callback-early", Point.SEND, How.EARLY, "first report before the answer", taken=True),
    Kind("callback-lost", Point.CALLBACK, How.LOST, "a report never comes"),
    Kind("callback-duplicated", Point.CALLBACK, How.DUPLICATED, "a report comes twice"),
    Kind("undelivered", Point.FATE, How.UNDELIVERED, "taken, then not delivered (phone off)"),
]

_TELEGRAM = [
    *_requests(),
    Kind("html-before", Point.SEND, How.HTML, "502 with an HTML page, not taken"),
    Kind("html-after", Point.SEND, How.HTML, "taken, but answered 502 with an HTML page", taken=True),
    Kind("forbidden", Point.SEND, How.FORBIDDEN, "403, blocked by the user"),
    Kind("migrated", Point.SEND, How.MIGRATED, "the chat has another id from now on"),
]

_CLICKPESA = [
    *_requests(),
    Kind("webhook-lost", Point.WEBHOOK, How.LOST, "a payment's webhook never comes"),
    Kind("webhook-duplicated", Point.WEBHOOK, How.DUPLICATED, "a payment's webhook comes twice"),
    Kind("webhook-late", Point.WEBHOOK, How.LATE, "a payment's webhook comes late"),
    Kind("webhook-forged", Point.WEBHOOK, How.FORGED, "a forged webhook comes before the true one"),
]


def _refused(point: Point, temporary: str, permanent: str) -> list[Kind]:
    where = {Point.DOT: "after the final dot"}.get(point, f"at {point.upper()}")
    return [
        Kind(f"{point}-4xx", point, How.REPLY, f"refused for now {where}", reply=temporary),
        Kind(f"{point}-5xx", point, How.REPLY, f"refused for good {where}", reply=permanent),
    ]


_SMTP = [
    Kind("connect-drop", Point.CONNECT, How.HANG_UP, "hung up at once"),
    *_refused(Point.CONNECT, "421 4.3.2 Service not available, closing", "554 5.3.2 No mail service here"),
    *_refused(Point.EHLO, "451 4.3.0 Try again later", "550 5.7.1 Your host is not welcome"),
    *_refused(Point.MAIL, "421 4.3.0 Service not available, try again later", "550 5.1.8 Bad sender address"),
    *_refused(Point.RCPT, "451 4.7.1 Too many messages, try again later", "550 5.1.1 No such user"),
    *_refused(Point.DATA, "451 4.3.1 Insufficient system storage", "554 5.5.1 No valid recipients"),
    *_refused(Point.DOT, "452 4.3.1 Insufficient system storage", "554 5.6.0 Message refused"),
    Kind("drop-before", Point.DOT, How.HANG_UP, "hung up after the final dot, not taken"),
    Kind("drop-after", Point.DOT, How.HANG_UP, "taken, but hung up before saying so", taken=True),
    Kind("timeout-before", Point.DOT, How.SILENCE, "no reply to the final dot, not taken"),
    Kind("timeout-after", Point.DOT, How.SILENCE, "taken, but no reply to the final dot", taken=True),
    Kind("slow", Point.DOT, How.SLOW, "taken, but slowly", taken=True),
]


def _by_name(kinds: list[Kind]) -> Mapping[str, Kind]:
    return MappingProxyType({kind.name: kind for kind in kinds})


KINDS: Mapping[str, Mapping[str, Kind]] = MappingProxyType(
    {
        "twilio": _by_name(_TWILIO),
        "africastalking": _by_name(_AFRICASTALKING),
        "telegram": _by_name(_TELEGRAM),
        "smtp": _by_name(_SMTP),
        "clickpesa": _by_name(_CLICKPESA),
    }
)
PROVIDERS = tuple(KINDS)


def kind_of(provider: str, name: str) -> Kind:
    """The fault called `name` at `provider`. Raises ValueError for a name that is neither."""
    if provider not in KINDS:
        raise ValueError(f"unknown provider {provider!r}: expected one of {', '.join(PROVIDERS)}")
    if name not in KINDS[provider]:
        raise ValueError(
            f"unknown fault {name!r} of {provider}: expected one of {', '.join(KINDS[provider])}"
        )
    return KINDS[provider][name]
