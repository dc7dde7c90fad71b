"""A mailbox for everybody: a real SMTP server that takes every mail and keeps it, parsed.

AUTH PLAIN and LOGIN work with the sandbox's credentials, mail without AUTH is taken too, a wrong password is 535.
No TLS. Failing is 421 and throttling 451: the provider is unwell, the mailbox is not at fault; `refusals` says
which mailbox is. Faults strike at every step from the connection to the reply after the final dot. A mail is
entered once for each of its recipients. Source: RFC 5321, RFC 3463.
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

from bot.sandbox.fault_kinds import How, Kind, Point
from bot.sandbox.faults import Faults
from bot.sandbox.serving import BACKLOG, on_first_free, origin_host
from bot.sandbox.world import Message, World

MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MailAccount:
    """What AUTH takes, and the sender that tuma is told to use."""

    username: str = "tuma"
    password: str = "sandbox-mail-password"  # noqa: S105 - opens nothing but this sandbox
    sender: str = "Tuma Sandbox <bili@sandbox.test>"


class _Turned(asyncio.Protocol):
    """A connection that is turned away at once: with a line, or without a word."""

    def __init__(self, reply: str) -> None:
        self._reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it and hang up."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(f"{self._reply}\r\n".encode() if self._reply else b"")
        transport.close()


class _Conversation(SMTP):
    """One client's connection. `unwelcome` is what EHLO was answered, and HELO will be."""

    unwelcome = ""
    event_handler: MailServer

    async def smtp_DATA(self, arg: str) -> None:
        """DATA, before the mail itself is asked for; aiosmtpd's own hook comes after it."""
        to = self.envelope.rcpt_tos if self.envelope else []
        fault = self.event_handler.faults.draw("smtp", Point.DATA, to[0]) if to else None
        if fault is None:
            await super().smtp_DATA(arg)
        else:
            await self.push(fault.reply)


class MailServer:
    """SMTP on one port of `host`. `refusals` maps an address to the reply its RCPT gets, such as "550 5.1.1 ..."."""

    def __init__(self, account: MailAccount, world: World, faults: Faults) -> None:
        self.account, self.world, self.faults = account, world, faults
        self.refusals: dict[str, str] = {}
        self._server: asyncio.Server | None = None
        self._sessions: WeakSet[SMTP] = WeakSet()

    async def start(self, host: str, *ports: int) -> str:
        """Listen on the first of `ports` that is free, and return where, such as `smtp://127.0.0.1:40125`."""
        # aiosmtpd warns of its own attribute at every login, and logs addresses at lower levels.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        self._server = await on_first_free(
            ports, lambda port: loop.create_server(self._session, host, port, backlog=BACKLOG)
        )
        port = self._server.sockets[0].getsockname()[1]
        return f"smtp://{origin_host(host)}:{port}"

    def login_url(self, url: str) -> str:
        """`url` with the credentials in it, as SMTP_URL wants it."""
        login = f"{quote(self.account.username)}:{quote(self.account.password)}"
        return url.replace("smtp://", f"smtp://{login}@", 1)

    def _session(self) -> asyncio.Protocol:
        fault = self.faults.draw("smtp", Point.CONNECT)
        if fault is not None:
            return _Turned(fault.reply)
        protocol = _Conversation(
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

    async def handle_EHLO(
        self, server: _Conversation, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """EHLO: a server that may not want this client."""
        fault = self.faults.draw("smtp", Point.EHLO)
        if fault is not None:
            server.unwelcome = fault.reply
            return [fault.reply]
        session.host_name, server.unwelcome = hostname, ""
        return responses

    async def handle_HELO(
        self, server: _Conversation, session: Session, envelope: Envelope, hostname: str
    ) -> str:
        """HELO: what clients say after a refused EHLO."""
        if server.unwelcome:
            return server.unwelcome
        session.host_name = hostname
        return f"250 {server.hostname}"

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """MAIL FROM: an unwell provider says so here."""
        fault = self.faults.draw("smtp", Point.MAIL)
        if fault is not None:
            return fault.reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RCPT TO: a throttling provider, and mailboxes at fault."""
        fault = self.faults.draw("smtp", Point.RCPT, address)
        if fault is not None:
            return fault.reply
        if address.lower() in self.refusals:
            return self.refusals[address.lower()]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """The final dot: the mail is in the mailbox when this answers 250, and after some faults without that."""
        fault = self.faults.draw("smtp", Point.DOT, envelope.rcpt_tos[0])
        if fault is not None and fault.how is How.SLOW:
            await asyncio.sleep(self.faults.slow_s)
        elif fault is not None and not fault.taken:
            return await self._broken(server, fault)
        queue_id = self._keep(envelope)
        if fault is not None and fault.how is not How.SLOW:
            return await self._broken(server, fault)
        return f"250 2.0.0 OK queued as {queue_id}"

    async def _broken(self, server: SMTP, fault: Kind) -> str:
        """What the client gets instead of 250: a refusal, or no reply."""
        if fault.how is How.REPLY:
            return fault.reply
        if fault.how is How.SILENCE:
            await asyncio.sleep(self.faults.silence_s)  # ends when the client hangs up, as aiosmtpd sees to
        if server.transport is not None:
            server.transport.close()
        await asyncio.Event().wait()  # the connection's end cancels this
        return ""

    def _keep(self, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = message_from_bytes(content, policy=policy.default)
        queue_id = secrets.token_hex(6).upper()
        for address in envelope.rcpt_tos:
            self.world.accept(self._message(mail, envelope, address, queue_id))
        return queue_id

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
