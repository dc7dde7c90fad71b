"""Mails as bytes, read back by Python's own parser."""

from __future__ import annotations

import contextlib
import email
import email.policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import Attachment, EmailContent
from channels.errors import ContentRejected, Misconfigured, RecipientInvalid
from channels.mail_message import compose, message_id, recipient, sender

FROM = sender("Shule ya Mt. Ñusu <ada@shule.example>")
TO = recipient("asha@example.com")
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Reply-To", "List-Unsubscribe"),
    *("List-Unsubscribe-Post", "MIME-Version", "Content-Type"),
}


def content(**changes: Any) -> EmailContent:
    values: dict[str, Any] = {
        "subject": "Ada ya shule — muhula wa 2",
        "text": "Habari Asha,\n.\nLipa TZS 45,000 – asante.\n",
        "html": "<p>Lipa <b>TZS 45,000</b> – asante.</p>\n",
        "unsubscribe_url": "https://pay.example.com/out/" + "k" * 120 + ".email",
        "reply_to": "ofisi@shule.example",
    }
    return EmailContent(**values | changes)


def read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_has_exactly_the_headers_it_should() -> None:
    mail = read(compose("0a-x.4", FROM, TO, content()))
    assert (len(mail.keys()), set(mail.keys())) == (len(HEADERS), HEADERS)
    assert mail["Subject"] == "Ada ya shule — muhula wa 2"
    assert mail["From"].addresses[0].display_name == "Shule ya Mt. Ñusu"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Reply-To"] == "ofisi@shule.example"


def test_text_and_html_arrive_as_written() -> None:
    mail = read(compose("0a-x.4", FROM, TO, content()))
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == content().text
    assert html.get_content().replace("\r\n", "\n") == content().html


def test_one_click_unsubscribe_is_one_plain_line() -> None:
    raw = compose("0a-x.4", FROM, TO, content())
    line = next(line for line in raw.split(b"\r\n") if line.startswith(b"List-Unsubscribe:"))
    assert line.decode() == f"List-Unsubscribe: <{content().unsubscribe_url}>"
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw


def test_without_a_public_address_there_is_no_unsubscribe_header() -> None:
    mail = read(compose("0a-x.4", FROM, TO, content(unsubscribe_url=None, reply_to=None)))
    assert not [name for name in mail if name.startswith("List-") or name == "Reply-To"]


def test_a_mail_is_seven_bit_with_short_lines() -> None:
    raw = compose("0a-x.4", FROM, TO, content(text="–" * 5000, html="<p>" + "é" * 5000))
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_the_same_message_has_the_same_id_at_the_senders_domain() -> None:
    first, second = (read(compose("0a-x.4", FROM, TO, content())) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"] == message_id("0a-x.4", FROM)
    assert message_id("0a-x.4", FROM) == "<0a-x.4@shule.example>"


@pytest.mark.parametrize(
    "end", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00"]
)
@pytest.mark.parametrize("field", ["subject", "reply_to", "unsubscribe_url"])
def test_a_line_break_in_a_header_is_refused(field: str, end: str) -> None:
    good = getattr(content(), field)
    with pytest.raises(ContentRejected):
        compose("0a-x.4", FROM, TO, content(**{field: f"{good}{end}Bcc: thief@example.com"}))


@pytest.mark.parametrize("url", ["https://a/ b", "https://a/>,<https://b", "https://é"])
def test_an_unsubscribe_address_cannot_leave_its_brackets(url: str) -> None:
    with pytest.raises(ContentRejected):
        compose("0a-x.4", FROM, TO, content(unsubscribe_url=url))


@given(st.text(), st.text(), st.text())
def test_whatever_a_customer_is_called_no_header_is_added(subject: str, text: str, html: str) -> None:
    try:
        mail = read(compose("0a-x.4", FROM, TO, content(subject=subject, text=text, html=html)))
    except ContentRejected:
        return
    assert (len(mail.keys()), set(mail.keys())) == (len(HEADERS), HEADERS)


def by_the_library(subject: str, reply_to: str, to: Address) -> list[bytes]:
    """The lines of the headers that Python's own generator writes."""
    mail = EmailMessage(policy=email.policy.SMTP.clone(cte_type="7bit"))
    mail["From"] = FROM
    mail["To"] = to
    mail["Subject"] = subject
    mail["Message-ID"] = message_id("0a-x.4", FROM)
    mail["Reply-To"] = reply_to
    return mail.as_bytes().split(b"\r\n")[:-2]


_SUBJECTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])),
    st.text(st.sampled_from("a B=?_.,:;é(\"'")),
    st.from_regex(r"[ -~]{60,90}", fullmatch=True),
)
_ADDRESSES = st.from_regex(
    r"[A-Za-z0-9_+-]{1,60}(\.[a-z]{1,9})?@[A-Za-z0-9-]{1,20}(\.[a-z0-9]{1,5}){1,2}", fullmatch=True
)


