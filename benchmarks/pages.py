"""Pages a second of one process, against a bare aiohttp server that answers the same bytes without asking anybody.

Both are asked in turn by the same client over kept connections, compressed as a phone gets it, and the share of the
bare server is the figure. `python -m benchmarks.pages [SECONDS [CONNECTIONS]]` prints one JSON object a page; rates are
pages a second of that run, `of_bare` tuma's over the bare server's, `wire` bytes of the body. Then comes the PDF, drawn
in this process: its bytes, and the milliseconds of CPU time in the middle of fifteen. Last, in the middle of five
starts of `tuma up --roles api`: wall seconds until it is ready, and milliseconds of the first PDF, a second later, and
of the next one.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
from PIL import Image

from benchmarks.places import folder, free_port, running, valkey
from bot.domain.share import from_fields
from bot.engine.engine import Engine
from bot.render.invoice import Invoice, Received
from bot.render.invoice_pdf import pdf
from bot.render.look import Look, read_logo
from bot.render.pagefiles import PageFiles
from bot.render.payment_methods import methods
from bot.settings import load

_GZIP = {"Accept-Encoding": "gzip"}
_ROUNDS, _DRAWN, _STARTS = 3, 15, 5
_ZONE = "Africa/Dar_es_Salaam"
_BARE = """
import sys
from aiohttp import web
body = open(sys.argv[2], "rb").read()
async def answer(request):
    return web.Response(body=body)
app = web.Application()
app.router.add_get("/", answer)
import uvloop
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, loop=uvloop.new_event_loop())
"""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One page, in the middle of three rounds."""

    page: str
    wire: int
    tuma: float
    bare: float
    of_bare: float


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """The PDF with the largest logo, a full page of text and more payments than it shows."""

    page: str
    wire: int
    ms: float


class First(msgspec.Struct, frozen=True, kw_only=True):
    """The first PDF of a process, asked for a second after it was ready, and the next one."""

    page: str
    ready_s: float
    first_ms: float
    next_ms: float


def _pdf() -> Drawn:
    with folder() as here:
        picture = Image.frombytes("RGB", (40, 44), random.Random(1).randbytes(40 * 44 * 3))
        picture.save(here / "logo.png")
        look = Look(
            name="Shule ya Msingi Uhuru", contact="+255 22 212 3456", logo=read_logo(here / "logo.png")
        )
    at, amount = datetime(2026, 11, 20, 9, tzinfo=UTC), Decimal(20_000)
    paid = Received(at=at, amount=amount, whole=amount, currency="TZS", reference="55042914871931LCPA1B2C3")
    bill = Invoice(
        locale="sw",
        state="open",
        name="Asha Juma " * 20,
        number="55042914871931",
        description="Ada ya muhula " * 20,
        amount=Decimal(45_000),
        older=Decimal(0),
        total=Decimal(525_000),
        paid=Decimal(480_000),
        credit=Decimal(0),
        currency="TZS",
        due_at=at,
        order_number=False,
        exact=False,
        payments=(paid,) * 24,
        url="https://bili.example.co.tz/pay/3-3yUjRk2wQm8nTz5x",
    )
    words = PageFiles().words("sw", {"merchant": look.name, **bill.facts(_ZONE)})
    took, made = [], b""
    for _ in range(_DRAWN):
        began = time.process_time()
        made = pdf(bill, look, methods("123456"), words, _ZONE)
        took.append(time.process_time() - began)
    return Drawn(page="/invoice.pdf", wire=len(made), ms=round(1000 * statistics.median(took), 1))


async def _shared(url: str, environment: dict[str, str]) -> str:
    """Share a bill; the token of its page."""
    settings = load({**environment, "REDIS_URL": url}, dotenv=None)
    engine = await Engine.open(settings)
    try:
        bill = {"number": "55042914871931", "amount": "45000", "description": "Ada ya muhula wa 2"}
        job: dict[str, Any] = {"id": "page", "bill": bill, "customer": {"phone": "0754123456"}}
        return (await engine.shares.accept(from_fields(job, settings=settings))).token
    finally:
        await engine.close()


