"""What each channel needs to be told, as plain values; whoever builds channels reads them from its settings.

Secrets are kept out of `repr`. Times are seconds. The limits are defaults that a sender's own agreement may raise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from channels.base import REQUEST_TIMEOUT_S, ChannelName

TWILIO_API = "https://api.twilio.com"
TELEGRAM_API = "https://api.telegram.org"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioConfig:
    """One Twilio account and its senders.

    `sms_from` is a number or a registered name; `messaging_service_sid` wins over it. `whatsapp_from` is E.164.
    `api_base` is an origin. `status_callback` is the full address of our status webhook, None when nothing
    public reaches us. `timeout_s` bounds one request from the first byte to the last.
    """

    account_sid: str
    auth_token: str = field(repr=False)
    sms_from: str | None = None
    messaging_service_sid: str | None = None
    whatsapp_from: str | None = None
    api_base: str = TWILIO_API
    status_callback: str | None = None
    concurrency: int = 50
    timeout_s: float = REQUEST_TIMEOUT_S[ChannelName.SMS]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpConfig:
    """One mail server and the address we send from.

    `url` is `smtp://`, `smtps://` or `smtp+starttls://`, with `user:password@` when the server wants them.
    `sender` is `billing@example.com` or `Name <billing@example.com>`. `pool` is how many connections are kept;
    one idle for `idle_s`, or after `mails_per_connection` mails, is replaced. `timeout_s` bounds one whole mail.
    """

    url: str = field(repr=False)
    sender: str
    local_hostname: str | None = None
    pool: int = 10
    idle_s: float = 25.0
    mails_per_connection: int = 100
    timeout_s: float = REQUEST_TIMEOUT_S[ChannelName.EMAIL]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramConfig:
    """One bot. `api_base` is an origin. Four at once: what is in doubt at Telegram cannot be asked."""

    token: str = field(repr=False)
    api_base: str = TELEGRAM_API
    concurrency: int = 4
    timeout_s: float = REQUEST_TIMEOUT_S[ChannelName.TELEGRAM]
