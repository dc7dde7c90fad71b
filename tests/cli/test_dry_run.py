"""A dry run shows what would be sent, and needs no Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import TWILIO, Tuma
from tests.cli.test_files import workbook

ROW = "55042914871931,45000,0754 123 456,Asha Juma,sw,2026-12-01,whatsapp sms"
HEADER = "number,amount,phone,name,locale,due_at,channels"


@pytest.fixture
def tuma(tuma: Tuma) -> Tuma:
    tuma.env["REDIS_URL"] = "redis://127.0.0.1:9"  # nobody is there
    return tuma


def test_a_good_row_shows_its_messages(tuma: Tuma) -> None:
    ran = tuma("share", "-", "--dry-run", "--json", stdin=f"{HEADER}\n{ROW}\n")
    assert ran.code == 0
    assert {name: ran.json[name] for name in ("row", "ok", "errors", "phone", "channels")} == {
        "row": 2, "ok": True, "errors": [], "phone": "+255754123456", "channels": ["whatsapp", "sms"],
    }  # fmt: skip
    sms = ran.json["messages"][1]
    assert (sms["channel"], sms["encoding"], sms["segments"]) == ("sms", "gsm-7", 1)
    assert "55042914871931" in sms["text"]


def test_a_bad_row_names_its_columns(tuma: Tuma) -> None:
    ran = tuma("share", "-", "--dry-run", "--json", stdin=f"{HEADER}\n5.5E+13,45000,12,,,,\n")
    assert ran.code == 1
    assert ran.json["ok"] is False
    assert {problem["field"] for problem in ran.json["errors"]} == {"number", "phone"}
    assert "spreadsheet" in ran.json["errors"][0]["message"]


def test_a_workbook_with_a_mangled_number_names_it(tuma: Tuma, tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "b.xlsx",
        ["number", "amount", "phone"],
        [5504291487193112345, 45000, 754123456],
        [55, 1, 754123456],
    )
    ran = tuma("share", path, "--dry-run", "--json")
    assert [line["ok"] for line in ran.lines] == [False, True]
    assert "mangled by a spreadsheet" in ran.lines[0]["errors"][0]["message"]


def test_ndjson_names_json_paths(tuma: Tuma) -> None:
    job = '{"bill": {"number": "55", "amount": "x"}, "customer": {"phone": "0754123456"}, "speed": 1}'
    ran = tuma("share", "-", "--dry-run", "--json", stdin=job + "\nnonsense\n")
    assert {problem["field"] for problem in ran.lines[0]["errors"]} == {"bill.amount", "speed"}
    assert ran.lines[1]["row"] == 2


def test_a_person_sees_texts_and_a_sum(tuma: Tuma) -> None:
    ran = tuma("share", "-", "--dry-run", stdin=f"{HEADER}\n{ROW}\n,,,,,,sms\n")
    assert "Row 2, to +255754123456:" in ran.out
    assert "sms (gsm-7, 1 SMS):" in ran.out
    assert (
        "1 row(s) would be sent, 1 refused. Messages at most: 1 sms, 1 whatsapp; 1 SMS segment(s)." in ran.out
    )
    assert "Row 3: number: is missing" in ran.err


def test_nothing_is_written(tuma: Tuma, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(f"{HEADER}\nx y,,,,,,\n")
    tuma("share", "b.csv", "--dry-run")
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]


def test_without_any_channel_all_are_shown_and_it_is_said(tuma: Tuma) -> None:
    ran = tuma("share", "-", "--dry-run", stdin=f"{HEADER}\n{ROW}\n")
    assert "No channel is set up here" in ran.err


def test_a_channel_that_is_off_is_skipped_and_named(tuma: Tuma) -> None:
    tuma.env |= {**TWILIO, "TWILIO_WHATSAPP_FROM": ""}
    ran = tuma("share", "-", "--dry-run", "--json", stdin=f"{HEADER}\n{ROW}\n")
    assert ran.json["channels"] == ["sms"]
    assert ran.json["skipped"] == [{"channel": "whatsapp", "reason": "off: set TWILIO_WHATSAPP_FROM"}]


def test_a_row_whose_channels_are_all_off_is_refused(tuma: Tuma) -> None:
    tuma.env |= TWILIO
    ran = tuma("share", "-", "--dry-run", "--json", stdin="number,amount,email\n55,1,a@example.com\n")
    assert ran.json["errors"][0]["field"] == "channels"
    assert "off: set SMTP_URL" in ran.json["errors"][0]["message"]


def test_links_are_as_long_as_real_ones(tuma: Tuma) -> None:
    tuma.env["PUBLIC_URL"] = "https://lipa.example"
    ran = tuma("share", "-", "--dry-run", "--json", stdin=f"{HEADER},kind\n{ROW},customer\n")
    assert "https://lipa.example/pay/7-AAAAAAAAAAAAAAAA" in ran.json["messages"][1]["text"]


def test_whatsapp_is_shown_as_its_approved_template_reads(tuma: Tuma, tmp_path: Path) -> None:
    mapping = tmp_path / "whatsapp.toml"
    mapping.write_text(
        f'[default.sw.instructions]\ncontent_sid = "HX{"1" * 32}"\n'
        'variables = ["first_name", "number"]\nbody = "Habari {{1}}, lipa {{2}} leo."\n'
    )
    tuma.env["WHATSAPP_TEMPLATES"] = str(mapping)
    ran = tuma("share", "-", "--dry-run", "--json", stdin=f"{HEADER}\n{ROW}\n")
    assert ran.json["messages"][0]["text"] == "Habari Asha, lipa 55042914871931 leo."


def test_a_template_that_cannot_render_refuses_the_row(tuma: Tuma, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "default" / "sw"
    folder.mkdir(parents=True)
    (folder / "instructions.sms.txt").write_text("{{ data.student }}: {{ number }}")
    tuma.env["TUMA_TEMPLATES"] = str(tmp_path / "own")
    rows = "number,amount,phone,channels,student\n55,1,0754123456,sms,Juma\n56,1,0754123456,sms,\n"
    good, bad = tuma("share", "-", "--dry-run", "--json", stdin=rows).lines
    assert good["messages"][0]["text"] == "Juma: 55"
    assert bad["errors"][0]["field"] == "template"


def test_one_bill_is_shown_too(tuma: Tuma) -> None:
    ran = tuma("share", "--number", "55", "--amount", "45000", "--phone", "0754123456", "--dry-run", "--json")
    assert (ran.json["row"], ran.json["phone"]) == (1, "+255754123456")


@pytest.mark.parametrize(
    "arguments",
    [(), ("b.csv",), ("-", "--number", "1"), ("--number", "1", "--data", "x"), ("--sheet", "Ada")],
)
def test_what_cannot_be_meant_is_a_usage_error(tuma: Tuma, arguments: tuple[str, ...]) -> None:
    assert tuma("share", *arguments).code == 2


CREATE = '{"id": "a", "bill": {"create": "order", "amount": "5"}, "customer": {"phone": "0754123456"}}'


def test_a_number_that_would_have_to_be_made_is_refused_as_such(tuma: Tuma) -> None:
    ran = tuma("share", "-", "--dry-run", "--json", stdin=CREATE + "\n")
    [problem] = ran.json["errors"]
    assert problem["field"] == "bill.create"
    assert problem["message"] == "cannot be done: tuma has no credentials of ClickPesa"


def test_a_repeated_row_is_counted_once_and_named(tuma: Tuma) -> None:
    rows = f"{HEADER}\n{ROW}\n{ROW}\n"
    ran = tuma("share", "-", "--dry-run", stdin=rows)
    assert "Row 3 repeats row 2: nothing is sent for it." in ran.out
    assert "1 row(s) would be sent, 1 repeated, 0 refused. Messages at most: 1 sms, 1 whatsapp" in ran.out
    assert [one["repeats"] for one in tuma("share", "-", "--dry-run", "--json", stdin=rows).lines] == [
        None,
        2,
    ]


def test_an_id_with_other_content_is_refused_as_it_would_be(tuma: Tuma) -> None:
    rows = "id,number,amount,phone\na,55,1,0754123456\na,55,2,0754123456\n"
    ran = tuma("share", "-", "--dry-run", "--json", stdin=rows)
    assert ran.lines[1]["errors"] == [
        {"field": "id", "message": "was used in row 2 for a job with other content"}
    ]


@pytest.mark.parametrize("arguments", [("--number", "5"), ("--number", "5", "--amount", "abc")])
def test_one_bill_that_cannot_be_meant_is_a_usage_error(tuma: Tuma, arguments: tuple[str, ...]) -> None:
    ran = tuma("share", *arguments)
    assert ran.code == 2
    assert "Error: amount: " in ran.err
