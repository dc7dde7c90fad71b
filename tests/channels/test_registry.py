"""Which channels are made, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from channels import registry
from channels.base import REQUEST_TIMEOUT_S, ChannelName
from channels.registry import ChannelConfigs
from tests.channels.rigs import RIGS


async def test_only_configured_channels_are_made() -> None:
    twilio = RIGS[ChannelName.SMS]().config("http://127.0.0.1:9")
    channels = registry.build(ChannelConfigs(sms=twilio, whatsapp=twilio))
    assert list(channels) == [ChannelName.SMS, ChannelName.WHATSAPP]


def test_nothing_configured_makes_nothing() -> None:
    assert registry.build(ChannelConfigs()) == {}


def test_every_channel_name_can_be_made() -> None:
    assert set(registry.OPTIONS) == set(ChannelName)


@pytest.mark.parametrize("name", list(ChannelName))
def test_a_channel_takes_no_longer_than_reclaiming_waits(name: ChannelName) -> None:
    rig = RIGS[name]()
    config = rig.config("smtp://127.0.0.1:9" if name is ChannelName.EMAIL else "http://127.0.0.1:9")
    assert registry.OPTIONS[name](config).request_timeout_s == REQUEST_TIMEOUT_S[name]


def test_the_registry_and_the_tables_import_no_providers_library() -> None:
    program = (
        "import sys, channels.registry, channels.twilio_codes, channels.smtp_codes, channels.telegram_codes;"
        "print([name for name in ('aiogram', 'twilio', 'aiohttp', 'aiosmtplib') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
