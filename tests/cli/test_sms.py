"""`tuma sms count`."""

from __future__ import annotations

from tests.cli.conftest import Tuma


def test_a_text_is_counted_for_a_person(tuma: Tuma) -> None:
    assert tuma("sms", "count", "Habari €").out == "1 SMS (gsm-7, 9 units)\n"


def test_a_text_is_counted_for_a_program(tuma: Tuma) -> None:
    ran = tuma("sms", "count", "é" * 160 + "😀", "--json")
    assert ran.json == {"encoding": "ucs-2", "units": 162, "segments": 3}


def test_every_line_of_json_gets_one_line_of_json(tuma: Tuma) -> None:
    ran = tuma("sms", "count", "-", stdin='"a"\n"\\ud83d\\ude00"\n""\n')
    assert [line["encoding"] for line in ran.lines] == ["gsm-7", "ucs-2", "gsm-7"]
    assert [line["units"] for line in ran.lines] == [1, 2, 0]


def test_a_line_that_is_no_json_string_fails_but_keeps_its_place(tuma: Tuma) -> None:
    ran = tuma("sms", "count", "-", stdin='"a"\nb\n7\n"c"\n')
    assert ran.code == 1
    assert [("error" in line) for line in ran.lines] == [False, True, True, False]


def test_an_empty_line_keeps_its_place(tuma: Tuma) -> None:
    ran = tuma("sms", "count", "-", stdin='"a"\n\n"c"\n')
    assert [("error" in line) for line in ran.lines] == [False, True, False]


def test_half_of_a_surrogate_pair_is_counted(tuma: Tuma) -> None:
    ran = tuma("sms", "count", "-", stdin='"a\\ud83d"\n')
    assert ran.json == {"encoding": "ucs-2", "units": 2, "segments": 1}
