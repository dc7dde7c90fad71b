"""Help is quick, complete, and speaks of every name that others rely on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from typer.main import get_command

from bot.cli import app
from tests.cli.conftest import Tuma, clean_environment

HEAVY = (
    "aiogram", "twilio", "redis", "babel", "phonenumbers", "aiohttp", "httpx", "reportlab", "structlog", "asyncio",
    "channels.base",
)  # fmt: skip
PUBLIC = (
    "demo", "up", "share", "status", "stop", "bill show", "bill snippet",
    "payments unmatched", "payments match", "payments dismiss", "payments take-back",
    "dead list", "dead replay", "dead arrived", "channel list", "channel pause", "channel resume", "contact show",
    "contact link", "contact edit",
    "contact optout", "contact optin", "template list", "template preview", "template check", "sms count",
    "webhook sign", "webhook send", "key create", "key list", "key revoke", "doctor", "sandbox", "export",
)  # fmt: skip


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children or (name and command.invoke_without_command):
        yield name.strip(), command
    for child, found in children.items():
        yield from walk(found, f"{name} {child}")


COMMANDS = dict(walk(get_command(app)))


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['tuma', '--help']\n"
        "from bot.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment()
    )
    assert "share" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "left"),
    [("up", ["up"]), ("sms", ["sms"]), ("upp", sorted({name.split()[0] for name in COMMANDS}))],
)
def test_a_start_makes_no_command_but_its_own(name: str, left: list[str]) -> None:
    program = (
        "from bot import cli; from typer.main import get_command; import sys\n"
        "cli.keep_only(sys.argv[1]); print(*sorted(get_command(cli.app).commands))"
    )
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=True)
    assert done.stdout.split() == left


def test_every_public_name_is_a_command() -> None:
    assert set(PUBLIC) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json_and_explains_itself(name: str) -> None:
    command = COMMANDS[name]
    options = [option for parameter in command.params for option in parameter.opts]
    assert "--json" in options
    assert command.help
    assert all(parameter.help for parameter in command.params)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_sentence_of_help_is_shown_whole(name: str) -> None:
    assert not COMMANDS[name].get_short_help_str(80).endswith("...")


def test_help_of_a_command_exits_with_0(tuma: Tuma) -> None:
    ran = tuma("share", "--help")
    assert ran.code == 0
    assert "additional_contact" in ran.out
    assert "same row sent twice" in " ".join(ran.out.split())


def test_an_unknown_command_is_a_usage_error(tuma: Tuma) -> None:
    ran = tuma("shares")
    assert ran.code == 2
    assert "Did you mean 'share'?" in ran.err


def test_the_version_is_told(tuma: Tuma) -> None:
    ran = tuma("--version")
    assert (ran.code, ran.out) == (0, f"tuma {version('tuma')}\n")


def test_a_word_that_is_none_is_refused_in_plain_words(tuma: Tuma) -> None:
    ran = tuma("channel", "pause", "pigeon")
    assert "CHANNEL': 'pigeon' is not one of" in ran.err
    assert "Value error" not in ran.err


def test_a_worker_of_sms_imports_neither_the_bot_framework_nor_what_colours_tracebacks() -> None:
    program = (
        "import bot.cli.serve, bot.log, bot.app, channels.sms, sys;"
        "print([name for name in ('aiogram', 'pygments', 'reportlab', 'httpx') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
