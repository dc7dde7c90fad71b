"""The main job told end to end on local providers: bills go out, customers pay, reminders stop.

`once` tells a fixed story and judges it by what the sandbox's providers recorded, not by what tuma believes;
otherwise the same bills are sent and the page is left open for whoever wants to press buttons. Everything lives in a
temporary folder and on free ports of this machine; nothing of a real installation is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bot.app import App, open_app
from bot.demo_money import chapter_json, tell_of_money
from bot.domain.bill import MessageView, ShareView
from bot.engine.engine import Engine
from bot.engine.inbox import add
from bot.sandbox.city import Sandbox
from bot.settings import Settings, load

MERCHANT = "Shule ya Amani"
PATIENCE_S = 25.0
_ASKING = {"instructions", "reminder"}


class DemoFailed(Exception):
    """Part of the story did not come true; the text says which."""


@dataclass(frozen=True, slots=True)
class Customer:
    """One bill of the story, and who gets it. `reminders` are ISO 8601 durations before the due time.

    Without a number tuma makes one.
    """

    key: str
    name: str
    locale: str
    number: str
    amount: int
    channels: tuple[str, ...]
    kind: str = "order"
    route: str = "all"
    phone: str | None = None
    email: str | None = None
    chat: int | None = None
    whatsapp: bool = True
    reminders: tuple[str, ...] = ()
    description: str = "Ada ya muhula wa 2"

    def job(self, run: str, due: datetime) -> dict[str, Any]:
        """The share job as a producer writes it."""
        return {
            "id": f"demo-{run}-{self.key}",
            "bill": {
                **({"number": self.number, "kind": self.kind} if self.number else {"create": self.kind}),
                "amount": str(self.amount),
                "description": self.description,
                "due_at": due.isoformat(timespec="seconds"),
            },
            "customer": {
                "name": self.name,
                "phone": self.phone,
                "email": self.email,
                "telegram": str(self.chat) if self.chat else None,
                "locale": self.locale,
            },
            "route": {"mode": self.route, "channels": list(self.channels), "confirm_within": "PT10M"},
            "reminders": {"before_due": list(self.reminders), "after_due": [], "max": 5},
        }


def cast_of(reminders: tuple[str, ...]) -> list[Customer]:
    """The customers of the story: Swahili and English, every channel, both kinds of number."""
    english = "Term 2 fees"
    return [
        Customer("asha", "Asha Juma", "sw", "55042914870011", 45_000, ("sms", "whatsapp"), phone="+255754000011",
                 reminders=reminders),
        Customer("john", "John Mrema", "en", "55042914870022", 60_000, ("whatsapp", "sms"), route="first",
                 phone="+255754000022", whatsapp=False, description=english),
        Customer("neema", "Neema Kileo", "en", "55042914870033", 90_000, ("email",), kind="customer",
                 email="neema@example.com", reminders=reminders, description=english),
        Customer("juma", "Juma Hamisi", "sw", "55042914870044", 30_000, ("telegram",), chat=700000044,
                 reminders=reminders),
        Customer("fatma", "Fatma Ally", "sw", "55042914870055", 25_000, ("sms",), phone="+255754000055"),
        Customer("grace", "Grace Ng'ombe", "sw", "55042914870066", 120_000,
                 ("whatsapp", "sms", "email", "telegram"), phone="+255754000066", email="grace@example.com",
                 chat=700000066),
    ]  # fmt: skip


@dataclass
class Stage:
    """Everything that runs: the sandbox, tuma in all its roles, and a client that uses tuma as others do."""

    city: Sandbox
    app: App
    base: str
    key: str
    http: aiohttp.ClientSession
    say: Callable[[str], None]
    due_in: timedelta = timedelta(seconds=10)
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    began: float = field(default_factory=time.monotonic)

    @property
    def engine(self) -> Engine:
        """What the app itself works on."""
        return self.app.engine

    def seat(self, customers: list[Customer]) -> None:
        """Give every customer a phone, a mailbox, a chat, and their bill at ClickPesa."""
        for c in customers:
            self.city.world.person(c.name, phone=c.phone, email=c.email, chat=c.chat, whatsapp=c.whatsapp)
            if c.chat:
                self.city.telegram.chats.begin(c.chat)
            if c.number:
                self.city.bill(c.number, c.amount, kind=c.kind)

    async def post(self, customer: Customer) -> None:
        """Share a bill through the HTTP API."""
        job = customer.job(self.run, datetime.now(UTC) + self.due_in)
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.http.post(f"{self.base}/v1/shares", json=job, headers=headers) as reply:
            if reply.status != 202:
                raise DemoFailed(f"POST /v1/shares answered {reply.status}: {await reply.text()}")

    async def add(self, customer: Customer) -> None:
        """Share a bill by one XADD, as a program in any language can."""
        job = msgspec.json.encode(customer.job(self.run, datetime.now(UTC) + self.due_in)).decode()
        await add(self.engine.records, job)

    async def share(self, customer: Customer) -> ShareView:
        """The share of a customer, by tuma's own account."""
        return await self.engine.shares.get(f"demo-{self.run}-{customer.key}")

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a part of the story. Raises DemoFailed when it does not come true."""
        deadline = time.monotonic() + PATIENCE_S
        while not await holds():
            if time.monotonic() > deadline:
                raise DemoFailed(f"this did not come true in {PATIENCE_S:.0f} s: {what}")
            await asyncio.sleep(0.05)
        self.say(f"{time.monotonic() - self.began:5.1f} s  {what}")

    def insist(self, holds: bool, claim: str) -> None:
        """Raises DemoFailed if a claim is not true."""
        if not holds:
            raise DemoFailed(f"not true: {claim}")

    def screens(self, customer: Customer) -> dict[str, list[Any]]:
        """What a customer's phone and mailbox show, per channel, from the merchant."""
        addresses = {
            "sms": customer.phone,
            "whatsapp": customer.phone,
            "email": customer.email,
            "telegram": str(customer.chat) if customer.chat else None,
        }
        return {
            channel: [m for m in self.city.world.screen(channel, address) if m.outgoing]
            for channel, address in addresses.items()
            if address
        }

    async def told(self, customer: Customer, *channels: str) -> bool:
        """Whether the number is to be read on each of these channels."""
        screens = self.screens(customer)
        return all(any(customer.number in m.numbers for m in screens[channel]) for channel in channels)


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _settings(city: Sandbox, folder: Path, port: int) -> Settings:
    base = f"http://127.0.0.1:{port}"
    own = {
        "TUMA_DATA_DIR": str(folder / "data"),
        "TUMA_LISTEN": f"127.0.0.1:{port}",
        "PUBLIC_URL": base,
        "MERCHANT_NAME": MERCHANT,
        "MERCHANT_CONTACT": "ofisi@shule.example",
        "MPESA_BUSINESS_NUMBER": "556677",
        "CLICKPESA_SWEEP_S": "1",
    }
    asked = load(dotenv=None).log_level
    quiet = {"TUMA_LOG_LEVEL": "warning" if asked == "info" else asked}
    return load({**city.settings_env(), **own, **quiet}, dotenv=None)


