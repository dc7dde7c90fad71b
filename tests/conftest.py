"""Shared fixtures: a real Valkey that the tests start themselves, and a fresh database for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import structlog
from hypothesis import HealthCheck, settings

from bot.engine.embedded import find_server

_MEMORY, _ENOUGH_BYTES = Path("/dev/shm"), 2**30
# Any certificate will do: what tests reach is on this machine. Reading the world's costs every process that starts,
# and every client that is made, 50 ms of CPU.
_CERTIFICATE = Path(__file__).parent / "channels" / "localhost.pem"


def _in_memory() -> bool:
    """Whether there is a file system in memory with room for what the tests' servers write."""
    with contextlib.suppress(OSError):
        return os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
    return False


def pytest_configure() -> None:
    """Temporary files of this process and all that it starts are kept in memory where that is possible.

    Servers write as they would on a disk, and sync after every write (`appendfsync always`); only waiting for the disk
    is left out. What a test kills is a process, never the machine.
    """
    os.environ["SSL_CERT_FILE"] = str(_CERTIFICATE)
    if "TMPDIR" not in os.environ and _in_memory():
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # found out anew


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--forgeries", default="3000", help="How many forged webhooks tests/web/test_forgery.py sends."
    )
    parser.addoption(
        "--store",
        choices=("single", "cluster"),
        default="single",
        help="What `redis_url` leads to: a server, or a cluster of three primaries (make test-cluster).",
    )


# A loaded machine is slow, not wrong: what a property test judges is never how long an example took.
settings.register_profile("tuma", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tuma")

# Minutes of one process each: begun first, so that none of them runs alone at the end.
_LONGEST = (
    "chaos/test_quick",
    "engine/test_fence",
    "sandbox/test_page_browser",
    "replay/test_replay",
    "store/test_outages",
    "engine/test_asking",
    "web/test_pages_browser",
    "store/test_replicas",
    "engine/test_limits",
    "store/test_cluster_outages",
    "engine/test_model",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first; each is given to a process as a whole."""
    if config.getoption("--store") == "cluster":
        skip = pytest.mark.skip(reason="looks at one server itself")
        for item in items:
            if item.get_closest_marker("single"):
                item.add_marker(skip)
    order = {name: n for n, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get("/".join(item.path.with_suffix("").parts[-2:]), len(order)))


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Valkey:
    """A server process owned by the tests."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


def start_valkey(folder: Path, *options: str, port: int | None = None) -> Valkey:
    """Start a server in `folder` and wait until it answers."""
    port = port or free_port()
    command = [str(find_server()), "--port", str(port), "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        with (
            contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError),
            redis.Redis(port=port) as client,
        ):
            client.ping()
            return Valkey(port, folder, process)
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test server on port {port} did not start")
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _log_as_shipped() -> Iterator[None]:
    """A test that runs a command sets the process's log level; the next test must not inherit it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    folder = Path(tempfile.mkdtemp(prefix="tuma-test-"))
    server = start_valkey(folder, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.process.kill()
    server.process.wait()
    # A rewrite of the append-only file may outlive its server by a moment, and take its file with it.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _cluster() -> Iterator[str]:
    from tests import clusters

    with contextlib.ExitStack() as stack:
        nodes = []
        for _ in range(3):
            folder = tempfile.TemporaryDirectory(prefix="tuma-cluster-", ignore_cleanup_errors=True)
            nodes.append(clusters.node(Path(stack.enter_context(folder)), timeout_ms=5000))
            stack.callback(nodes[-1].process.wait)
            stack.callback(nodes[-1].process.kill)
        yield clusters.join(nodes)


@pytest.fixture
def cluster(_cluster: str) -> str:
    """URL of an empty cluster of three primaries."""
    with redis.RedisCluster.from_url(_cluster.replace("+cluster", "", 1)) as client:
        client.flushall()
    return _cluster


@pytest.fixture(scope="session")
def _client(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database on the tests' own server, or of an empty cluster (--store)."""
    if request.config.getoption("--store") == "cluster":
        return str(request.getfixturevalue("cluster"))
    request.getfixturevalue("_client").flushall()
    return str(request.getfixturevalue("valkey").url)
