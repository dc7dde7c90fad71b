"""What the channels are called, apart from `channels.base` for those who need no more of it (a help text)."""

from __future__ import annotations

from enum import StrEnum


class ChannelName(StrEnum):
    """Every channel tuma knows, in the order in which `tuma doctor` lists them."""

    SMS = "sms"
    WHATSAPP = "whatsapp"
    EMAIL = "email"
    TELEGRAM = "telegram"
