"""One run: everything is started, a storm goes over it, it becomes calm, and all comes to rest."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bot.engine import keys
from bot.engine.engine import Engine
from bot.errors import StoreUnavailable
from bot.settings import Settings, load
from tests.chaos import city, evidence, machines
from tests.chaos.feeder import Feeder
from tests.chaos.judge import Judge, Judgement
from tests.chaos.machines import CityProcess, Machines
from tests.chaos.plan import CHANNELS, Plan
from tests.chaos.probe import Probe
from tests.chaos.reaper import Reaper, Struck
from tests.chaos.stores import Store, start

_KEY = "chaos-key-0123456789abcdef"
_READY_S = 150.0
_AHEAD_MS = 60_000
# What a merchant could set too. Shorter than the defaults, so that what takes hours in life takes seconds here.
TUNED = {
    "TUMA_REQUEST_TIMEOUTS": "sms:2,whatsapp:2,email:2,telegram:2",
    "TUMA_RETRY_FIRST_MS": "500",
    "TUMA_GREYLIST_WAIT_MS": "3000",
}
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. Times in seconds; `ledger` is what `tuma doctor --ledger` found, `ok` if it adds up."""

    plan: Plan
    began: datetime
    settings: Settings
    judgement: Judgement
    struck: list[Struck]
    ledger: str
    stuck: str | None
    exits: Counter[str]
    stopped_badly: list[str]
    pauses: Counter[str]
    answers: Counter[str]
    faults: dict[str, dict[str, int]]
    payments: int
    lag_ms: int
    storm_s: float
    calm_s: float
    tuned: Mapping[str, str]
    longest_knock_s: float
    evidence: evidence.Evidence

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        whole = self.judgement.clean and self.ledger == "ok" and self.stuck is None
        return whole and not self.stopped_badly


async def run(plan: Plan, folder: Path, tell: Tell) -> Outcome:
    """Make one run, with its logs and data in `folder`."""
    server = start(plan.scale.store, folder, guarded=plan.scale.guarded)
    try:
        tuma = f"http://127.0.0.1:{_free_port()}"
        spec = city.Spec(plan.seed, plan.scale, tuma, str(folder / "records.json"))
        outside = await CityProcess.start(spec, folder)
        try:
            return await _storm(plan, folder, server, outside, spec, tell)
        finally:
            await outside.stop()
    finally:
        server.kill()


async def _storm(
    plan: Plan, folder: Path, server: Store, outside: CityProcess, spec: city.Spec, tell: Tell
) -> Outcome:
    tuned = TUNED | {"TUMA_IN_DOUBT_WAIT_MS": str(int(plan.scale.doubt_s * 1000))}
    tuned |= server.settings
    env = machines.plain_env() | _settings_env(outside, server, spec.tuma) | tuned
    settings = load(env, dotenv=None)
    tuma = Machines(env, folder / "logs")
    probe = Probe(outside.twilio)
    async with tuma.running(), probe.knocking():
        await tuma.ready(_READY_S)
        began_at, began = datetime.now(UTC), time.monotonic()
        tell(f"storm: {plan.scale.shares} bills, {len(plan.strikes)} strikes, seed {plan.seed}")
        outside.begin()
        feeder = Feeder(plan, spec.tuma, _KEY, server, began_at)
        reaper = Reaper(tuma, server)
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(_tell_progress(outside, reaper, began, tell))
            await asyncio.gather(feeder.run(began), reaper.run(list(plan.strikes), began))
            telling.cancel()
        storm_s = time.monotonic() - began
        engine = await Engine.open(settings)
        try:
            tell(f"calm after {storm_s:.0f} s")
            await _clear_faults(outside)
            calm = Calm(engine, outside, plan.scale.calm_s, tell)
            stuck = await calm.come()
            ledger = await _ledger(env, folder)
            calm_s = time.monotonic() - began - storm_s
        except BaseException:
            await engine.close()
            raise
    await outside.stop()
    records = city.read(Path(spec.records))
    found = await evidence.gather(engine, plan.customers, records)
    await engine.close()
    frozen = frozenset(name for each in reaper.struck for name in each.held)
    lease = timedelta(milliseconds=settings.lease_ms)
    request = {name: timedelta(seconds=settings.request_timeout_s(name)) for name in CHANNELS}
    died = [
        # With guarded servers a primary that comes back writes nothing until it has a replica, or is one.
        (each.at, each.at if plan.scale.guarded else each.at + timedelta(seconds=each.lasted_s))
        for each in reaper.struck
        if each.what == "outage" and server.replicas
    ]
    judgement = Judge(found, frozen, lease, request, probe.held, died).judgement()
    return Outcome(
        plan=plan,
        began=began_at,
        settings=settings,
        judgement=judgement,
        struck=sorted(reaper.struck, key=lambda each: each.at),
        ledger=ledger,
        stuck=stuck,
        exits=tuma.exits(),
        stopped_badly=tuma.stopped_badly(),
        pauses=calm.pauses,
        answers=feeder.tries,
        faults=records.faults,
        payments=len(records.payments),
        lag_ms=outside.worst_lag_ms,
        storm_s=storm_s,
        calm_s=calm_s,
        tuned=tuned,
        longest_knock_s=probe.longest_s,
        evidence=found,
    )


