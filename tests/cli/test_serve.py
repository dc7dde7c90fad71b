"""`tuma up` as a process: it says what it is, and ends when told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from tests.cli.conftest import TWILIO, Tuma, clean_environment
from tests.conftest import free_port, start_valkey


@contextmanager
def process(folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bot", *arguments]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=clean_environment() | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_up_says_what_is_on_and_ends_with_0_on_sigterm(tmp_path: Path, redis_url: str) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with process(
        tmp_path, "up", "--roles", "scheduler,api", "--json", REDIS_URL=redis_url, TUMA_LISTEN=listen
    ) as up:
        assert up.stdout is not None
        assert up.stderr is not None
        said = json.loads(up.stdout.readline())
        assert (said["roles"], said["on"]) == (["scheduler", "api"], [])
        assert next(line for line in up.stderr if "api_listens" in line)
        # Only then: being ready does not wait for what the first PDF needs, and its reader need not either.
        assert next((line for line in up.stderr if "pdf_warm" in line), None)
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0


def test_up_says_what_is_missing(tmp_path: Path) -> None:
    secret = "redis://tuma:sesame@127.0.0.1:9/0?password=open"
    with process(tmp_path, "up", "--roles", "scheduler", REDIS_URL=secret, TUMA_START_WAIT_S="1") as up:
        _, err = up.communicate(timeout=30)
    assert up.returncode == 1
    assert "sms is off: TWILIO_ACCOUNT_SID" in err
    assert "waits_for_redis_to_start" in err
    assert err.splitlines()[-1] == (
        "Error: Redis cannot answer now: ConnectionError. REDIS_URL leads to 127.0.0.1:9/0: see that the server runs "
        "and can be reached from here, or correct the address"
    )
    assert "sesame" not in err
    assert "open" not in err


def test_up_does_not_wait_for_a_password_to_become_right(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    try:
        with redis.Redis(port=server.port) as client:
            client.config_set("requirepass", "sesame")
        for credentials in ("", ":wrong@"):
            url = f"redis://{credentials}127.0.0.1:{server.port}"
            with process(tmp_path, "up", "--roles", "scheduler", REDIS_URL=url) as up:
                _, err = up.communicate(timeout=30)
            assert up.returncode == 2
            assert err.splitlines()[-1] == (
                f"Error: REDIS_URL leads to 127.0.0.1:{server.port}, which refuses its user or password: "
                "correct them"
            )
    finally:
        server.process.kill()
        server.process.wait()


def test_up_waits_for_a_server_that_starts_later(tmp_path: Path) -> None:
    port, listen = free_port(), f"127.0.0.1:{free_port()}"
    url = f"redis://127.0.0.1:{port}"
    with process(tmp_path, "up", "--roles", "api,scheduler", REDIS_URL=url, TUMA_LISTEN=listen) as up:
        assert up.stderr is not None
        assert f"leads to 127.0.0.1:{port}: " in next(
            line for line in up.stderr if "waits_for_redis_to_start" in line
        )
        assert httpx.get(f"http://{listen}/healthz").status_code == 200
        for path in ("/readyz", "/v1/bills/1", "/"):
            answer = httpx.get(f"http://{listen}{path}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["detail"] == "Redis has not answered since this process started"
        assert httpx.post(f"http://{listen}/webhooks/clickpesa", json={}).status_code == 503
        server = start_valkey(tmp_path, port=port)
        try:
            assert next(line for line in up.stderr if "api_listens" in line)
            assert httpx.get(f"http://{listen}/readyz").json()["roles"] == ["api", "scheduler"]
            up.send_signal(signal.SIGTERM)
            assert up.wait(20) == 0
        finally:
            server.process.kill()
            server.process.wait()


def test_up_that_waits_ends_at_once_when_told(tmp_path: Path) -> None:
    with process(tmp_path, "up", "--roles", "worker", REDIS_URL="redis://127.0.0.1:9") as up:
        assert up.stderr is not None
        assert next(line for line in up.stderr if "waits_for_redis_to_start" in line)
        up.send_signal(signal.SIGTERM)
        assert up.wait(5) == 0


def test_a_mapping_that_is_not_there_turns_whatsapp_off_and_nothing_else(
    tmp_path: Path, redis_url: str
) -> None:
    gone = tmp_path / "gone" / "whatsapp.toml"
    env = TWILIO | {"REDIS_URL": redis_url, "WHATSAPP_TEMPLATES": str(gone), "TUMA_LOG_FORMAT": "console"}
    with process(
        tmp_path, "up", "--roles", "worker,api", TUMA_LISTEN=f"127.0.0.1:{free_port()}", **env
    ) as up:
        assert up.stderr is not None
        told = next(line for line in up.stderr if "whatsapp is off" in line)
        assert f"WHATSAPP_TEMPLATES: there is no file {gone}" in told
        assert next(line for line in up.stderr if "api_listens" in line)
        # Only then: being ready does not wait for what the first PDF needs, and its reader need not either.
        assert next((line for line in up.stderr if "pdf_warm" in line), None)
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0


def test_an_address_that_is_taken_is_one_line(tmp_path: Path, redis_url: str) -> None:
    taken = redis_url.removeprefix("redis://").removesuffix("/0")
    with process(tmp_path, "up", "--roles", "api", REDIS_URL=redis_url, TUMA_LISTEN=taken) as up:
        _, err = up.communicate(timeout=30)
    assert up.returncode == 2
    assert f"TUMA_LISTEN: cannot listen on {taken}" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_channel_with_impossible_settings_is_one_line(tmp_path: Path, redis_url: str) -> None:
    wrong = {"SMTP_URL": "smtp://127.0.0.1:9", "EMAIL_FROM": "nobody"}
    with process(tmp_path, "up", "--roles", "worker", REDIS_URL=redis_url, **wrong) as up:
        _, err = up.communicate(timeout=30)
    assert up.returncode == 2
    assert "EMAIL_FROM" in err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [("--roles", "cook"), ("--roles", ""), ("--channels", "pigeon")])
def test_unknown_roles_and_channels_are_usage_errors(tuma: Tuma, arguments: tuple[str, str]) -> None:
    assert tuma("up", *arguments).code == 2
