"""Email over real sockets: stages, the pool of kept connections, TLS and login."""

from __future__ import annotations

import asyncio
import dataclasses
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from channels.base import Channel, Delivery
from channels.errors import (
    ChannelError,
    LeaseExpired,
    Misconfigured,
    RecipientInvalid,
    Unavailable,
    Uncertain,
)
from tests.channels.rigs import MESSAGE_ID, EmailRig, eventually
from tests.channels.servers import SMTP_PASSWORD

CERTIFICATE = Path(__file__).with_name("localhost.pem")


@pytest.fixture(params=[False, True], ids=["one-by-one", "pipelining"])
async def mail(request: pytest.FixtureRequest) -> AsyncIterator[EmailRig]:
    rig = EmailRig()
    rig.server.pipelines = request.param
    await rig.start()
    yield rig
    await rig.stop()


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
async def rigs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Make rigs with options for the server; the test certificate is trusted as a system's own would be."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    made: list[EmailRig] = []

    async def make(scheme: str = "smtp", **options: Any) -> EmailRig:
        rig = EmailRig(**options)
        rig.scheme = scheme
        made.append(rig)
        await rig.start()
        return rig

    yield make
    for rig in made:
        await rig.stop()


async def failure(channel: Channel, rig: EmailRig) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        await channel.send(rig.outgoing())
    return caught.value


async def test_a_mail_has_one_sender_and_one_recipient(mail: EmailRig) -> None:
    accepted = await mail.send()
    envelope = mail.server.accepted[0]
    assert (envelope.mail_from, envelope.rcpt_tos) == ("ada@shule.example", ["asha@example.com"])
    assert (accepted.provider_id, accepted.delivery) == (f"<{MESSAGE_ID}@shule.example>", Delivery.SENT)


async def test_a_resend_carries_the_same_message_id(mail: EmailRig) -> None:
    channel = mail.make()
    accepted = [await channel.send(mail.outgoing(attempt=attempt)) for attempt in (1, 2)]
    assert accepted[0].provider_id == accepted[1].provider_id
    assert all(accepted[0].provider_id.encode() in envelope.content for envelope in mail.server.accepted)


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
@pytest.mark.parametrize("trouble", ["silent", "drop", "421 4.3.2 shutting down", "451 4.3.0 later"])
async def test_before_data_nothing_was_sent(mail: EmailRig, command: str, trouble: str) -> None:
    mail.server.replies = {command: trouble}
    error = await failure(mail.make(timeout_s=0.6 if trouble == "silent" else 5.0), mail)
    assert type(error) is Unavailable


@pytest.mark.parametrize("trouble", ["silent", "drop"])
async def test_after_data_the_outcome_is_unknown(mail: EmailRig, trouble: str) -> None:
    mail.server.replies = {"DATA": trouble}
    error = await failure(mail.make(timeout_s=0.6 if trouble == "silent" else 5.0), mail)
    assert type(error) is Uncertain


@pytest.mark.parametrize(
    ("reply", "decision"),
    [("550 5.1.1 gone", RecipientInvalid), ("451 later", Unavailable), ("421 bye", Unavailable)],
)
async def test_a_refusal_after_the_text_is_known(
    mail: EmailRig, reply: str, decision: type[ChannelError]
) -> None:
    mail.server.replies = {"DATA": reply}
    assert type(await failure(mail.make(), mail)) is decision


async def test_a_greylisted_mail_waits_as_long_as_the_setting_says(mail: EmailRig) -> None:
    mail.server.replies = {"RCPT": "450 4.2.0 greylisted"}
    error = await failure(mail.make(greylist_s=7.0), mail)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 7


async def test_a_refused_recipient_leaves_the_connection_usable(mail: EmailRig) -> None:
    channel = mail.make()
    mail.server.behaviour = "bad_recipient"
    await failure(channel, mail)
    mail.server.behaviour = "ok"
    await channel.send(mail.outgoing())
    assert (mail.server.connections, len(mail.server.accepted)) == (1, 1)


async def test_an_expired_lease_stops_between_recipient_and_data(mail: EmailRig) -> None:
    with pytest.raises(LeaseExpired):
        await mail.send(lease_s=-0.001)
    assert mail.server.commands == ["MAIL", "RCPT"]


