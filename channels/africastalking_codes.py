"""What Africa's Talking says of a message, in words of ours: status codes of an answer, states of a delivery report.

One row per documented code or reason: the decision, the meaning, and where it matters how long to wait and how
often a retry is worth it. Most status codes are documented by name alone; where a name leaves a choice, the row is
the careful one: an internal error may have been taken, a route that is missing is no fault of the person. Names are
compared without case: the documentation itself spells some in two ways.

Source: https://developers.africastalking.com/docs/sms/sending/bulk (status codes), .../docs/sms/notifications
(delivery reports), read November 2026; that a refused request answers with no recipient and the reason as its
message: medic/medic-docs pull request 112, teamsempo/SempoBlockchain pull request 92.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from channels.base import Delivery
from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    RecipientOptedOut,
    Throttled,
    Unavailable,
    Uncertain,
)


@dataclass(frozen=True, slots=True)
class Code:
    """One row. `retry_after_s` is the shortest useful wait; `retries` is None where only validity bounds them."""

    name: str
    error: type[ChannelError]
    meaning: str
    retry_after_s: float | None = None
    retries: int | None = None


# Taken. 101 says that the message left for the carrier, which is what Twilio calls sent.
TAKEN: Mapping[int, Delivery] = {
    100: Delivery.ACCEPTED,
    101: Delivery.SENT,
    102: Delivery.QUEUED,
}

CODES: Mapping[int, Code] = {
    401: Code("RiskHold", Misconfigured, "held by the provider's risk checks; ask its support"),
    402: Code("InvalidSenderId", Misconfigured, "the sender name is not registered for this account"),
    403: Code("InvalidPhoneNumber", RecipientInvalid, "the number is not valid"),
    404: Code("UnsupportedNumberType", RecipientInvalid, "not a number that takes SMS"),
    405: Code("InsufficientBalance", Misconfigured, "the account's balance is used up"),
    406: Code("UserInBlacklist", RecipientOptedOut, "the person stopped messages from this sender"),
    407: Code("CouldNotRoute", Unavailable, "no route to this number at present", 600, retries=1),
    409: Code("DoNotDisturbRejection", Unavailable, "promotional sender outside permitted hours", 3600),
    500: Code("InternalServerError", Uncertain, "internal error; the message may have been taken"),
    501: Code("GatewayError", Uncertain, "error at the gateway; the message may have been taken"),
    502: Code("RejectedByGateway", Unavailable, "refused by the gateway", 300, retries=1),
}

# `status` of a delivery report. Where the person's network has it, we say sent; only `Success` is the handset's word.
REPORTED: Mapping[str, Delivery] = {
    "sent": Delivery.SENT,
    "submitted": Delivery.SENT,
    "buffered": Delivery.SENT,
    "success": Delivery.DELIVERED,
    "rejected": Delivery.UNDELIVERED,
    "failed": Delivery.UNDELIVERED,
    "absentsubscriber": Delivery.UNDELIVERED,
    "expired": Delivery.UNDELIVERED,
}

_NO_REASON = Code("DeliveryFailure", Unavailable, "the network gave no reason", 300, retries=1)
_PREMIUM = "a premium service's refusal; bulk SMS is needed"
_REASONS: tuple[Code, ...] = (
    Code("InsufficientCredit", Misconfigured, _PREMIUM),
    Code("InvalidLinkId", Misconfigured, _PREMIUM),
    Code("UserNotSubscribedToProduct", Misconfigured, _PREMIUM),
    Code("UserIsInactive", RecipientInvalid, "the number is not in use"),
    Code("UserDoesNotExist", RecipientInvalid, "the number does not exist"),
    Code("UserInBlackList", RecipientOptedOut, "the person stopped messages from this sender"),
    Code("UserAccountSuspended", Unavailable, "the person's number is suspended for now", 3600, retries=1),
    Code("NotNetworkSubscriber", Unavailable, "sent to a network that is not the person's", 300, retries=1),
    Code("NotNetworkSubcriber", Unavailable, "sent to a network that is not the person's", 300, retries=1),
    Code("DoNotDisturbRejection", Unavailable, "promotional sender outside permitted hours", 3600),
    Code("AbsentSubscriber", Unavailable, "the handset is off or without coverage", 600),
    Code("Expired", ContentRejected, "a network's filter stopped this text or sender"),
    _NO_REASON,
)
# `failureReason` of a delivery report, or the `status` that says as much.
REASONS: Mapping[str, Code] = {code.name.lower(): code for code in _REASONS}

_BY_NAME: Mapping[str, Code] = {code.name.lower(): code for code in CODES.values()}
_BY_STATUS: Mapping[int, Code] = {
    401: Code("", Misconfigured, "credentials refused"),
    403: Code("", Misconfigured, "access denied"),
    404: Code("", Misconfigured, "nothing at this address; check the API base"),
    429: Code("", Throttled, "too many requests"),
}
_REDIRECTED = Code("", Misconfigured, "the API base answers with a redirect")
_REFUSED = Code(
    "", ContentRejected, "refused for a reason unknown to tuma; look the code up at Africa's Talking"
)
_SERVER_ERROR = Code("", Uncertain, "server error; the message may have been taken")
_UNREADABLE = Code("", Uncertain, "taken, perhaps; the answer could not be read")


def taken(status_code: int) -> Delivery | None:
    """How far a recipient's message has come, None if it was not taken. Codes under 200 say that it was."""
    return TAKEN.get(status_code, Delivery.ACCEPTED) if 100 <= status_code < 200 else None


def of_recipient(status_code: int) -> ChannelError:
    """What the status code of a recipient means whose message was not taken."""
    row = CODES.get(status_code) or (_REFUSED if 400 <= status_code < 500 else _SERVER_ERROR)
    return _error(row, str(status_code))


def of_request(message: str) -> ChannelError:
    """What an answer without recipients means; `message` is the reason's name, or a sentence that is none."""
    row = _BY_NAME.get(message.strip().lower(), _UNREADABLE)
    return _error(row, row.name or "answer")


def of_http(status: int, retry_after_s: float | None = None) -> ChannelError:
    """What an HTTP status without a readable body means. `retry_after_s` is what the provider asked for."""
    row = _BY_STATUS.get(status, _REFUSED)
    if status >= 500:
        row = _SERVER_ERROR
    elif status < 300:
        row = _UNREADABLE
    elif status < 400:
        row = _REDIRECTED
    return _error(row, f"http {status}", retry_after_s)


def of_report(status: str, reason: str) -> ChannelError:
    """What a delivery report means that says the message did not arrive."""
    row = REASONS.get(reason.strip().lower()) or REASONS.get(status.strip().lower()) or _NO_REASON
    return _error(row, row.name)


def _error(row: Code, name: str, retry_after_s: float | None = None) -> ChannelError:
    code = f"africastalking {name}"
    wait = retry_after_s if retry_after_s is not None else row.retry_after_s
    if issubclass(row.error, Throttled):
        return row.error(code, row.meaning, retry_after_s=wait, whole_channel=True)
    if issubclass(row.error, Unavailable):
        return row.error(code, row.meaning, retry_after_s=wait, most_retries=row.retries)
    return row.error(code, row.meaning)