@asynccontextmanager
async def on_stage(say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Set everything up, and take it down without leaving a process or a file."""
    with tempfile.TemporaryDirectory(prefix="tuma-demo-", ignore_cleanup_errors=True) as name:
        async with Sandbox() as city:
            settings = _settings(city, Path(name), free_port())
            from bot.log import configure

            configure(settings)
            city.connect(settings.public_url or "")
            async with open_app(settings) as app, aiohttp.ClientSession() as http:
                stop = asyncio.Event()
                running = asyncio.create_task(app.run(stop))
                _, key = await app.engine.api_keys.create("demo", ["share", "read", "staff"])
                try:
                    await answers(http, f"{settings.public_url}/readyz", running)
                    yield Stage(city, app, settings.public_url or "", key, http, say)
                finally:
                    stop.set()
                    await running


async def answers(http: aiohttp.ClientSession, url: str, running: asyncio.Task[None]) -> None:
    """Wait until `url` answers 200. Raises DemoFailed, or what ended `running`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if running.done():
            await running
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(url) as reply:
                if reply.status == 200:
                    return
        await asyncio.sleep(0.05)
    raise DemoFailed("tuma's HTTP server did not answer")


@dataclass
class Verdict:
    """What the story showed; see `report`."""

    shares: list[ShareView] = field(default_factory=list)
    payments: list[dict[str, Any]] = field(default_factory=list)
    fence_ms: float = 0.0
    reminders_after_payment: int = 0
    receipts_per_payment: int = 0
    ledger: str = ""
    money: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        """The last line of `tuma demo --once --json`."""
        counted = Counter(
            (m.channel, m.kind.value, m.outcome.value if m.outcome else m.state.value)
            for s in self.shares
            for m in s.messages
        )
        return {
            "shares": len(self.shares),
            "messages": [
                {"channel": c, "kind": k, "outcome": o, "count": n}
                for (c, k, o), n in sorted(counted.items())
            ],
            "payments": self.payments,
            "fence_ms": round(self.fence_ms, 1),
            "reminders_after_payment": self.reminders_after_payment,
            "receipts_per_payment": self.receipts_per_payment,
            "ledger": self.ledger,
            "money": self.money,
            "seconds": round(self.seconds, 1),
        }


async def tell(stage: Stage) -> Verdict:
    """The story, start to end. Raises DemoFailed at the first part that does not come true."""
    asha, john, neema, juma, fatma, grace = customers = cast_of(("PT7S", "PT4S", "PT1S"))
    customers.append(
        halima := Customer("halima", "Halima Said", "sw", "", 80_000, ("sms",), phone="+255754000077")
    )
    stage.seat(customers)
    for customer in (asha, john, neema, juma, fatma):
        await stage.post(customer)
    await stage.add(grace)
    await stage.until("Asha has her number by SMS and WhatsApp", lambda: stage.told(asha, "sms", "whatsapp"))
    await stage.until(
        "John is not on WhatsApp: his number came by SMS instead", lambda: stage.told(john, "sms")
    )
    await stage.until("Neema has mail", lambda: stage.told(neema, "email"))
    await stage.until("Juma has it in Telegram", lambda: stage.told(juma, "telegram"))
    await stage.until(
        "Grace, queued by one XADD, has it on all four channels",
        lambda: stage.told(grace, "whatsapp", "sms", "email", "telegram"),
    )
    verdict = Verdict()
    failed = await stage.city.fail(fatma.number)
    verdict.payments.append(
        {"number": fatma.number, "event": "failed", "amount": None, "answer": failed.webhook_status}
    )
    await stage.until(
        "Fatma's wallet failed, and she was told", lambda: _has(stage, fatma, "payment_failed", 1)
    )
    await stage.until("Juma and Asha have a first reminder", lambda: _reminded(stage, asha, juma))
    await _pay(stage, verdict, asha, asha.amount, "full")
    await _pay(stage, verdict, neema, 40_000, "partial")
    chapter = await tell_of_money(stage, halima, fatma, john)
    verdict.money = chapter_json(chapter)
    await stage.until("Asha has her receipts", lambda: _has(stage, asha, "receipt", 2))
    await stage.until("Neema has a receipt with her balance", lambda: _has(stage, neema, "receipt", 1))
    await stage.until(
        "Juma, who has not paid, has all his reminders", lambda: _has(stage, juma, "reminder", 3)
    )
    await stage.until("Neema is reminded of the balance", lambda: _has(stage, neema, "reminder", 2))
    await stage.until("nothing waits any more", lambda: _quiet(stage))
    await _judge(stage, verdict, customers, asha, neema)
    return verdict


async def _messages(stage: Stage, customer: Customer, kind: str) -> list[MessageView]:
    found = await stage.share(customer)
    return [m for m in found.messages if m.kind == kind and m.outcome == "sent"]


async def _has(stage: Stage, customer: Customer, kind: str, count: int) -> bool:
    return len(await _messages(stage, customer, kind)) >= count


async def _reminded(stage: Stage, *customers: Customer) -> bool:
    return all([await _has(stage, customer, "reminder", 1) for customer in customers])


async def _quiet(stage: Stage) -> bool:
    stats = await stage.engine.ledger.stats()
    waiting = stats.scheduled + stats.queued + stats.handed_out + stats.in_doubt
    return waiting == 0 and all(m.arrived or m.error for m in stage.city.world.accepted("sms"))


async def _pay(stage: Stage, verdict: Verdict, customer: Customer, amount: int, how: str) -> None:
    paid = await stage.city.pay(customer.number, amount)
    if paid.webhook_status != 200:
        raise DemoFailed(f"the payment webhook was answered {paid.webhook_status}")
    verdict.fence_ms = max(verdict.fence_ms, paid.webhook_ms or 0.0)
    verdict.payments.append(
        {"number": customer.number, "event": how, "amount": str(amount), "answer": paid.webhook_status}
    )
    stage.say(f"{time.monotonic() - stage.began:5.1f} s  {customer.name} paid TZS {amount:,} ({how})")


async def _judge(
    stage: Stage, verdict: Verdict, customers: list[Customer], full: Customer, partial: Customer
) -> None:
    """Judge by the providers' own records."""
    verdict.shares = [await stage.share(customer) for customer in customers]
    bill = await stage.engine.bills.get(full.number)
    fence = bill.payments[0].received_at + timedelta(milliseconds=stage.engine.settings.lease_ms)
    receipts = {m.id for m in await _messages(stage, full, "receipt")}
    late = [m for m in await _accepted(stage, full) if m.at > fence and not _is_one_of(m, receipts)]
    verdict.reminders_after_payment = len(late)
    per_channel = [
        Counter(m.channel for m in await _messages(stage, customer, "receipt"))
        for customer in (full, partial)
    ]
    verdict.receipts_per_payment = max(count for counter in per_channel for count in counter.values())
    report = await stage.engine.ledger.check()
    verdict.ledger = "ok" if report.ok else "; ".join(report.differences)
    verdict.seconds = time.monotonic() - stage.began
    _insist(verdict, bill.status, (await stage.engine.bills.get(partial.number)).balance)


async def _accepted(stage: Stage, customer: Customer) -> list[Any]:
    return [m for messages in stage.screens(customer).values() for m in messages]


def _is_one_of(message: Any, ids: set[str]) -> bool:
    return any(id in (message.reference or "") for id in ids)


def _insist(verdict: Verdict, status: str, balance: str) -> None:
    claims = {
        "Asha's bill is settled": status == "settled",
        "Neema's balance is 50000": balance == "50000",
        "no reminder after payment": verdict.reminders_after_payment == 0,
        "one receipt per payment and channel": verdict.receipts_per_payment == 1,
        f"the ledger adds up ({verdict.ledger})": verdict.ledger == "ok",
    }
    for claim, holds in claims.items():
        if not holds:
            raise DemoFailed(f"not true: {claim}")


async def _once(json: bool) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        print(text, file=sys.stderr if json else sys.stdout, flush=True)

    try:
        async with on_stage(say) as stage:
            verdict = await tell(stage)
    except DemoFailed as error:
        if json:
            print(msgspec.json.encode({"failed": str(error)}).decode(), flush=True)
        print(f"tuma demo: {error}", file=sys.stderr)
        return 1
    verdict.seconds = time.monotonic() - began
    if json:
        print(msgspec.json.encode(verdict.report()).decode(), flush=True)
    else:
        say(f"All of it came true in {verdict.seconds:.1f} s; webhook to fence {verdict.fence_ms:.1f} ms.")
    return 0


async def _open_house(json: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with on_stage(lambda text: print(text, flush=True)) as stage:
        customers = cast_of(("PT50S", "PT30S", "PT10S"))
        stage.due_in = timedelta(seconds=70)
        stage.seat(customers)
        for customer in customers:
            await stage.post(customer)
        if json:
            places = {
                "page": stage.city.urls["page"],
                "api": stage.base,
                "docs": f"{stage.base}/docs",
                "key": stage.key,
            }
            print(msgspec.json.encode(places).decode(), flush=True)
        else:
            print(_welcome(stage), flush=True)
        await stop.wait()
    return 0


def _welcome(stage: Stage) -> str:
    return f"""
  tuma is running with local providers. Nothing leaves this machine.

  Open    {stage.city.urls["page"]}
          the phones and mailboxes of six customers, with buttons to pay, to break a provider, to opt out

  API     {stage.base}/docs
  Key     {stage.key}

  Reminders come after 20, 40 and 60 seconds; pay a bill and see its reminders not come.
  Ctrl-C ends it and leaves nothing behind.
"""


def run(*, once: bool, json: bool) -> int:
    """Run the demo; the process's exit code."""
    return asyncio.run(_once(json) if once else _open_house(json))