async def _rate(url: str, seconds: float, connections: int) -> float:
    """Answers a second."""
    until, count = time.perf_counter() + seconds, 0
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False, headers=_GZIP) as session:

        async def ask() -> None:
            nonlocal count
            while time.perf_counter() < until:
                async with session.get(url) as answer:
                    await answer.read()
                    count += answer.status == 200

        await asyncio.gather(*(ask() for _ in range(connections)))
    return count / seconds


async def _body(url: str) -> bytes:
    """The answer as it goes over the wire, once the server is up."""
    async with asyncio.timeout(30), aiohttp.ClientSession(auto_decompress=False, headers=_GZIP) as session:
        while True:
            try:
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    return await answer.read()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def _measure(page: str, tuma: str, bare: str, seconds: float, connections: int) -> Measured:
    wire = len(await _body(tuma))
    rounds = []
    for _ in range(_ROUNDS):
        ours = await _rate(tuma, seconds, connections)
        theirs = await _rate(bare, seconds, connections)
        rounds.append((ours / theirs, ours, theirs))
    share, ours, theirs = sorted(rounds)[len(rounds) // 2]
    return Measured(page=page, wire=wire, tuma=round(ours), bare=round(theirs), of_bare=round(share, 3))


def measure(seconds: float, connections: int) -> Iterator[Measured]:
    """The page, the frame and the JSON form."""
    with ExitStack() as stack:
        url, _ = stack.enter_context(valkey())
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        environment = _environment(url, port)
        token = asyncio.run(_shared(url, environment))
        stack.enter_context(running("-m", "bot", "up", "--roles", "api", environment=environment))
        for page in ("", "/embed", "/bill.json"):
            address = f"{base}/pay/{token}{page}"
            with folder() as here:
                (here / "body").write_bytes(asyncio.run(_body(address)))
                other = free_port()
                bare = f"http://127.0.0.1:{other}/"
                with running("-c", _BARE, str(other), str(here / "body")):
                    asyncio.run(_body(bare))
                    yield asyncio.run(_measure(page or "/", address, bare, seconds, connections))


async def _timed(url: str) -> float:
    """Milliseconds of one answer on a new connection."""
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        answer.raise_for_status()
        await answer.read()
    return 1000 * (time.perf_counter() - began)


def _environment(url: str, port: int) -> dict[str, str]:
    return {
        "REDIS_URL": url,
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TUMA_LISTEN": f"127.0.0.1:{port}",
        "TUMA_LOG_LEVEL": "warning",
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "secret",
        "TWILIO_SMS_FROM": "SHULE",
    }


def _first() -> First:
    found = []
    with valkey() as (url, _):
        token = asyncio.run(_shared(url, _environment(url, free_port())))
        for _ in range(_STARTS):
            port = free_port()
            base, began = f"http://127.0.0.1:{port}", time.perf_counter()
            with running("-m", "bot", "up", "--roles", "api", environment=_environment(url, port)):
                asyncio.run(_body(f"{base}/readyz"))
                ready = time.perf_counter() - began
                time.sleep(1)
                invoice = f"{base}/pay/{token}/invoice.pdf"
                found.append((ready, asyncio.run(_timed(invoice)), asyncio.run(_timed(invoice))))
    ready, first, following = (statistics.median(column) for column in zip(*found, strict=True))
    return First(
        page="/invoice.pdf", ready_s=round(ready, 2), first_ms=round(first, 1), next_ms=round(following, 1)
    )


def main(seconds: float, connections: int) -> None:
    """Measure the pages and the PDF."""
    for made in measure(seconds, connections):
        print(msgspec.json.encode(made).decode())
    print(msgspec.json.encode(_pdf()).decode())
    print(msgspec.json.encode(_first()).decode())


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3, int(sys.argv[2]) if len(sys.argv) > 2 else 16)
