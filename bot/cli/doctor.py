"""`tuma doctor`: what is on, what is missing and how to get it, and whether it can be reached."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from bot.cli import advice, runtime
from bot.cli.output import FAILED, JsonFlag, emit, say
from bot.cli.rates import in_force
from bot.errors import TumaError
from channels.name import ChannelName

if TYPE_CHECKING:
    from datetime import datetime

    from bot.engine.control import Pause
    from bot.engine.durability import Durability
    from bot.engine.ledger import LedgerReport
    from bot.settings import Settings
    from channels.base import Probe

_TIMEOUT_S = 15.0
_SHOWN_FINDINGS = 5


class State(StrEnum):
    """How a part is. Only `fail` makes the command fail: what is off is off on purpose, until it is set up."""

    OK = "ok"
    OFF = "off"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one part: `missing` names settings, `how` says what to do.

    `url` is where Redis is, without its password; None for every other part. `rates` says how fast a channel that is on
    may send, and whose figure that is.
    """

    name: str
    state: State
    detail: str
    missing: list[str] = []
    how: list[str] = []
    url: str | None = None
    rates: list[str] = []


def doctor_command(
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Also add up every message and every bill.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what is on, what is missing, and how to get it.

    Tests that every provider can be reached with its credentials, and that Redis keeps what it took. Sends nothing.
    """
    import asyncio

    settings = runtime.settings()
    runtime.quiet_logs(settings)
    checks, report = asyncio.run(_examine(settings, ledger))
    well = all(check.state is not State.FAIL for check in checks)
    if as_json:
        emit({"ok": well, "checks": checks, "ledger": report})
    else:
        _print(checks, report)
    if not well:
        raise typer.Exit(FAILED)


async def _examine(settings: Settings, ledger: bool) -> tuple[list[Check], LedgerReport | None]:
    # Redis first: channels load their libraries, seconds on a busy machine in which no answer of Redis is read.
    import asyncio

    store = await _store(settings, ledger)
    channels, clickpesa, public = await asyncio.gather(
        _channels(settings), _clickpesa(settings), _public_url(settings)
    )
    channels = [_paused(_with_rates(check, settings), store.paused.get(check.name)) for check in channels]
    templates = await asyncio.to_thread(_templates, settings)
    return [
        *store.checks,
        *channels,
        clickpesa,
        public,
        _callbacks(settings),
        *_merchant(settings),
        *_proxies(settings),
        templates,
    ], store.report


# ----------------------------------------------------------------------------- Redis


@dataclass(frozen=True, slots=True)
class _Store:
    """What Redis said of itself, and what only Redis knows."""

    checks: list[Check]
    report: LedgerReport | None = None
    paused: Mapping[str, Pause] = field(default_factory=dict)


async def _store(settings: Settings, ledger: bool) -> _Store:
    from bot.engine.durability import inspect

    try:
        async with runtime.open_engine(settings) as engine:
            url = without_password(engine.server.url if engine.server else settings.redis_url or "")
            found, paused = await inspect(engine.records), await engine.channels.paused()
            report = await engine.ledger.check() if ledger else None
            known = _payments_known(settings, await engine.sweeps.known_until(), engine.sweeps.now())
    except TumaError as error:
        how = ["REDIS_URL: check it, or leave it unset to use tuma's own server"]
        return _Store([Check(name="redis", state=State.FAIL, detail=str(error), how=how)])
    checks = [_redis(found, settings, url), *known]
    return _Store(checks if report is None else [*checks, _ledger(report)], report, paused)


def without_password(url: str) -> str:
    """A Redis URL without user and password, wherever they stand in it."""
    bare = re.sub(r"^([a-z+]+://)[^/?#]*@", r"\1", url, flags=re.IGNORECASE)
    start, _, query = bare.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith(("password=", "username="))]
    return f"{start}?{'&'.join(kept)}" if kept else start


def _redis(found: Durability, settings: Settings, url: str) -> Check:
    state = State.FAIL if found.losses else State.WARN if found.doubts else State.OK
    where = "your own" if settings.redis_url else f"tuma's own, in {settings.data_dir}"
    detail = "; ".join([f"{found.server}, {where}", *found.losses, *found.doubts])
    return Check(name="redis", state=state, detail=detail, url=url)


def _payments_known(settings: Settings, known: datetime | None, now: datetime) -> list[Check]:
    """Whether lost webhooks are being looked for; without ClickPesa's credentials its own check says so."""
    within_s = settings.payments_known_within_s
    if within_s is None:
        return []
    age_s = None if known is None else max(int((now - known).total_seconds()), 0)
    if age_s is not None and age_s <= within_s:
        return [
            Check(name="payments", state=State.OK, detail=f"ClickPesa's list is known up to {age_s} s ago")
        ]
    when = "was never looked through" if known is None else f"is known only up to {known:%Y-%m-%d %H:%M} UTC"
    detail = f"ClickPesa's list {when}: reminders wait, so that nobody who has paid is reminded"
    how = ["`tuma up` (role scheduler) looks it through; its log says what stands in the way"]
    return [Check(name="payments", state=State.WARN, detail=detail, how=how)]


def _ledger(report: LedgerReport) -> Check:
    stats = report.stats
    detail = (
        f"{stats.created} messages, {sum(stats.done.values())} done, {stats.open_bills} open bills, "
        f"{stats.inbox} in the inbox"
    )
    if report.ok:
        return Check(name="ledger", state=State.OK, detail=f"the books add up: {detail}")
    return Check(name="ledger", state=State.FAIL, detail="; ".join([detail, *report.differences]))


# ----------------------------------------------------------------------------- providers


async def _channels(settings: Settings) -> list[Check]:
    import asyncio

    off = settings.channels_off()
    names = [name for name in ChannelName if name not in off]
    probes = await asyncio.gather(*(_probe(name, settings) for name in names))
    found = dict(zip(names, probes, strict=True))
    return [_channel(name, off, found.get(name), settings) for name in ChannelName]


async def _probe(name: ChannelName, settings: Settings) -> Probe:
    from bot.app import open_channels
    from channels.base import Probe

    try:
        async with open_channels(settings, [name]) as channels:
            return await _within(channels[name].probe())
    except TumaError as error:  # settings that are there, but cannot be right
        return Probe(False, str(error))


async def _within(probe: Awaitable[Probe]) -> Probe:
    import asyncio

    from channels.base import Probe

    try:
        return await asyncio.wait_for(probe, _TIMEOUT_S)
    except TimeoutError:
        return Probe(False, f"no answer within {_TIMEOUT_S:.0f} s", ("check the network and the address",))


def _channel(name: ChannelName, off: Mapping[str, str], probe: Probe | None, settings: Settings) -> Check:
    how = list(advice.CHANNEL[name])
    if off.get(name) == "WHATSAPP_TEMPLATES":  # named, so not off on purpose
        detail = f"off: WHATSAPP_TEMPLATES: {settings.mapping_problem}"
        return Check(name=name, state=State.FAIL, detail=detail, how=how[-1:])
    if name in off or probe is None:
        missing = off.get(name, "").split(", ")
        return Check(name=name, state=State.OFF, detail="not set up", missing=missing, how=how)
    if name is ChannelName.WHATSAPP and settings.whatsapp_templates is None and probe.ok:
        detail = f"{probe.detail}; no approved templates are named"
        return Check(name=name, state=State.WARN, detail=detail, missing=["WHATSAPP_TEMPLATES"], how=how[-1:])
    return _probed(name, probe)


def _with_rates(check: Check, settings: Settings) -> Check:
    if check.state is State.OFF:
        return check
    return msgspec.structs.replace(check, rates=list(in_force(check.name, settings)))


def _paused(check: Check, pause: Pause | None) -> Check:
    if pause is None or check.state is State.OFF:
        return check
    detail = f"paused by {pause.by}: {pause.reason}; {check.detail}"
    how = [f"`tuma channel resume {check.name}` sends what waits", *check.how]
    state = State.FAIL if check.state is State.FAIL else State.WARN
    return msgspec.structs.replace(check, state=state, detail=detail, how=how)


def _probed(name: str, probe: Probe) -> Check:
    state = State.OK if probe.ok else State.FAIL
    return Check(name=name, state=state, detail=probe.detail, how=list(probe.hints))


async def _clickpesa(settings: Settings) -> Check:
    from bot.app import clickpesa

    client = clickpesa(None, settings)
    if client is None:
        missing = ["CLICKPESA_CLIENT_ID", "CLICKPESA_API_KEY"]
        detail = "not set up: payments are told by webhooks alone; lost ones are not looked for, and no reminder waits"
        how = [*advice.CLICKPESA, *_webhook_advice(settings)]
        return Check(name="clickpesa", state=State.OFF, detail=detail, missing=missing, how=how)
    try:
        probe = await _within(client.probe())
    finally:
        await client.close()
    if probe.ok and settings.clickpesa_checksum_key is None:
        detail = (
            f"{probe.detail}; without a checksum key a webhook is only a hint, believed when the list says so"
        )
        return Check(
            name="clickpesa",
            state=State.WARN,
            detail=detail,
            missing=["CLICKPESA_CHECKSUM_KEY"],
            how=_webhook_advice(settings),
        )
    return _probed("clickpesa", probe)


def _webhook_advice(settings: Settings) -> list[str]:
    keyed = [] if settings.clickpesa_checksum_key else [advice.CHECKSUM]
    return [*keyed, advice.WEBHOOK.format(url=settings.public_url or "PUBLIC_URL")]


async def _public_url(settings: Settings) -> Check:
    url = settings.public_url
    if url is None:
        detail = "not set: messages carry no links, and providers cannot call back"
        return Check(
            name="public_url",
            state=State.WARN,
            detail=detail,
            missing=["PUBLIC_URL"],
            how=[advice.PUBLIC_URL],
        )
    found = await _get(f"{url}/healthz")
    if not found.ok:
        how = ["start tuma with `tuma up`, and check that this address leads to TUMA_LISTEN"]
        return Check(name="public_url", state=State.WARN, detail=f"{url}: {found.detail}", how=how)
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        return Check(
            name="public_url", state=State.WARN, detail=f"{url} is not https", how=[advice.PUBLIC_URL]
        )
    return Check(name="public_url", state=State.OK, detail=f"{url} answers")


def _proxies(settings: Settings) -> list[Check]:
    """Tuma itself speaks plain HTTP: at an https address, something of the merchant's stands before it."""
    if settings.proxies or not (settings.public_url or "").startswith("https://"):
        return []
    detail = "PUBLIC_URL is https, so a proxy stands before tuma, but TUMA_PROXIES is 0: /check takes all for one asker"
    how = ["TUMA_PROXIES: how many of your proxies add to X-Forwarded-For, most often 1"]
    return [Check(name="proxies", state=State.WARN, detail=detail, missing=["TUMA_PROXIES"], how=how)]


def _merchant(settings: Settings) -> list[Check]:
    if settings.merchant_name != type(settings).merchant_name:
        return []
    detail = f"MERCHANT_NAME is not set: SMS begin with `{settings.merchant_name}:`, which no customer knows"
    how = ["MERCHANT_NAME: the name that customers know you by"]
    return [Check(name="merchant", state=State.WARN, detail=detail, missing=["MERCHANT_NAME"], how=how)]


def _callbacks(settings: Settings) -> Check:
    if settings.callback_secret is not None:
        return Check(name="callbacks", state=State.OK, detail="events to callback_url are signed")
    detail = "off: no event goes to a share's callback_url"
    missing, how = ["TUMA_CALLBACK_SECRET"], [advice.SIGNING]
    return Check(name="callbacks", state=State.OFF, detail=detail, missing=missing, how=how)


async def _get(url: str) -> Probe:
    import httpx

    from channels.base import Probe

    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            reply = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Probe(False, f"does not answer from here ({type(error).__name__})")
    return Probe(reply.is_success, f"answers {reply.status_code}")


# ----------------------------------------------------------------------------- templates


def _templates(settings: Settings) -> Check:
    from bot.app import renderer

    try:
        findings = [str(finding) for finding in renderer(settings).check()]
    except TumaError as error:
        findings = [str(error)]
    if not findings:
        return Check(name="templates", state=State.OK, detail="in order")
    detail = "; ".join(findings[:_SHOWN_FINDINGS])
    how = ["`tuma template check` lists everything"]
    return Check(name="templates", state=State.FAIL, detail=f"{len(findings)} finding(s): {detail}", how=how)


def _print(checks: Iterable[Check], report: LedgerReport | None) -> None:
    for check in checks:
        say(f"{check.state.upper():<4}  {check.name:<10}  {check.detail}")
        if check.url:
            say(f"{'':18}{check.url}")
        for line in check.rates:
            say(f"{'':18}{line}")
        if check.missing:
            say(f"{'':18}missing: {', '.join(check.missing)}")
        for line in check.how:
            say(f"{'':18}{line}")
    if report is not None:
        say("")
        for name, value in msgspec.to_builtins(report.stats).items():
            say(f"{'':6}{name:<18}  {value}")
