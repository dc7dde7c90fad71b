"""`tuma sandbox`: where everything is, which faults there are, and a file of bills replayed."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.sandbox.city import USUAL_PORTS
from tests.cli.conftest import Tuma
from tests.cli.test_serve import process
from tests.conftest import free_port

BILLS = """number,amount,name,phone,email,channels,route
55042914870011,45000,Asha Juma,0754000011,,sms,all
55042914870022,60000,John Mrema,0754000022,john@example.com,sms email,all
5.5E+13,25000,Fatma Ally,0754000055,,sms,all
"""
STARTED = ("--profile", "storm", "--seed", "7", "--fault", "twilio:timeout-after=next:2@+255754000011")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A sandbox as a process, and what its first line said."""
    page = free_port()
    with process(tmp_path, "sandbox", *STARTED, "--json", "--port", f"page={page}") as sandbox:
        assert sandbox.stdout is not None
        said = json.loads(sandbox.stdout.readline())
        assert said["page"].endswith(f":{page}")
        yield said
        sandbox.send_signal(signal.SIGINT)
        assert sandbox.wait(20) == 0


@pytest.fixture
def bills(tmp_path: Path) -> Path:
    file = tmp_path / "bills.csv"
    file.write_text(BILLS)
    return file


def test_sandbox_first_says_where_everything_is_and_what_goes_wrong(running: dict[str, Any]) -> None:
    assert {"twilio", "telegram", "clickpesa", "smtp", "page", "credentials"} <= set(running)
    assert (running["profile"], running["seed"]) == ("storm", 7)
    told = httpx.get(f"{running['page']}/api/faults").json()
    assert [(plan["kind"], plan["left"]) for plan in told["plans"] if plan["contact"]] == [
        ("timeout-after", 2)
    ]


@contextmanager
def sandbox(folder: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """A sandbox with its data in `folder`, and what its first line said."""
    with process(folder, "sandbox", *arguments, TUMA_DATA_DIR=str(folder / "data")) as running:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline())
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0


def test_the_settings_of_one_sandbox_serve_the_next(tmp_path: Path) -> None:
    with sandbox(tmp_path) as first:
        mapping = Path(first["env"]["WHATSAPP_TEMPLATES"])
        assert mapping.is_relative_to(tmp_path / "data")
    assert mapping.is_file()
    with sandbox(tmp_path, "--json") as second:
        assert second["env"] == first["env"]


def test_a_usual_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then somebody else has it
            holder.bind(("127.0.0.1", USUAL_PORTS["telegram"]))
            holder.listen()
        with process(tmp_path, "sandbox", TUMA_DATA_DIR=str(tmp_path / "data")) as running:
            assert running.stdout is not None
            said = json.loads(running.stdout.readline())
            words = [running.stdout.readline() for _ in range(3)]
    assert not said["telegram"].endswith(f":{USUAL_PORTS['telegram']}")
    assert "telegram" in words[2]
    assert "a .env of another sandbox does not fit this one" in words[2]


def test_a_port_that_was_asked_for_and_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with process(
            tmp_path, "sandbox", "--port", f"smtp={port}", TUMA_DATA_DIR=str(tmp_path / "data")
        ) as running:
            _, err = running.communicate(timeout=30)
    assert running.returncode == 1
    assert err.startswith("Error: the sandbox cannot start:")
    assert str(port) in err
    assert "Traceback" not in err


def test_faults_of_a_running_sandbox_are_changed(tuma: Tuma, running: dict[str, Any]) -> None:
    page = str(running["page"])
    assert (
        tuma("sandbox", "fault", page, "--clear", "smtp:drop-after=5%", "telegram:forbidden=next:1@5").code
        == 0
    )
    told = httpx.get(f"{page}/api/faults").json()["plans"]
    assert [(plan["kind"], plan["rate"], plan["left"]) for plan in told] == [
        ("forbidden", 0.0, 1),
        ("drop-after", 0.05, 0),
    ]
    assert tuma("sandbox", "fault", page, "--profile", "bad-day", "--json").json == {"ok": True}
    assert httpx.get(f"{page}/api/faults").json()["profile"] == "bad-day"
    refused = tuma("sandbox", "fault", page, "smtp:forbidden=1")
    assert (refused.code, "unknown fault" in refused.err) == (1, True)


def test_a_sandbox_that_is_not_there_is_one_line(tuma: Tuma) -> None:
    ran = tuma("sandbox", "fault", "http://127.0.0.1:9", "smtp:slow=1")
    assert (ran.code, ran.err) == (
        1,
        "Error: there is no sandbox at http://127.0.0.1:9/api/faults: ConnectError\n",
    )


def test_the_faults_and_profiles_are_listed(tuma: Tuma) -> None:
    told = tuma("sandbox", "faults", "--json").json
    assert told["faults"]["smtp"]["drop-after"] == "taken, but hung up before saying so"
    assert {"calm", "bad-day", "storm"} <= told["profiles"].keys()
    assert "bad-day" in tuma("sandbox", "faults").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "fax=1"),
        ("--profile", "sunny"),
        ("--fault", "twilio"),
        ("--fault", "twilio:slow=2"),
        ("--fault", "twilio:slow=1.2.3"),
        ("--fault", "pigeon:slow=1"),
        ("replay", "nowhere.csv"),
        ("replay", "bills.csv", "--profile", "sunny"),
        ("replay", "bills.csv", "--paid", "2"),
        ("replay", "bills.csv", "--sms-price", "much"),
        ("replay", "bills.csv", "--sms-price", "-1"),
        ("fault", "http://127.0.0.1:9"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tuma: Tuma, bills: Path, arguments: tuple[str, ...]) -> None:
    assert tuma("sandbox", *arguments).code == 2


def test_a_replay_as_json_is_one_object_per_row_and_a_summary(tuma: Tuma, bills: Path) -> None:
    ran = tuma("sandbox", "replay", bills, "--profile", "bad-day", "--seed", "4", "--paid", "1", "--json")
    first, second, bad, summary = ran.lines
    assert (ran.code, first["row"], first["paid"], bad["row"], bad["ok"]) == (1, 2, "45000", 4, False)
    assert {each["channel"] for each in second["messages"]} == {"sms", "email"}
    assert first["cost"] == str(25 * sum(each["accepted"] for each in first["messages"]))
    assert (summary["rows"], summary["refused"], summary["ok"]) == (3, 1, False)
    assert (summary["lost"], summary["twice"], summary["ledger"]) == (0, 0, "ok")
    assert "PUBLIC_URL is not set" in ran.err


def test_a_replay_for_a_person_shows_texts_costs_and_promises(tuma: Tuma, bills: Path) -> None:
    ran = tuma("sandbox", "replay", bills, "--profile", "calm", "--seed", "4", "--first", "2", "--paid", "0")
    assert ran.code == 0
    assert "Row 2, 55042914870011, +255754000011: cost 25" in ran.out
    assert "sms instructions: sent, delivered, 1 segment(s), cost 25" in ran.out
    assert "TZS 45,000" in ran.out
    assert "Profile                 calm, seed 4" in ran.out
    assert "Cost                    50 for 2 SMS segment(s); 3 message(s) taken in all" in ran.out
