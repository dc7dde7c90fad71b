"""`tuma bench`: hands over to the measurements of a checkout, and says where they are when there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from benchmarks.chapters import CHAPTERS
from benchmarks.report import Figure, Report
from benchmarks.stalls import Stalls
from bot.cli import app, bench


def test_without_a_checkout_it_says_where_the_measurements_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "_CHECKOUT", tmp_path)
    answer = CliRunner().invoke(app, ["bench"])
    assert answer.exit_code == 1
    assert "make bench" in answer.output


def test_a_chapter_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bot", "bench", "speed"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert all(name in ran.stderr for name in CHAPTERS)


def test_every_chapter_is_named_in_the_help() -> None:
    said = CliRunner().invoke(app, ["bench", "--help"]).output
    assert all(name in said for name in CHAPTERS)


def test_a_report_keeps_other_chapters_and_the_notes(tmp_path: Path) -> None:
    report = Report()
    report.put("sending", [Figure(what="one worker / limit", value="0.50", target=">= 0.8", met=False)])
    report.write(tmp_path)
    page = tmp_path / "benchmarks.md"
    page.write_text(page.read_text() + "\n## Notes\nWhat bounds it.\n")
    again = Report.read(tmp_path)
    again.put("mail", [Figure(what="mail / bare", value="0.95", target=">= 0.9", met=True)])
    again.write(tmp_path)
    text = page.read_text()
    assert "| one worker / limit | 0.50 | >= 0.8 | **missed** |" in text
    assert "| mail / bare | 0.95 | >= 0.9 | met |" in text
    assert text.rstrip().endswith("## Notes\nWhat bounds it.")
    assert set(msgspec.json.decode((tmp_path / "benchmarks.json").read_bytes())["chapters"]) == {
        "sending",
        "mail",
    }


def test_what_met_a_standstill_of_the_machine_or_came_right_behind_one_is_told_apart(tmp_path: Path) -> None:
    """A piece of work every 2 ms for 2 s takes 20 us; in 60 ms of it, 300 us."""
    lines = [f"{at / 1000:.6f} {300 if 500 <= at < 560 else 20}" for at in range(0, 2000, 2)]
    seen = tmp_path / "seen"
    seen.write_text("\n".join([*lines, "2.0"]))  # the last line was under way when it ended
    stalls = Stalls()
    stalls.read(seen)
    assert stalls.spans == [pytest.approx((0.5, 0.5583))]
    assert stalls.share == pytest.approx(0.0292, abs=0.001)
    dues, took = [0.3, 0.49, 0.49, 0.53, 0.6, 0.7], [1.0, 2.0, 80.0, 50.0, 30.0, 3.0]
    assert stalls.clear(dues, took) == [1.0, 2.0, 3.0]
