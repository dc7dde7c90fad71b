"""The SMTP side, as aiosmtplib sees it."""

from __future__ import annotations

from email.message import EmailMessage

import aiosmtplib
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.mail import header

TO = "Asha@example.com"


def mail(to: str = TO) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Shule <bili@shule.test>", to, "Ada ya muhula — José"
    message["Message-ID"] = "<1-abc.1@shule.test>"
    message.set_content("Lipa TZS 45,000 kwa 55042914871931")
    message.add_alternative("<p>Lipa <b>TZS 45,000</b></p>", subtype="html")
    return message


def connection(city: Sandbox) -> aiosmtplib.SMTP:
    host, _, port = city.urls["smtp"].removeprefix("smtp://").rpartition(":")
    return aiosmtplib.SMTP(hostname=host, port=int(port))


async def deliver(city: Sandbox) -> None:
    async with connection(city) as smtp:
        await smtp.send_message(mail())


async def test_a_mail_is_kept_parsed(city: Sandbox) -> None:
    await deliver(city)
    [kept] = city.world.screen("email", "asha@EXAMPLE.com")
    assert (kept.extra["subject"], kept.text.strip()) == (
        "Ada ya muhula — José",
        "Lipa TZS 45,000 kwa 55042914871931",
    )
    assert "<b>TZS 45,000</b>" in kept.extra["html"]
    assert (kept.reference, header(kept, "message-id")) == ("<1-abc.1@shule.test>", "<1-abc.1@shule.test>")
    assert kept.numbers == ["55042914871931"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_the_right_password_is_taken(city: Sandbox, mechanism: str) -> None:
    account = city.accounts.smtp
    async with connection(city) as smtp:
        login = smtp.auth_plain if mechanism == "PLAIN" else smtp.auth_login
        assert (await login(account.username, account.password)).code == 235
        await smtp.send_message(mail())
    assert len(city.world.accepted("email", TO)) == 1


async def test_a_wrong_password_is_535(city: Sandbox) -> None:
    async with connection(city) as smtp:
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
            await smtp.auth_plain("tuma", "wrong")
    assert refused.value.code == 535


async def test_a_refused_mailbox_does_not_stop_the_others(city: Sandbox) -> None:
    city.mail.refusals["gone@example.com"] = "550 5.1.1 No such user"
    async with connection(city) as smtp:
        refused, _ = await smtp.sendmail("a@b.test", ["gone@example.com", TO], mail().as_bytes())
    assert refused["gone@example.com"].code == 550
    assert len(city.world.accepted("email")) == 1


async def test_a_throttling_server_says_451(city: Sandbox) -> None:
    city.faults.set("smtp", "throttling")
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await deliver(city)
    assert refused.value.recipients[0].code == 451


async def test_a_failing_server_says_421(city: Sandbox) -> None:
    city.faults.set("smtp", "failing")
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await deliver(city)
    assert refused.value.code == 421
    assert city.world.accepted("email") == []


async def test_one_connection_carries_many_mails(city: Sandbox) -> None:
    async with connection(city) as smtp:
        for number in range(5):
            await smtp.send_message(mail(f"m{number}@example.com"))
    assert len(city.world.accepted("email")) == 5


async def test_a_stopped_server_hangs_up() -> None:
    city = Sandbox()
    await city.start()
    smtp = connection(city)
    await smtp.connect()
    await city.stop()
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await smtp.noop()


async def test_a_login_is_not_logged(city: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    async with connection(city) as smtp:
        await smtp.auth_plain(city.accounts.smtp.username, city.accounts.smtp.password)
    assert caplog.records == []
