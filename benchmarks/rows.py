"""Rows of a file that are read, validated and durable: `tuma share FILE` with NDJSON, by two processes with half each.

`python -m benchmarks.rows [ROWS]` prints one JSON object. The rate counts whole commands, from start to exit.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
from redis import Redis

from benchmarks.drain import environment
from benchmarks.places import cpu_s, folder, valkey

PROCESSES = 2


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` rows a second; CPU of the server in ms for each row."""

    rows: int
    seconds: float
    rate: float
    server_cpu_ms: float


def row(n: int) -> dict[str, object]:
    """A line of the file, with reminders."""
    return {
        "id": f"row-{n}",
        "bill": {
            "number": f"{77_042_914_870_000 + n}",
            "amount": "45000",
            "description": "Ada ya muhula wa 2",
            "due_at": "2030-12-01T09:00:00+03:00",
        },
        "customer": {"name": f"Asha Juma {n}", "phone": f"+25577{n % 10_000_000:07}", "locale": "sw"},
        "route": {"channels": ["sms"]},
        "reminders": {"before_due": ["P3D"], "after_due": ["P1D", "P3D"]},
        "lane": "bulk",
    }


def write(path: Path, first: int, count: int) -> Path:
    """A file of so many rows."""
    path.write_bytes(b"".join(msgspec.json.encode(row(n)) + b"\n" for n in range(first, first + count)))
    return path


def measure(rows: int) -> Taken:
    """Two halves at once."""
    half = rows // PROCESSES
    with valkey() as (url, server), folder() as here:
        files = [write(here / f"{n}.ndjson", n * half, half) for n in range(PROCESSES)]
        full = environment(url, "http://127.0.0.1:9") | {"PATH": "/usr/bin:/bin", "HOME": str(here)}
        before, begun = cpu_s(server), time.perf_counter()
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "bot", "share", str(file), "--json"],
                env=full,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for file in files
        ]
        codes = [process.wait() for process in started]
        seconds = time.perf_counter() - begun
        if any(codes):
            raise RuntimeError(f"tuma share ended with {codes}")
        used = cpu_s(server) - before
        _check(url, half * PROCESSES)
    count = half * PROCESSES
    return Taken(
        rows=count,
        seconds=round(seconds, 2),
        rate=round(count / seconds),
        server_cpu_ms=round(used * 1000 / count, 4),
    )


def _check(url: str, rows: int) -> None:
    with Redis.from_url(url, decode_responses=True) as redis:
        found = sum(int(redis.hget(f"tuma:{{{p}}}:n", "created") or 0) for p in range(8))
    if found != rows:
        raise RuntimeError(f"{found} messages were made of {rows} rows")


if __name__ == "__main__":
    print(msgspec.json.encode(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)).decode())
