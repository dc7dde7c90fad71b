"""One rig per channel: its server, a channel pointed at it, and a message to send. The contract suite runs on each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from channels import registry
from channels.base import (
    Accepted,
    Button,
    Channel,
    ChannelName,
    Content,
    EmailContent,
    Outgoing,
    SmsContent,
    TelegramContent,
    WhatsAppContent,
    lease_clock,
)
from channels.config import (
    AfricasTalkingConfig,
    SmsConfig,
    SmsProvider,
    SmtpConfig,
    TelegramConfig,
    TwilioConfig,
)
from tests.channels.servers import (
    ACCOUNT,
    API_KEY,
    AUTH_TOKEN,
    BOT_TOKEN,
    SMTP_PASSWORD,
    AfricasTalkingServer,
    SmtpServer,
    TelegramServer,
    TwilioServer,
)

BODY = "Lipa 45,000 kwa 55042914871931"
MESSAGE_ID = "0a-Zk3_9-xYq2mT7wLs.4"


class Server(Protocol):
    """What every provider's server has."""

    behaviour: str
    accepted: list[Any]

    async def start(self) -> str: ...
    async def stop(self) -> None: ...
    @property
    def connections(self) -> int: ...


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail after five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


class Rig:
    """A server, and channels made for it. `secrets` must never be seen in an error."""

    name: ChannelName
    server: Any
    to: str
    content: Content
    secrets: tuple[str, ...]

    def __init__(self) -> None:
        self.base = ""
        self._made: list[Channel] = []

    def config(self, base: str, **options: Any) -> Any:
        raise AssertionError("each rig has its own")

    def make(self, base: str | None = None, **options: Any) -> Channel:
        config = self.config(base or self.base, **{"timeout_s": 5.0} | options)
        channel = registry.OPTIONS[self.name](config)
        self._made.append(channel)
        return channel

    def outgoing(self, *, lease_s: float = 30.0, **changes: Any) -> Outgoing:
        values: dict[str, Any] = {
            "message_id": MESSAGE_ID,
            "attempt": 1,
            "to": self.to,
            "content": self.content,
            "deadline": lease_clock() + lease_s,
        }
        return Outgoing(**values | changes)

    async def send(self, **changes: Any) -> Accepted:
        return await self.make().send(self.outgoing(**changes))

    async def start(self) -> None:
        self.base = await self.server.start()

    async def stop(self) -> None:
        for channel in self._made:
            await channel.close()
        await self.server.stop()


class TwilioRig(Rig):
    to = "+255754123456"
    secrets = (AUTH_TOKEN, "754123456", BODY, "45,000")

    def __init__(self) -> None:
        super().__init__()
        self.server = TwilioServer()

    def config(self, base: str, **options: Any) -> Any:
        values: dict[str, Any] = {
            "account_sid": ACCOUNT,
            "auth_token": AUTH_TOKEN,
            "sms_from": "SHULE",
            "whatsapp_from": "+14155238886",
            "api_base": base,
            "status_callback": "https://pay.example.com/webhooks/twilio/status",
        }
        return TwilioConfig(**values | options)


class SmsRig(TwilioRig):
    name = ChannelName.SMS
    content = SmsContent(BODY)


class WhatsAppRig(TwilioRig):
    name = ChannelName.WHATSAPP
    content = WhatsAppContent(
        BODY, "HX" + "1" * 32, {"1": "Asha", "2": "TZS 45,000", "3": "5504"}, window_open=False
    )


class AfricasTalkingRig(Rig):
    name = ChannelName.SMS
    to = "+255754123456"
    content = SmsContent(BODY)
    secrets = (API_KEY, "754123456", BODY, "45,000")

    def __init__(self) -> None:
        super().__init__()
        self.server = AfricasTalkingServer()

    def config(self, base: str, **options: Any) -> AfricasTalkingConfig:
        values: dict[str, Any] = {"username": "shule", "api_key": API_KEY, "sender": "SHULE"}
        return AfricasTalkingConfig(**values | {"api_base": base} | options)


class SeveralSmsRig(SmsRig):
    """Two providers that fail alike, since one server plays both: a router promises what each of them does."""

    def config(self, base: str, **options: Any) -> Any:
        one = super().config(base, **options)
        return SmsConfig(
            providers={
                "first": SmsProvider(config=one, weight=1),
                "second": SmsProvider(config=one, weight=0),
            }
        )


class TelegramRig(Rig):
    name = ChannelName.TELEGRAM
    to = "7001234567"
    content = TelegramContent(
        f"<b>{BODY}</b>",
        ((Button("Nakili", copy="5504"), Button("Fungua", url="https://pay.example.com/p")),),
    )
    secrets = (BOT_TOKEN, "AAHk3", "7001234567", BODY, "45,000")

    def __init__(self) -> None:
        super().__init__()
        self.server = TelegramServer()

    def config(self, base: str, **options: Any) -> TelegramConfig:
        return TelegramConfig(**{"token": BOT_TOKEN, "api_base": base, **options})


class EmailRig(Rig):
    name = ChannelName.EMAIL
    to = "asha@example.com"
    content = EmailContent(
        subject="Ada ya shule — muhula wa 2",
        text=BODY,
        html=f"<p>{BODY}</p>",
        unsubscribe_url="https://pay.example.com/out/0a-" + "k" * 90 + ".email",
        reply_to="ofisi@shule.example",
    )
    secrets = (SMTP_PASSWORD, quote(SMTP_PASSWORD), "asha@example.com", BODY, "45,000")
    scheme = "smtp"

    def __init__(self, **server_options: Any) -> None:
        super().__init__()
        self.server = SmtpServer(**server_options)

    async def start(self) -> None:
        self.base = f"{self.scheme}://{await self.server.start()}"

    def config(self, base: str, **options: Any) -> SmtpConfig:
        url = base if "://" in base else f"{self.scheme}://{base}"
        return SmtpConfig(**{"url": url, "sender": "Shule <ada@shule.example>", **options})

    def refused_base(self, port: int) -> str:
        return f"{self.scheme}://127.0.0.1:{port}"


RIGS: dict[str, type[Rig]] = {
    ChannelName.SMS: SmsRig,
    ChannelName.WHATSAPP: WhatsAppRig,
    ChannelName.EMAIL: EmailRig,
    ChannelName.TELEGRAM: TelegramRig,
    "africastalking": AfricasTalkingRig,
    "sms of several": SeveralSmsRig,
}
