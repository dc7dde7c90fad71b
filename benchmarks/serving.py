"""What one api process takes in: shares, payments and delivery reports, each beside its limit.

Every request is whole and real: keyed shares, payments with a checksum, Twilio's callbacks with its signature for
messages that were sent, Redis with fsync `always`. The load generator and Redis share the machine's cores.

`python -m benchmarks.serving [COUNT]` prints one JSON object for each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlencode

import msgspec
import uvloop
from redis import Redis
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from benchmarks import load
from benchmarks.drain import environment, fill, jobs, reach
from benchmarks.places import cpu_s, free_port, running, sink, until_open, valkey
from benchmarks.rows import row
from benchmarks.stalls import watched
from bot.billpay.checksum import sign

_BARE = """
import sys
from aiohttp import web
async def answer(request):
    return web.json_response({"id": (await request.json())["id"]}, status=202)
app = web.Application()
app.router.add_post("/v1/shares", answer)
import uvloop
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, loop=uvloop.new_event_loop())
"""
KEY = "tuma-benchmark-key-0001"
CHECKSUM_KEY = "benchmark"
CONNECTIONS = 32


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` answers a second; p50 and p99 in ms at `at` requests a second; CPU in ms of the api for each request.

    `clear_p99_ms` is that of requests that met no standstill of the machine, which took `stalled` of the time.
    """

    what: str
    rate: float
    at: float
    p50_ms: float
    p99_ms: float
    clear_p99_ms: float
    stalled: float
    cpu_ms: float
    statuses: dict[str, int]


@contextmanager
def api(url: str, base: str) -> Iterator[tuple[int, int]]:
    """One api process; its port and process id."""
    port = free_port()
    full = environment(url, base) | {
        "TUMA_LISTEN": f"127.0.0.1:{port}",
        "TUMA_API_KEYS": KEY,
        "CLICKPESA_CHECKSUM_KEY": CHECKSUM_KEY,
        "TUMA_LOG_LEVEL": "warning",
    }
    with running("-m", "bot", "up", "--roles", "api", environment=full) as process:
        until_open(port, 30)
        yield port, process.pid


def shares(count: int, first: int) -> list[bytes]:
    """So many `POST /v1/shares`, each a share of its own."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    made = ({**row(n), "lane": "urgent"} for n in range(first, first + count))
    return [load.post("/v1/shares", msgspec.json.encode(job), headers) for job in made]


def payments(numbers: Sequence[str], amount: str = "45000") -> list[bytes]:
    """A payment's webhook for each number, with its checksum."""
    return [load.post("/webhooks/clickpesa", _payment(n, amount), _JSON) for n in numbers]


_JSON = {"Content-Type": "application/json"}


def _payment(number: str, amount: str) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = {
        "id": f"{number}LCP1",
        "paymentReference": f"REF{number}",
        "orderReference": number,
        "channel": "MIXX BY YAS",
        "status": "SUCCESS",
        "message": "success",
        "collectedAmount": amount,
        "collectedCurrency": "TZS",
        "customer": {"customerName": "Asha Juma", "customerPhoneNumber": "255754123456"},
        "createdAt": now,
        "updatedAt": now,
    }
    payload = {"event": "PAYMENT RECEIVED", "data": data}
    return msgspec.json.encode(
        payload | {"checksum": sign(payload, CHECKSUM_KEY), "checksumMethod": "canonical"}
    )


def callbacks(redis: Redis, status: str) -> list[bytes]:
    """Twilio's report for every message that was sent, signed as Twilio signs."""
    signer = RequestValidator("secret")
    made = []
    for key in redis.scan_iter("tuma:[{]*[}]:m:*", count=1000):
        p, _, local = key.removeprefix("tuma:{").partition("}:m:")
        sid, attempt = (str(value) for value in redis.hmget(key, "pid", "a"))
        path = f"/webhooks/twilio/status?{urlencode({'m': f'{int(p):x}-{local}', 'a': attempt})}"
        form = {
            "MessageSid": sid,
            "SmsSid": sid,
            "MessageStatus": status,
            "AccountSid": "AC" + "0" * 32,
            "To": "+255754120000",
            "From": "SHULE",
            "ApiVersion": "2010-04-01",
        }
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signer.compute_signature(f"https://pay.example{path}", form),
        }
        made.append(load.post(path, urlencode(form).encode(), headers))
    return made


def measured(
    what: str, port: int, pid: int, requests: Sequence[bytes], expected: int, at: float | None = None
) -> Served:
    """The first half as fast as it goes, the second at half of that rate, or at `at` requests a second."""
    half = len(requests) // 2
    before = cpu_s(pid)
    fast = run(load.closed(port, requests[:half], CONNECTIONS))
    cpu_ms = (cpu_s(pid) - before) * 1000 / half
    pace = at or fast.rate / 2
    with watched() as stalls:
        calm = run(load.paced(port, requests[half:], pace, CONNECTIONS))
    found = fast.statuses + calm.statuses
    if set(found) != {expected}:
        raise RuntimeError(f"{what}: not every answer was {expected}: {dict(found)}")
    return Served(
        what=what,
        rate=round(fast.rate),
        at=round(pace),
        p50_ms=round(calm.percentile(0.5), 2),
        p99_ms=round(calm.percentile(0.99), 2),
        clear_p99_ms=round(load.percentile(stalls.clear(calm.dues, calm.latencies_ms), 0.99), 2),
        stalled=round(stalls.share, 3),
        cpu_ms=round(cpu_ms, 3),
        statuses={str(status): count for status, count in found.items()},
    )


def run(work: Awaitable[load.Answers]) -> load.Answers:
    """Run on the loop that costs least."""

    async def whole() -> load.Answers:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())


def accepting(count: int, base: str) -> Served:
    """Shares, one to a request."""
    with valkey() as (url, _), api(url, base) as (port, pid):
        run(load.closed(port, shares(500, 10_000_000), CONNECTIONS))
        return measured("POST /v1/shares", port, pid, shares(count, 0), 202)


def bare(count: int, at: float) -> Served:
    """A server that reads a share and asks nobody: what of the latencies is the machine's."""
    port = free_port()
    with running("-c", _BARE, str(port)) as process:
        until_open(port, 30)
        return measured("bare server", port, process.pid, shares(count, 0), 202, at)


def settling(count: int, base: str) -> Served:
    """Payments of bills that wait."""
    with valkey() as (url, _):
        asyncio.run(fill(url, base, count))
        numbers = [job.bill.number for job in jobs(count)]
        with api(url, base) as (port, pid):
            return measured("payment webhook", port, pid, payments([n for n in numbers if n]), 200)


def reporting(count: int, base: str) -> Served:
    """Delivery reports of messages that were sent: Twilio's `sent`, then `delivered` of the same."""
    with valkey() as (url, _), Redis.from_url(url, decode_responses=True) as redis:
        asyncio.run(fill(url, base, count))
        with running(
            "-m", "bot", "up", "--roles", "worker", "--channels", "sms", environment=environment(url, base)
        ):
            reach(redis, count)
        with api(url, base) as (port, pid):
            run(load.closed(port, callbacks(redis, "sent")[:500], CONNECTIONS))
            return measured("status callback", port, pid, callbacks(redis, "delivered"), 204)


KINDS: tuple[Callable[[int, str], Served], ...] = (accepting, settling, reporting)


if __name__ == "__main__":
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with sink() as at:
        for kind in KINDS:
            begun = time.monotonic()
            print(
                msgspec.json.encode(kind(how_many, at)).decode(),
                f"{time.monotonic() - begun:.0f} s",
                flush=True,
            )
