"""The stage of a replay: a tuma in a temporary folder, on a sandbox, with the settings that make the merchant's texts.

What the merchant's settings say about texts, languages, quiet hours and policies holds; what they say about accounts,
databases and addresses does not. Links keep the merchant's public address, because their length counts in an SMS;
what the sandbox sends there goes to the temporary tuma.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot.app import App, open_app
from bot.demo import answers, free_port
from bot.domain.calendar import from_ms
from bot.domain.share import ShareJob
from bot.engine.scripts import now_ms, put_clock_right
from bot.sandbox.city import Sandbox
from bot.sandbox.faults import Faults
from bot.sandbox.profiles import Profile
from bot.sandbox.twilio_carrier import Pace
from bot.settings import PRICES, Settings, load

STAND_IN = "https://tuma.example"
# A request that is never answered is cut after this, not after the channel's own long timeout: time is compressed.
_SILENCE_S = 1.0
_SLOW_S = 0.5
_NO_WAIT = Pace(queued=0, sent=0, delivered=0, read=0)
# Where the replay's tuma differs from the merchant's: accounts, places, keys. The rest of the settings are theirs.
_OURS = (
    *("redis_url", "data_dir", "partitions", "listen", "public_url", "api_keys"),
    *("twilio_account_sid", "twilio_auth_token", "twilio_sms_from", "twilio_messaging_service_sid"),
    *("twilio_whatsapp_from", "twilio_api_base", "smtp_url", "email_from"),
    *(
        "telegram_bot_token",
        "telegram_api_base",
        "telegram_staff",
        "telegram_updates",
        "telegram_webhook_secret",
    ),
    *("clickpesa_client_id", "clickpesa_api_key", "clickpesa_checksum_key", "clickpesa_api_base"),
    *("callback_secret", "callback_private", "log_level", "log_format"),
    # Rates go by the server's clock, which is not compressed.
    *("sms_rate", "whatsapp_rate", "email_rate", "telegram_rate", "provider_concurrency"),
)
_FOR_EVER_S = 100 * 365 * 86_400
_SENDERS = {
    "sms": ("twilio_sms_from",),
    "whatsapp": ("twilio_whatsapp_from",),
    "email": ("smtp_url", "email_from"),
    "telegram": ("telegram_bot_token",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a replay goes. `paying` is the share of customers who pay, 0 to 1; prices are in the bills' currency,
    `sms_price` for one segment that a provider took, `whatsapp_price` for one message.
    """

    profile: Profile
    seed: int
    paying: float = 0.5
    sms_price: Decimal = dict(PRICES)["sms"]
    whatsapp_price: Decimal = dict(PRICES)["whatsapp"]


@dataclass(frozen=True, slots=True)
class Row:
    """One good row of the file: its number there and the job that it means."""

    number: int
    job: ShareJob


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs. `settings` are those of the temporary tuma."""

    city: Sandbox
    app: App
    settings: Settings


@asynccontextmanager
async def on_stage(settings: Settings, options: Options) -> AsyncIterator[Stage]:
    """Set everything up, and take it down without leaving a process or a file."""
    with (
        _own_clock(),
        tempfile.TemporaryDirectory(prefix="tuma-replay-", ignore_cleanup_errors=True) as folder,
    ):
        async with Sandbox(pace=_NO_WAIT, faults=_faults(options), clock=lambda: from_ms(now_ms())) as city:
            city.twilio.templates |= dict(_texts(settings.whatsapp_mapping))
            port = free_port()
            own = settings_of(settings, city, Path(folder), port)
            city.connect(own.public_url or "", really=f"http://127.0.0.1:{port}")
            async with open_app(own) as app, _running(app, port):
                yield Stage(city, app, own)


@contextlib.contextmanager
def _own_clock() -> Iterator[None]:
    try:
        yield
    finally:
        put_clock_right()


def _faults(options: Options) -> Faults:
    faults = Faults(seed=options.seed)
    faults.use(options.profile)
    faults.silence_s, faults.slow_s = min(faults.silence_s, _SILENCE_S), min(faults.slow_s, _SLOW_S)
    faults.late_s = min(faults.late_s, _SLOW_S)
    return faults


@asynccontextmanager
async def _running(app: App, port: int) -> AsyncIterator[None]:
    import aiohttp

    stop = asyncio.Event()
    running = asyncio.create_task(app.run(stop))
    try:
        async with aiohttp.ClientSession() as http:
            await answers(http, f"http://127.0.0.1:{port}/readyz", running)
        yield
    finally:
        stop.set()
        await running


def settings_of(merchant: Settings, city: Sandbox, folder: Path, port: int) -> Settings:
    """The merchant's settings, but on the sandbox and in `folder`. Channels that the merchant has off stay off."""
    own = {
        "TUMA_DATA_DIR": str(folder / "data"),
        "TUMA_LISTEN": f"127.0.0.1:{port}",
        "PUBLIC_URL": merchant.public_url or STAND_IN,
        "TUMA_LOG_LEVEL": "error",
    }
    ours = load({**city.settings_env(), **own}, dotenv=None)
    changes: dict[str, Any] = {name: getattr(ours, name) for name in _OURS}
    # Days pass between two looks at ClickPesa's list; reminders would wait for one at every step.
    changes["clickpesa_known_within_s"] = _FOR_EVER_S
    if merchant.whatsapp_mapping is None:
        changes["whatsapp_templates"] = ours.whatsapp_templates
    off = merchant.channels_off()
    if len(off) < len(_SENDERS):  # nothing set up yet: show every channel
        changes |= {name: None for channel in off for name in _SENDERS[channel]}
    return replace(merchant, **changes)


def _texts(mapping: Path | None) -> Iterator[tuple[str, str]]:
    """The registered texts of the merchant's own WhatsApp templates, so that phones show them in words."""
    if mapping is None:
        return
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError):  # the renderer says what is wrong with it
        for locales in tomllib.loads(mapping.read_text(encoding="utf-8")).values():
            for kinds in locales.values():
                yield from ((e["content_sid"], e["body"]) for e in kinds.values() if e.get("body"))
