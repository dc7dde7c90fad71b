"""Task queues that a user would otherwise pick, doing the same work: read, render, post, record, acknowledge.

Each lives in an environment of its own beside tuma's, made at the first run, so that none limits what another or tuma
may depend on. They run at concurrency 50 with what their documentation offers for speed: uvloop, hiredis, no results
kept.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from redis import Redis

from benchmarks.places import cpu_s, started, valkey

HERE = Path(__file__).parent
_HOME = Path(sys.prefix) / "peers"
_WORK = ("aiohttp", "minijinja", "msgspec", "uvloop", "hiredis")
_SHOW = "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"


class Peer(msgspec.Struct, frozen=True):
    """What to install, and how its worker starts."""

    packages: tuple[str, ...]
    worker: str


PEERS: Mapping[str, Peer] = {
    "taskiq": Peer(
        ("taskiq", "taskiq-redis"),
        "-m taskiq worker with_taskiq:broker --workers 1 --max-async-tasks 50 --log-level ERROR",
    ),
    "arq": Peer(("arq",), "with_arq.py"),
    "saq": Peer(("saq", "redis"), "with_saq.py"),
}


class PeerDrained(msgspec.Struct, frozen=True):
    """One measurement: rate in messages/s, CPU in ms per message of the worker and of the server."""

    rate: float
    cpu_ms: float
    server_cpu_ms: float


def python(name: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there. Raises CalledProcessError."""
    home = _HOME / name
    program = home / "bin" / "python"
    if not (home / "made").exists():
        uv = str(Path(sys.prefix) / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(program)]
        subprocess.run([*install, *PEERS[name].packages, *_WORK], check=True)
        (home / "made").touch()
    return program


def version(name: str) -> str:
    """Names and versions of the peer's packages."""
    command = [str(python(name)), "-c", _SHOW, *PEERS[name].packages]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def drain(name: str, base: str, messages: int, fsync: str = "always") -> PeerDrained:
    """Queue messages, start one worker, and time it from a tenth to the last of them."""
    program = python(name)
    with valkey(fsync) as (url, server), Redis.from_url(url) as redis:
        environment = {"PEER_REDIS": url, "PEER_SINK": base}
        with started([str(program), f"with_{name}.py", str(messages)], environment, cwd=HERE) as filling:
            if filling.wait():
                raise RuntimeError(f"the messages for {name} could not be queued")
        with started([str(program), *PEERS[name].worker.split()], environment, cwd=HERE) as process:
            pid = process.pid
            warm = _reach(redis, messages // 10)
            before = time.perf_counter(), _family_cpu_s(pid), cpu_s(server)
            end = _reach(redis, messages)
            seconds = time.perf_counter() - before[0]
            count = end - warm
            return PeerDrained(
                count / seconds,
                (_family_cpu_s(pid) - before[1]) * 1000 / count,
                (cpu_s(server) - before[2]) * 1000 / count,
            )


def _family_cpu_s(pid: int) -> float:
    """CPU time of a process and of all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_s(pid) + sum(_family_cpu_s(int(child)) for child in children)


def _reach(redis: Redis, count: int) -> int:
    deadline = time.monotonic() + 600
    while (now := int(redis.get("sent") or 0)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now} of {count} messages were sent")
        time.sleep(0.01)
    return now
