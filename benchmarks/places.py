"""What a measurement needs around the measured process: a Valkey, a sink at C speed, and CPU times of processes.

The sink is nginx answering every POST as Twilio does: measured against a slow sink, every sender looks the same.
Source of the answer's shape: Twilio message resource.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as Unreachable

from bot.engine.embedded import find_server

_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 10000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /taken {{ stub_status; }}
    location / {{
      default_type application/json;
      return 201 '{{"sid":"SM$request_id","status":"queued","num_segments":"1","error_code":null}}';
    }}
  }}
}}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """CPU time of a process's threads so far, in seconds. Source: Documentation/scheduler/sched-stats.rst of Linux.

    /proc/pid/stat counts hundredths of a second, which is much for some hundred operations.
    """
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def resident_mb(pid: int) -> float:
    """Memory a process holds, in MB of 1,000,000 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of its own, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="tuma-bench-") as made:
        yield Path(made)


@contextmanager
def valkey(fsync: str = "always", *options: str) -> Iterator[tuple[str, int]]:
    """A Valkey with an append-only file; its URL and process id."""
    with folder() as here:
        port = free_port()
        command = [str(find_server()), "--port", str(port), "--dir", str(here), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", fsync, *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _until_answering(port)
            yield f"redis://127.0.0.1:{port}/0", process.pid
        finally:
            process.kill()
            process.wait()


def _until_answering(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with Redis(port=port) as client:
                client.ping()
                return
        except (Unreachable, BusyLoadingError):
            time.sleep(0.02)
    raise TimeoutError("the server did not start")


@contextmanager
def sink() -> Iterator[str]:
    """nginx that takes every message; its base URL. Raises FileNotFoundError with advice when there is no nginx."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise FileNotFoundError("the benchmark posts to nginx: apt-get install nginx-light")
    with folder() as here:
        port = free_port()
        (here / "nginx.conf").write_text(_NGINX.format(folder=here, port=port))
        command = [program, "-c", str(here / "nginx.conf"), "-e", str(here / "error.log")]
        process = subprocess.Popen(command)
        try:
            until_open(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def until_open(port: int, seconds: float = 10) -> None:
    """Wait until something listens there. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def running(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with these arguments, ended by SIGTERM."""
    with started([sys.executable, *arguments], environment) as process:
        yield process


@contextmanager
def started(
    command: list[str], environment: dict[str, str] | None = None, *, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these settings beside our own, ended by SIGTERM; what it complains of is not shown."""
    full = {**os.environ, **(environment or {})}
    process = subprocess.Popen(command, env=full, cwd=cwd, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
