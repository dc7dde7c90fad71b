"""What Twilio tells us: is it really Twilio, what became of a message, what did a person write.

Signatures are checked with the SDK's validator over the address as Twilio was given it, so `url` must be built from
the configured public URL, never from a request's Host header. Forms must be parsed with blank values kept: an empty
field is signed too. A signature carries no time: the same callback may come twice and must do nothing twice.

Source: https://www.twilio.com/docs/usage/security#validating-requests (form posts only; a JSON body, which is signed
differently, is refused), https://www.twilio.com/docs/messaging/guides/track-outbound-message-status,
https://www.twilio.com/docs/messaging/guides/webhook-request.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from channels.base import Delivery, StatusUpdate
from channels.errors import ChannelError
from channels.twilio_codes import classify

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PREFIX = "whatsapp:"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from a person. `sender` is None where WhatsApp gives a user id instead of a number.

    `opt_out_type` is STOP, START or HELP where Twilio's Advanced Opt-Out recognised a keyword.
    """

    kind: Literal["sms", "whatsapp"]
    sender: str | None
    text: str
    message_sid: str
    opt_out_type: str | None


def verify(url: str, params: Mapping[str, Any], signature: str, auth_token: str) -> bool:
    """Tell whether a form post was signed with the account's primary auth token. Never raises.

    Shapes: `url` as Twilio called it, with its query verbatim; `params` a dict or a multi-dict of the whole form.
    """
    try:
        # With this in the query the validator checks a dict of fields against nothing at all.
        if not auth_token or not signature or _names_body(url):
            return False
        validator = RequestValidator(auth_token)
        # Nearly always Twilio signs the address as it called it; the validator also tries it with and without a port.
        if hmac.compare_digest(validator.compute_signature(url, params).encode(), signature.encode()):
            return True
        return bool(validator.validate(url, params, signature))
    except Exception:  # the validator trips over odd ports, types and encodings; all of them are forgeries
        return False


def _names_body(url: str) -> bool:
    # Only with a percent sign could the name be written otherwise.
    return ("%" in url or "bodySHA256" in url) and "bodySHA256" in parse_qs(urlsplit(url).query)


def parse_status(query: Mapping[str, str], form: Mapping[str, str]) -> StatusUpdate:
    """Read a status callback; `query` carries our message id as `m` and the attempt as `a`.

    Errors: ValueError for a callback without a SID or with a status that no outgoing message has.
    """
    provider_id = _field(form, "MessageSid", "SmsSid")
    delivery = Delivery.__members__.get(_field(form, "MessageStatus", "SmsStatus").upper())
    if not provider_id or delivery is None:
        raise ValueError("not a message status: MessageSid and a known MessageStatus are needed")
    attempt = query.get("a", "")
    return StatusUpdate(
        query.get("m") or None,
        provider_id,
        delivery,
        _error(delivery, form),
        int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
    )


def parse_inbound(form: Mapping[str, str]) -> Inbound:
    """Read an incoming message; a tapped WhatsApp button counts as its text.

    Errors: ValueError for a form without a SID.
    """
    sid, sender = _field(form, "MessageSid", "SmsMessageSid", "SmsSid"), _field(form, "From")
    if not sid:
        raise ValueError("not a message: MessageSid is needed")
    return Inbound(
        kind="whatsapp" if sender.startswith(_PREFIX) else "sms",
        sender=_number(sender),
        text=_field(form, "Body", "ButtonText"),
        message_sid=sid,
        opt_out_type=_field(form, "OptOutType").upper() or None,
    )


def _field(form: Mapping[str, str], *names: str) -> str:
    return next((value for name in names if (value := str(form.get(name, "")).strip())), "")


def _number(sender: str) -> str | None:
    # Since 2026 a WhatsApp user may hide the number; From then holds an id such as `whatsapp:US.1349...`.
    number = sender.removeprefix(_PREFIX)
    return number if _E164.fullmatch(number) else None


def _error(delivery: Delivery, form: Mapping[str, str]) -> ChannelError | None:
    if delivery not in {Delivery.FAILED, Delivery.UNDELIVERED}:
        return None
    code = _field(form, "ErrorCode")
    return classify(int(code) if code.isdecimal() and len(code) < 10 else None, 0, sync=False)