async def test_a_connection_the_server_closed_is_replaced_unnoticed(mail: EmailRig) -> None:
    channel = mail.make()
    await channel.send(mail.outgoing())
    mail.server.hang_up()
    await channel.send(mail.outgoing())
    assert len(mail.server.accepted) == 2


async def test_a_goodbye_on_a_kept_connection_is_answered_with_a_new_one(mail: EmailRig) -> None:
    channel = mail.make()
    await channel.send(mail.outgoing())
    mail.server.replies = {"MAIL": "421 4.4.2 idle too long"}
    await failure(channel, mail)
    assert mail.server.commands.count("MAIL") == 3


@asynccontextmanager
async def pipelining(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[EmailRig]:
    """A rig of a server that offers PIPELINING; `talk` is what it does once it has said so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"250-here\r\n250 PIPELINING\r\n")
        await talk(reader, writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        rig = EmailRig()
        rig.base = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield rig


async def test_a_server_that_pipelines_gets_the_envelope_at_once_and_the_text_only_when_it_asks() -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"DATA\r\n"))  # before anything of it is answered
        for part in (b"250 fine\r\n250-and", b" here\r\n250 fine\r", b"\n354 go on\r\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        heard.append(await reader.readuntil(b"\r\n.\r\n"))
        writer.write(b"250 taken\r\n")

    async with pipelining(talk) as rig:
        channel = rig.make()
        await channel.send(rig.outgoing())
        await channel.close()
    assert heard[0] == b"MAIL FROM:<ada@shule.example>\r\nRCPT TO:<asha@example.com>\r\nDATA\r\n"
    assert heard[1].startswith(b"From: ")


@pytest.mark.parametrize(
    ("answer", "said"), [(b"354 go on", b""), (b"554 no valid recipients", b"RSET\r\nQUIT\r\n")]
)
async def test_a_text_whose_recipient_was_refused_is_never_sent(answer: bytes, said: bytes) -> None:
    heard: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"250-here\r\n250 PIPELINING\r\n")
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 fine\r\n550 5.1.1 nobody\r\n" + answer + b"\r\n")
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"250 fine\r\n")
        writer.close()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        rig = EmailRig()
        rig.base = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        channel = rig.make()
        assert type(await failure(channel, rig)) is RecipientInvalid
        await channel.close()
        await asyncio.wait_for(ended.wait(), 5)
    assert b"".join(heard) == said


@pytest.mark.parametrize("offer", [b"PIPELINING", b"8BITMIME"])
async def test_a_text_that_was_never_asked_for_is_no_doubt(offer: bytes) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while (line := await reader.readline()) and line != b"DATA\r\n":
            writer.write(
                b"250-here\r\n250 " + offer + b"\r\n" if line.startswith(b"EHLO") else b"250 fine\r\n"
            )
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        rig = EmailRig()
        rig.base = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        channel = rig.make(timeout_s=0.6)
        assert type(await failure(channel, rig)) is Unavailable
        await channel.close()
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize("words", [b"421 4.4.2 idle too long\r\n", b"250 fine\r\n" * 2, b"x" * 40_000])
async def test_what_a_server_says_unasked_is_no_answer_to_the_next_mail(words: bytes) -> None:
    mails: list[bytes] = []
    said = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 fine\r\n250 fine\r\n354 go on\r\n")
        mails.append(await reader.readuntil(b"\r\n.\r\n"))
        writer.write(b"250 taken\r\n")
        await asyncio.sleep(0.05)
        writer.write(words)
        said.set()

    async with pipelining(talk) as rig:
        channel = rig.make()
        await channel.send(rig.outgoing())
        await said.wait()
        await asyncio.sleep(0.2)
        await channel.send(rig.outgoing())
        await channel.close()
    assert len(mails) == 2


async def test_a_line_that_begins_with_a_dot_arrives_with_it(mail: EmailRig) -> None:
    text = ".\n..\n.a\n"
    content = dataclasses.replace(mail.content, text=text)
    await mail.make().send(dataclasses.replace(mail.outgoing(), content=content))
    [envelope] = mail.server.accepted
    read = email.message_from_bytes(bytes(envelope.content or b""), policy=email.policy.default)
    body = read.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == text


async def test_a_connection_is_recycled_after_its_share_of_mails(mail: EmailRig) -> None:
    channel = mail.make(mails_per_connection=1)
    await channel.send(mail.outgoing())
    await eventually(lambda: mail.server.connections == 0)


async def test_idle_connections_are_closed_in_time(mail: EmailRig) -> None:
    channel = mail.make(idle_s=0.05)
    await channel.send(mail.outgoing())
    await eventually(lambda: mail.server.connections == 0)
    await channel.send(mail.outgoing())
    assert len(mail.server.accepted) == 2


async def test_no_more_connections_than_the_pool_has(mail: EmailRig) -> None:
    channel = mail.make(pool=3)
    await asyncio.gather(*(channel.send(mail.outgoing()) for _ in range(12)))
    assert (len(mail.server.accepted), mail.server.most) == (12, 3)


def with_login(rig: EmailRig, password: str = SMTP_PASSWORD) -> str:
    return rig.base.replace("://", f"://{quote('ada@shule.example', safe='')}:{quote(password, safe='')}@")


def login(**options: Any) -> dict[str, Any]:
    return {"auth_required": True, "auth_require_tls": False, **options}


async def authenticated(rigs: Any, scheme: str = "smtp", **options: Any) -> EmailRig:
    rig: EmailRig = await rigs(scheme, **login(**options))
    return rig


async def test_a_login_is_made_once_per_connection(rigs: Any) -> None:
    rig = await authenticated(rigs)
    channel = rig.make(with_login(rig))
    for _ in range(3):
        await channel.send(rig.outgoing())
    assert (len(rig.server.accepted), rig.server.logins) == (3, ["ada@shule.example"])


async def test_a_wrong_password_pauses_rather_than_retries(rigs: Any) -> None:
    rig = await authenticated(rigs)
    channel = rig.make(with_login(rig, "wrong-password"))
    error = await failure(channel, rig)
    assert type(error) is Misconfigured
    assert "wrong-password" not in str(error)
    assert not (await channel.probe()).ok


async def test_a_login_that_the_server_does_not_offer_is_our_settings_fault(mail: EmailRig) -> None:
    assert type(await failure(mail.make(with_login(mail)), mail)) is Misconfigured


async def test_a_password_without_tls_is_warned_about(rigs: Any) -> None:
    rig = await authenticated(rigs)
    probe = await rig.make(with_login(rig)).probe()
    assert (probe.ok, "unencrypted" in probe.hints[0]) == (True, True)


async def test_smtps_encrypts_from_the_start(rigs: Any) -> None:
    rig = await authenticated(rigs, "smtps", tls=server_tls())
    probe = await rig.make(with_login(rig)).probe()
    await rig.make(with_login(rig)).send(rig.outgoing())
    assert (len(rig.server.accepted), probe.ok, probe.hints) == (1, True, ())


async def test_starttls_encrypts_before_the_login(rigs: Any) -> None:
    rig = await authenticated(rigs, "smtp+starttls", tls_context=server_tls(), require_starttls=True)
    await rig.make(with_login(rig)).send(rig.outgoing())
    assert (len(rig.server.accepted), rig.server.accepted[0].smtp_utf8) == (1, False)


async def test_starttls_that_is_not_offered_sends_neither_password_nor_mail(rigs: Any) -> None:
    rig = await authenticated(rigs, "smtp+starttls")
    error = await failure(rig.make(with_login(rig)), rig)
    assert (type(error), "STARTTLS" in error.detail) == (Misconfigured, True)
    assert (rig.server.logins, rig.server.commands) == ([], [])


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    rigs: Any, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {"tls": server_tls()} if scheme == "smtps" else {"tls_context": server_tls()}
    rig = await rigs(scheme, **options)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    error = await failure(rig.make(), rig)
    assert (type(error), "certificate" in error.detail) == (Misconfigured, True)


@pytest.mark.parametrize(
    "url", ["http://mail.example", "smtp://", "smtp://host:port", "smtp://[", "mail.example"]
)
def test_a_url_that_cannot_be_read_is_refused_at_start(url: str) -> None:
    with pytest.raises(Misconfigured, match="SMTP_URL"):
        EmailRig().make(url if "://" in url else f"x://{url}")
