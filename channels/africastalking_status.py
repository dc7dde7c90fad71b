"""What Africa's Talking tells us: what became of a message, who stopped messages from our sender.

Its notifications carry no signature and no secret: whoever knows the address can send them. So the address holds a
token of the installation that nobody can guess, and a report can say something only of a message whose id, random as
well, it knows. A report names the provider's id alone, never ours.

Source: https://developers.africastalking.com/docs/sms/notifications (form posts; no authentication is described).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from channels.africastalking_codes import REPORTED, of_report
from channels.base import Delivery, StatusUpdate

SHORTEST_TOKEN = 16
_DIGITS = re.compile(r"\+?([1-9][0-9]{6,14})")


def admits(given: str, token: str | None) -> bool:
    """Tell whether `given`, from the address, is the installation's token. False without one. Never raises."""
    if not token or len(token) < SHORTEST_TOKEN:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def parse_report(form: Mapping[str, str]) -> StatusUpdate:
    """Read a delivery report; its `message_id` is None. Errors: ValueError for one without an id or known status."""
    provider_id, status = _field(form, "id"), _field(form, "status")
    delivery = REPORTED.get(status.lower())
    if not provider_id or delivery is None:
        raise ValueError("not a delivery report: id and a known status are needed")
    lost = delivery is Delivery.UNDELIVERED
    error = of_report(status, _field(form, "failureReason")) if lost else None
    return StatusUpdate(None, provider_id, delivery, error)


def parse_opt_out(form: Mapping[str, str]) -> str:
    """Read who stopped messages, as E.164. Errors: ValueError for a form without a number."""
    match = _DIGITS.fullmatch(_field(form, "phoneNumber"))
    if match is None:
        raise ValueError("not an opt-out: phoneNumber is needed, with its country code")
    return f"+{match[1]}"


def _field(form: Mapping[str, str], name: str) -> str:
    return str(form.get(name, "")).strip()
