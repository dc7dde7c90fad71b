"""The command line in this process, in an empty folder, with no settings but those a test gives."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main
from typer.testing import CliRunner

from bot.cli import app
from bot.settings import Settings

# SMS and WhatsApp are on; nothing is ever sent, because no test here runs a worker.
TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC00000000000000000000000000000001",
    "TWILIO_AUTH_TOKEN": "t0ken",
    "TWILIO_SMS_FROM": "SHULE",
    "TWILIO_WHATSAPP_FROM": "+255700000001",
    "TWILIO_API_BASE": "http://127.0.0.1:9",
}


# All commands are made anew for each that runs, which costs a test process more than most of them.
_command = functools.cache(typer.main.get_command)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its output as JSON lines."""
        return [msgspec.json.decode(line) for line in self.out.splitlines()]

    @property
    def json(self) -> dict[str, Any]:
        """Its output as one JSON object."""
        [value] = self.lines
        return value


class Tuma:
    """Runs commands; `env` holds the settings."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def __call__(self, *arguments: str | Path, stdin: str | bytes | None = None) -> Ran:
        """Run one command. A traceback of the command fails the test."""
        texts = [str(argument) for argument in arguments]
        result = CliRunner().invoke(app, texts, input=stdin, env=self.env, prog_name="tuma")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def tuma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuma]:
    """The command line without any channel, on an embedded server nobody has started."""
    for setting in fields(Settings):
        monkeypatch.delenv(setting.metadata["env"], raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("typer.testing._get_command", _command)
    before = list(logging.getLogger().handlers)
    yield Tuma({"TUMA_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"})
    logging.getLogger().handlers[:] = before  # the command's went to a stream that is closed now


@pytest.fixture
def tuma_on_redis(tuma: Tuma, redis_url: str) -> Tuma:
    """The command line on the tests' own server, with SMS and WhatsApp switched on."""
    tuma.env |= {"REDIS_URL": redis_url, **TWILIO}
    return tuma


def clean_environment() -> dict[str, str]:
    """The environment for a real process: without any setting of tuma's, and with output buffered as usual."""
    ours = {"PYTHONUNBUFFERED", *(setting.metadata["env"] for setting in fields(Settings))}
    return {name: value for name, value in os.environ.items() if name not in ours}
