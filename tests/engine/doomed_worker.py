"""A worker process for the tests of doubts: sends to the sandbox's Twilio until it is killed, and asks nothing."""

from __future__ import annotations

import asyncio
import json
import sys

from bot.engine.engine import Engine
from bot.sandbox.twilio import TwilioAccount
from channels.config import TwilioConfig
from channels.sms import Sms
from tests.engine.conftest import settings_for
from tests.engine.test_worker import hands


async def main(url: str, base: str, changes: str) -> None:
    engine = await Engine.open(settings_for(url, **json.loads(changes)))
    account = TwilioAccount()
    config = TwilioConfig(
        account_sid=account.sid,
        auth_token=account.token,
        sms_from=account.sms_from,
        api_base=base,
        status_callback="http://127.0.0.1:1/status",
    )
    worker, _ = hands(engine, Sms(config), consumer="doomed")
    await worker.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
