"""Every setting, read once from the environment and `.env`; nothing else in tuma reads either.

A field is one setting: its environment variable, default, unit and explanation stand together, and
`docs/settings.md` is checked against this file. Secrets are masked in `repr`.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.domain.contact import is_region
from bot.errors import ConfigError

# Who can carry SMS, in the order in which they are used where SMS_PROVIDERS does not say.
SMS_PROVIDERS = ("twilio", "africastalking")
# Of one SMS segment, and of one message on the other channels. The figure for SMS is only a round one.
PRICES = (("sms", Decimal(25)), ("whatsapp", Decimal(0)), ("email", Decimal(0)), ("telegram", Decimal(0)))
# Kinds of messages, and whether they ask for money.
KINDS = {
    "instructions": True,
    "reminder": True,
    "bill_changed": True,
    "receipt": False,
    "payment_failed": False,
    "correction": False,
}
# Nobody can ask Telegram whether a message arrived, so its default is to leave that to staff.
IN_DOUBT = (("sms", "resend"), ("whatsapp", "resend"), ("email", "resend"), ("telegram", "hold"))
# Receipts are tried for 30 days, and money comes and goes back some days late.
_SHORTEST_KEPT = 40  # days
_SHORTEST_KEY = 16  # characters of an API key, bytes of a signing key: less can be guessed


def _text(value: str) -> str:
    return value


def _list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("expected true or false")


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise ValueError("expected a whole number of 1 or more")
    return int(value)


def _kept(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) >= _SHORTEST_KEPT):
        raise ValueError(f"expected a whole number of days, {_SHORTEST_KEPT} or more")
    return int(value)


def _digits(value: str) -> str:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("expected digits")
    return value


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("expected a whole number, 0 or more")
    return int(value)


def _colour(value: str) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError("expected a colour such as #0b6b3a")
    return value.lower()


def _origins(value: str) -> tuple[str, ...]:
    return tuple(_origin(part) for part in _list(value))


def _region(value: str) -> str:
    if not is_region(value):
        raise ValueError("expected a region that numbers phones, in two capital letters, such as TZ")
    return value


def _api_keys(value: str) -> tuple[str, ...]:
    keys = _list(value)
    if any(len(key) < _SHORTEST_KEY for key in keys):
        raise ValueError(f"expected keys of {_SHORTEST_KEY} characters or more each, comma-separated")
    return keys


def _callback_secret(value: str) -> str:
    text = value.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if text == value or len(key) < _SHORTEST_KEY:
        raise ValueError(f"expected whsec_ and at least {_SHORTEST_KEY} random bytes in base64")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("expected an IANA time zone such as Africa/Dar_es_Salaam") from error
    return value


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.netloc or parts.path):
            raise ValueError(f"expected a URL starting with {' or '.join(s + '://' for s in schemes)}")
        return value.rstrip("/")

    return parse


def _origin(value: str) -> str:
    """Where this server is from outside: its paths are appended, so there must be none yet."""
    right = "expected an origin such as https://lipa.example.co.tz, without a path"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError(right) from error
    bare = parts.path in {"", "/"} and not (set("?#@") & set(value))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not bare:
        raise ValueError(right)
    return value.rstrip("/")


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, such as 127.0.0.1:8000")
    return value


def _roles(value: str) -> tuple[tuple[int, str], ...]:
    staff = []
    for part in _list(value):
        user, _, role = part.partition(":")
        if not user.isdigit() or role not in {"viewer", "operator", "admin"}:
            raise ValueError(
                "expected id:role pairs with role viewer, operator or admin, such as 123456:admin"
            )
        staff.append((int(user), role))
    return tuple(staff)


def _hours(value: str) -> tuple[time, time]:
    start, _, end = value.partition("-")
    try:
        first, last = time.fromisoformat(start.strip()), time.fromisoformat(end.strip())
    except ValueError as error:
        raise ValueError("expected two times of day, such as 21:00-07:00") from error
    if first == last or first.tzinfo or last.tzinfo:
        raise ValueError("expected two different times of day without an offset, such as 21:00-07:00")
    return first, last


def _policies(value: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in _list(value):
        where, _, policy = part.partition(":")
        channel, dot, kind = where.partition(".")
        known = channel in dict(IN_DOUBT) and (kind in KINDS if dot else True)
        if not known or policy not in {"hold", "resend", "blind"}:
            raise ValueError(
                "expected channel:policy or channel.kind:policy pairs with policy resend, hold or blind, "
                "such as telegram:hold,telegram.receipt:resend"
            )
        pairs.append((where, policy))
    return tuple(pairs)


def _timeouts(value: str) -> tuple[tuple[str, float], ...]:
    pairs = []
    for part in _list(value):
        channel, _, seconds = part.partition(":")
        if channel not in dict(TIMEOUTS) or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", seconds, re.ASCII):
            raise ValueError("expected channel:seconds pairs, such as email:30")
        if not 1 <= float(seconds) <= 300:
            raise ValueError("expected 1 to 300 seconds for a channel, such as email:30")
        pairs.append((channel, float(seconds)))
    return tuple(pairs)


def _weights(value: str) -> tuple[tuple[str, int], ...]:
    weights: dict[str, int] = {}
    for part in _list(value):
        name, _, weight = part.partition(":")
        # The first gets everything and the others stand by, unless weights say otherwise.
        weight = weight or ("0" if weights else "1")
        if name not in SMS_PROVIDERS or name in weights or not (weight.isdecimal() and len(weight) < 5):
            raise ValueError(
                f"expected some of {', '.join(SMS_PROVIDERS)}, each once, with weights if you like, "
                "such as twilio:3,africastalking:1"
            )
        weights[name] = int(weight)
    if not any(weights.values()):
        raise ValueError("one provider needs a weight above 0")
    return tuple(weights.items())


def _figures(what: str, *names: str, whole: bool = False) -> Callable[[str], tuple[tuple[str, float], ...]]:
    """Reads one figure for all (its name is ''), or figures by name; `none` is 0."""
    right = f"expected {what}" + (
        f" or by name ({', '.join(names)}), such as {names[-1]}:20" if names else ""
    )

    def parse(value: str) -> tuple[tuple[str, float], ...]:
        found: dict[str, float] = {}
        for part in _list(value):
            name, _, figure = part.rpartition(":")
            figure = "0" if figure == "none" else figure
            number = float(figure) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", figure) else -1.0
            if number < 0 or (whole and not number.is_integer()) or name not in ("", *names) or name in found:
                raise ValueError(right)
            found[name] = int(number) if number.is_integer() else number
        if not found:
            raise ValueError(right)
        return tuple(found.items())

    return parse


def _amount(value: str) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,4})?", value):
        raise ValueError("expected an amount with at most four decimals, such as 25 or 0.0075")
    return Decimal(value)


def _prices(value: str) -> tuple[tuple[str, Decimal], ...]:
    prices = dict(PRICES)
    for part in _list(value):
        channel, _, amount = part.partition(":")
        if channel not in prices:
            raise ValueError("expected channel:amount pairs, such as sms:25,whatsapp:60")
        prices[channel] = _amount(amount)
    return tuple(prices.items())


_RATE = "a figure a second such as 10 or 0.5, 0 for no limit"


def _path_token(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,128}", value):
        raise ValueError("expected 16 to 128 letters, digits, - or _, such as `openssl rand -hex 24` makes")
    return value


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return value

    return parse


def _home() -> Path | None:
    """The user's folder; None if there is none, as for a service account (or an empty HOME, which reads as `/`)."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return None if home == Path("/") else home


