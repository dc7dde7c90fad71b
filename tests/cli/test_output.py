"""Errors are one clear line and an exit code, in both languages of the output."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Tuma


def test_a_refusal_names_every_problem(tuma: Tuma) -> None:
    ran = tuma("share", "--number", "5.5E+13", "--amount", "x", "--phone", "0754123456")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 2
    assert "number: was mangled by a spreadsheet" in ran.err
    assert "given 5.5E+13" in ran.err
    assert "expected a positive amount" in ran.err


def test_a_refusal_is_json_for_programs(tuma: Tuma) -> None:
    ran = tuma("share", "--number", "1", "--amount", "x", "--phone", "0754123456", "--json")
    assert ran.json["ok"] is False
    assert [problem["field"] for problem in ran.json["problems"]] == ["amount"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("channel", "pause", "fax", "--json"), "fax"),
        (("status", "--json", "--fast"), "--fast"),
        (("status", "--json"), "NUMBER"),
        (("pay", "--json"), "pay"),
        (("share", "--json", "nowhere.csv"), "there is no file nowhere.csv"),
    ],
)
def test_a_usage_error_is_json_for_programs(tuma: Tuma, arguments: tuple[str, ...], said: str) -> None:
    ran = tuma(*arguments)
    assert (ran.code, ran.json["ok"], ran.json["problems"]) == (2, False, [])
    assert said in ran.json["error"]
    assert said in ran.err
    assert tuma(*(one for one in arguments if one != "--json")).out == ""


def test_a_wrong_setting_is_a_usage_error_that_names_it(tuma: Tuma) -> None:
    tuma.env["TUMA_LISTEN"] = "nowhere"
    ran = tuma("stop", "1")
    assert (ran.code, ran.err) == (2, "Error: TUMA_LISTEN: expected host:port, such as 127.0.0.1:8000\n")


def test_an_absent_redis_is_one_line(tuma: Tuma) -> None:
    tuma.env["REDIS_URL"] = "redis://127.0.0.1:9"
    ran = tuma("status", "1", "--json")
    assert ran.code == 1
    assert ran.json["error"].startswith("Redis cannot answer now")
    assert len(ran.err.splitlines()) == 1


def test_what_a_terminal_would_obey_is_not_printed(tuma: Tuma) -> None:
    ran = tuma(
        "share",
        "--dry-run",
        "--number",
        "1",
        "--amount",
        "5",
        "--phone",
        "0754123456",
        "--name",
        "a\x1b[31mb",
    )
    assert "\x1b" not in ran.out + ran.err
