"""Email over SMTP: one mail and one recipient per transaction, over a few kept connections.

One recipient means that a refusal is always total and always says who: of two guardians on a bill each has a message
of their own. Everything up to and including RCPT is known not to have sent anything; then the lease is checked, and
from DATA on a lost connection or a timeout leaves the outcome unknown; what has not left by the timeout
never does. An accepted mail may still bounce later.

Source: RFC 5321; aiosmtplib 5.1 (`mail`, `rcpt`, `data`); refusals in `smtp_codes`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import cast

import aiosmtplib

from channels.base import Accepted, ChannelName, Delivery, EmailContent, Outgoing, Probe, check_lease
from channels.config import SmtpConfig
from channels.errors import ChannelError, ContentRejected, LeaseExpired, Uncertain
from channels.leased import Flight
from channels.mail_message import compose, message_id, recipient, sender
from channels.smtp_codes import Stage
from channels.smtp_pool import Link, SmtpPool

_LIBRARY_ERRORS = (aiosmtplib.SMTPException, OSError, ValueError)


@dataclass(slots=True)
class _Progress:
    """How far a mail has come, and over which connection its text leaves."""

    stage: Stage = Stage.CONNECT
    flight: Flight = field(default_factory=Flight)


class Email:
    """The email channel. Raises Misconfigured when made with a URL or sender that cannot be read."""

    name = ChannelName.EMAIL

    def __init__(self, config: SmtpConfig) -> None:
        self.concurrency = config.pool
        self.request_timeout_s = config.timeout_s
        self._from = sender(config.sender)
        # A server may refuse a container's own name in EHLO; the sender's domain is at least ours.
        self._pool = SmtpPool(config, config.local_hostname or self._from.domain)

    async def send(self, outgoing: Outgoing) -> Accepted:
        """Send one mail. Errors: every ChannelError but RecipientOptedOut and Throttled."""
        if not isinstance(outgoing.content, EmailContent):
            raise ContentRejected("mail content", "this is not a mail")
        to = recipient(outgoing.to)
        mail = compose(outgoing.message_id, self._from, to, outgoing.content)
        progress = _Progress()
        try:
            async with progress.flight.within(self.request_timeout_s):
                await self._deliver(outgoing.deadline, to, mail, progress)
        except _LIBRARY_ERRORS as error:
            refusal = self._refusal(error, progress.stage)
        else:
            return Accepted(message_id(outgoing.message_id, self._from), Delivery.SENT)
        raise refusal  # outside the handler: the library's error names the recipient, and must not be chained

    async def probe(self) -> Probe:
        """Connect, log in and say NOOP; sends nothing."""
        error: ChannelError
        try:
            async with asyncio.timeout(self.request_timeout_s), self._pool.link() as link:
                await (await self._pool.connect(link)).noop()
                link.clean = True
        except ChannelError as refused:
            error = refused
        except _LIBRARY_ERRORS as lost:
            error = self._pool.failure(lost, Stage.CONNECT)
        else:
            return Probe(True, "the mail server answers", self._hints())
        return Probe(False, str(error), ("check SMTP_URL: scheme, host, port, user and password",))

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def _deliver(self, deadline: float, to: Address, mail: bytes, progress: _Progress) -> None:
        async with self._pool.link() as link:
            smtp = await self._open_envelope(link, to, progress)
            await _still_leased(link, smtp, deadline)
            progress.stage = Stage.DATA
            progress.flight.begun, progress.flight.transport = True, cast("asyncio.Transport", smtp.transport)
            try:
                await smtp.data(mail)
            except aiosmtplib.SMTPDataError:
                # Refused before the mail itself, the envelope is still open: the next one would meet 503.
                await _reset(link, smtp)
                raise
            link.clean = True

    async def _open_envelope(self, link: Link, to: Address, progress: _Progress) -> aiosmtplib.SMTP:
        if link.smtp is not None:
            try:
                return await self._envelope(link, link.smtp, to, progress)
            except _LIBRARY_ERRORS as error:
                if not _hung_up(error):
                    raise
        # Either there was no kept connection or the server had closed it meanwhile: nothing was sent on it.
        progress.stage = Stage.CONNECT
        return await self._envelope(link, await self._pool.connect(link), to, progress)

    async def _envelope(
        self, link: Link, smtp: aiosmtplib.SMTP, to: Address, progress: _Progress
    ) -> aiosmtplib.SMTP:
        try:
            progress.stage = Stage.SENDER
            link.carried += 1
            await smtp.mail(self._from.addr_spec)
            progress.stage = Stage.RECIPIENT
            await smtp.rcpt(to.addr_spec)
        except aiosmtplib.SMTPResponseException:
            await _reset(link, smtp)
            raise
        return smtp

    def _refusal(self, error: Exception, stage: Stage) -> ChannelError:
        if stage is not Stage.DATA:
            return self._pool.failure(error, stage)
        if isinstance(error, aiosmtplib.SMTPDataError):
            return self._pool.classify(error, stage)
        if isinstance(error, TimeoutError):
            return Uncertain("smtp timeout", "no answer to a mail that may have been taken")
        return Uncertain("smtp connection", "the connection was lost with a mail that may have been taken")

    def _hints(self) -> tuple[str, ...]:
        server = self._pool.server
        if server.username and not server.tls and not server.start_tls:
            return ("the password goes out unencrypted: use smtps:// or smtp+starttls://",)
        return ()


async def _still_leased(link: Link, smtp: aiosmtplib.SMTP, deadline: float) -> None:
    try:
        check_lease(deadline)
    except LeaseExpired:
        await _reset(link, smtp)
        raise


async def _reset(link: Link, smtp: aiosmtplib.SMTP) -> None:
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        await smtp.rset()
        link.clean = True


def _hung_up(error: Exception) -> bool:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return error.code == aiosmtplib.SMTPStatus.domain_unavailable
    return isinstance(error, ConnectionError) and not isinstance(error, TimeoutError)
