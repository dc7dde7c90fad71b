"""What happens after Twilio took a message: statuses, signed callbacks, and what people write back.

Promises callbacks in order for one message, but for those that a fault loses, doubles or holds back, and each signed
over the exact URL including its query. A callback that finds nobody is tried once more, an error answer never, as
Twilio's default is.
What a webhook answers in TwiML is sent to who wrote, on the same channel.
Source: Twilio guides on outbound status callbacks, webhook requests, webhook security, and TwiML's Message verb.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urldefrag, urlencode
from xml.etree import ElementTree

from bot.sandbox.fault_kinds import How, Point
from bot.sandbox.serving import Errands, Postman, Reply
from bot.sandbox.twilio import WHATSAPP, TwilioAccount, TwilioApi, TwilioMessage
from bot.sandbox.twilio_rules import CHANNEL_MESSAGES, whatsapp_fault
from bot.sandbox.world import Message, World

WINDOW = timedelta(hours=24)
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "TwilioProxy/1.1"}


@dataclass(slots=True)
class Pace:
    """Seconds from one status to the next."""

    queued: float = 0.05
    sent: float = 0.2
    delivered: float = 0.4
    read: float = 1.5


@dataclass(frozen=True, slots=True)
class Fate:
    """How a message to one recipient ends instead of being delivered: `undelivered` or `failed`, and the code."""

    code: int
    status: str = "undelivered"


class Carrier:
    """Carries what the API took. `fates` is keyed by `To` as the API has it (`+255...`, `whatsapp:+255...`)."""

    def __init__(self, api: TwilioApi, postman: Postman, errands: Errands, pace: Pace) -> None:
        self.api, self.pace = api, pace
        self.fates: dict[str, Fate] = {}
        self.inbound_url: str | None = None
        self.reads_whatsapp = True
        self._postman, self._errands = postman, errands
        self._written: dict[str, datetime] = {}
        self._held: dict[str, list[tuple[str, dict[str, str]]]] = {}
        api.take = lambda message: errands.begin(self.carry(message))

    @property
    def _world(self) -> World:
        return self.api.world

    @property
    def _account(self) -> TwilioAccount:
        return self.api.account

    # Outbound

    async def carry(self, message: TwilioMessage) -> None:
        """Take one message from its first status to its last, and make every callback that is still due."""
        try:
            await self._carry(message)
            await self._release(message)
        finally:
            message.called.set()

    async def _carry(self, message: TwilioMessage) -> None:
        if not await self._wait_until_due(message):
            return
        if message.request.service:
            await self._move(message, "queued", self.pace.queued)
        fate = self._fate(message)
        if fate and fate.status == "failed":
            await self._end(message, fate)
            return
        await self._move(message, "sent", self.pace.sent)
        if fate:
            await self._end(message, fate)
            return
        await self._move(message, "delivered", self.pace.delivered)
        if message.shown.channel == "whatsapp" and self.reads_whatsapp:
            await self._move(message, "read", self.pace.read)

    async def _wait_until_due(self, message: TwilioMessage) -> bool:
        if message.request.send_at is not None:
            wait = message.request.send_at - self._world.clock()
            await asyncio.sleep(max(wait.total_seconds(), 0))
        return message.shown.status != "canceled"

    def _fate(self, message: TwilioMessage) -> Fate | None:
        asked = message.request
        if asked.to in self.fates:
            return self.fates[asked.to]
        if self.api.faults.draw("twilio", Point.FATE, asked.to):
            return Fate(30003)
        if asked.channel == "sms":
            return None
        owner = self._world.owner("whatsapp", asked.address)
        code = whatsapp_fault(
            asked,
            message.shown.text,
            has_whatsapp=owner.whatsapp,
            window_open=self.window_open(asked.address),
        )
        return Fate(code) if code else None

    def window_open(self, phone: str) -> bool:
        """Whether `phone` wrote on WhatsApp in the last 24 hours."""
        written = self._written.get(phone)
        return written is not None and self._world.clock() - written < WINDOW

    async def _end(self, message: TwilioMessage, fate: Fate) -> None:
        message.shown.error = str(fate.code)
        await self._move(message, fate.status, self.pace.delivered)

    async def _move(self, message: TwilioMessage, status: str, wait_s: float) -> None:
        await asyncio.sleep(0 if message.early and not message.called.is_set() else wait_s)
        message.shown.status = status
        message.updated = self._world.clock()
        if status == "sent":
            message.sent = message.updated
        message.shown.arrived = message.shown.arrived or status in {"delivered", "read"}
        self._world.changed()
        await self._call_back(message, status)

    async def _call_back(self, message: TwilioMessage, status: str) -> None:
        url = message.request.status_callback
        if url is None:
            return
        fields = self._status_fields(message, status)
        first = message.early and not message.called.is_set()
        fault = None if first else self.api.faults.draw("twilio", Point.CALLBACK, message.request.to)
        if fault is not None and fault.how is How.REORDERED:
            self._held.setdefault(message.sid, []).append((status, fields))
            return
        for _ in range({How.LOST: 0, How.DUPLICATED: 2}.get(fault.how, 1) if fault else 1):
            await self._tell(message, url, status, fields)
        await self._release(message)

    async def _release(self, message: TwilioMessage) -> None:
        """Make the callbacks that were held back, the latest first."""
        for status, fields in reversed(self._held.pop(message.sid, [])):
            await self._tell(message, message.request.status_callback or "", status, fields)

    async def _tell(self, message: TwilioMessage, url: str, status: str, fields: Mapping[str, str]) -> None:
        reply = await self._send(url, fields)
        if reply.status == 0:
            reply = await self._send(url, fields)
        message.callbacks.append((status, reply.status))
        message.called.set()
        self._world.changed()

    def _status_fields(self, message: TwilioMessage, status: str) -> dict[str, str]:
        fields = {
            "SmsSid": message.sid,
            "SmsStatus": status,
            "MessageStatus": status,
            "To": message.request.to,
            "MessageSid": message.sid,
            "AccountSid": self._account.sid,
            "From": message.sender,
            "ApiVersion": "2010-04-01",
        }
        if message.request.service:
            fields["MessagingServiceSid"] = message.request.service
        if message.shown.error and status in {"undelivered", "failed"}:
            fields["ErrorCode"] = message.shown.error
        return fields | self._channel_fields(message, status)

    def _channel_fields(self, message: TwilioMessage, status: str) -> dict[str, str]:
        if message.shown.channel == "sms":
            done = {"RawDlrDoneDate": message.updated.strftime("%y%m%d%H%M")}
            return done if status in {"delivered", "undelivered"} else {}
        fields = {"ChannelPrefix": "whatsapp", "ChannelToAddress": message.request.to}
        if status in {"delivered", "read"}:
            fields["EventType"] = status.upper()
        if message.shown.error:
            fields["ChannelStatusMessage"] = CHANNEL_MESSAGES.get(int(message.shown.error), "")
        return fields

    async def _send(self, url: str, fields: Mapping[str, str]) -> Reply:
        target = urldefrag(url).url
        signature = sign(target, fields, self._account.token)
        token = {"X-Twilio-Signature": signature, "I-Twilio-Idempotency-Token": secrets.token_hex(16)}
        return await self._postman.post(target, urlencode(fields).encode(), _FORM | token)

    # Inbound

    async def write(
        self, phone: str, text: str, *, channel: str = "whatsapp", name: str | None = None
    ) -> Reply:
        """The customer writes. On WhatsApp this opens the 24 h window; tuma is told through `inbound_url`."""
        message = self._written_message(phone, text, channel)
        self._world.accept(message)
        if channel == "whatsapp":
            self._written[phone] = message.at
        if self.inbound_url is None:
            return Reply(0, 0)
        reply = await self._send(self.inbound_url, self._inbound_fields(message, name))
        for said in _answers(reply):
            self._world.accept(self._answer(message, said))
        return reply

    def _answer(self, to: Message, text: str) -> Message:
        """What the webhook answered, as the message that Twilio makes of it; no status of it is called back."""
        return Message(
            provider="twilio",
            channel=to.channel,
            id="SM" + secrets.token_hex(16),
            address=to.address,
            sender=to.sender,
            text=text,
            at=self._world.clock(),
            status="delivered",
            arrived=True,
        )

    def _written_message(self, phone: str, text: str, channel: str) -> Message:
        to = WHATSAPP + self._account.whatsapp_from if channel == "whatsapp" else self._account.sms_from
        return Message(
            provider="twilio",
            channel=channel,
            id="SM" + secrets.token_hex(16),
            address=phone,
            sender=to,
            text=text,
            at=self._world.clock(),
            outgoing=False,
            status="received",
        )

    def _inbound_fields(self, message: Message, name: str | None) -> dict[str, str]:
        whatsapp = message.channel == "whatsapp"
        fields = {
            "SmsMessageSid": message.id,
            "NumMedia": "0",
            "SmsSid": message.id,
            "SmsStatus": "received",
            "Body": message.text,
            "To": message.sender,
            "NumSegments": "1",
            "MessageSid": message.id,
            "AccountSid": self._account.sid,
            "From": WHATSAPP + message.address if whatsapp else message.address,
            "ApiVersion": "2010-04-01",
        }
        if whatsapp:
            profile = name or self._world.owner("whatsapp", message.address).name or "Mteja"
            fields |= {
                "ProfileName": profile,
                "WaId": message.address.removeprefix("+"),
                "MessageType": "text",
            }
        return fields


def _answers(reply: Reply) -> list[str]:
    """The texts of a TwiML answer's `Message` verbs, in order; none if it is not TwiML."""
    if not reply.ok or b"<!DOCTYPE" in reply.body:
        return []
    try:
        tree = ElementTree.fromstring(reply.body)  # noqa: S314 (attacks need a document type)
    except ElementTree.ParseError:
        return []
    found = tree.findall("Message") if tree.tag == "Response" else []
    # Text stands in the verb itself or in a Body of its own.
    texts = ((each.findtext("Body") or each.text or "").strip() for each in found)
    return [text for text in texts if text]


def sign(url: str, fields: Mapping[str, str], token: str) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and the sorted names and values, base64."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()
