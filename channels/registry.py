"""Which channels there are and how each is made; a channel without its settings is off and simply not made.

Each factory imports its provider's library only when called: aiogram alone costs seconds, and most commands and most
processes need one channel or none. Factories make no connection and need no running loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from channels.base import Channel, ChannelName
from channels.config import SmtpConfig, TelegramConfig, TwilioConfig

__all__ = [
    "OPTIONS",
    "ChannelConfigs",
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

    sms: TwilioConfig | None = None
    whatsapp: TwilioConfig | None = None
    email: SmtpConfig | None = None
    telegram: TelegramConfig | None = None


def sms(config: TwilioConfig) -> Channel:
    """Make the SMS channel. Errors: Misconfigured."""
    from channels.sms import Sms

    return Sms(config)


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


def build(configs: ChannelConfigs) -> dict[ChannelName, Channel]:
    """Make every channel that has a configuration, in the order of ChannelName. Errors: Misconfigured."""
    known = {name: getattr(configs, name.value) for name in OPTIONS}
    return {name: OPTIONS[name](config) for name, config in known.items() if config is not None}
