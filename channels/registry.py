"""Which channels there are and how each is made; a channel without its settings is off and simply not made.

Each factory imports its provider's library only when called: aiogram alone costs seconds, and most commands and most
processes need one channel or none. Factories make no connection and need no running loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from channels.base import Channel, ChannelName
from channels.config import (
    AfricasTalkingConfig,
    SmsConfig,
    SmsProvider,
    SmtpConfig,
    TelegramConfig,
    TwilioConfig,
)
from channels.sms_shared import SmsShared

__all__ = [
    "OPTIONS",
    "AfricasTalkingConfig",
    "ChannelConfigs",
    "SmsConfig",
    "SmsProvider",
    "SmsShared",
    "SmtpConfig",
    "TelegramConfig",
    "TwilioConfig",
    "build",
    "email",
    "sms",
    "telegram",
    "whatsapp",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfigs:
    """What is known of each provider; None is a channel that is off."""

    sms: SmsConfig | TwilioConfig | AfricasTalkingConfig | None = None
    whatsapp: TwilioConfig | None = None
    email: SmtpConfig | None = None
    telegram: TelegramConfig | None = None


def sms(config: SmsConfig | TwilioConfig | AfricasTalkingConfig, shared: SmsShared | None = None) -> Channel:
    """Make the SMS channel of one provider or of several; `shared` is what processes have in common.

    Errors: Misconfigured.
    """
    shared = shared or SmsShared()
    if isinstance(config, SmsConfig):
        return _sms_of_several(config, shared)
    if isinstance(config, AfricasTalkingConfig):
        from channels.africastalking import AfricasTalking

        return AfricasTalking(config, shared.receipts)
    from channels.sms import Sms

    return Sms(config)


def _sms_of_several(config: SmsConfig, shared: SmsShared) -> Channel:
    from channels.sms_health import Watch
    from channels.sms_router import SmsRouter

    made = {name: sms(provider.config, shared) for name, provider in config.providers.items()}
    if len(made) == 1:
        return next(iter(made.values()))
    return SmsRouter(config, made, Watch(shared.board))


def whatsapp(config: TwilioConfig) -> Channel:
    """Make the WhatsApp channel. Errors: Misconfigured."""
    from channels.whatsapp import WhatsApp

    return WhatsApp(config)


def email(config: SmtpConfig) -> Channel:
    """Make the email channel. Errors: Misconfigured."""
    from channels.email import Email

    return Email(config)


def telegram(config: TelegramConfig) -> Channel:
    """Make the Telegram channel. Errors: Misconfigured."""
    from channels.telegram import Telegram

    return Telegram(config)


OPTIONS: Mapping[ChannelName, Callable[[Any], Channel]] = {
    ChannelName.SMS: sms,
    ChannelName.WHATSAPP: whatsapp,
    ChannelName.EMAIL: email,
    ChannelName.TELEGRAM: telegram,
}


def build(configs: ChannelConfigs, shared: SmsShared | None = None) -> dict[ChannelName, Channel]:
    """Make every channel that has a configuration, in the order of ChannelName. Errors: Misconfigured."""
    known = {name: getattr(configs, name.value) for name in OPTIONS}
    return {
        name: sms(config, shared) if name is ChannelName.SMS else OPTIONS[name](config)
        for name, config in known.items()
        if config is not None
    }
