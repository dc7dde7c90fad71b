"""What an SMTP refusal means for a message, by reply code, enhanced code and the command it answered.

The reply code rules whether to try again (4yz) or not (5yz); the enhanced code says whose fault it is. A server's
own words are never repeated, they usually name the recipient; they are only searched for signs of policy where a
server sent no enhanced code.

Source: RFC 5321 section 4.2, RFC 3463 and the IANA registry of enhanced status codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from channels.errors import (
    ChannelError,
    ContentRejected,
    Misconfigured,
    RecipientInvalid,
    Unavailable,
    Uncertain,
)

# Greylisting servers want the same mail again after more than five minutes (postgrey's default is 300 s). They say 450
# 4.2.0 (postgrey) or 451 4.7.1 (milters), or give no enhanced code; another subject is no policy that time mends.
GREYLIST_S = 330.0
_GREY = ("4.2.", "4.7.")
MAILBOX_FULL_S = 3600.0


class Stage(StrEnum):
    """The command that was refused."""

    CONNECT = "connect"
    LOGIN = "login"
    SENDER = "MAIL"
    RECIPIENT = "RCPT"
    DATA = "DATA"


_Row = tuple[type[ChannelError], str]

_NO_MAILBOX: _Row = (RecipientInvalid, "no such mailbox")
_POLICY: _Row = (Misconfigured, "refused by policy: relaying, SPF, DKIM, DMARC or reputation")
_AUTH: _Row = (Misconfigured, "authentication is missing or was refused")
_FULL: _Row = (Unavailable, "the mailbox is full")
_TOO_BIG: _Row = (ContentRejected, "the mail is too big for the server")
_SENDER: _Row = (Misconfigured, "the sender's address was refused")
_BUG: _Row = (ContentRejected, "the server did not understand the command")
_UNKNOWN: _Row = (ContentRejected, "refused for a reason unknown to tuma")

# 5yz with an enhanced code, which says more than the reply code does. The longest prefix that fits counts.
ENHANCED: Mapping[str, _Row] = {
    "5.1.0": _NO_MAILBOX,
    "5.1.1": _NO_MAILBOX,
    "5.1.2": (RecipientInvalid, "no such mail domain"),
    "5.1.3": (RecipientInvalid, "not a valid mail address"),
    "5.1.6": (RecipientInvalid, "the mailbox has moved"),
    "5.1.7": _SENDER,
    "5.1.8": _SENDER,
    "5.1.10": (RecipientInvalid, "the domain takes no mail"),
    "5.2.1": (RecipientInvalid, "the mailbox is disabled"),
    "5.2.2": _FULL,
    "5.2.3": _TOO_BIG,
    "5.3.4": _TOO_BIG,
    "5.5": _BUG,
    "5.7.8": _AUTH,
    "5.7": _POLICY,
}

# 5yz without one, where the command does not matter.
REPLIES: Mapping[int, _Row] = {
    500: _BUG,
    501: _BUG,
    502: _BUG,
    503: _BUG,
    504: _BUG,
    530: _AUTH,
    534: _AUTH,
    535: _AUTH,
    538: _AUTH,
    555: _BUG,
}

# 5yz without one, at RCPT and at DATA: the same number means another thing.
_AT_RECIPIENT: Mapping[int, _Row] = {
    550: _NO_MAILBOX,
    551: (RecipientInvalid, "the mailbox has moved"),
    552: _FULL,
    553: (RecipientInvalid, "not a valid mail address"),
}
_AT_DATA: Mapping[int, _Row] = {552: _TOO_BIG}

_POLICY_WORDS = ("relay", "spf", "dkim", "dmarc", "spam", "blacklist", "blocklist", "reputation", "policy")
_ENHANCED_CODE = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")


def classify(code: int, text: str, stage: Stage, *, greylist_s: float = GREYLIST_S) -> ChannelError:
    """Turn a server's reply into its decision.

    Shapes: `code` the three digits, below 200 when there were none; `text` the server's words; `greylist_s` seconds
    until a mail that may be greylisted is tried again.
    """
    found = _ENHANCED_CODE.search(text)
    enhanced = found.group() if found else None
    name = " ".join(filter(None, ("smtp", str(code), enhanced)))
    if 400 <= code < 500:
        return _temporary(code, name, enhanced, greylist_s)
    if not 500 <= code < 600:
        return _unreadable(name, stage)
    error, meaning = _permanent(code, enhanced, text.lower(), stage)
    if issubclass(error, Unavailable):
        return error(name, meaning, retry_after_s=MAILBOX_FULL_S)
    if error is Misconfigured:
        return Misconfigured(name, meaning, perhaps_recipient=meaning == _POLICY[1])
    return error(name, meaning)


def _temporary(code: int, name: str, enhanced: str | None, greylist_s: float) -> ChannelError:
    if enhanced == "4.2.2":
        return Unavailable(name, _FULL[1], retry_after_s=MAILBOX_FULL_S)
    if code in {450, 451} and (enhanced is None or enhanced.startswith(_GREY)):
        return Unavailable(name, "refused for now, perhaps greylisted", retry_after_s=greylist_s)
    return Unavailable(name, "refused for now")


def _unreadable(name: str, stage: Stage) -> ChannelError:
    if stage is Stage.DATA:
        return Uncertain(name, "the answer to the mail could not be understood")
    return Unavailable(name, "the server's answer could not be understood")


def _permanent(code: int, enhanced: str | None, text: str, stage: Stage) -> _Row:
    if stage in {Stage.CONNECT, Stage.LOGIN}:
        return _AUTH if stage is Stage.LOGIN else (Misconfigured, "the mail server refuses our connection")
    row = _by_enhanced(enhanced) or REPLIES.get(code)
    if row is not None and not (stage is Stage.SENDER and issubclass(row[0], RecipientInvalid)):
        return row
    if any(word in text for word in _POLICY_WORDS):
        return _POLICY
    if stage is Stage.SENDER:
        return _SENDER
    return (_AT_RECIPIENT if stage is Stage.RECIPIENT else _AT_DATA).get(code, _UNKNOWN)


def _by_enhanced(enhanced: str | None) -> _Row | None:
    if enhanced is None:
        return None
    # A 4.x.x beside a 5yz: the reply code rules, the rest of the enhanced code still tells the subject.
    exact = "5" + enhanced[1:]
    return ENHANCED.get(exact) or ENHANCED.get(exact.rpartition(".")[0])
