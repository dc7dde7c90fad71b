"""A mailbox for everybody: a real SMTP server that takes every mail and keeps it, parsed.

AUTH PLAIN and LOGIN work with the sandbox's credentials, mail without AUTH is taken too, a wrong password is 535.
No TLS. Failing is 421 and throttling 451: the provider is unwell, the mailbox is not at fault; `refusals` says
which mailbox is. Source: RFC 5321, RFC 3463.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast
from urllib.parse import quote
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from bot.sandbox.faults import Faults, Mode
from bot.sandbox.serving import origin_host
from bot.sandbox.world import Message, World

MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MailAccount:
    """What AUTH takes, and the sender that tuma is told to use."""

    username: str = "tuma"
    password: str = "sandbox-mail-password"  # noqa: S105 - opens nothing but this sandbox
    sender: str = "Tuma Sandbox <bili@sandbox.test>"


class MailServer:
    """SMTP on one port of `host`. `refusals` maps an address to the reply its RCPT gets, such as "550 5.1.1 ..."."""

    def __init__(self, account: MailAccount, world: World, faults: Faults) -> None:
        self.account, self.world, self.faults = account, world, faults
        self.refusals: dict[str, str] = {}
        self._server: asyncio.Server | None = None
        self._sessions: WeakSet[SMTP] = WeakSet()

    async def start(self, host: str, port: int) -> str:
        """Listen, and return where, such as `smtp://127.0.0.1:40125`."""
        # aiosmtpd warns of its own attribute at every login, and logs addresses at lower levels.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, host, port)
        port = self._server.sockets[0].getsockname()[1]
        return f"smtp://{origin_host(host)}:{port}"

    def login_url(self, url: str) -> str:
        """`url` with the credentials in it, as SMTP_URL wants it."""
        login = f"{quote(self.account.username)}:{quote(self.account.password)}"
        return url.replace("smtp://", f"smtp://{login}@", 1)

    def _session(self) -> asyncio.Protocol:
        protocol = SMTP(
            self,
            hostname="sandbox.test",
            ident="tuma sandbox",
            data_size_limit=MAX_BYTES,
            enable_SMTPUTF8=True,
            auth_require_tls=False,
            authenticator=self._authenticate,
            loop=asyncio.get_running_loop(),
        )
        self._sessions.add(protocol)
        return cast(asyncio.Protocol, protocol)

    async def stop(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for session in self._sessions:
            if session.transport is not None:
                session.transport.close()
        await asyncio.sleep(0)  # transports close in the loop's next round

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        wanted = self.account.username.encode(), self.account.password.encode()
        good = isinstance(given, LoginPassword) and all(
            map(hmac.compare_digest, (given.login, given.password), wanted)
        )
        return AuthResult(success=good, handled=False)

    # What aiosmtpd calls; names are its own.

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """MAIL FROM: an unwell provider says so here."""
        mode = await self.faults.decide("smtp")
        if mode is Mode.FAILING:
            return "421 4.3.0 Service not available, try again later"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RCPT TO: a throttling provider, and mailboxes at fault."""
        if self.faults.modes()["smtp"] == Mode.THROTTLING:
            return "451 4.7.1 Too many messages, try again later"
        if address.lower() in self.refusals:
            return self.refusals[address.lower()]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """DATA: the mail is in the mailbox when this answers 250."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = message_from_bytes(content, policy=policy.default)
        queue_id = secrets.token_hex(6).upper()
        for address in envelope.rcpt_tos:
            self.world.accept(self._message(mail, envelope, address, queue_id))
        return f"250 2.0.0 OK queued as {queue_id}"

    def _message(self, mail: EmailMessage, envelope: Envelope, address: str, queue_id: str) -> Message:
        return Message(
            provider="smtp",
            channel="email",
            id=f"{queue_id}-{secrets.token_hex(4)}",
            address=address,
            sender=str(mail.get("From", envelope.mail_from)),
            text=_part(mail, "plain"),
            at=self.world.clock(),
            status="delivered",
            arrived=True,
            reference=str(mail["Message-ID"]) if mail["Message-ID"] else None,
            extra={
                "subject": str(mail.get("Subject", "")),
                "html": _part(mail, "html"),
                "headers": [(name, str(value)) for name, value in mail.items()],
                "envelope_from": envelope.mail_from,
                "attachments": [part.get_filename() or "?" for part in mail.iter_attachments()],
            },
        )


def _part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    return str(body.get_content()) if body is not None else ""


def header(message: Message, name: str) -> str | None:
    """The first header called `name` of a mail, in any case."""
    found = (value for key, value in message.extra.get("headers", []) if key.lower() == name.lower())
    return next(found, None)
