"""The job that every peer does for one message: render, post to the sink, record. Runs in the peer's own environment.

It is what users of a task queue would write: no fence, no lease, no consent, no delivery callback to match.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import aiohttp
import minijinja
import msgspec
import redis.asyncio

CONCURRENCY = 50
TEMPLATE = (
    "{{ merchant }}: Bili ya {{ name }} {{ amount }}. Namba ya malipo {{ number }} kabla ya {{ due }}. "
    "Jinsi ya kulipa: {{ url }}"
)
PATH = "/2010-04-01/Accounts/AC" + "0" * 32 + "/Messages.json"
AUTH = {"Authorization": aiohttp.encode_basic_auth("AC" + "0" * 32, "secret")}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def job(n: int) -> dict[str, str]:
    """What is queued for one message."""
    return {
        "id": f"bench-{n}",
        "name": f"Asha Juma {n}",
        "amount": f"TZS {45_000 + n % 1000:,}",
        "number": f"{55_042_914_870_000 + n}",
        "phone": f"+25575{n % 10_000_000:07}",
        "due": "01 Des 2026",
        "url": "https://pay.example/pay/3Kf9sLw2QxZ",
    }


class Sender:
    """Kept connections to the sink and to Redis."""

    def __init__(self, redis_url: str, base: str) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(redis_url)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))
        self._url = base + PATH
        self._templates = minijinja.Environment(templates={"sms": TEMPLATE})

    async def send(self, wanted: dict[str, str]) -> None:
        """One message."""
        text = self._templates.render_template("sms", merchant="Shule ya Amani", **wanted)
        form = {
            "To": wanted["phone"],
            "From": "SHULE",
            "Body": text,
            "StatusCallback": f"https://pay.example/webhooks/twilio/status?m={wanted['id']}&a=1",
            "ValidityPeriod": "36000",
        }
        headers = AUTH | FORM
        async with self._http.post(self._url, data=urlencode(form), headers=headers) as answer:
            sid = msgspec.json.decode(await answer.read())["sid"]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(f"message:{wanted['id']}", mapping={"state": "sent", "sid": sid, "text": text})
        pipe.incr("sent")
        await pipe.execute()
