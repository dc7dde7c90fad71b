"""One mail as bytes: text and HTML, headers that receivers expect of automatic mail, nothing a customer can inject.

The Message-ID comes from our message id alone, not from the attempt: a mail that is sent again after a doubt has the
same one, and most mailboxes then show it once. Everything is 7-bit, so no server needs to support more: as it is where
that may be, else as quoted-printable. DKIM is the mail server's work; its signature has to cover both List-Unsubscribe
headers.

Source: RFC 5322 (headers, and how long a line may be), RFC 2045 (encodings), RFC 3834 section 5 (Auto-Submitted),
RFC 8058 (one-click unsubscribe).
"""

from __future__ import annotations

import re
import time
import unicodedata
from binascii import b2a_qp
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import MIMEPart
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import lru_cache

from aiosmtplib.email import quote_address

from channels.base import Attachment, EmailContent
from channels.errors import ContentRejected, Misconfigured, RecipientInvalid

_POLICY = SMTP.clone(cte_type="7bit")


_EXPECTED = "expected billing@example.com or Name <billing@example.com>"


def mailbox(text: str) -> Address:
    """Read `billing@example.com` or `Name <billing@example.com>` for a header and an envelope.

    Errors: ValueError; the text of the address is not in it.
    """
    name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain or _has_control(text):
        raise ValueError(_EXPECTED)
    try:
        ascii_domain = domain.encode("ascii" if domain.isascii() else "idna").decode("ascii")
        return Address(name, addr_spec=f"{local}@{ascii_domain}")
    except (ValueError, MessageError, IndexError):  # IndexError: some broken addresses trip the parser itself
        raise ValueError(_EXPECTED) from None


def sender(text: str) -> Address:
    """Read the configured sender. Errors: Misconfigured; also for one that needs SMTPUTF8."""
    try:
        address = mailbox(text)
        path(address)
    except UnicodeError:
        raise Misconfigured("smtp sender", f"EMAIL_FROM: {_EXPECTED}") from None
    except ValueError as error:
        raise Misconfigured("smtp sender", f"EMAIL_FROM: {error}") from None
    return address


def recipient(text: str) -> Address:
    """Read the address of a person. Errors: RecipientInvalid; also for one that needs SMTPUTF8."""
    if _ADDRESS.fullmatch(text):  # as nearly all are; what follows says the same of them
        local, _, domain = text.partition("@")
        return Address(username=local, domain=domain)
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


def path(address: Address) -> bytes:
    """An address as SMTP commands name it. Errors: ValueError for one that could say more than an address."""
    spec = address.addr_spec
    return (f"<{spec}>" if _ADDRESS.fullmatch(spec) else quote_address(spec)).encode("ascii")


def compose(key: str, from_: Address, to: Address, content: EmailContent) -> bytes:
    """Write the mail for our message `key`. Errors: ContentRejected for what would forge a header."""
    try:
        head, body = _headers(key, from_, to, content), _alternative(content)
        if content.attachment is None:
            return head + _MULTIPART % (b"alternative", _INNER) + body
        file = _file(content.attachment)
        return head + _MULTIPART % (b"mixed", _OUTER) + _MIXED % (body, file)
    except (ValueError, MessageError):
        raise ContentRejected("mail content", "a header holds a line break or cannot be written") from None


# Python's generator looks for a boundary that no part holds. This one cannot be in quoted-printable or base64, where
# "=" is followed by two hexadecimal digits, by a line break, or by nothing (RFC 2045 section 6.7 (5)), and a text that
# holds it does not go out as it is.
_INNER, _OUTER = b"=_alternative", b"=_mixed"
_MULTIPART = b'MIME-Version: 1.0\r\nContent-Type: multipart/%b; boundary="%b"\r\n\r\n'
_TEXT = b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: %b\r\n\r\n%b'
_ALTERNATIVE = b"\r\n".join((b"--" + _INNER, b"%b", b"--" + _INNER, b"%b", b"--" + _INNER + b"--", b""))
_MIXED = b"\r\n".join(
    (
        *(b"--" + _OUTER, b'Content-Type: multipart/alternative; boundary="' + _INNER + b'"', b"", b"%b"),
        *(b"--" + _OUTER, b"%b", b"--" + _OUTER + b"--", b""),
    )
)


