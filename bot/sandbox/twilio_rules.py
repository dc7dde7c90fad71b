"""What Twilio's Messages API checks before it takes a message, and how it says no.

Source: Twilio message resource, Twilio error dictionary (the pages named after each code).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

MAX_BODY = 1600

# code: (HTTP status, text)
ERRORS: Mapping[int, tuple[int, str]] = {
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource {value} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service unavailable"),
    21211: (400, "Invalid 'To' Phone Number: {value}"),
    21212: (400, "Invalid From Number (caller ID): {value}"),
    21408: (
        403,
        "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
    ),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (400, "The 'From' phone number provided is not a valid message-capable Twilio phone number"),
    21608: (403, "The number is unverified. Trial accounts cannot send messages to unverified numbers"),
    21609: (400, "The 'StatusCallback' URL {value} is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (429, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "Message cannot be sent with the current combination of 'To' and 'From' parameters"),
    21614: (400, "'To' number is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21624: (400, "Invalid validity period"),
    21654: (400, "ContentSid Required"),
    21655: (400, "The ContentSid is Invalid"),
    21656: (400, "The ContentVariables Parameter is invalid"),
    21701: (400, "The Messaging Service does not exist"),
    30001: (400, "Queue overflow"),
    35111: (400, "SendAt timestamp is missing"),
    35114: (400, "SendAt time must be between 300 seconds and 35 days (3024000 seconds) in the future"),
    35118: (400, "MessagingServiceSid is required to schedule a message"),
    63007: (400, "Twilio could not find a Channel with the specified From address"),
}

# What WhatsApp's callbacks carry as ChannelStatusMessage.
CHANNEL_MESSAGES: Mapping[int, str] = {
    63003: "Channel could not find To address",
    63013: "Channel policy violation",
    63016: "Failed to send freeform message because you are outside the allowed window. Use a Template.",
    63021: "Channel invalid content error",
    63024: "Invalid message recipient",
}

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_SENDER_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}")
_SHORT_CODE = re.compile(r"\d{3,8}")
_SERVICE = re.compile(r"MG[0-9a-f]{32}")
_CONTENT = re.compile(r"HX[0-9a-f]{32}")
_HOST = re.compile(r"[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:]+\]")
_PREFIX = "whatsapp:"


class TwilioError(Exception):
    """A request refused at once. `value` is what the text of `code` quotes."""

    def __init__(self, code: int, value: str = "") -> None:
        self.code = code
        self.status, text = ERRORS.get(code, (400, "The message was refused"))
        super().__init__(text.format(value=value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A message request that passed. `channel` is sms or whatsapp; `address` the E.164 of the customer."""

    channel: str
    address: str
    to: str
    sender: str | None
    service: str | None
    body: str
    content_sid: str | None
    variables: Mapping[str, str]
    status_callback: str | None
    send_at: datetime | None


def check(form: Mapping[str, str], now: datetime) -> Request:
    """Read a create request in the order in which Twilio complains. Raises TwilioError."""
    channel, address = _recipient(form.get("To", "").strip())
    sender, service = _sender(form, channel, address)
    content_sid, variables = _content(form)
    body = form.get("Body", "")
    if not (body or content_sid or form.get("MediaUrl")):
        raise TwilioError(21602)
    if len(body) > MAX_BODY:
        raise TwilioError(21617)
    _validity(form.get("ValidityPeriod", ""))
    return Request(
        channel=channel,
        address=address,
        to=form["To"].strip(),
        sender=sender,
        service=service,
        body=body,
        content_sid=content_sid,
        variables=variables,
        status_callback=_callback(form.get("StatusCallback", "")),
        send_at=_send_at(form, service, now),
    )


def _recipient(to: str) -> tuple[str, str]:
    if not to:
        raise TwilioError(21604)
    channel = "whatsapp" if to.startswith(_PREFIX) else "sms"
    address = to.removeprefix(_PREFIX)
    if not _E164.fullmatch(address):
        raise TwilioError(21211, to)
    return channel, address


def _sender(form: Mapping[str, str], channel: str, address: str) -> tuple[str | None, str | None]:
    sender, service = (
        form.get("From", "").strip() or None,
        form.get("MessagingServiceSid", "").strip() or None,
    )
    if sender is None and service is None:
        raise TwilioError(21603)
    if service is not None and not _SERVICE.fullmatch(service):
        raise TwilioError(21701)
    if sender is not None:
        _check_sender(sender, channel, address)
    return sender, service


def _check_sender(sender: str, channel: str, address: str) -> None:
    on_whatsapp = sender.startswith(_PREFIX)
    number = sender.removeprefix(_PREFIX)
    if on_whatsapp != (channel == "whatsapp") or (on_whatsapp and not _E164.fullmatch(number)):
        raise TwilioError(63007)
    if not any(form.fullmatch(number) for form in (_E164, _SENDER_ID, _SHORT_CODE)):
        raise TwilioError(21212, sender)
    if number == address:
        raise TwilioError(21211, address)


def _content(form: Mapping[str, str]) -> tuple[str | None, Mapping[str, str]]:
    sid, raw = form.get("ContentSid", "") or None, form.get("ContentVariables", "")
    if raw and sid is None:
        raise TwilioError(21654)
    if sid is not None and not _CONTENT.fullmatch(sid):
        raise TwilioError(21655)
    return sid, _variables(raw)


def _variables(raw: str) -> Mapping[str, str]:
    try:
        values = json.loads(raw) if raw else {}
    except ValueError:
        raise TwilioError(21656) from None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise TwilioError(21656)
    return values


def _validity(raw: str) -> None:
    if raw and not (raw.isascii() and raw.isdigit() and 1 <= int(raw) <= 36000):
        raise TwilioError(21624)


def _callback(url: str) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(
            _HOST.fullmatch(parts.netloc.rpartition("@")[2].rsplit(":", 1)[0])
        )
    except ValueError:
        usable = False
    if not usable or len(url) > 4000:
        raise TwilioError(21609, url)
    return url


def _send_at(form: Mapping[str, str], service: str | None, now: datetime) -> datetime | None:
    if form.get("ScheduleType") != "fixed":
        return None
    if service is None:
        raise TwilioError(35118)
    try:
        at = datetime.strptime(form.get("SendAt", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise TwilioError(35111) from None
    if not timedelta(seconds=300) <= at - now <= timedelta(days=35):
        raise TwilioError(35114)
    return at


def whatsapp_fault(request: Request, text: str, *, has_whatsapp: bool, window_open: bool) -> int | None:
    """The code with which WhatsApp itself, later, refuses a message that Twilio took; None if it goes through."""
    if not has_whatsapp:
        return 63024
    if request.content_sid is None:
        return None if window_open else 63016
    if any(_unfit(value) for value in request.variables.values()):
        return 63013
    return 63021 if len(text) > 1024 else None


def _unfit(value: str) -> bool:
    return not value.strip() or "\n" in value or "\t" in value or "     " in value
