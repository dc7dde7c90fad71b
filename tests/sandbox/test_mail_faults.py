"""Every fault of a mail server, as aiosmtplib meets it, and what is on record afterwards."""

from __future__ import annotations

import aiosmtplib
import pytest

from bot.sandbox.city import Sandbox
from tests.sandbox.test_mail import TO, connection, mail

GONE = aiosmtplib.SMTPServerDisconnected


async def deliver(city: Sandbox) -> None:
    smtp = connection(city)
    smtp.timeout = 0.5
    async with smtp:
        await smtp.send_message(mail())


@pytest.mark.parametrize(
    ("kind", "met", "code"),
    [
        ("connect-4xx", aiosmtplib.SMTPConnectResponseError, 421),
        ("connect-5xx", aiosmtplib.SMTPConnectResponseError, 554),
        ("ehlo-4xx", aiosmtplib.SMTPHeloError, 451),
        ("ehlo-5xx", aiosmtplib.SMTPHeloError, 550),
        ("mail-4xx", aiosmtplib.SMTPSenderRefused, 421),
        ("mail-5xx", aiosmtplib.SMTPSenderRefused, 550),
        ("data-4xx", aiosmtplib.SMTPDataError, 451),
        ("data-5xx", aiosmtplib.SMTPDataError, 554),
        ("dot-4xx", aiosmtplib.SMTPDataError, 452),
        ("dot-5xx", aiosmtplib.SMTPDataError, 554),
    ],
)
async def test_a_refusal_at_every_step_takes_nothing(
    city: Sandbox, kind: str, met: type[aiosmtplib.SMTPResponseException], code: int
) -> None:
    city.faults.next("smtp", kind)
    with pytest.raises(met) as refused:
        await deliver(city)
    assert (refused.value.code, city.world.accepted("email")) == (code, [])
    await deliver(city)


@pytest.mark.parametrize(("kind", "code"), [("rcpt-4xx", 451), ("rcpt-5xx", 550)])
async def test_a_recipient_is_refused(city: Sandbox, kind: str, code: int) -> None:
    city.faults.next("smtp", kind, 1, TO)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await deliver(city)
    assert [each.code for each in refused.value.recipients] == [code]


@pytest.mark.parametrize(
    ("kind", "met", "taken"),
    [
        ("connect-drop", (aiosmtplib.SMTPConnectError, GONE), 0),
        ("drop-before", GONE, 0),
        ("drop-after", GONE, 1),
        ("timeout-before", aiosmtplib.SMTPReadTimeoutError, 0),
        ("timeout-after", aiosmtplib.SMTPReadTimeoutError, 1),
    ],
)
async def test_a_connection_ends_and_the_record_says_what_was_taken(
    city: Sandbox, kind: str, met: type[Exception] | tuple[type[Exception], ...], taken: int
) -> None:
    city.faults.next("smtp", kind)
    with pytest.raises(met):
        await deliver(city)
    assert len(city.world.accepted("email", TO)) == taken


async def test_silence_ends_when_the_server_hangs_up(city: Sandbox) -> None:
    city.faults.silence_s = 0.05
    city.faults.next("smtp", "timeout-after")
    with pytest.raises(GONE):
        await deliver(city)
    assert len(city.world.accepted("email", TO)) == 1


async def test_a_slow_server_takes_it_in_the_end(city: Sandbox) -> None:
    city.faults.next("smtp", "slow")
    await deliver(city)
    assert len(city.world.accepted("email", TO)) == 1


async def test_a_refused_data_leaves_the_connection_usable(city: Sandbox) -> None:
    city.faults.next("smtp", "data-4xx", 1, TO)
    async with connection(city) as smtp:
        with pytest.raises(aiosmtplib.SMTPDataError):
            await smtp.send_message(mail())
        await smtp.send_message(mail())
    assert len(city.world.accepted("email", TO)) == 1


async def test_helo_is_refused_like_the_ehlo_before_it(city: Sandbox) -> None:
    city.faults.next("smtp", "ehlo-5xx")
    smtp = connection(city)
    await smtp.connect(start_tls=False)  # else it says EHLO itself
    with pytest.raises(aiosmtplib.SMTPHeloError):
        await smtp.ehlo()
    with pytest.raises(aiosmtplib.SMTPHeloError):
        await smtp.helo()
    await smtp.ehlo()
    smtp.close()