def _settings_env(outside: CityProcess, server: Store, tuma: str) -> dict[str, str]:
    return outside.env | {
        "REDIS_URL": server.url,
        "TUMA_LISTEN": tuma.removeprefix("http://"),
        "PUBLIC_URL": tuma,
        "TUMA_API_KEYS": _KEY,
        "TELEGRAM_STAFF": f"{city.STAFF_CHAT}:admin",
        "MERCHANT_NAME": "Shule ya Chaos",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _tell_progress(outside: CityProcess, reaper: Reaper, began: float, tell: Tell) -> None:
    while True:
        await asyncio.sleep(10)
        now = outside.progress
        tell(
            f"{time.monotonic() - began:4.0f} s: {now.taken} taken, {now.payments} payments, "
            f"{len(reaper.struck)} strikes, sandbox {now.lag_ms} ms late"
        )


async def _clear_faults(outside: CityProcess) -> None:
    clear = f"{outside.page}/api/faults/clear"
    async with aiohttp.ClientSession() as http, http.post(clear, json={}) as answer:
        answer.raise_for_status()


@dataclass(slots=True)
class Calm:
    """Waiting until nothing moves any more. `pauses`: channels that tuma had paused, resumed as staff would."""

    engine: Engine
    outside: CityProcess
    patience_s: float
    tell: Tell
    pauses: Counter[str] = field(default_factory=Counter)

    async def come(self) -> str | None:
        """None when all came to rest; what still moved when patience ended."""
        until, told = time.monotonic() + self.patience_s, 0.0
        moving: str | None = "everything"
        while moving and time.monotonic() < until:
            try:
                moving = await self._moving()
            except StoreUnavailable as error:
                moving = str(error)
            if moving and time.monotonic() > told + 10:
                told = time.monotonic()
                self.tell(f"waiting for {moving}")
            await asyncio.sleep(0.5)
        return moving

    async def _moving(self) -> str | None:
        for channel in await self.engine.channels.paused():
            self.pauses[channel] += 1
            await self.engine.channels.resume(channel, by="cli")
        stats, due = await self.engine.ledger.stats(), await self._due()
        now = self.outside.progress
        parts = {
            "inbox entries": stats.inbox,
            "scheduled": stats.scheduled,
            "queued": stats.queued,
            "handed out": stats.handed_out,
            "timers": due,
            "webhooks not answered": now.untold,
            "statuses to come": now.busy,
        }
        return ", ".join(f"{count} {name}" for name, count in parts.items() if count) or None

    async def _due(self) -> int:
        """Timers of the next minute."""
        soon = int(time.time() * 1000) + _AHEAD_MS
        names = [f"{keys.prefix(p)}timers" for p in range(self.engine.partitions)]
        return sum([await self.engine.records.client.zcount(name, "-inf", soon) for name in names])


async def _ledger(env: Mapping[str, str], folder: Path) -> str:
    """What `tuma doctor --ledger` says of the books."""
    process = await asyncio.create_subprocess_exec(
        *(machines.TUMA, "doctor", "--ledger", "--json"),
        env=env,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if not out:
        return f"tuma doctor said nothing: {err.decode()[-300:]}"
    found = json.loads(out)
    report: dict[str, Any] = found["ledger"] or {
        "differences": [f"no ledger: {found['checks'][0]['detail']}"]
    }
    if report.get("ok") and not report.get("moving"):
        return "ok"
    return "; ".join([*report.get("differences", []), *map(str, report.get("moving", []))])
