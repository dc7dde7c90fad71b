"""What each channel needs to be told, as plain values; whoever builds channels reads them from its settings.

Secrets are kept out of `repr`. Times are seconds. The limits are defaults that a sender's own agreement may raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from channels.base import REQUEST_TIMEOUT_S, ChannelName
from channels.smtp_codes import GREYLIST_S

TWILIO_API = "https://api.twilio.com"
AFRICASTALKING_API = "https://api.africastalking.com"
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
class AfricasTalkingConfig:
    """One application at Africa's Talking.

    `username` is the application's, `sandbox` at its test environment. `sender` is a registered name or short code;
    without one messages come from a shared name. `api_base` is an origin. `reports` says whether its delivery reports
    reach us: their address is set in its dashboard, not with each message. No limit on requests at once is
    documented, so `concurrency` is a guess.
    """

    username: str
    api_key: str = field(repr=False)
    sender: str | None = None
    api_base: str = AFRICASTALKING_API
    reports: bool = False
    concurrency: int = 10
    timeout_s: float = REQUEST_TIMEOUT_S[ChannelName.SMS]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsProvider:
    """One of several SMS providers and its part of the messages; 0 is a standby for what the others lose.

    `receipts` says whether it is expected to tell that messages arrived.
    """

    config: TwilioConfig | AfricasTalkingConfig
    weight: int
    receipts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsConfig:
    """The SMS providers by name, in the order in which standbys step in."""

    providers: Mapping[str, SmsProvider]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpConfig:
    """One mail server and the address we send from.

    `url` is `smtp://`, `smtps://` or `smtp+starttls://`, with `user:password@` when the server wants them.
    `sender` is `billing@example.com` or `Name <billing@example.com>`. `pool` is how many connections are kept;
    one idle for `idle_s`, or after `mails_per_connection` mails, is replaced. `timeout_s` bounds one whole mail. A mail
    that may be greylisted is tried again after `greylist_s`.
    """

    url: str = field(repr=False)
    sender: str
    local_hostname: str | None = None
    pool: int = 10
    idle_s: float = 25.0
    mails_per_connection: int = 100
    greylist_s: float = GREYLIST_S
    timeout_s: float = REQUEST_TIMEOUT_S[ChannelName.EMAIL]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramConfig:
    """One bot. `api_base` is an origin. Four at once: what is in doubt at Telegram cannot be asked."""

    token: str = field(repr=False)
    api_base: str = TELEGRAM_API
    concurrency: int = 4
    timeout_s: float = REQUEST_TIMEOUT_S[ChannelName.TELEGRAM]
