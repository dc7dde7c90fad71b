"""How quickly tuma is there, and what it holds and burns with nothing to do.

`python -m benchmarks.start [SECONDS]` prints one JSON object: CPU and wall seconds of `tuma --help`, and of
`tuma up --roles worker` with SMS alone until its first message is sent; whether that process has imported aiogram; and
over SECONDS (default 20) of rest the part of a core that it and `tuma up` with all roles use, and their memory in MB.
Bytecode is kept, as in an installation. CPU times bear a busy machine, wall times do not.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time

import msgspec
from redis import Redis

from benchmarks.drain import environment, fill, sent
from benchmarks.places import cpu_s, folder, free_port, resident_mb, running, sink, valkey

_SETTLED_S, _LONGEST_S = 5.0, 60.0


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The whole measurement; seconds, MB, and parts of a core."""

    help_cpu_s: float
    help_s: float
    worker_cpu_s: float
    worker_s: float
    aiogram: bool
    worker_mb: float
    worker_idle: float
    all_mb: float
    all_idle: float


def helping(rounds: int = 5) -> tuple[float, float]:
    """CPU and wall seconds of `tuma --help`, the best of some."""
    found = []
    for _ in range(rounds):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "bot", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((cpu, time.perf_counter() - began))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def idle(pid: int, seconds: float) -> float:
    """The part of a core a process uses that has settled."""
    time.sleep(_SETTLED_S)
    before, began = cpu_s(pid), time.perf_counter()
    time.sleep(seconds)
    return (cpu_s(pid) - before) / (time.perf_counter() - began)


def _imports_aiogram() -> bool:
    """Whether what such a process is made of imports it."""
    code = "import bot.app, bot.engine.worker, channels.sms, sys; print('aiogram' in sys.modules)"
    return (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        != "False\n"
    )


def measure(seconds: float) -> Started:
    """Measure everything."""
    help_cpu, help_wall = helping()
    with sink() as base, valkey() as (url, _):
        asyncio.run(fill(url, base, 1))
        worker = ("-m", "bot", "up", "--roles", "worker", "--channels", "sms")
        with Redis.from_url(url) as redis, running(*worker, environment=environment(url, base)) as process:
            began = time.perf_counter()
            while sent(redis, 8) < 1:
                if time.perf_counter() - began > _LONGEST_S:
                    raise TimeoutError("the worker did not start")
                time.sleep(0.005)
            worker_wall, worker_cpu = time.perf_counter() - began, cpu_s(process.pid)
            aiogram, worker_idle = _imports_aiogram(), idle(process.pid, seconds)
            worker_mb = resident_mb(process.pid)
    with sink() as base, folder() as here:
        every = environment("", base) | {
            "TUMA_DATA_DIR": str(here),
            "TUMA_LISTEN": f"127.0.0.1:{free_port()}",
        }
        del every["REDIS_URL"]
        with running("-m", "bot", "up", environment=every) as process:
            all_idle, all_mb = idle(process.pid, seconds), resident_mb(process.pid)
    return Started(
        help_cpu_s=round(help_cpu, 3),
        help_s=round(help_wall, 3),
        worker_cpu_s=round(worker_cpu, 2),
        worker_s=round(worker_wall, 2),
        aiogram=aiogram,
        worker_mb=round(worker_mb, 1),
        worker_idle=round(worker_idle, 4),
        all_mb=round(all_mb, 1),
        all_idle=round(all_idle, 4),
    )


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    helping(1)
    print(msgspec.json.encode(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)).decode())