def _alternative(content: EmailContent) -> bytes:
    return _ALTERNATIVE % (
        _TEXT % (b"plain", *_encoded(content.text)),
        _TEXT % (b"html", *_encoded(content.html)),
    )


def _encoded(text: str) -> tuple[bytes, bytes]:
    """The name of an encoding and the text in it, with CRLF, the last line ended too.

    Nearly every text is ASCII in lines that any server takes; encoding it costs more than all its headers.
    """
    written = text.encode()
    if _is_plain(written):
        ended = not written or written.endswith(b"\n")
        return b"7bit", written.replace(b"\n", b"\r\n") + (b"" if ended else b"\r\n")
    return b"quoted-printable", _quoted(written)


# RFC 5322 section 2.1.1 allows 998.
_LONGEST_LINE = 990
_PLAIN = bytes(range(32, 127)) + b"\t\n"


def _is_plain(text: bytes) -> bool:
    """Whether a text means the same to every server and mail program without an encoding.

    A line that begins with "From " is changed by programs that keep mail in one file.
    """
    begins, length = 0, len(text)
    while length - begins > _LONGEST_LINE:
        begins = text.rfind(b"\n", begins, begins + _LONGEST_LINE + 1) + 1
        if begins == 0:
            return False
    changed = text.startswith(b"From ") or b"\nFrom " in text
    return not changed and b"--=_" not in text and not text.translate(None, _PLAIN)


def _quoted(text: bytes) -> bytes:
    """Quoted-printable with CRLF, the last line ended too."""
    return b"\r\n".join([*map(_quoted_line, text.splitlines()), b""])


@lru_cache(maxsize=4096)
def _quoted_line(line: bytes) -> bytes:
    # Most lines of a campaign are the same in every mail.
    return b2a_qp(line).replace(b"\n", b"\r\n")


def _file(file: Attachment) -> bytes:
    main, _, sub = file.media_type.partition("/")
    part = MIMEPart(policy=_POLICY)
    part.set_content(
        file.data, maintype=main, subtype=sub, disposition="attachment", filename=_line(file.name)
    )
    return part.as_bytes()


def _headers(key: str, from_: Address, to: Address, content: EmailContent) -> bytes:
    lines = [
        _from(from_.display_name, from_.username, from_.domain),
        _plain("To", to.addr_spec, _ADDRESS) or _folded("To", to),
        _subject(_line(content.subject)),
        _date(int(time.time())),
        _plain("Message-ID", _line(message_id(key, from_)), _MESSAGE_ID)
        or _folded("Message-ID", message_id(key, from_)),
        b"Auto-Submitted: auto-generated\r\n",
    ]
    if content.reply_to is not None:
        lines.append(_reply_to(content.reply_to))
    if content.unsubscribe_url is not None:
        lines.append(b"List-Unsubscribe: <%b>\r\n" % _url(content.unsubscribe_url).encode("ascii"))
        lines.append(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    return b"".join(lines)


# What Python's own folding leaves as it is, and needs a while to find that out.
_ADDRESS = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_MESSAGE_ID = re.compile(f"<{_ADDRESS.pattern}>")
_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*")


def _plain(name: str, value: str, pattern: re.Pattern[str]) -> bytes | None:
    """A header that is one short line of known form; None for any other."""
    line = f"{name}: {value}\r\n"
    return line.encode("ascii") if len(line) <= 78 and pattern.fullmatch(value) else None


def _folded(name: str, value: str | Address) -> bytes:
    return _POLICY.fold_binary(*_POLICY.header_store_parse(name, value))


@lru_cache(maxsize=64)
def _from(name: str, local: str, domain: str) -> bytes:
    return _folded("From", Address(name, local, domain))


@lru_cache(maxsize=1024)
def _subject(text: str) -> bytes:
    plain = None if "=?" in text else _plain("Subject", text, _WORDS)
    return plain or _folded("Subject", text)


@lru_cache(maxsize=64)
def _reply_to(text: str) -> bytes:
    return _folded("Reply-To", mailbox(text))


@lru_cache(maxsize=2)
def _date(now_s: int) -> bytes:
    return b"Date: %b\r\n" % format_datetime(datetime.fromtimestamp(now_s, UTC)).encode("ascii")


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
    return not text.isprintable() and any(
        unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text
    )
