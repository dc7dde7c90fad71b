"""A short chaos run: every role killed, a worker frozen, the server killed, every promise kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEED = "7"
REPO = Path(__file__).parents[2]


@pytest.mark.timeout(420)
def test_a_short_storm_breaks_no_promise(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "--quick",
        "--seed",
        SEED,
        "--keep",
        str(tmp_path / "run"),
    ]
    ran = subprocess.run(
        [*command, "--write", str(tmp_path)],
        cwd=REPO, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    page = (tmp_path / "chaos.md").read_text()
    assert f"--seed {SEED}" in page
    assert str(REPO) not in page + (tmp_path / "chaos.json").read_text()