@given(_SUBJECTS, _ADDRESSES)
def test_headers_are_those_that_the_library_writes(subject: str, address: str) -> None:
    to = recipient(address)
    lines = compose("0a-x.4", FROM, to, content(subject=subject, reply_to=address)).split(b"\r\n")
    for line in by_the_library(subject, address, to):
        assert line in lines


@given(_ADDRESSES)
def test_a_usual_address_is_read_as_the_library_reads_it(address: str) -> None:
    assert parseaddr(address) == ("", address)
    assert recipient(address) == Address(addr_spec=address)


@given(st.text(), st.text(st.sampled_from("a \t\r\n.=-_é–")))
def test_any_text_arrives_as_written_in_lines_that_every_server_takes(text: str, html: str) -> None:
    raw = compose("0a-x.4", FROM, TO, content(text=text, html=html))
    mail = read(raw)
    assert not mail.defects
    for part, written in zip(mail.iter_parts(), (text, html), strict=True):
        got = part.get_payload(decode=True)
        assert isinstance(got, bytes)
        assert got.splitlines() == written.encode().splitlines()
    body = raw.partition(b"\r\n\r\n")[2]
    assert max(map(len, body.split(b"\r\n"))) <= 998
    assert not body.replace(b"\r\n", b"").translate(None, bytes(range(32, 127)) + b"\t")


@pytest.mark.parametrize(
    "text",
    [
        *("Zoë\n", "a" * 999, "b\n" + "a" * 999 + "\nb\n", "a\n" * 600 + "a" * 999, "bell\x07\n"),
        *("From here on\n", "Hello,\nFrom here on\n", "--=_alternative--\n", "a\n--=_mixed\n"),
    ],
)
def test_what_a_server_or_a_reader_would_change_goes_encoded(text: str) -> None:
    raw = compose("0a-x.4", FROM, TO, content(text=text, html="<p>plain</p>"))
    written, other = read(raw).iter_parts()
    assert written["Content-Transfer-Encoding"] == "quoted-printable"
    assert other["Content-Transfer-Encoding"] == "7bit"
    got = written.get_payload(decode=True)
    assert isinstance(got, bytes)
    assert got.splitlines() == text.encode().splitlines()
    assert max(map(len, raw.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 78


def test_a_mail_as_long_as_ours_in_plain_letters_goes_as_it_is() -> None:
    html = "".join(f'<p style="margin:0 0 {n}px">{"word " * (n % 60)}</p>\r\n' for n in range(200))
    _, written = read(compose("0a-x.4", FROM, TO, content(html=html.replace("\r\n", "\n")))).iter_parts()
    assert (written["Content-Transfer-Encoding"], written.get_payload(decode=False)) == ("7bit", html)


@pytest.mark.parametrize("name", ["bill-1234.pdf", "ankara – ñ.pdf"])
def test_a_file_goes_beside_the_text(name: str) -> None:
    data = bytes(range(256)) * 50
    raw = compose("0a-x.4", FROM, TO, content(attachment=Attachment(name, "application/pdf", data)))
    mail = read(raw)
    [file] = mail.iter_attachments()
    assert (file.get_filename(), file.get_content_type(), file.get_content()) == (
        name,
        "application/pdf",
        data,
    )
    assert (len(mail.keys()), set(mail.keys())) == (len(HEADERS), HEADERS)
    assert [part.get_content_type() for part in mail.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf")
    ]
    assert b"\n" not in raw.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "asha",
            "asha@",
            "@example.com",
            "a b@example.com",
            "a@example.com, b@example.com",
            "a@b\r\nBcc: c@d",
        ),
        *(
            "Asha <a@example.com>",
            "<a@example.com>",
            "a@b@c",
            "ashá@example.com",
            "a@example.com\x00",
            "a@exa mple",
        ),
    ],
)
def test_what_is_no_address_is_the_recipients_fault(address: str) -> None:
    with pytest.raises(RecipientInvalid) as caught:
        recipient(address)
    assert "example" not in str(caught.value)


def test_a_domain_in_other_letters_is_sent_in_ascii() -> None:
    assert recipient("asha@bücher.example").addr_spec == "asha@xn--bcher-kva.example"


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with contextlib.suppress(RecipientInvalid):
        assert "@" in recipient(text).addr_spec


@pytest.mark.parametrize("text", ["Shule", "Shule <adá@shule.example>"])
def test_a_sender_that_cannot_be_named_to_a_server_is_our_fault(text: str) -> None:
    with pytest.raises(Misconfigured, match="EMAIL_FROM"):
        sender(text)