def _data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    # Without a home the folder below is never used: see `_check_data_dir`.
    return (Path(base) if base else (_home() or Path()) / ".local" / "share") / "tuma"


def _check_data_dir(given: Mapping[str, Any]) -> None:
    """Refuse to keep data at the root of the file system because nobody said where."""
    told = "redis_url" in given or "data_dir" in given or os.environ.get("XDG_DATA_HOME")
    if not told and _home() is None:
        raise ConfigError("TUMA_DATA_DIR: this user has no home; expected a folder to keep data in")


def _setting(
    env: str,
    doc: str,
    default: Any = None,
    *,
    parse: Callable[[str], Any] = _text,
    factory: Callable[[], Any] | None = None,
    secret: bool = False,
) -> Any:
    metadata = {"env": env, "doc": doc, "parse": parse, "secret": secret}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


# Seconds, as in channels.base.REQUEST_TIMEOUT_S; a test compares them.
TIMEOUTS = (("sms", 15), ("whatsapp", 15), ("email", 60), ("telegram", 20))


def _unset(**values: str | None) -> list[str]:
    return [name for name, value in values.items() if not value]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, frozen. `load` makes one from the environment."""

    # Where things are
    redis_url: str | None = _setting(
        "REDIS_URL",
        "Redis or Valkey: `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `redis+sentinel://host:port/name`. "
        "Unset: tuma starts its own server in `TUMA_DATA_DIR`.",
        parse=_url("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel"),
        secret=True,
    )
    data_dir: Path = _setting(
        "TUMA_DATA_DIR",
        "Folder of the embedded server and its append-only file.",
        factory=_data_dir,
        parse=Path,
    )
    partitions: int | None = _setting(
        "TUMA_PARTITIONS",
        "Number of partitions, fixed at the first start and then stored. Unset: 8, on a cluster 256.",
        parse=_whole,
    )
    keep_days: int = _setting(
        "TUMA_KEEP_DAYS",
        "How long a bill and its payments are kept once it is paid, stopped or cancelled, in days, 40 or more; its "
        "shares stay 90 of them, its messages 30. It sets most of the memory of a large merchant. Not shorter than "
        "you answer customers, reconcile, or see payments come back: older money is for staff to place.",
        400,
        parse=_kept,
    )
    listen: str = _setting("TUMA_LISTEN", "Address of the HTTP server.", "127.0.0.1:8000", parse=_listen)
    public_url: str | None = _setting(
        "PUBLIC_URL",
        "Origin under which providers and customers reach this server. Unset: messages carry no links, and "
        "providers cannot call back.",
        parse=_origin,
    )
    api_keys: tuple[str, ...] = _setting(
        "TUMA_API_KEYS",
        "API keys with all scopes for a first start, 16 characters or more each, comma-separated.",
        (),
        parse=_api_keys,
        secret=True,
    )
    # The merchant
    locale: str = _setting(
        "TUMA_LOCALE",
        "Language of customers whose own is not known: `sw` or `en`.",
        "sw",
        parse=_choice("sw", "en"),
    )
    timezone: str = _setting(
        "TUMA_TIMEZONE",
        "Time zone of dates in messages and of quiet hours.",
        "Africa/Dar_es_Salaam",
        parse=_zone,
    )
    region: str = _setting(
        "TUMA_REGION",
        "Region in which phone numbers without a country code are read, in two capital letters.",
        "TZ",
        parse=_region,
    )
    merchant_name: str = _setting(
        "MERCHANT_NAME", "Name that customers know you by; it starts every SMS.", "tuma"
    )
    merchant_contact: str | None = _setting(
        "MERCHANT_CONTACT", "Phone or mail address that customers may ask; also the reply-to address of mail."
    )
    merchant_tin: str | None = _setting("MERCHANT_TIN", "Taxpayer number shown on pages and invoices.")
    merchant_colour: str = _setting(
        "MERCHANT_COLOUR",
        "Your colour on pages and invoices, as `#rrggbb`. White text must be readable on it (contrast 4.5 or more).",
        "#0b6b3a",
        parse=_colour,
    )
    merchant_logo: Path | None = _setting(
        "MERCHANT_LOGO",
        "PNG or JPEG shown on pages and invoices, 6 KB and 600 by 600 pixels at most, so that a page stays small "
        "enough for 2G.",
        parse=Path,
    )
    mpesa_business_number: str | None = _setting(
        "MPESA_BUSINESS_NUMBER",
        "Your M-Pesa business number, given by ClickPesa. Unset: M-Pesa steps are left out.",
    )
    templates: Path | None = _setting(
        "TUMA_TEMPLATES", "Your own template folder; what is there replaces what is shipped.", parse=Path
    )
    # SMS and WhatsApp
    twilio_account_sid: str | None = _setting("TWILIO_ACCOUNT_SID", "Twilio account, `AC...`.")
    twilio_auth_token: str | None = _setting(
        "TWILIO_AUTH_TOKEN", "Twilio primary auth token; callbacks are signed with it.", secret=True
    )
    twilio_sms_from: str | None = _setting("TWILIO_SMS_FROM", "SMS sender: a number or a registered name.")
    twilio_messaging_service_sid: str | None = _setting(
        "TWILIO_MESSAGING_SERVICE_SID", "Messaging Service, `MG...`, instead of `TWILIO_SMS_FROM`."
    )
    twilio_whatsapp_from: str | None = _setting(
        "TWILIO_WHATSAPP_FROM", "WhatsApp sender in E.164, without the `whatsapp:` prefix."
    )
    twilio_api_base: str = _setting(
        "TWILIO_API_BASE", "Origin of Twilio's API.", "https://api.twilio.com", parse=_url("http", "https")
    )
    whatsapp_templates: Path | None = _setting(
        "WHATSAPP_TEMPLATES",
        "TOML file that maps kind and locale to an approved ContentSid. Named but not there: WhatsApp is off.",
        parse=Path,
    )
    sms_providers: tuple[tuple[str, int], ...] = _setting(
        "SMS_PROVIDERS",
        "SMS providers in order, with weights if they share the messages: `twilio:3,africastalking:1`. Without weights "
        "the first gets all and the others step in when it fails or its receipts stay away. Unset: every provider "
        "that is set up, Twilio first.",
        (),
        parse=_weights,
    )
    africastalking_username: str | None = _setting(
        "AFRICASTALKING_USERNAME", "Application at Africa's Talking; `sandbox` in its test environment."
    )
    africastalking_api_key: str | None = _setting(
        "AFRICASTALKING_API_KEY", "API key of that application.", secret=True
    )
    africastalking_sender: str | None = _setting(
        "AFRICASTALKING_SENDER", "Sender name or short code registered there. Unset: its shared name."
    )
    africastalking_callback_token: str | None = _setting(
        "AFRICASTALKING_CALLBACK_TOKEN",
        "Its notifications are not signed, so their address must be a secret: "
        "`PUBLIC_URL/webhooks/africastalking/<this token>/delivery` for delivery reports and `.../optout`, to be set "
        "in its dashboard. 16 characters at least. Unset: neither is taken.",
        parse=_path_token,
        secret=True,
    )
    africastalking_api_base: str = _setting(
        "AFRICASTALKING_API_BASE",
        "Origin of Africa's Talking's API; its test environment is `https://api.sandbox.africastalking.com`.",
        "https://api.africastalking.com",
        parse=_url("http", "https"),
    )
    africastalking_concurrency: int = _setting(
        "AFRICASTALKING_CONCURRENCY",
        "Most requests to it at once in one process. It documents no limit; ask for yours.",
        10,
        parse=_whole,
    )
    sms_receipts: bool = _setting(
        "SMS_DELIVERY_RECEIPTS",
        "Whether your SMS route returns delivery receipts. `false`: a `first` route counts `sent` as confirmed.",
        default=True,
        parse=_flag,
    )
    sms_max_segments: int = _setting(
        "SMS_MAX_SEGMENTS",
        "Most segments a rendered SMS may have; more is a template error.",
        1,
        parse=_whole,
    )
    # Email
    smtp_url: str | None = _setting(
        "SMTP_URL",
        "Mail server: `smtp://` (no TLS), `smtps://` (TLS from the start), `smtp+starttls://` (TLS required), "
        "each as `user:password@host:port`.",
        parse=_url("smtp", "smtps", "smtp+starttls"),
        secret=True,
    )
    email_from: str | None = _setting("EMAIL_FROM", "Sender of mail, such as `Shule <bili@shule.example>`.")
    email_invoice: Literal["link", "attach", "none"] = _setting(
        "TUMA_EMAIL_INVOICE",
        "The bill as a PDF in mail: `link` to it, `attach` it (some 10 KB a mail), or `none`.",
        "link",
        parse=_choice("link", "attach", "none"),
    )
    # Telegram
    telegram_bot_token: str | None = _setting("TELEGRAM_BOT_TOKEN", "Token from @BotFather.", secret=True)
    telegram_api_base: str = _setting(
        "TELEGRAM_API_BASE", "Origin of the Bot API.", "https://api.telegram.org", parse=_url("http", "https")
    )
    telegram_staff: tuple[tuple[int, str], ...] = _setting(
        "TELEGRAM_STAFF",
        "Staff as `id:role`, comma-separated; roles are `viewer`, `operator`, `admin`.",
        (),
        parse=_roles,
    )
    telegram_updates: str = _setting(
        "TELEGRAM_UPDATES",
        "How updates arrive: `polling`, or `webhook` at `PUBLIC_URL/webhooks/telegram`.",
        "polling",
        parse=_choice("polling", "webhook"),
    )
    telegram_webhook_secret: str | None = _setting(
        "TELEGRAM_WEBHOOK_SECRET",
        "Secret that Telegram repeats with every update; required for `webhook`.",
        secret=True,
    )
    # ClickPesa
    clickpesa_client_id: str | None = _setting("CLICKPESA_CLIENT_ID", "ClickPesa application's client id.")
    clickpesa_api_key: str | None = _setting(
        "CLICKPESA_API_KEY", "ClickPesa application's API key.", secret=True
    )
    clickpesa_checksum_key: str | None = _setting(
        "CLICKPESA_CHECKSUM_KEY",
        "Checksum key. Set: every payment webhook must carry a valid checksum. Unset: a webhook is only a hint, "
        "believed when ClickPesa's own list says so.",
        secret=True,
    )
    clickpesa_api_base: str = _setting(
        "CLICKPESA_API_BASE",
        "Origin and path of ClickPesa's API.",
        "https://api.clickpesa.com/third-parties",
        parse=_url("http", "https"),
    )
    clickpesa_per_minute: int = _setting(
        "CLICKPESA_PER_MINUTE",
        "Requests a minute that ClickPesa allows, all processes together.",
        120,
        parse=_whole,
    )
    clickpesa_per_day: int | None = _setting(
        "CLICKPESA_PER_DAY",
        "Requests a day that ClickPesa allows; 100 before it has approved your account, then leave it unset.",
        parse=_whole,
    )
    create_wait_ms: int = _setting(
        "TUMA_CREATE_WAIT_MS",
        "How long bulk shares may wait for others so that up to 50 control numbers are made in one call, in ms.",
        1000,
        parse=_whole,
    )
    create_answer_ms: int = _setting(
        "TUMA_CREATE_ANSWER_MS",
        "How long `POST /v1/shares` and `POST /v1/bills` wait for a control number that is being made before they "
        "answer with the state `creating`, in ms.",
        3000,
        parse=_whole,
    )
    balance_number: str = _setting(
        "TUMA_BALANCE_NUMBER",
        "Kind of control number that the balance gets after a partial payment has closed an order number: `order`, "
        "`customer` (where name and contact are known, else order), or `off`: staff are told.",
        "order",
        parse=_choice("order", "customer", "off"),
    )
    receipt_wait_ms: int = _setting(
        "TUMA_RECEIPT_WAIT_MS",
        "How long the receipt of such a payment waits for the new number, in ms; after that it goes without, and "
        "instructions follow.",
        5000,
        parse=_whole,
    )
    failed_closes: bool = _setting(
        "CLICKPESA_FAILED_CLOSES",
        "Whether a failed attempt closes an order number at ClickPesa, as its FAQ says if taken literally: then what "
        "is owed gets a new number at once. Ask ClickPesa, or try it with your own bill.",
        False,
        parse=_flag,
    )
    on_reversal: str = _setting(
        "TUMA_ON_REVERSAL",
        "What a payment that went back after its receipt does: `hold` reminders until staff decide, or `resume` them.",
        "hold",
        parse=_choice("hold", "resume"),
    )
    clickpesa_sweep_s: int = _setting(
        "CLICKPESA_SWEEP_S",
        "How often ClickPesa's list is looked through for payments whose webhook was lost, in seconds. With "
        "`CLICKPESA_PER_DAY` it is done less often, so that it uses a quarter of the day's requests.",
        20,
        parse=_whole,
    )
    clickpesa_known_within_s: int = _setting(
        "CLICKPESA_KNOWN_WITHIN_S",
        "A reminder waits while what ClickPesa's list said is older than this, in seconds. Not without ClickPesa's "
        "credentials: then nothing is looked up and nothing waits.",
        600,
        parse=_whole,
    )
    clickpesa_offline_prefix: str | None = _setting(
        "CLICKPESA_OFFLINE_PREFIX",
        "The merchant's own BillPay number, the digits that begin an offline reference. A payment whose reference "
        "is no bill's is then tried with and without them.",
        parse=_digits,
    )
    # Pages
    embed_origins: tuple[str, ...] = _setting(
        "TUMA_EMBED_ORIGINS",
        "Sites that may show a bill in a frame or read it by script, as origins such as `https://shop.example.co.tz`, "
        "comma-separated. Unset: none.",
        (),
        parse=_origins,
    )
    proxies: int = _setting(
        "TUMA_PROXIES",
        "How many reverse proxies of yours stand before this server: who asks is then read that far from the right of "
        "`X-Forwarded-For`. 0: the connection's own address.",
        0,
        parse=_count,
    )
    # Engine
    replicas: int | None = _setting(
        "TUMA_REPLICAS",
        "How many Redis replicas must have what was accepted, paid, stopped or opted out before tuma says so. Unset: "
        "one where any is connected; `0`: none; another number: always that many, or the answer is 503.",
        parse=_count,
    )
    replica_wait_ms: int = _setting(
        "TUMA_REPLICA_WAIT_MS",
        "How long to wait for them, in ms; then the answer is 503, and repeating it is safe.",
        1000,
        parse=_whole,
    )
    start_wait_s: int = _setting(
        "TUMA_START_WAIT_S",
        "How long `tuma up` waits at its start for a Redis that does not answer, in seconds, before it ends with an "
        "error. Meanwhile `/readyz` is 503.",
        300,
        parse=_whole,
    )
    lease_ms: int = _setting(
        "TUMA_LEASE_MS",
        "Longest time between handing a message out and starting to send it, in ms.",
        2000,
        parse=_whole,
    )
    request_timeouts: tuple[tuple[str, float], ...] = _setting(
        "TUMA_REQUEST_TIMEOUTS",
        "The longest one request to a provider may take, per channel in seconds, the same for every process: "
        "a lost worker's messages are in doubt only after it. Channels that are not named keep theirs.",
        TIMEOUTS,
        parse=_timeouts,
    )
    in_doubt: tuple[tuple[str, str], ...] = _setting(
        "TUMA_IN_DOUBT",
        "What to do with a message that may have been sent, if its provider does not have it or cannot be asked: "
        "`resend` once, flagged, or `hold` for staff. A provider that can be asked, but not now, is waited for; "
        "`blind` is `resend` that does not wait. Per channel, for what asks for money; receipts and notices are "
        "`resend` unless named, such as `telegram.receipt:hold`.",
        IN_DOUBT,
        parse=_policies,
    )
    quiet_hours: tuple[time, time] | None = _setting(
        "TUMA_QUIET_HOURS",
        "Times of day between which nobody is asked for money, in `TUMA_TIMEZONE`, such as `21:00-07:00`. Receipts go "
        "out all the same, and so do instructions of a single share that was made just now, and the word that a "
        "payment failed just now. Unset: never quiet.",
        parse=_hours,
    )
    retry_first_ms: int = _setting(
        "TUMA_RETRY_FIRST_MS",
        "Wait before the second try of a send that failed for the moment, in ms; it doubles up to 15 minutes.",
        5000,
        parse=_whole,
    )
    greylist_wait_ms: int = _setting(
        "TUMA_GREYLIST_WAIT_MS",
        "Wait before the second try of a mail that may be greylisted (450 or 451 with 4.2.x, 4.7.x or no "
        "enhanced code), in ms.",
        330_000,
        parse=_whole,
    )
    in_doubt_wait_ms: int = _setting(
        "TUMA_IN_DOUBT_WAIT_MS",
        "How long to wait for a callback, and to ask the provider four times, before that policy applies, in ms.",
        60_000,
        parse=_whole,
    )
    in_doubt_fresh_ms: int = _setting(
        "TUMA_IN_DOUBT_FRESH_MS",
        "How old the provider's last answer that it does not have a message may be when that is sent again, in ms. "
        "One that waited for longer, whatever for, is asked about once more first.",
        5_000,
        parse=_whole,
    )
    early_payment_ms: int = _setting(
        "TUMA_EARLY_PAYMENT_MS",
        "How long before its share a payment on a customer number may have come and still count for it, in ms.",
        172_800_000,
        parse=_whole,
    )
    callback_secret: str | None = _setting(
        "TUMA_CALLBACK_SECRET",
        "Key that signs events to `callback_url`: `whsec_` and 16 random bytes or more in base64.",
        parse=_callback_secret,
        secret=True,
    )
    callback_private: bool = _setting(
        "TUMA_CALLBACK_PRIVATE",
        "Allow `callback_url` to point into private networks.",
        default=False,
        parse=_flag,
    )
    # Limits
    sms_rate: tuple[tuple[str, float], ...] | None = _setting(
        "SMS_RATE",
        "Segments a second of the SMS sender, all processes together: `10`, `0` for no limit, or by provider: "
        "`twilio:10,africastalking:20`. Unset: 10 at Twilio itself, what it gives a sender name (a US long code has 1, "
        "toll-free 3, a short code 10 to 100); no limit elsewhere.",
        parse=_figures(_RATE, *SMS_PROVIDERS),
    )
    whatsapp_rate: tuple[tuple[str, float], ...] | None = _setting(
        "WHATSAPP_RATE",
        "Messages a second of the WhatsApp sender, all processes together; `0` for no limit. Unset: 80 at Twilio "
        "itself, no limit elsewhere.",
        parse=_figures(_RATE),
    )
    email_rate: tuple[tuple[str, float], ...] | None = _setting(
        "EMAIL_RATE",
        "Mails a second to the mail server, all processes together. Unset or `0`: no limit; ask your mail host.",
        parse=_figures(_RATE),
    )
    telegram_rate: tuple[tuple[str, float], ...] | None = _setting(
        "TELEGRAM_RATE",
        "Messages a second of the bot, all processes together, and of one chat: `30,chat:1`; `0` for no limit. Unset: "
        "that at Telegram itself; no limit elsewhere, so set it for a Bot API server of your own.",
        parse=_figures(_RATE, "chat"),
    )
    provider_concurrency: tuple[tuple[str, float], ...] | None = _setting(
        "TUMA_CONCURRENCY",
        "Most requests at once to a provider, all processes together: `twilio:100,africastalking:20,smtp:20,telegram:8`"
        "; `0` for no limit. Unset: 100 at Twilio itself, SMS and WhatsApp together (it limits requests at once and "
        "does not say to how many: yours may bear more); no limit elsewhere but that of each process.",
        parse=_figures("a whole number, 0 for no limit,", *SMS_PROVIDERS, "smtp", "telegram", whole=True),
    )
    # Costs
    prices: tuple[tuple[str, Decimal], ...] = _setting(
        "TUMA_PRICES",
        "What sending costs, in your own currency: of one SMS segment, of one message on the other channels. The "
        "default is only a round figure; ask your provider.",
        PRICES,
        parse=_prices,
    )
    cost_cap: Decimal | None = _setting(
        "TUMA_COST_CAP",
        "Most that the messages of one bill may cost, by `TUMA_PRICES`. What would exceed it (a reminder, the next "
        "channel of a `first` route, another try of an SMS that did not arrive) is not sent, staff are told once, and "
        "channels that cost nothing go on. Instructions and receipts are always sent. Unset: no cap.",
        parse=_amount,
    )
    # Logs
    log_level: str = _setting(
        "TUMA_LOG_LEVEL",
        "Least level that is logged.",
        "info",
        parse=_choice("debug", "info", "warning", "error"),
    )
    log_format: str = _setting(
        "TUMA_LOG_FORMAT", "`json` or `console`.", "json", parse=_choice("json", "console")
    )

    @property
    def zone(self) -> ZoneInfo:
        """The merchant's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def makes_numbers(self) -> bool:
        """Whether tuma can make control numbers and tell ClickPesa of changes: it has credentials."""
        return bool(self.clickpesa_client_id and self.clickpesa_api_key)

    def payment_policy(self) -> dict[str, str]:
        """What scripts must know of the merchant's choices about money, see lua/_lib.lua."""
        successor = self.balance_number if self.makes_numbers and self.balance_number != "off" else ""
        return {
            "succ": successor,
            "sync": "1" if self.makes_numbers else "0",
            "wait": str(self.receipt_wait_ms),
            "back": self.on_reversal,
            "fail": "1" if self.failed_closes else "0",
        }

    def price(self, channel: str) -> Decimal:
        """What one SMS segment, or one message of another channel, costs."""
        return dict(self.prices)[channel]

    @property
    def sweep_every_s(self) -> int:
        """How often ClickPesa's list is looked through, in seconds."""
        a_quarter = 4 * 86_400 // self.clickpesa_per_day if self.clickpesa_per_day else 0
        return max(self.clickpesa_sweep_s, a_quarter)

    @property
    def payments_known_within_s(self) -> int | None:
        """How old what ClickPesa's list said may be for a reminder to go out; None: whatever it is."""
        if self.clickpesa_client_id is None or self.clickpesa_api_key is None:
            return None
        return max(self.clickpesa_known_within_s, 3 * self.sweep_every_s)

    @property
    def whatsapp_mapping(self) -> Path | None:
        """The file of WhatsApp's templates; None if none is named, or the one that is cannot be read."""
        file = self.whatsapp_templates
        # A folder too: docker makes one where the file to be mounted is missing.
        readable = file is not None and os.access(file, os.R_OK) and not file.is_dir()
        return file if readable else None

    @property
    def mapping_problem(self) -> str | None:
        """What is wrong with the file that WHATSAPP_TEMPLATES names; None if it can be read, or none is named."""
        if self.whatsapp_templates is None or self.whatsapp_mapping is not None:
            return None
        return f"there is no file {self.whatsapp_templates.absolute()} that can be read"

    def channels_off(self) -> dict[str, str]:
        """Channels that cannot work, and the settings that they lack or that are wrong."""
        missing = {
            "sms": [] if self.sms_route() else self.sms_lacks(self._sms_wanted()[0][0]),
            "whatsapp": [
                *self._twilio_lacks(),
                *_unset(TWILIO_WHATSAPP_FROM=self.twilio_whatsapp_from),
                *(["WHATSAPP_TEMPLATES"] if self.mapping_problem else []),
            ],
            "email": _unset(SMTP_URL=self.smtp_url, EMAIL_FROM=self.email_from),
            "telegram": _unset(TELEGRAM_BOT_TOKEN=self.telegram_bot_token),
        }
        return {channel: ", ".join(names) for channel, names in missing.items() if names}

    def sms_route(self) -> tuple[tuple[str, int], ...]:
        """The SMS providers that can work, in order, with their weights; 0 stands by."""
        able = [(name, weight) for name, weight in self._sms_wanted() if not self.sms_lacks(name)]
        if able and not any(weight for _, weight in able):
            able[0] = (able[0][0], 1)
        return tuple(able)

    def sms_lacks(self, provider: str) -> list[str]:
        """The settings that an SMS provider lacks."""
        if provider == "twilio":
            sender = self.twilio_sms_from or self.twilio_messaging_service_sid
            return [*self._twilio_lacks(), *_unset(TWILIO_SMS_FROM=sender)]
        return _unset(
            AFRICASTALKING_USERNAME=self.africastalking_username,
            AFRICASTALKING_API_KEY=self.africastalking_api_key,
        )

    def _sms_wanted(self) -> tuple[tuple[str, int], ...]:
        return self.sms_providers or _weights(",".join(SMS_PROVIDERS))

    def _twilio_lacks(self) -> list[str]:
        return _unset(TWILIO_ACCOUNT_SID=self.twilio_account_sid, TWILIO_AUTH_TOKEN=self.twilio_auth_token)

    def request_timeout_s(self, channel: str) -> float:
        """The longest one request over `channel` may take, in seconds."""
        return float({**dict(TIMEOUTS), **dict(self.request_timeouts)}[channel])

    def in_doubt_policies(self) -> dict[str, str]:
        """What to do with a message that may have been sent, by `channel.kind`: resend, hold or blind."""
        given = {**dict(IN_DOUBT), **dict(self.in_doubt)}
        return {
            f"{channel}.{kind}": given.get(f"{channel}.{kind}", given[channel] if asks else "resend")
            for channel, _ in IN_DOUBT
            for kind, asks in KINDS.items()
        }


def load(env: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read settings: the environment first, then `dotenv` if that file exists.

    Empty values count as unset. Raises ConfigError naming the variable and what would be right.
    """
    values: dict[str, str | None] = {}
    if dotenv is not None and dotenv.is_file():
        values.update(_read_dotenv(dotenv))
    values.update(os.environ if env is None else env)
    given: dict[str, Any] = {}
    for setting in fields(Settings):
        name = setting.metadata["env"]
        raw = values.get(name)
        if not raw:
            continue
        try:
            given[setting.name] = setting.metadata["parse"](raw.strip())
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    _check_data_dir(given)
    return Settings(**given)


def _read_dotenv(file: Path) -> dict[str, str | None]:
    """The values of a `.env` file. Raises ConfigError naming the line that is none, never what it holds."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text") from error
    ours = {setting.metadata["env"] for setting in fields(Settings)}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key in ours and binding.value is None):
            whole = binding.original.string
            line = binding.original.line + whole[: len(whole) - len(whole.lstrip())].count("\n")
            raise ConfigError(f"{file}, line {line}: expected NAME=value")
    return dotenv_values(stream=io.StringIO(text))
