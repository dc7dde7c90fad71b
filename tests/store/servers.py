"""Primaries, replicas and Sentinels on this machine, for as long as a test needs them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bot.engine.embedded import find_server
from tests.conftest import Valkey, free_port, start_valkey

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
NAME = "tuma"


class Servers:
    """Servers that end with the test, whatever became of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def folder(self) -> Path:
        made = tempfile.TemporaryDirectory(prefix="tuma-store-", ignore_cleanup_errors=True)
        return Path(self._stack.enter_context(made))

    def primary(self, *options: str) -> Valkey:
        return self._ending(start_valkey(self.folder(), *DURABLE, *options))

    def replica(self, of: Valkey, *options: str) -> Valkey:
        """A replica that has caught up."""
        replica = self.primary("--replicaof", f"127.0.0.1 {of.port}", *options)
        wait_until(lambda: ask(replica, "INFO", "replication")["master_link_status"] == "up")
        wait_until(lambda: ask(of, "INFO", "replication").get("connected_slaves", 0) >= 1)
        return replica

    def again(self, gone: Valkey, *options: str) -> Valkey:
        """The same server after its death, with its data."""
        return self._ending(start_valkey(gone.folder, *DURABLE, *options, port=gone.port))

    def loading(self, gone: Valkey) -> Valkey:
        """The same server after its death; it answers LOADING for a while, and this does not wait for it."""
        # Microseconds for each command that it reads.
        slow = (*DURABLE, "--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024")
        command = [
            str(find_server()),
            "--port",
            str(gone.port),
            "--dir",
            str(gone.folder),
            "--save",
            "",
            *slow,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self._ending(Valkey(gone.port, gone.folder, process))

    def sentinel(self, of: Valkey) -> int:
        """One Sentinel that watches a primary and decides alone; its port."""
        sentinel, _ = start_sentinel(self.folder(), of, 500)
        return self._ending(sentinel).port

    def _ending(self, server: Valkey) -> Valkey:
        self._stack.callback(server.process.wait)
        self._stack.callback(server.process.kill)
        return server


def start_sentinel(folder: Path, of: Valkey, dead_ms: int) -> tuple[Valkey, str]:
    """One Sentinel that watches a primary with a replica and decides alone; and the name it has for them."""
    port = free_port()
    lines = [
        f"port {port}",
        f"dir {folder}",
        f"sentinel monitor {NAME} 127.0.0.1 {of.port} 1",
        f"sentinel down-after-milliseconds {NAME} {dead_ms}",
        f"sentinel failover-timeout {NAME} 3000",
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = [str(find_server()), str(folder / "sentinel.conf"), "--sentinel"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: int(_sentinel(port)["num-slaves"]) >= 1)
    return Valkey(port, folder, process), NAME


@dataclass(frozen=True)
class Watched:
    """A primary with a replica and a Sentinel that watches both."""

    primary: Valkey
    replica: Valkey
    url: str


def watched(servers: Servers) -> Watched:
    """Start one."""
    primary = servers.primary()
    replica = servers.replica(primary)
    port = servers.sentinel(primary)
    return Watched(primary, replica, f"redis+sentinel://127.0.0.1:{port}/{NAME}")


@contextmanager
def servers() -> Iterator[Servers]:
    """Servers of one test."""
    with ExitStack() as stack:
        yield Servers(stack)


def kill(server: Valkey) -> None:
    """End it without a word, as a power cut would."""
    server.process.kill()
    server.process.wait()


def ask(server: Valkey, *command: str | int) -> Any:
    """Ask one server something."""
    with redis.Redis(port=server.port, decode_responses=True) as client:
        return client.execute_command(*command)


def _sentinel(port: int) -> dict[str, Any]:
    try:
        with redis.Redis(port=port, decode_responses=True) as client:
            return dict(client.sentinel_master(NAME))
    except (redis.ConnectionError, redis.ResponseError):
        return {"num-slaves": 0}


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until a condition holds; fail after a while."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
