"""The whole sandbox: every provider as a local server, the people they reach, and the page.

    async with Sandbox() as city:
        city.connect("http://127.0.0.1:8000")   # where tuma is
        city.settings_env()                     # what points tuma here
        await city.pay("55042914871931", 45000)
        city.world.screen("sms", "+255754123456")

Everything listens on one host and lives in memory; `stop` leaves nothing behind but a folder that was given.
Needs no network beyond this machine.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from bot.render.library import templates_dir
from bot.sandbox.africastalking import AfricasTalkingAccount, AfricasTalkingApi
from bot.sandbox.approval import EXAMPLE, approve
from bot.sandbox.clickpesa import ROOT, ClickPesaAccount, ClickPesaApi
from bot.sandbox.clickpesa_bills import EXACT, PARTIAL, Bill, Payment
from bot.sandbox.faults import Faults
from bot.sandbox.mail import MailAccount, MailServer
from bot.sandbox.page import Page
from bot.sandbox.serving import Errands, LocalServer, Postman, Reply
from bot.sandbox.telegram import TelegramAccount, TelegramApi
from bot.sandbox.twilio import TwilioAccount, TwilioApi
from bot.sandbox.twilio_carrier import Carrier, Pace
from bot.sandbox.wallet import WALLETS, Payer, Wallet
from bot.sandbox.world import Clock, World, now

# Where `tuma sandbox` listens, so that a .env written for one sandbox serves the next.
USUAL_PORTS = {
    "page": 8100,
    "twilio": 8101,
    "africastalking": 8102,
    "telegram": 8103,
    "clickpesa": 8104,
    "smtp": 8105,
}


@dataclass(frozen=True, slots=True)
class Accounts:
    """The credentials that the servers accept."""

    twilio: TwilioAccount = field(default_factory=TwilioAccount)
    africastalking: AfricasTalkingAccount = field(default_factory=AfricasTalkingAccount)
    telegram: TelegramAccount = field(default_factory=TelegramAccount)
    clickpesa: ClickPesaAccount = field(default_factory=ClickPesaAccount)
    smtp: MailAccount = field(default_factory=MailAccount)


class Sandbox:
    """All servers together.

    `ports` maps twilio, africastalking, telegram, clickpesa, smtp and page to a port; 0: any free one; absent: the
    one in `usual` if it is free, else any. `folder` keeps the mapping of WhatsApp templates; None: it goes away with
    the sandbox.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        ports: Mapping[str, int] | None = None,
        usual: Mapping[str, int] | None = None,
        folder: Path | None = None,
        accounts: Accounts | None = None,
        pace: Pace | None = None,
        faults: Faults | None = None,
        clock: Clock = now,
    ) -> None:
        self.host, self._ports, self._usual = host, dict(ports or {}), dict(usual or {})
        self.accounts = accounts or Accounts()
        self.world = World(clock)
        self.faults = faults or Faults()
        self.faults.on_change = self.world.changed
        self._postman, self._errands = Postman(), Errands()
        self.twilio = TwilioApi(self.accounts.twilio, self.world, self.faults)
        self.carrier = Carrier(self.twilio, self._postman, self._errands, pace or Pace())
        self.africastalking = AfricasTalkingApi(
            self.accounts.africastalking, self.world, self.faults, self._postman, self._errands
        )
        self.telegram = TelegramApi(
            self.accounts.telegram, self.world, self.faults, self._postman, self._errands
        )
        self.clickpesa = ClickPesaApi(self.accounts.clickpesa, self.world, self.faults)
        self.wallet = Wallet(self.clickpesa, self._postman, self._errands)
        self.mail = MailServer(self.accounts.smtp, self.world, self.faults)
        self.page = Page(self)
        self.urls: dict[str, str] = {}
        self._tuma: str | None = None
        self._servers: list[LocalServer] = []
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    # Life

    async def start(self) -> None:
        """Open every port. After this `urls` holds where things are. Raises OSError for a port that is taken."""
        self._make_folder()
        await self._postman.start()
        self.twilio.templates |= approve(templates_dir() / EXAMPLE, self.whatsapp_templates)
        for name, app in self._apps().items():
            server = LocalServer(app, self.host, *self._wanted(name))
            self._servers.append(server)
            self.urls[name] = await server.start()
        self.urls["clickpesa"] += ROOT
        self.urls["smtp"] = await self.mail.start(self.host, *self._wanted("smtp"))

    def _make_folder(self) -> None:
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tuma-sandbox-")
            self._folder = Path(self._temporary.name)
        self._folder.mkdir(parents=True, exist_ok=True)

    def _wanted(self, name: str) -> list[int]:
        if name in self._ports:
            return [self._ports[name]]
        return [self._usual[name], 0] if name in self._usual else [0]

    @property
    def elsewhere(self) -> list[str]:
        """The servers whose usual port was taken."""
        mine = {name: urlsplit(url).port for name, url in self.urls.items()}
        return [n for n, port in self._usual.items() if n not in self._ports and mine[n] != port]

    def _apps(self) -> dict[str, web.Application]:
        return {
            "twilio": self.twilio.app(),
            "africastalking": self.africastalking.app(),
            "telegram": self.telegram.app(),
            "clickpesa": self.clickpesa.app(),
            "page": self.page.app(),
        }

    async def stop(self) -> None:
        """Close every port and end every task."""
        self.page.stop()
        self.telegram.updates.release()
        await self._errands.stop()
        for server in self._servers:
            await server.stop()
        await self.mail.stop()
        await self._postman.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except OSError:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # Pointing tuma here, and here at tuma

    @property
    def whatsapp_templates(self) -> Path:
        """The mapping of kinds to ContentSids that are approved here. Without a `folder` it goes with the sandbox."""
        if self._folder is None:
            raise RuntimeError("the sandbox was not started")
        return self._folder / "whatsapp.toml"

    @property
    def credentials(self) -> dict[str, dict[str, Any]]:
        """What each server accepts."""
        return asdict(self.accounts)

    def settings_env(self) -> dict[str, str]:
        """The environment variables that point tuma at this sandbox.

        Once `connect` said where tuma is, PUBLIC_URL is among them: without it no delivery status comes back.
        """
        twilio, clickpesa = self.accounts.twilio, self.clickpesa.account
        env = {
            "TWILIO_ACCOUNT_SID": twilio.sid,
            "TWILIO_AUTH_TOKEN": twilio.token,
            "TWILIO_SMS_FROM": twilio.sms_from,
            "TWILIO_WHATSAPP_FROM": twilio.whatsapp_from,
            "TWILIO_API_BASE": self.urls["twilio"],
            "WHATSAPP_TEMPLATES": str(self.whatsapp_templates),
            "SMTP_URL": self.mail.login_url(self.urls["smtp"]),
            "EMAIL_FROM": self.accounts.smtp.sender,
            "TELEGRAM_BOT_TOKEN": self.accounts.telegram.token,
            "TELEGRAM_API_BASE": self.urls["telegram"],
            "CLICKPESA_CLIENT_ID": clickpesa.client_id,
            "CLICKPESA_API_KEY": clickpesa.api_key,
            "CLICKPESA_API_BASE": self.urls["clickpesa"],
        }
        optional = {"CLICKPESA_CHECKSUM_KEY": clickpesa.checksum_key, "PUBLIC_URL": self._tuma}
        return env | {name: value for name, value in optional.items() if value}

    def second_sms_env(self) -> dict[str, str]:
        """The environment variables that give tuma a second SMS provider, here too."""
        account = self.accounts.africastalking
        return {
            "AFRICASTALKING_USERNAME": account.username,
            "AFRICASTALKING_API_KEY": account.api_key,
            "AFRICASTALKING_SENDER": account.sender,
            "AFRICASTALKING_CALLBACK_TOKEN": account.callback_token,
            "AFRICASTALKING_API_BASE": self.urls["africastalking"],
        }

    def connect(self, tuma: str, *, really: str | None = None) -> None:
        """Say where tuma is: ClickPesa's, Africa's Talking's and Twilio's inbound webhooks go there from now on.

        Telegram is told by the bot itself (setWebhook), and Twilio's status callbacks by each message. `really`:
        where requests to the public address `tuma` go instead, because it cannot be reached from here.
        """
        self._tuma = base = tuma.rstrip("/")
        self._postman.detours = {base: really.rstrip("/")} if really else {}
        self.wallet.webhook_url = self.wallet.merchant_url = f"{base}/webhooks/clickpesa"
        self.carrier.inbound_url = f"{base}/webhooks/twilio/inbound"
        token = self.accounts.africastalking.callback_token
        self.africastalking.callback_base = f"{base}/webhooks/africastalking/{token}"

    @property
    def busy(self) -> int:
        """How many things go on that no request waits for: messages on their way, webhooks to come."""
        return self._errands.busy

    async def at_rest(self) -> None:
        """Wait until nothing like that goes on."""
        await self._errands.done()

    # What the demo and tests do most

    def bill(
        self, number: str, amount: Decimal | int | str | None, *, kind: str = "order", exact: bool = False
    ) -> Bill:
        """Register a control number that tuma shares without having created it here. `kind`: order or customer."""
        bill = Bill(
            number=number,
            kind=kind,
            amount=None if amount is None else Decimal(amount),
            mode=EXACT if exact else PARTIAL,
            source="demo",
            created=self.world.clock(),
        )
        self.clickpesa.add(bill)
        return bill

    async def pay(
        self,
        number: str,
        amount: Decimal | int | str,
        wallet: str = WALLETS[0],
        payer: Payer | None = None,
        *,
        notify: bool = True,
    ) -> Payment:
        """A customer pays: see `Wallet.pay`."""
        return await self.wallet.pay(number, amount, wallet, payer, notify=notify)

    async def fail(self, number: str, reason: str = "Insufficient balance") -> Payment:
        """A customer tries to pay and fails: see `Wallet.fail`."""
        return await self.wallet.fail(number, reason)

    async def one_click(self, url: str) -> Reply:
        """Unsubscribe as a mail provider does it: one POST, no cookies (RFC 8058)."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._postman.post(url, b"List-Unsubscribe=One-Click", form)


async def main(
    json: bool = False,
    *,
    words: bool = True,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    usual: Mapping[str, int] | None = None,
    folder: Path | None = None,
    tuma: str = "http://127.0.0.1:8000",
    checksum: bool = True,
    faults: Faults | None = None,
    stop: asyncio.Event | None = None,
    write: Callable[[str], object] = sys.stdout.write,
) -> None:
    """Run the sandbox until SIGINT or SIGTERM (or `stop`), after saying where everything is. `ports`, `usual` and
    `folder` are those of `Sandbox`. Raises OSError for a port that is taken or a folder that cannot be made.

    `json`: the first line is one JSON object with `twilio`, `africastalking`, `telegram`, `clickpesa`, `smtp`, `page`
    (base URLs, the values that the `*_API_BASE` settings want), `credentials`, `env` (settings that point tuma here),
    `env_second_sms` (those that add the second SMS provider), and the `profile` and `seed` of the faults. `words`: the
    same for people, after it.
    """
    accounts = Accounts() if checksum else Accounts(clickpesa=ClickPesaAccount(checksum_key=None))
    city = Sandbox(host, ports=ports, usual=usual, folder=folder, accounts=accounts, faults=faults)
    async with city:
        city.connect(tuma)
        if json:
            write(_announcement(city))
        if words:
            write(_greeting(city))
        sys.stdout.flush()
        await _until_stopped(stop or asyncio.Event())


def _announcement(city: Sandbox) -> str:
    env = {"env": city.settings_env(), "env_second_sms": city.second_sms_env()}
    faults = {"profile": city.faults.profile, "seed": city.faults.seed}
    facts = city.urls | {"credentials": city.credentials} | env | faults
    return msgspec.json.encode(facts).decode() + "\n"


def _greeting(city: Sandbox) -> str:
    env, more = _lines(city.settings_env()), _lines(city.second_sms_env())
    taken = ", ".join(city.elsewhere)
    warning = f"The usual ports of {taken} are taken: a .env of another sandbox does not fit this one.\n"
    return (
        f"Open {city.urls['page']}\nFaults: {city.faults.profile}, seed {city.faults.seed}\n"
        f"{warning if taken else ''}\nSettings that point tuma here:\n\n{env}\n\n"
        f"And for a second SMS provider:\n\n{more}\n\nCtrl-C ends it.\n"
    )


def _lines(env: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={_quoted(value)}" for name, value in env.items())


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


async def _until_stopped(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    try:
        await stop.wait()
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
