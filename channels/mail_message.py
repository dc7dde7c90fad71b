"""One mail as bytes: text and HTML, headers that receivers expect of automatic mail, nothing a customer can inject.

The Message-ID comes from our message id alone, not from the attempt: a mail that is sent again after a doubt has the
same one, and most mailboxes then show it once. Everything is 7-bit, so no server needs to support more. DKIM is the
mail server's work; its signature has to cover both List-Unsubscribe headers.

Source: RFC 5322 (headers), RFC 3834 section 5 (Auto-Submitted), RFC 8058 (one-click unsubscribe).
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy, Policy
from email.utils import parseaddr

from channels.base import Attachment, EmailContent
from channels.errors import ContentRejected, Misconfigured, RecipientInvalid


class _Unfolded(UnstructuredHeader, BaseHeader):
    """A header of one URL. Python would fold a long one by encoding it, and no receiver decodes that."""

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


def _policy() -> EmailPolicy[EmailMessage]:
    headers = HeaderRegistry()
    headers.map_to_type("list-unsubscribe", _Unfolded)
    return SMTP.clone(cte_type="7bit", header_factory=headers)


_POLICY = _policy()


def mailbox(text: str) -> Address:
    """Read `billing@example.com` or `Name <billing@example.com>` for a header and an envelope.

    Errors: ValueError; the text of the address is not in it.
    """
    name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain or _has_control(text):
        raise ValueError("expected billing@example.com or Name <billing@example.com>")
    try:
        ascii_domain = domain.encode("ascii" if domain.isascii() else "idna").decode("ascii")
        return Address(name, addr_spec=f"{local}@{ascii_domain}")
    except (ValueError, MessageError, IndexError):  # IndexError: some broken addresses trip the parser itself
        raise ValueError("expected billing@example.com or Name <billing@example.com>") from None


def sender(text: str) -> Address:
    """Read the configured sender. Errors: Misconfigured."""
    try:
        return mailbox(text)
    except ValueError as error:
        raise Misconfigured("smtp sender", f"EMAIL_FROM: {error}") from None


def recipient(text: str) -> Address:
    """Read the address of a person. Errors: RecipientInvalid; also for one that needs SMTPUTF8."""
    try:
        address = mailbox(text)
    except ValueError:
        address = None
    if address is None or parseaddr(text) != ("", text):
        raise RecipientInvalid("smtp address", "not a mail address")
    if not address.addr_spec.isascii():
        raise RecipientInvalid(
            "smtp address", "letters before the @ that mail servers do not take (SMTPUTF8)"
        )
    return address


def message_id(key: str, from_: Address) -> str:
    """Make the Message-ID of our message `key` at the sender's domain."""
    return f"<{key}@{from_.domain}>"


def compose(key: str, from_: Address, to: Address, content: EmailContent) -> bytes:
    """Write the mail for our message `key`. Errors: ContentRejected for what would forge a header."""
    try:
        mail = _headers(key, from_, to, content)
        mail.set_content(content.text, cte="quoted-printable")
        mail.add_alternative(content.html, subtype="html", cte="quoted-printable")
        if content.attachment is not None:
            _attach(mail, content.attachment)
        return mail.as_bytes()
    except (ValueError, MessageError):
        raise ContentRejected("mail content", "a header holds a line break or cannot be written") from None


def _attach(mail: EmailMessage, file: Attachment) -> None:
    main, _, sub = file.media_type.partition("/")
    mail.add_attachment(file.data, maintype=main, subtype=sub, filename=_line(file.name))


def _headers(key: str, from_: Address, to: Address, content: EmailContent) -> EmailMessage:
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = from_
    mail["To"] = to
    mail["Subject"] = _line(content.subject)
    mail["Date"] = datetime.now(UTC)
    mail["Message-ID"] = _line(message_id(key, from_))
    mail["Auto-Submitted"] = "auto-generated"
    if content.reply_to is not None:
        mail["Reply-To"] = mailbox(content.reply_to)
    if content.unsubscribe_url is not None:
        mail["List-Unsubscribe"] = f"<{_url(content.unsubscribe_url)}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return mail


def _line(text: str) -> str:
    if _has_control(text):
        raise ValueError("control character")
    return text


def _url(text: str) -> str:
    if not text.isascii() or any(character in text for character in " <>,"):
        raise ValueError("not a plain URL")
    return _line(text)


def _has_control(text: str) -> bool:
    # Python's own check looks for CR and LF; other line separators have fooled header parsers before.
    return any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text)
