"""The commands of the page for the night, each run as it stands there, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Tuma

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for block in BLOCK.findall(PAGE) for line in block.splitlines()]
NUMBER = "55042914871931"


@pytest.mark.timeout(240)
def test_every_command_of_the_page_works(tuma_on_redis: Tuma) -> None:
    tuma = tuma_on_redis
    assert tuma("share", "--number", NUMBER, "--amount", "45000", "--phone", "0754 123 456").code == 0
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        ran = tuma(*command)
        # Doctor fails here because the providers of this test do not answer; that is what it is for.
        assert ran.code == (1 if command[0] == "doctor" else 0), f"{command}: {ran.out} {ran.err}"
    assert tuma("channel", "list", "--json").lines[0]["state"] == "on"


def test_what_the_page_says_in_passing_names_real_commands(tuma: Tuma) -> None:
    named = {tuple(found.split()) for found in re.findall(r"`tuma ([a-z]+(?: [a-z]+)?)(?= [A-Z-]|`)", PAGE)}
    assert ("payments", "match") in named
    for command in sorted(named):
        assert tuma(*command, "--help").code == 0, command
