"""Kept connections to one mail server: opened when needed, used by one mail at a time, replaced in time.

A connection that stood idle too long, has carried its share of mails, or ended a mail badly is not used again.
Nothing is retried here. TLS is never optional: `smtp+starttls://` fails on a server (or an attacker in between) that
does not offer STARTTLS, before any credential is sent.

Source: aiosmtplib 5.1; it sends one command at a time, so more throughput needs more connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiosmtplib

from channels.config import SmtpConfig
from channels.errors import ChannelError, ContentRejected, Misconfigured, Unavailable
from channels.smtp_codes import Stage, classify

_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
QUIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to connect. `tls` from the first byte, or `start_tls` before anything else is said."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: bool
    start_tls: bool


def server(url: str) -> Server:
    """Read an SMTP URL. Errors: Misconfigured, which never shows the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Misconfigured("smtp settings", "SMTP_URL is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Misconfigured(
            "smtp settings", "SMTP_URL starts with smtp://, smtps:// or smtp+starttls:// and a host"
        )
    return Server(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "smtps",
        start_tls=parts.scheme == "smtp+starttls",
    )


class Link:
    """One place in the pool, held for one mail. `clean` says that its connection may serve another."""

    def __init__(self, smtp: aiosmtplib.SMTP | None, carried: int) -> None:
        self.smtp = smtp
        self.kept = smtp is not None
        self.carried = carried
        self.clean = False
        self.idle_since = 0.0


class SmtpPool:
    """At most `config.pool` connections to one server."""

    def __init__(self, config: SmtpConfig, local_hostname: str) -> None:
        self.server = server(config.url)
        self._config = config
        self._local_hostname = local_hostname
        self._places = asyncio.Semaphore(config.pool)
        self._idle: list[Link] = []
        self._closed = False
        self._sweep: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """Hold a place in the pool, with a kept connection if there is a good one."""
        async with self._places:
            link = self._freshest()
            try:
                yield link
            finally:
                self._give_back(link)

    async def connect(self, link: Link) -> aiosmtplib.SMTP:
        """Give the link a new connection, greeted, encrypted and logged in as the URL says.

        Errors: Unavailable (nothing was sent), Misconfigured (TLS or login).
        """
        _drop(link)
        smtp = self._client()
        try:
            await smtp.connect()
            await self._login(smtp)
        except BaseException:
            smtp.close()
            raise
        link.smtp, link.kept, link.carried = smtp, False, 0
        return smtp

    async def close(self) -> None:
        """Say goodbye on every idle connection; those in use close when their mail is done."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        links, self._idle = self._idle, []
        await asyncio.gather(*(_quit(link) for link in links))

    def classify(self, error: aiosmtplib.SMTPResponseException, stage: Stage) -> ChannelError:
        """What a refusal means."""
        return classify(error.code, error.message, stage, greylist_s=self._config.greylist_s)

    def failure(self, error: Exception, stage: Stage) -> ChannelError:
        """Turn aiosmtplib's error before DATA into ours; nothing has been sent by then."""
        if isinstance(error, aiosmtplib.SMTPResponseException):
            return self.classify(error, stage)
        return _failure(error)

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self.server.host,
            port=self.server.port,
            use_tls=self.server.tls,
            start_tls=self.server.start_tls,
            local_hostname=self._local_hostname,
            timeout=self._config.timeout_s,
        )

    async def _login(self, smtp: aiosmtplib.SMTP) -> None:
        if self.server.username is None:
            return
        try:
            await smtp.login(self.server.username, self.server.password or "")
        except aiosmtplib.SMTPResponseException as error:
            refusal = self.classify(error, Stage.LOGIN)
        else:
            return
        raise refusal

    def _freshest(self) -> Link:
        self._close_idle()
        if not self._idle:
            return Link(None, 0)
        kept = self._idle.pop()
        return Link(kept.smtp, kept.carried)

    def _give_back(self, link: Link) -> None:
        usable = link.clean and link.smtp is not None and link.smtp.is_connected
        if self._closed or not usable or link.carried >= self._config.mails_per_connection:
            _drop(link)
            return
        link.idle_since = time.monotonic()
        self._idle.append(link)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._config.idle_s, self._swept)

    def _swept(self) -> None:
        self._sweep = None
        self._close_idle()
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(self._config.idle_s, self._swept)

    def _close_idle(self) -> None:
        oldest = time.monotonic() - self._config.idle_s
        good = [
            link for link in self._idle if link.idle_since > oldest and link.smtp and link.smtp.is_connected
        ]
        for link in self._idle:
            if link not in good:
                _drop(link)
        self._idle = good


def _drop(link: Link) -> None:
    if link.smtp is not None:
        link.smtp.close()
        link.smtp = None


async def _quit(link: Link) -> None:
    if link.smtp is not None:
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await link.smtp.quit(timeout=QUIT_S)
    _drop(link)


def _failure(error: Exception) -> ChannelError:
    if isinstance(error, ssl.SSLCertVerificationError) or isinstance(
        error.__cause__, ssl.SSLCertVerificationError
    ):
        return Misconfigured("smtp tls", "the mail server's certificate cannot be trusted")
    if isinstance(error, ValueError):
        return ContentRejected("smtp command", "this mail cannot be put into SMTP commands")
    if isinstance(error, TimeoutError):
        return Unavailable("smtp timeout", "the mail server did not answer in time; nothing was sent")
    if isinstance(error, OSError):
        return Unavailable("smtp connection", "the mail server was not reached or hung up; nothing was sent")
    return Misconfigured(
        "smtp settings", "the mail server offers no STARTTLS, or no login that SMTP_URL asks for"
    )
