"""A worker process for the tests of doubts: sends to the sandbox's Twilio until it is killed, and asks nothing."""

from __future__ import annotations

import asyncio
import sys

from bot.app import renderer
from bot.engine.compose import Composer
from bot.engine.engine import Engine
from bot.engine.worker import Worker
from bot.sandbox.twilio import TwilioAccount
from channels.base import ChannelName
from channels.config import TwilioConfig
from channels.sms import Sms
from tests.engine.conftest import settings_for


async def main(url: str, base: str) -> None:
    engine = await Engine.open(settings_for(url))
    composer = Composer(engine.records, renderer(engine.settings), engine.settings)
    account = TwilioAccount()
    config = TwilioConfig(
        account_sid=account.sid,
        auth_token=account.token,
        sms_from=account.sms_from,
        api_base=base,
        status_callback="http://127.0.0.1:1/status",
    )
    parts = (engine.records, engine.contacts, engine.channels, composer, engine.settings)
    await Worker(*parts, {ChannelName.SMS: Sms(config)}, "doomed").run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
