"""Sharing for real: on the tests' own Redis, with nobody to send."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.cli.conftest import Tuma, clean_environment
from tests.cli.test_files import workbook
from tests.conftest import Valkey, start_valkey

ONE = (
    "share",
    "--number",
    "55042914871931",
    "--amount",
    "45000",
    "--phone",
    "0754 123 456",
    "--channels",
    "sms",
)
CSV = "number;amount;phone;name;channels\n"


@pytest.fixture
def tuma(tuma_on_redis: Tuma) -> Tuma:
    return tuma_on_redis


def statuses(tuma: Tuma, number: str) -> list[str]:
    shares = tuma("status", number, "--json").json["shares"]
    return [message["kind"] for share in shares for message in share["messages"]]


def test_one_bill_is_accepted_in_the_urgent_lane(tuma: Tuma) -> None:
    accepted = tuma(*ONE, "--json").json
    assert (accepted["number"], accepted["channels"], accepted["repeated"]) == (
        "55042914871931",
        ["sms"],
        False,
    )
    [message] = tuma("status", accepted["id"], "--json").json["shares"][0]["messages"]
    assert (message["kind"], message["lane"], message["state"]) == ("instructions", "urgent", "queued")


def test_the_same_bill_twice_is_one_share(tuma: Tuma) -> None:
    tuma(*ONE)
    assert "accepted before; nothing is sent again" in tuma(*ONE).out
    assert statuses(tuma, "55042914871931") == ["instructions"]


def test_another_writing_of_the_same_phone_is_the_same_bill(tuma: Tuma) -> None:
    tuma(*ONE)
    again = [argument.replace("0754 123 456", "+255754123456") for argument in ONE]
    assert tuma(*again, "--json").json["repeated"] is True


def test_an_id_of_its_own_sends_again_on_purpose(tuma: Tuma) -> None:
    tuma(*ONE)
    assert tuma(*ONE, "--id", "again", "--json").json["repeated"] is False


def test_an_id_with_other_content_is_refused(tuma: Tuma) -> None:
    tuma(*ONE, "--id", "inv-1")
    ran = tuma(*ONE, "--id", "inv-1", "--name", "Asha")
    assert ran.code == 1
    assert ran.err.startswith("Error: id: was used before")


def test_data_and_every_option_reach_the_share(tuma: Tuma) -> None:
    options = (
        "--kind",
        "customer",
        "--mode",
        "exact",
        "--term",
        "2",
        "--due-at",
        "2026-12-01",
        "--description",
        "Fees",
    )
    accepted = tuma(*ONE, *options, "--route", "all", "--data", "student=Juma", "--json").json
    term = tuma("bill", "show", accepted["number"], "--json").json["terms"][0]
    assert {name: term[name] for name in ("term", "mode", "description", "due_at")} == {
        "term": "2", "mode": "exact", "description": "Fees", "due_at": "2026-12-01T09:00:00Z",
    }  # fmt: skip


def test_a_file_is_accepted_in_the_bulk_lane_and_its_bad_rows_are_written_down(
    tuma: Tuma, tmp_path: Path
) -> None:
    (tmp_path / "b.csv").write_text(CSV + "55;45000;0754123456;Asha;sms\n5.5E+13;1;0754123457;Baraka;sms\n")
    ran = tuma("share", "b.csv")
    assert ran.code == 1
    assert "1 accepted, 0 accepted before, 1 refused. The refused rows are in b.csv.errors.csv" in ran.out
    assert (
        '5.5E+13;1;0754123457;Baraka;sms;"number: was mangled' in (tmp_path / "b.csv.errors.csv").read_text()
    )
    assert tuma("status", "55", "--json").json["shares"][0]["messages"][0]["lane"] == "bulk"


def test_the_errors_file_is_corrected_and_sent_again(tuma: Tuma, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(CSV + '5.5E+13;45000;0754123456;"=Asha";sms\n')
    tuma("share", "b.csv")
    errors = tmp_path / "b.csv.errors.csv"
    errors.write_text(errors.read_text().replace("5.5E+13;", "55;"))
    assert tuma("share", errors, "--json").json["ok"] is True
    assert tuma("bill", "show", "55", "--json").json["customer"] == "=Asha"


def test_a_file_sent_twice_bills_once(tuma: Tuma, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(CSV + "55;45000;0754123456;;sms\n56;45000;0754123457;;sms\n")
    assert "2 accepted, 0 accepted before" in tuma("share", "b.csv").out
    ran = tuma("share", "b.csv")
    assert (ran.code, ran.out) == (0, "0 accepted, 2 accepted before, 0 refused.\n")
    assert statuses(tuma, "55") == ["instructions"]


def test_rows_that_the_engine_refuses_are_written_down_too(tuma: Tuma, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(CSV + "55;45000;0754123456;;sms\n55;46000;0754123456;;sms\n")
    ran = tuma("share", "b.csv", "--json")
    assert [line["ok"] for line in ran.lines] == [True, False]
    assert ran.lines[1]["errors"][0]["field"] == "amount"
    assert (tmp_path / "b.csv.errors.csv").read_text().splitlines()[1].startswith("55;46000;")


def test_a_workbook_and_ndjson_are_shared_like_csv(tuma: Tuma, tmp_path: Path) -> None:
    job = '{"bill": {"number": "56", "amount": "5"}, "customer": {"phone": "0754123457"}, "error": "old"}\n'
    book = workbook(tmp_path / "b.xlsx", ["number", "amount", "phone"], [55042914871931, 45000, 754123456])
    assert tuma("share", book, "--json").json["number"] == "55042914871931"
    assert tuma("share", "-", "--json", stdin=job).json["number"] == "56"


def test_ndjson_that_is_refused_keeps_its_form(tuma: Tuma, tmp_path: Path) -> None:
    (tmp_path / "b.ndjson").write_text('{"id": "1", "bill": {"amount": "5"}}\n')
    assert tuma("share", "b.ndjson").code == 1
    text = (tmp_path / "b.ndjson.errors.ndjson").read_text()
    assert text.startswith('{"id":"1","bill":{"amount":"5"},"error":"bill.number: is missing')


def test_more_rows_than_a_batch_keep_their_order(tuma: Tuma) -> None:
    rows = "".join(f"{number};5;0754{number:06};;sms\n" for number in range(1, 451))
    lines = tuma("share", "-", "--json", stdin=CSV + rows).lines
    assert [int(line["number"]) for line in lines] == list(range(1, 451))


def test_an_absent_redis_stops_a_file_before_its_first_row(tuma: Tuma) -> None:
    tuma.env["REDIS_URL"] = "redis://127.0.0.1:9"
    ran = tuma("share", "-", stdin=CSV + "55;45000;0754123456;;sms\n")
    assert ran.code == 1
    assert ran.err.startswith(
        "Error: Redis cannot answer now: ConnectionError. REDIS_URL leads to 127.0.0.1:9: "
    )
    assert len(ran.err.splitlines()) == 1


def test_without_any_channel_it_is_said(tuma: Tuma) -> None:
    tuma.env |= dict.fromkeys(("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"), "")
    ran = tuma("share", "-", stdin=CSV + "55;45000;0754123456;;sms\n")
    assert ran.code == 1
    assert "No channel is set up here" in ran.err


def test_an_interrupted_file_says_what_was_taken_and_keeps_what_was_refused(
    tuma: Tuma, tmp_path: Path
) -> None:
    rows = "".join(f"{number};5;0754{number % 1000000:06};;sms\n" for number in range(1, 60_000))
    (tmp_path / "b.csv").write_text(f"{CSV}x y;5;0754123456;;sms\n{rows}")
    command = [sys.executable, "-m", "bot", "share", "b.csv", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment() | tuma.env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stderr is not None
        out = [running.stdout.readline()]
        running.send_signal(signal.SIGINT)
        out += running.stdout
        err = running.stderr.read()
    taken = sum('"ok":true' in line for line in out)
    assert running.returncode == 1
    assert f"Error: interrupted. At least {taken} row(s) are accepted; send the same file again" in err
    assert "refused rows are in b.csv.errors.csv" in err
    assert "x y;5;" in (tmp_path / "b.csv.errors.csv").read_text()


def test_what_cannot_be_made_is_said_as_the_dry_run_says_it(tuma: Tuma) -> None:
    job = '{"id": "a", "bill": {"create": "order", "amount": "5"}, "customer": {"phone": "0754123456"}}\n'
    ran = tuma("share", "-", "--json", stdin=job)
    assert ran.json["errors"] == tuma("share", "-", "--dry-run", "--json", stdin=job).json["errors"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Valkey]:
    """A server that is soon full."""
    server = start_valkey(tmp_path, "--appendonly", "yes", "--maxmemory", "3mb")
    yield server
    server.process.kill()
    server.process.wait()


def test_a_server_that_fills_up_stops_the_file_and_nothing_is_sent_twice(tuma: Tuma, small: Valkey) -> None:
    tuma.env["REDIS_URL"] = small.url
    rows = CSV + "".join(f"{number};5;0754{number:06};;sms\n" for number in range(1, 2001))
    ran = tuma("share", "-", stdin=rows)
    assert ran.code == 1
    assert "Error: stopped at row" in ran.err
    with redis.Redis(port=small.port) as client:
        client.config_set("maxmemory", "100mb")
    again = tuma("share", "-", "--json", stdin=rows)
    assert again.code == 0
    assert any(line["repeated"] for line in again.lines)
    assert tuma("doctor", "--ledger", "--json").json["ledger"]["stats"]["created"] == 2000


def test_whoever_watches_sees_a_bar(tuma: Tuma, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(CSV + "55;45000;0754123456;;sms\n")
    watched, terminal = os.openpty()
    command = [sys.executable, "-m", "bot", "share", "b.csv", "--dry-run", "--json"]
    subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=terminal, check=True
    )
    assert b"1/1" in os.read(watched, 65536)
    os.close(watched)
    os.close(terminal)
