"""The city and the processes of every role: started, struck, and started again whenever they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.chaos.city import Progress, Spec
from tests.chaos.plan import PROCESSES

TUMA = str(Path(sys.executable).with_name("tuma"))
_STOP_S = 60.0


@dataclass(slots=True)
class Machine:
    """One tuma process by its name in the plan. `ended`: when it ended by itself, and with which code."""

    name: str
    env: Mapping[str, str]
    logs: Path
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    stopping: bool = False
    struck: bool = False
    ended: list[tuple[float, int]] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    async def live(self) -> None:
        """Run it, again and again until `stop`."""
        while not self.stopping:
            self.process = await self._start()
            code = await self.process.wait()
            if not (self.struck or self.stopping):
                self.ended.append((time.time(), code))
                await asyncio.sleep(0.5)
            self.struck = False

    async def _start(self) -> asyncio.subprocess.Process:
        roles, channels = PROCESSES[self.name]
        self.starts += 1
        only = ["--channels", channels] if channels else []
        with (self.logs / f"{self.name}.{self.starts:03d}.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                TUMA, "up", "--roles", roles, *only, env=self.env, cwd=self.logs, stdout=log, stderr=log
            )

    def plays(self) -> bool:
        """Whether its last process has come as far as to play its roles."""
        log = self.logs / f"{self.name}.{self.starts:03d}.log"
        return log.is_file() and b"roles_play" in log.read_bytes()

    async def kill(self) -> bool:
        """SIGKILL; False if it was not running."""
        if self.pid is None or self.process is None:
            return False
        self.struck = True
        self.process.kill()
        await self.process.wait()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.pid is not None and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Machines:
    """All of them."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.all = {name: Machine(name, env, logs) for name in PROCESSES}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything runs inside the block, and is asked to end after it, and made to if it does not."""
        lives = [asyncio.create_task(machine.live()) for machine in self.all.values()]
        try:
            yield
        finally:
            for machine in self.all.values():
                machine.stopping = True
                machine.signal(signal.SIGCONT)
                machine.signal(signal.SIGTERM)
            _, late = await asyncio.wait(lives, timeout=_STOP_S)
            for machine in self.all.values():
                machine.signal(signal.SIGKILL)
            await asyncio.gather(*late)

    async def ready(self, within_s: float) -> None:
        """Wait until every process says that its roles play. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not all(machine.plays() for machine in self.all.values()):
                await asyncio.sleep(0.2)

    def stopped_badly(self) -> list[str]:
        """Processes that did not end well when they were asked to."""
        codes = {name: each.process.returncode for name, each in self.all.items() if each.process}
        return [f"{name} with code {code}" for name, code in codes.items() if code != 0]

    def exits(self) -> Counter[str]:
        """How often a process ended by itself, by name and exit code."""
        return Counter(
            f"{name} with code {code}" for name, machine in self.all.items() for _, code in machine.ended
        )


class CityProcess:
    """The sandbox and its customers, in their own process."""

    def __init__(self, process: asyncio.subprocess.Process, spec: Spec, facts: Mapping[str, object]) -> None:
        self._process, self._spec = process, spec
        self.env: dict[str, str] = msgspec.convert(facts["env"], dict[str, str])
        self.page, self.twilio = str(facts["page"]), str(facts["twilio"])
        self.progress = Progress(0, 0, 0, 0, 0)
        self.worst_lag_ms = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, spec: Spec, folder: Path) -> CityProcess:
        """Start it; its servers listen when this returns."""
        told = folder / "city.json"
        told.write_bytes(msgspec.json.encode(spec))
        with (folder / "city.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.city", str(told)),
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=log,
                limit=2**20,
            )
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox did not start: see {folder / 'city.log'}")
        return cls(process, spec, msgspec.json.decode(line))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.progress = msgspec.json.decode(line, type=Progress)
            self.worst_lag_ms = max(self.worst_lag_ms, self.progress.lag_ms)

    def begin(self) -> None:
        """The customers' time starts now."""
        self._process.send_signal(signal.SIGUSR1)

    async def stop(self) -> None:
        """End it; its records are written when this returns."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        await self._reading


def plain_env() -> dict[str, str]:
    """What a process needs of ours, and none of the settings that whoever runs this may have."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
