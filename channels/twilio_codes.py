"""What Twilio's error codes mean for a message, for SMS and WhatsApp alike.

One row per code: the decision, the meaning in our words (Twilio's text names the recipient, so it is never
repeated), and where it matters how long to wait and how often a retry is worth it. The same table serves the answer
to a create (`sync`) and the ErrorCode of a callback. Codes that are missing go by HTTP status.

Source: Twilio error and warning dictionary, https://www.twilio.com/docs/api/errors, read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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

    error: type[ChannelError]
    meaning: str
    retry_after_s: float | None = None
    retries: int | None = None


_PERSON: Mapping[int, str] = {
    21211: "the number is not valid, or is the sender's own",
    21614: "not a mobile number",
    21217: "does not look like a phone number",
    30005: "unknown handset",
    30006: "landline or unreachable carrier",
    30011: "the recipient's carrier takes no multimedia messages",
    63003: "not a WhatsApp user",
    63024: "not a WhatsApp user, an old client, or terms not accepted",
}

_OPTED_OUT: Mapping[int, str] = {
    21610: "the recipient sent STOP to this sender",
    63014: "blocked by an action of the user",
    63033: "the recipient blocked this sender",
}

_SETTINGS: Mapping[int, str] = {
    20003: "credentials refused, or the account is suspended",
    20005: "the account is not active",
    20006: "access denied",
    20008: "test credentials cannot do this",
    20010: "this action is disabled for the account",
    10001: "the account is not active, often for lack of funds",
    30002: "the account is suspended, often for lack of funds",
    21408: "the destination country is off in the account's geo permissions",
    21212: "the sender is not valid",
    21606: "the sender cannot send here",
    21657: "the sender name is not valid",
    21709: "the sender name is not valid in the Messaging Service",
    30042: "the sender name is too generic",
    21612: "no route from this sender to this destination",
    21608: "a trial account may only write to verified numbers",
    21603: "no sender was given",
    21609: "the status callback address is not valid; check PUBLIC_URL",
    21654: "a template is needed for its variables",
    21655: "the template id is not valid",
    21701: "the Messaging Service does not exist",
    21703: "the Messaging Service has no sender",
    21704: "the Messaging Service has no fitting sender",
    21705: "the Messaging Service is not valid",
    30007: "filtered by Twilio or the carrier; repeating makes it worse",
    30018: "the carrier wants a registered sender name",
    30024: "the carrier wants a registered numeric sender",
    30034: "the sender is not registered for the United States (10DLC)",
    30032: "the toll-free sender is not verified",
    30035: "the sender's registration is not finished",
    30022: "cap of the United States registration (10DLC)",
    30023: "daily cap of the United States registration",
    30027: "daily carrier cap of the United States registration",
    63001: "WhatsApp: the channel could not authenticate",
    63002: "WhatsApp: the sender could not be found",
    63007: "WhatsApp: the sender is not set up for this channel",
    63008: "WhatsApp: the channel is misconfigured",
    63020: "WhatsApp: the business account was not accepted by Meta",
    63051: "WhatsApp: the business account is locked",
    63062: "WhatsApp: the business account is restricted",
    63101: "WhatsApp: terms must be accepted",
    63027: "WhatsApp: the template does not exist in this language",
    63028: "WhatsApp: the number of variables does not fit the template",
    63030: "WhatsApp: a parameter of the template is not supported",
    63040: "WhatsApp: the template was rejected by Meta",
    63041: "WhatsApp: the template is paused by Meta",
    63042: "WhatsApp: the template is disabled by Meta",
}

# Named as ours in Twilio's pages, but one odd recipient is enough to cause them.
_PERHAPS_RECIPIENT = frozenset({21408, 21608, 21612, 30007})

# The message, not the person and not the account: the next message may pass, and the next rung takes this one.
_MESSAGE: Mapping[int, str] = {
    21602: "the message has no body",
    21604: "the message has no recipient",
    21617: "the message is longer than 1,600 characters",
    21619: "the message has neither body nor media",
    21624: "the validity period is not valid",
    21656: "the template's variables are not valid",
    21658: "a parameter of the message is too long",
    63005: "WhatsApp did not take this content",
    63006: "WhatsApp could not format this content",
    63013: "WhatsApp policy: an empty variable, a line break or more than four spaces",
    63021: "WhatsApp: the text is over 1,024 characters or the content not valid",
    63015: "the recipient has not joined the WhatsApp sandbox",
    63016: "outside the 24 h window, and no template was used",
    63032: "Meta keeps this user out of business messages (experiment)",
    63036: "the recipient cannot be reached over RCS",
    63049: "Meta withheld a message it files as marketing; check the template's category",
}

_TOO_FAST: Mapping[int, Code] = {
    20429: Code(Throttled, "too many requests at once"),
    21611: Code(Throttled, "this sender's queue is full", 60),
    30001: Code(Throttled, "the sender's queue overflowed", 60),
    63017: Code(Throttled, "over 2,000 messages a second in the account"),
    63018: Code(Throttled, "WhatsApp: the channel's rate or Meta's daily limit"),
    63038: Code(Throttled, "the account's daily message cap", 3600),
}

_LATER: Mapping[int, Code] = {
    30003: Code(Unavailable, "the handset is off, without signal or roaming", 600),
    30004: Code(Unavailable, "blocked: no signal, do not disturb, or a landline", 600, retries=1),
    30008: Code(Unavailable, "the carrier gave no reason", 300, retries=1),
    30017: Code(Unavailable, "the carrier's network is congested", 60),
    30021: Code(Unavailable, "Twilio could not send it (internal)", 30),
    30410: Code(Unavailable, "the carrier did not answer in time", 60),
    30500: Code(Unavailable, "internal error at Twilio", 30),
    30036: Code(Unavailable, "the validity period passed inside Twilio"),
    30450: Code(Unavailable, "held back as possible SMS pumping", 1800),
    63009: Code(Unavailable, "WhatsApp: error in the channel", 30),
    63010: Code(Unavailable, "WhatsApp: internal error at Twilio", 30),
    63012: Code(Unavailable, "WhatsApp: the channel had an internal error", 30),
    63023: Code(Unavailable, "WhatsApp: internal error of the channel", 30),
}

_IN_DOUBT: Mapping[int, str] = {
    20500: "internal server error",
    20503: "service unavailable",
}


def _rows(error: type[ChannelError], meanings: Mapping[int, str]) -> dict[int, Code]:
    return {code: Code(error, meaning) for code, meaning in meanings.items()}


CODES: Mapping[int, Code] = {
    **_rows(RecipientInvalid, _PERSON),
    **_rows(RecipientOptedOut, _OPTED_OUT),
    **_rows(Misconfigured, _SETTINGS),
    **_rows(ContentRejected, _MESSAGE),
    **_TOO_FAST,
    **_LATER,
    **_rows(Uncertain, _IN_DOUBT),
}

_BY_STATUS: Mapping[int, Code] = {
    401: Code(Misconfigured, "credentials refused"),
    403: Code(Misconfigured, "access denied"),
    404: Code(Misconfigured, "no such account at this address; check the account SID and API base"),
    429: Code(Throttled, "too many requests at once"),
}
_REDIRECTED = Code(Misconfigured, "the API base answers with a redirect")
_NOT_TAKEN = Code(ContentRejected, "refused for a reason unknown to tuma; look the code up at Twilio")
_FAILED_LATER = Code(
    Unavailable, "failed for a reason unknown to tuma; look the code up at Twilio", 300, retries=1
)
_SERVER_ERROR = Code(Uncertain, "server error; the message may have been taken")


def classify(
    code: int | None, http_status: int, *, sync: bool, retry_after_s: float | None = None
) -> ChannelError:
    """Turn an error into its decision.

    Shapes: `sync` is True for the answer to a create, False for a callback's ErrorCode (`http_status` is then 0).
    Units: `retry_after_s` is what the provider asked for; it beats the table.
    """
    row = _sync_row(code, http_status) if sync else _async_row(code)
    name = str(code) if code else f"twilio http {http_status}" if sync else "twilio failed"
    wait = retry_after_s if retry_after_s is not None else row.retry_after_s
    if issubclass(row.error, Throttled):
        return row.error(name, row.meaning, retry_after_s=wait, whole_channel=True)
    if issubclass(row.error, Misconfigured):
        return row.error(name, row.meaning, perhaps_recipient=code in _PERHAPS_RECIPIENT)
    if issubclass(row.error, Unavailable):
        return row.error(name, row.meaning, retry_after_s=wait, most_retries=row.retries)
    return row.error(name, row.meaning)


def _sync_row(code: int | None, http_status: int) -> Code:
    if http_status >= 500:  # whatever the body says, it may come from a proxy in front of the real thing
        return _SERVER_ERROR
    row = CODES.get(code or 0)
    if row is not None and row.error is not Uncertain:
        return row
    if 300 <= http_status < 400:
        return _REDIRECTED
    return _BY_STATUS.get(http_status, _NOT_TAKEN)


def _async_row(code: int | None) -> Code:
    row = CODES.get(code or 0, _FAILED_LATER)
    return _FAILED_LATER if row.error is Uncertain else row
